/** Pages for accesses: brought in by the host itself, or by hooks. */
import { type Found, type Step, type Unusable, bringIn } from "./_fault.ts";
import { type Accessor, MissingHooks } from "./_missing.ts";
import { isBusy } from "./_notify.ts";
import type { Space } from "./_space.ts";

/** Milliseconds between looks. */
const PAUSE = 1;

/** "retry": another thread's hook takes its time. */
export type Page = Found | Unusable | "retry";

export class Pager {
  readonly hooks: MissingHooks;
  readonly #space: Space;

  constructor(space: Space) {
    this.#space = space;
    this.hooks = new MissingHooks(space);
  }

  /** The page at the address, for a read or a write. A promise only if a hook answers with one, or this thread may not block. */
  get(hva: number, accessor: Accessor): Page | Promise<Page> {
    for (;;) {
      const step = this.#bringIn(hva, accessor.write);
      if (step === "busy") return this.#later(hva, accessor);
      if (typeof step === "string" || step.kind === "found" || step.kind === "poisoned")
        return step;
      const waited =
        step.kind === "missing" ? this.hooks.ask(step, accessor) : this.hooks.wait(step);
      if (waited instanceof Promise) {
        return waited.then((what) => (what === "retry" ? what : this.get(hva, accessor)));
      }
      if (waited === "retry") return "retry";
    }
  }

  /** "busy": a VM could not be told at once, and this thread may not wait for that. */
  #bringIn(hva: number, write: boolean): Step | "busy" {
    this.hooks.refuseEnded(); // it may have ended while an access waited
    try {
      return bringIn(this.#space, hva, write);
    } catch (error) {
      if (isBusy(error) && !this.#space.waiter.blocks) return "busy";
      throw error;
    }
  }

  async #later(hva: number, accessor: Accessor): Promise<Page> {
    const end = performance.now() + this.#space.waiter.patience;
    for (let step: Step | "busy" = "busy"; step === "busy";) {
      if (performance.now() > end) return "retry";
      await new Promise((resolve) => setTimeout(resolve, PAUSE));
      step = this.#bringIn(hva, accessor.write);
    }
    return this.get(hva, accessor);
  }
}
