// @ts-check
/**
 * The host handles the guests' faults as KVM does. What backs a page changes from nothing to something under the read side
 * of the lock, and back (reclaim.mjs) under the write side only.
 */
import { Prot, WalkFlag } from "stage2";
import { hotPages, tagOf } from "./memory.mjs";
import {
  BLOCK,
  HOT,
  PAGE,
  between,
  chunkPa,
  firstPage,
  offsetIn,
  pageIpa,
  regionIpa,
  regionOf,
  singlePa,
} from "./scene.mjs";

/** @typedef {import("./scene.mjs").Mode} Mode */

const FAULT = WalkFlag.SHARED | WalkFlag.HANDLE_FAULT;
const EAGAIN = -11;
const YOUNG = 1n << 10n;
/** Tables that a page may need on its way. */
const TABLES_OF_A_PAGE = 2;

export class Host {
  #thread;
  #board;

  /** @param {import("./thread.mjs").Thread} thread */
  constructor(thread) {
    this.#thread = thread;
    this.#board = thread.board.common;
  }

  /**
   * Handles a stage-2 fault.
   *
   * @param {import("stage2").Fault} fault
   * @param {number} page
   * @param {number} prot what the access needs
   * @param {{ mode: Mode, variant: number }} how
   */
  handle(fault, page, prot, how) {
    if (fault.stage === 2) {
      if (fault.type === "translation") return this.map(page, prot | Prot.R, how);
      if (fault.type === "permission") return this.relax(page, prot, how);
      if (fault.type === "accessFlag") return this.makeYoung(page);
    }
    this.#thread.violation("unexpected result", `${fault}`);
  }

  /** Maps what backs the page, or all of its region. @param {number} page @param {number} prot @param {{ mode: Mode, variant: number }} how */
  map(page, prot, { mode, variant }) {
    // Where nothing is ever unmapped, a fault for reading can leave the locking to the operation itself.
    if (mode === "logging" && !(prot & Prot.W) && variant & 4) return this.#mapPage(page, prot);
    this.#reading(page, () => {
      if (mode === "huge") return this.#mapChunk(page, prot, (variant & 8) !== 0);
      // A leaf that hardware may make dirty must not give way to another: its state would go with it.
      if (mode === "dirty" && this.#thread.s2(page).raw.lookup(pageIpa(page)) >= 0) return;
      this.#mapPage(page, prot, variant & 16 ? this.#cache(page) : undefined);
    });
  }

  /** Adds permissions. @param {number} page @param {number} prot @param {{ mode: Mode, variant: number }} how */
  relax(page, prot, { mode, variant }) {
    const { raw } = this.#thread.s2(page);
    if (!(prot & Prot.W) && variant & 4) {
      return this.#allowed("relaxPerms", raw.relaxPerms(pageIpa(page), prot));
    }
    this.#reading(page, () => {
      const done = this.#allowed("relaxPerms", raw.relaxPerms(pageIpa(page), prot));
      if (done && prot & Prot.W) this.#log(mode === "huge" ? wholeRegion(page) : [page]);
    });
  }

  /** @param {number} page */
  makeYoung(page) {
    const { raw } = this.#thread.s2(page);
    const status = raw.mkyoung(pageIpa(page));
    if (status === 1) {
      if ((raw.entry() & YOUNG) === 0n) this.#thread.rows.made[page]++;
    } else this.#allowed("mkyoung", status);
  }

  /** What backs a page: its address; it is made if there is nothing. @param {number} page */
  backing(page) {
    const found = Atomics.load(this.#board.host, page);
    if (found !== 0) return singlePa(found - 1);
    const { memory } = this.#thread;
    const single = memory.takeSingle();
    memory.prepare(singlePa(single), tagOf(page, this.#nextGeneration(page)));
    const before = Atomics.compareExchange(this.#board.host, page, 0, single + 1);
    if (before === 0) return singlePa(single);
    memory.retire(singlePa(single), 0); // another fault of this page was faster
    memory.giveSingle(single);
    return singlePa(before - 1);
  }

  /** The same for a region of one chunk. @param {number} region */
  chunk(region) {
    const found = Atomics.load(this.#board.hostChunk, region);
    if (found !== 0) return found - 1;
    const { memory } = this.#thread;
    const chunk = memory.takeChunk();
    hotPages(chunk).forEach((pa, hot) => {
      const page = firstPage(region) + hot;
      memory.prepare(pa, tagOf(page, this.#nextGeneration(page)));
    });
    const before = Atomics.compareExchange(this.#board.hostChunk, region, 0, chunk + 1);
    if (before === 0) return chunk;
    for (const pa of hotPages(chunk)) memory.retire(pa, 0);
    memory.giveChunk(chunk);
    return before - 1;
  }

  /** Where a page's memory is now, if it has some. @param {number} page @param {Mode} mode */
  addressOf(page, mode) {
    const { host, hostChunk } = this.#board;
    if (mode !== "huge") {
      const single = Atomics.load(host, page);
      return single === 0 ? undefined : singlePa(single - 1);
    }
    const chunk = Atomics.load(hostChunk, regionOf(page));
    return chunk === 0 ? undefined : chunkPa(chunk - 1) + offsetIn(page);
  }

  /** @param {number} page @param {number} prot @param {import("stage2").TableCache} [cache] */
  #mapPage(page, prot, cache) {
    const { raw } = this.#thread.s2(page);
    const status = raw.map(pageIpa(page), PAGE, this.backing(page), prot, FAULT, raw.cache(cache));
    if (!this.#allowed("map", status)) {
      if (this.#thread.keepsPermissions(page)) this.#thread.rows.maybeMade[page]++;
      return;
    }
    this.#thread.rows.made[page]++; // over nothing, or over an old leaf: anything young is left alone
    if (prot & Prot.W) this.#log([page]);
  }

  /** @param {number} page @param {number} prot @param {boolean} whole a block, else one page of the chunk */
  #mapChunk(page, prot, whole) {
    const { raw } = this.#thread.s2(page);
    const pa = chunkPa(this.chunk(regionOf(page)));
    const status = whole
      ? raw.map(regionIpa(regionOf(page)), BLOCK, pa, prot, FAULT)
      : raw.map(pageIpa(page), PAGE, pa + offsetIn(page), prot, FAULT);
    if (this.#allowed("map", status) && prot & Prot.W)
      this.#log(whole ? wholeRegion(page) : [page]);
  }

  /** @param {number} page */
  #cache(page) {
    const { caches, tables } = this.#thread;
    const cache = caches[tables.indexOf(this.#thread.s2(page))];
    if (cache.count < TABLES_OF_A_PAGE) this.#thread.topUp();
    return cache;
  }

  /** Under the read side of a page's table. @param {number} page @param {() => void} work */
  #reading(page, work) {
    const { mmuLock } = this.#thread.s2(page);
    mmuLock.acquireRead();
    try {
      work();
    } finally {
      mmuLock.releaseRead();
    }
  }

  /** @param {readonly number[]} pages */
  #log(pages) {
    for (const page of pages) Atomics.store(this.#board.dirty, page, 1);
  }

  /** @param {number} page */
  #nextGeneration(page) {
    return Atomics.add(this.#board.generation, page, 1) + 1;
  }

  /** True: done. False: another was there first, the guest tries again. @param {string} call @param {number} status */
  #allowed(call, status) {
    if (status >= 0) return true;
    if (status !== EAGAIN) this.#thread.violation("unexpected result", `${call}: errno ${-status}`);
    return false;
  }
}

/** All hot pages of a page's region. @param {number} page */
export function wholeRegion(page) {
  const first = firstPage(regionOf(page));
  return between(first, first + HOT - 1);
}
