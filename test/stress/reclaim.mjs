// @ts-check
/** The host takes memory away from guests: unmapped, looked at, filled with the pattern, queued as free. */
import { TAG_WORD } from "./board.mjs";
import { wholeRegion } from "./host.mjs";
import { generationOf } from "./memory.mjs";
import {
  BLOCK,
  between,
  chunkPa,
  offsetIn,
  rangeOf,
  regionIpa,
  regionOf,
  singlePa,
} from "./scene.mjs";

/** @typedef {import("./scene.mjs").Mode} Mode */
/** @typedef {{ pa: number, content: number }} Gone memory of a page, and what guests had stored in it */

export class Reclaim {
  #thread;
  #board;

  /** @param {import("./thread.mjs").Thread} thread */
  constructor(thread) {
    this.#thread = thread;
    this.#board = thread.board.common;
  }

  /** Unmaps and keeps the memory: the next fault maps it again. @param {number} first @param {number} last @param {boolean} whole */
  unmap(first, last, whole) {
    const { raw } = this.#thread.s2(first);
    const region = regionOf(first);
    const { ipa, size } = whole ? { ipa: regionIpa(region), size: BLOCK } : rangeOf(first, last);
    const status = raw.unmap(ipa, size);
    if (status !== 0) this.#thread.violation("unexpected result", `unmap: errno ${-status}`);
    const pages = whole ? wholeRegion(first) : between(first, last);
    for (const page of pages) this.#thread.rows.unmapped[page]++;
  }

  /**
   * Unmaps pages, in a huge region all of them, and takes their memory, in one hold of the lock. What they hold is looked
   * at when the unmap has returned, and again when the pattern goes over it: nobody may have stored meanwhile.
   *
   * @param {number} first
   * @param {number} last
   * @param {Mode} mode
   * @param {boolean} [unmaps] false: a planted fault
   */
  giveBack(first, last, mode, unmaps = true) {
    const huge = mode === "huge";
    const pages = huge ? wholeRegion(first) : between(first, last);
    const { mmuLock } = this.#thread.s2(first);
    mmuLock.acquireWrite();
    /** @type {() => void} */
    let free = () => {};
    try {
      if (unmaps) this.unmap(first, last, huge);
      free = huge ? this.#takeChunk(pages, mode) : this.#takeSingles(pages, mode);
    } finally {
      mmuLock.releaseWrite();
    }
    free();
  }

  /** @param {number[]} pages @param {Mode} mode @returns {() => void} what frees it */
  #takeChunk(pages, mode) {
    const chunk = Atomics.exchange(this.#board.hostChunk, regionOf(pages[0]), 0) - 1;
    if (chunk < 0) return () => {};
    const gone = pages.map((page) => this.#end(page, chunkPa(chunk) + offsetIn(page), mode));
    return () => {
      for (const page of gone) this.#retire(page);
      this.#thread.memory.giveChunk(chunk);
    };
  }

  /** @param {number[]} pages @param {Mode} mode @returns {() => void} */
  #takeSingles(pages, mode) {
    const taken = pages.map((page) => [page, Atomics.exchange(this.#board.host, page, 0) - 1]);
    const singles = taken.filter(([, single]) => single >= 0);
    const gone = singles.map(([page, single]) => this.#end(page, singlePa(single), mode));
    return () => {
      for (const page of gone) this.#retire(page);
      for (const [, single] of singles) this.#thread.memory.giveSingle(single);
    };
  }

  /** A page's memory ends. @param {number} page @param {number} pa @param {Mode} mode @returns {Gone} */
  #end(page, pa, mode) {
    const { memory } = this.#thread;
    const { dirty, sample, finished } = this.#board;
    const content = memory.content(pa);
    const logged = Atomics.exchange(dirty, page, 0) !== 0;
    // Dirty state that hardware keeps in entries went with them, unlooked at.
    if (!logged && content !== sample[page] && mode !== "dirty") {
      this.#thread.violation("dirty lost", `page ${page} was stored to, and unmapped as clean`);
    }
    sample[page] = 0;
    Atomics.store(finished, page, generationOf(memory.load(pa, TAG_WORD)));
    return { pa, content };
  }

  /** @param {Gone} gone */
  #retire({ pa, content }) {
    if (this.#thread.memory.retire(pa, content)) return;
    this.#thread.violation("store after unmap", `to 0x${pa.toString(16)}`);
  }
}
