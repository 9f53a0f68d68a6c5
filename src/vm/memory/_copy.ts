/** The host's own accesses: page by page, faulting in as a guest's do. A page is copied under its lock, so it cannot go away. */
import { Stage2Error, ETIMEDOUT } from "../../errors.ts";
import type { Found } from "./_fault.ts";
import { STATE, frameOf, stateOf } from "./_page.ts";
import type { Page, Pager } from "./_pager.ts";
import type { Space } from "./_space.ts";

/** A range to go over, what to do with the bytes of each part, and how far it is. */
interface Pass {
  readonly hva: number;
  readonly size: number;
  readonly write: boolean;
  /** Takes the bytes at `offset` in the range. Absent: the pages are only brought in. */
  readonly move: ((bytes: Uint8Array, offset: number) => void) | undefined;
}

export class HostAccess {
  readonly #space: Space;
  readonly #pager: Pager;

  constructor(space: Space, pager: Pager) {
    this.#space = space;
    this.#pager = pager;
  }

  /** Goes over a range: whether all of it was there. A promise if a hook answers with one. */
  pass(pass: Pass, done = 0): boolean | Promise<boolean> {
    const { page } = this.#space.state;
    for (let at = done; at < pass.size;) {
      const hva = pass.hva + at;
      const length = Math.min(pass.size - at, page - (hva % page));
      const found = this.#pager.get(hva, { write: pass.write, vcpu: undefined });
      if (found instanceof Promise) {
        return found.then((settled) => {
          refuseLate(settled);
          return isUsable(settled) ? this.pass(pass, at) : false;
        });
      }
      refuseLate(found);
      if (!isUsable(found)) return false;
      if (this.#part(found, pass, at, length)) at += length;
    }
    return true;
  }

  /** One page's part, if the page is still what it was. */
  #part({ area, index, word }: Found, pass: Pass, at: number, length: number): boolean {
    const { state, bytes, frames } = this.#space;
    const { page } = state;
    const hva = pass.hva + at;
    const inside = hva - this.#space.unitAt(area, hva).hva;
    const frame = frameOf(word) + Math.floor(inside / page);
    return this.#space.locked(index, () => {
      if (state.load(index) !== word) return false;
      pass.move?.(bytes.view(frame, inside % page, length), at);
      if (stateOf(word) === STATE.PRESENT) frames.mark(pass.write ? "dirty" : "accessed", frame);
      return true;
    });
  }
}

function isUsable(page: Page): page is Found {
  return typeof page === "object" && page.kind === "found" && page.area.kind !== "device";
}

function refuseLate(page: Page): void {
  if (page !== "retry") return;
  const message = "guest memory: the hook of another thread does not bring the page";
  throw new Stage2Error("ETIMEDOUT", message, { waitingFor: "missing page" }, ETIMEDOUT);
}
