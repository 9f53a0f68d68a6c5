/** Pages that the host shares with a protected hypervisor, counted by page frame number (`share_pfn_hyp`, `unshare_pfn_hyp`). */
import { EDEADLK, ENOENT, Stage2Error, errnoError, errnoName } from "./errors.ts";

/** What the host asks the hypervisor for, of one page: pfn is its physical address in pages. 0, or a negative errno. */
export type Hypercall = (call: "share" | "unshare", pfn: number) => number;

export class SharedPages {
  readonly #hypercall: Hypercall | undefined;
  readonly #counts = new Map<number, number>();
  #asking = false;

  constructor(hypercall: Hypercall | undefined) {
    this.#hypercall = hypercall;
  }

  /** How often the page is shared. */
  count(pfn: number): number {
    return this.#counts.get(pfn) ?? 0;
  }

  /** Pages that are shared. */
  get size(): number {
    return this.#counts.size;
  }

  share(pfn: number, pages: number): void {
    this.#refuseNested();
    for (let page = pfn; page < pfn + pages; page++) {
      const count = this.count(page);
      if (count === 0) this.#ask("share", page); // if it refuses, the page is as it was
      this.#counts.set(page, count + 1);
    }
  }

  unshare(pfn: number, pages: number): void {
    this.#refuseNested();
    for (let page = pfn; page < pfn + pages; page++) {
      if (this.#counts.has(page)) continue;
      throw new Stage2Error("ENOENT", "unshare: the page is not shared", { pfn: page }, ENOENT);
    }
    for (let page = pfn; page < pfn + pages; page++) this.#drop(page);
  }

  #drop(pfn: number): void {
    const count = this.count(pfn);
    if (count > 1) {
      this.#counts.set(pfn, count - 1);
      return;
    }
    this.#ask("unshare", pfn);
    this.#counts.delete(pfn);
  }

  #ask(call: "share" | "unshare", pfn: number): void {
    this.#asking = true;
    try {
      const answer = this.#hypercall?.(call, pfn);
      if (answer === 0) return;
      if (typeof answer === "number" && errnoName(-answer) !== undefined) {
        throw errnoError(answer, call, { pfn });
      }
      const message = `hypercall ${call}: the answer must be 0 or a negative errno`;
      throw new Stage2Error("BAD_OPTION", message, { answer });
    } finally {
      this.#asking = false;
    }
  }

  /** The counts are in the middle of a change while the hypervisor is asked. */
  #refuseNested(): void {
    if (!this.#asking) return;
    const message = "a hypercall of share or unshare is under way";
    throw new Stage2Error("EDEADLK", message, {}, EDEADLK);
  }
}
