// @ts-check
/**
 * The ledger of migration. Who collects copies what is dirty, after it was protected:
 *
 *     1. look at pages    2. ask the log    3. copy what it says    ...    and again
 *
 * What a page holds at 1 and did not hold when it was copied must be in the log now, or in a later one: an abort handler lets
 * the page be written a moment before it says so, and hardware records pages in buffers that are emptied now and then. So the
 * page is only suspected. When every thread has had nothing on its way since (it settled), and the next log does not have the page
 * either, the store is lost. At a quiet point nothing is on its way, and the copy has to be the memory.
 */
import { MOST_THREADS } from "../board.mjs";
import { HOT, between, firstPage, regionOf } from "../scene.mjs";
import { COUNT, UNKNOWN } from "./board.mjs";
import { modeOf, vmOf } from "./scene.mjs";

/** @typedef {{ tag: number, content: number, ripe: boolean }} Seen `ripe`: suspected, and everybody has settled since */

export class Ledger {
  #thread;
  #board;

  /** @param {import("./thread.mjs").VmThread} thread */
  constructor(thread) {
    this.#thread = thread;
    this.#board = thread.board.common;
  }

  /** Hot pages of a region. @param {number} region */
  pagesOf(region) {
    return between(firstPage(region), firstPage(region) + HOT - 1);
  }

  /** What pages hold before the log is asked. @param {number} region @returns {(Seen | undefined)[]} */
  look(region) {
    return this.pagesOf(region).map((page) => {
      const ripe = this.#isRipe(page);
      const found = this.#thread.host.look(page);
      return found && { ...found, ripe: ripe && this.#board.suspect[page] === found.tag };
    });
  }

  /** Compares with what the log said. @param {number} region @param {readonly (Seen | undefined)[]} seen @param {ReadonlySet<number>} dirty pages in it */
  judge(region, seen, dirty) {
    const { suspect, copyTag } = this.#board;
    this.pagesOf(region).forEach((page, i) => {
      const found = seen[i];
      if (dirty.has(page)) suspect[page] = 0;
      else if (copyTag[page] === UNKNOWN) this.#lost(page, "it was to be dirty from the start");
      else if (found === undefined || found.content === this.#expected(page, found.tag)) {
        suspect[page] = 0;
      } else if (found.ripe) this.#lost(page, "it was stored to, and is in no log");
      else if (suspect[page] !== found.tag) this.#suspect(page, found.tag);
    });
  }

  /** Copies pages. @param {Iterable<number>} pages */
  copy(pages) {
    const { copy, copyTag, suspect } = this.#board;
    for (const page of pages) {
      const found = this.#thread.host.look(page);
      copyTag[page] = found?.tag ?? 0;
      copy[page] = found?.content ?? 0;
      suspect[page] = 0;
      this.#thread.rows.counts[COUNT.COPIED]++;
    }
  }

  /** Logging starts with every page dirty: nothing has to be copied before the first log. @param {number} region */
  expectAll(region) {
    for (const page of this.pagesOf(region)) {
      this.#board.copyTag[page] = UNKNOWN;
      this.#board.suspect[page] = 0;
    }
  }

  /** At a quiet point, after a last collection. @param {number} region */
  checkCopies(region) {
    for (const page of this.pagesOf(region)) {
      const found = this.#thread.host.look(page);
      if (found === undefined || found.content === this.#expected(page, found.tag)) continue;
      this.#lost(page, "its copy is not what it holds");
    }
  }

  /** What a page holds if nobody has stored since it was copied: fresh memory is empty. @param {number} page @param {number} tag */
  #expected(page, tag) {
    const { copy, copyTag } = this.#board;
    return copyTag[page] === tag ? copy[page] : 0;
  }

  /** @param {number} page @param {string} words */
  #lost(page, words) {
    const mode = modeOf(regionOf(page));
    this.#thread.violation(`dirty lost: ${mode}`, `page ${page}: ${words}`);
    this.copy([page]);
  }

  /** @param {number} page @param {number} tag */
  #suspect(page, tag) {
    const vm = vmOf(regionOf(page));
    this.#board.suspect[page] = tag;
    this.#thread.rows.counts[COUNT.SUSPECTED]++;
    this.#thread.board.threads.forEach(({ settled }, thread) => {
      this.#board.suspectSettled[page * MOST_THREADS + thread] = Atomics.load(settled, vm);
    });
  }

  /** @param {number} page */
  #isRipe(page) {
    if (this.#board.suspect[page] === 0) return false;
    const vm = vmOf(regionOf(page));
    return this.#thread.board.threads.every(
      ({ settled }, thread) =>
        Atomics.load(settled, vm) !== this.#board.suspectSettled[page * MOST_THREADS + thread],
    );
  }
}
