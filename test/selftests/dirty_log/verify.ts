/**
 * What a collection may say (DL1-DL3, DL6): page by page, from the value that the guest wrote last. Round n writes n; guests
 * stand still while this looks.
 */
import { expect } from "vitest";
import type { Collection } from "./modes.ts";

export class Verifier {
  /** Pages that were clean although they hold this round's value: written behind the collection, so due in the next. */
  #due = new Set<number>();

  /** `valueOf`: what a page holds. `isOld`: it may hold a value from before the last round (DL6). */
  round(
    n: number,
    { dirty }: Collection,
    valueOf: (page: number) => number,
    isOld: (page: number, value: number) => boolean = () => false,
  ): void {
    const due = this.#due;
    this.#due = new Set();
    for (let page = 0; page < dirty.length; page++) {
      const bit = dirty[page];
      const value = valueOf(page);
      if (bit === 1) {
        if (value !== n && value !== n - 1 && !isOld(page, value)) {
          expect.fail(`round ${n}: page ${page} was told, and holds ${value} (DL1)`);
        }
        continue;
      }
      if (due.has(page)) expect.fail(`round ${n}: page ${page} was lost (DL3)`);
      if (value > n) expect.fail(`round ${n}: page ${page} holds ${value} (DL2)`);
      if (value === n) this.#due.add(page);
    }
  }
}
