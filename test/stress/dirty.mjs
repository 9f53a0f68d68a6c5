// @ts-check
/**
 * Collecting dirty pages, in one hold of the write side: who holds it keeps fault handlers out, but not hardware.
 *
 *     1. what each page holds         2. log and entry: dirty?        3. write-protect what is, flush, completion
 *     not dirty, and yet it holds other things than when it was last clean: a dirty page was lost
 *
 * The order matters where hardware sets W: it does so before the store, so that what was stored before 1 is dirty at 2.
 * And only entries seen dirty may be write-protected: W that appears after 2 is for the next collection.
 */
import { wholeRegion } from "./host.mjs";
import { BLOCK, PAGE, pageIpa, regionIpa } from "./scene.mjs";

/** @typedef {import("./kinds.mjs").Operation} Operation */
/** @typedef {{ page: number, pa: number, content: number }} Seen */

const VALID = 1n;
const WRITABLE = 1n << 7n;
const BY_HARDWARE = 1n << 51n;
/** Looks at pages that nobody may store to. */
const LOOKS = 3;

export class Dirty {
  #thread;
  #host;

  /** @param {import("./thread.mjs").Thread} thread @param {import("./host.mjs").Host} host */
  constructor(thread, host) {
    this.#thread = thread;
    this.#host = host;
  }

  /** Collects a region. @param {Operation} op @param {() => void} [between] a planted fault */
  collect(op, between) {
    const { mmuLock, raw } = this.#thread.s2(op.page);
    mmuLock.acquireWrite();
    try {
      const seen = this.#contents(op);
      const dirty = seen.filter((one) => this.#isDirty(one));
      const ipa = regionIpa(op.region);
      if (op.mode === "dirty") for (const { page } of dirty) raw.wrprotect(pageIpa(page), PAGE);
      else raw.wrprotect(ipa, BLOCK);
      raw.tlbFlushRange(ipa, BLOCK);
      for (const { page, pa } of dirty) {
        this.#thread.board.common.sample[page] = this.#thread.memory.content(pa);
      }
      between?.();
      if (op.mode !== "dirty") this.#expectStill(dirty);
    } finally {
      mmuLock.releaseWrite();
    }
  }

  /** From now on hardware manages the dirty state of a page, if it is mapped. @param {Operation} op */
  handToHardware({ page }) {
    const { mmuLock } = this.#thread.s2(page);
    mmuLock.acquireWrite();
    try {
      const [words, index] = this.#entry(page);
      for (let old = Atomics.load(words, index); old & VALID;) {
        const found = Atomics.compareExchange(words, index, old, old | BY_HARDWARE);
        if (found === old) return;
        old = found;
      }
    } finally {
      mmuLock.releaseWrite();
    }
  }

  /** The entry of a page, as whoever knows where tables lie sees it. @param {number} page @returns {[BigUint64Array, number]} */
  #entry(page) {
    const { engine } = this.#thread;
    const pointer = engine.core.s2_entry(this.#thread.s2(page).pointer, pageIpa(page)) >>> 0;
    return [new BigUint64Array(engine.memory.buffer), pointer / 8];
  }

  /** @param {Operation} op @returns {Seen[]} */
  #contents({ page: any, mode }) {
    return wholeRegion(any).flatMap((page) => {
      const pa = this.#host.addressOf(page, mode);
      return pa === undefined ? [] : [{ page, pa, content: this.#thread.memory.content(pa) }];
    });
  }

  /** @param {Seen} seen */
  #isDirty({ page, content }) {
    const { dirty, sample } = this.#thread.board.common;
    if (Atomics.exchange(dirty, page, 0) !== 0 || this.#hardwareSays(page)) return true;
    if (content !== sample[page]) {
      this.#thread.violation("dirty lost", `page ${page} was stored to and is clean`);
      sample[page] = content;
    }
    return false;
  }

  /** @param {number} page */
  #hardwareSays(page) {
    const { raw } = this.#thread.s2(page);
    raw.getLeaf(pageIpa(page));
    const both = WRITABLE | BY_HARDWARE | VALID;
    return (raw.entry() & both) === both;
  }

  /** Nobody may store here now: no entry is writable, and no fault is handled. @param {readonly Seen[]} seen */
  #expectStill(seen) {
    for (let look = 0; look < LOOKS; look++) {
      for (const { page, pa } of seen) {
        const content = this.#thread.memory.content(pa);
        if (content === this.#thread.board.common.sample[page]) continue;
        this.#thread.violation("store after write-protect", `page ${page}`);
        this.#thread.board.common.sample[page] = content;
      }
    }
  }
}
