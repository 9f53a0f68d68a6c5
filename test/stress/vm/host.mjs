// @ts-check
/**
 * The host's memory behind the VMs: what is at a host virtual address comes when it is asked for, and goes when it is punched
 * out. Each piece holds whose it is and its generation, as in the part on tables.
 */
import { FIRST_STORE_WORD, TAG_WORD } from "../board.mjs";
import { FREE, generationOf, hotPages, tagOf } from "../memory.mjs";
import {
  BLOCK,
  HOT,
  PAGE,
  between,
  chunkPa,
  firstPage,
  offsetIn,
  regionOf,
  singlePa,
} from "../scene.mjs";
import { isHuge, pageAt, pageHva, regionHva } from "./scene.mjs";

/** @typedef {{ tag: number, content: number }} Look what memory of a page held at one moment */
/** @typedef {{ pa: number, content: number }} Gone */

export class HostMemory {
  #thread;
  #board;

  /** @param {import("./thread.mjs").VmThread} thread */
  constructor(thread) {
    this.#thread = thread;
    this.#board = thread.board.common;
  }

  /** What a VM of this thread asks. Pages with odd numbers are writable only for who writes. @returns {import("stage2").Backing} */
  backing() {
    return {
      resolve: ({ hva, write }) => {
        const page = pageAt(hva);
        const region = regionOf(page);
        if (!isHuge(region)) return { pa: this.#single(page), writable: write || page % 2 === 0 };
        return {
          pa: chunkPa(this.#chunk(region)) + offsetIn(page),
          writable: write || region % 4 === 1,
          hostSize: BLOCK,
        };
      },
    };
  }

  /** Where a page's memory is now, if it has some. @param {number} page */
  addressOf(page) {
    const { host, hostChunk } = this.#board;
    const region = regionOf(page);
    if (!isHuge(region)) {
      const single = Atomics.load(host, page);
      return single === 0 ? undefined : singlePa(single - 1);
    }
    const chunk = Atomics.load(hostChunk, region);
    return chunk === 0 ? undefined : chunkPa(chunk - 1) + offsetIn(page);
  }

  /** What a page holds, of one and the same memory. @param {number} page @returns {Look | undefined} */
  look(page) {
    const { memory } = this.#thread;
    for (;;) {
      const pa = this.addressOf(page);
      if (pa === undefined) return undefined;
      const tag = memory.load(pa, TAG_WORD);
      const content = memory.content(pa);
      const same = this.addressOf(page) === pa && memory.load(pa, TAG_WORD) === tag;
      if (same && tag !== FREE) return { tag, content };
    }
  }

  /** Stores from outside of any guest, if the page has memory. @param {number} page @param {number} value */
  store(page, value) {
    return this.#pinned([page], () => {
      const pa = this.addressOf(page);
      if (pa === undefined) return false;
      this.#thread.memory.store(pa, FIRST_STORE_WORD + this.#thread.number, value);
      return true;
    });
  }

  /**
   * Takes memory away, of a block all of it; the VM is told before and after. What it holds is looked at when the VM has been
   * told, and again when the pattern goes over it: nobody may have stored meanwhile.
   *
   * @param {import("stage2").Vm} vm
   * @param {number} first
   * @param {number} last
   */
  punch(vm, first, last) {
    /** @type {() => void} */
    let free = () => {};
    vm.invalidate(this.range(first, last), () => {
      const pages = this.#pagesOf(first, last);
      free = this.#pinned(pages, () =>
        isHuge(regionOf(first)) ? this.#takeChunk(pages) : this.#takeSingles(pages),
      );
    });
    free();
  }

  /** Of the host, from one page to another; of a block, the whole. @param {number} first @param {number} last */
  range(first, last) {
    const region = regionOf(first);
    if (isHuge(region)) return { hva: regionHva(region), size: BLOCK };
    return { hva: pageHva(first), size: pageHva(last) + PAGE - pageHva(first) };
  }

  /** @param {number} first @param {number} last */
  #pagesOf(first, last) {
    if (!isHuge(regionOf(first))) return between(first, last);
    const start = firstPage(regionOf(first));
    return between(start, start + HOT - 1);
  }

  /** Found, or brought there: one thread at a time, so that generations come in order. @param {number} page */
  #single(page) {
    const { host } = this.#board;
    const found = Atomics.load(host, page);
    if (found !== 0) return singlePa(found - 1);
    return this.#pinned([page], () => {
      if (Atomics.load(host, page) === 0) {
        const { memory } = this.#thread;
        const single = memory.takeSingle();
        memory.prepare(singlePa(single), tagOf(page, this.#nextGeneration(page)));
        Atomics.store(host, page, single + 1);
      }
      return singlePa(Atomics.load(host, page) - 1);
    });
  }

  /** The same for a region of one chunk. @param {number} region */
  #chunk(region) {
    const { hostChunk } = this.#board;
    const found = Atomics.load(hostChunk, region);
    if (found !== 0) return found - 1;
    const first = firstPage(region);
    return this.#pinned(this.#pagesOf(first, first), () => {
      if (Atomics.load(hostChunk, region) === 0) {
        const { memory } = this.#thread;
        const chunk = memory.takeChunk();
        hotPages(chunk).forEach((pa, hot) => {
          memory.prepare(pa, tagOf(first + hot, this.#nextGeneration(first + hot)));
        });
        Atomics.store(hostChunk, region, chunk + 1);
      }
      return Atomics.load(hostChunk, region) - 1;
    });
  }

  /** @param {number[]} pages @returns {() => void} what frees it */
  #takeChunk(pages) {
    const chunk = Atomics.exchange(this.#board.hostChunk, regionOf(pages[0]), 0) - 1;
    if (chunk < 0) return () => {};
    const gone = pages.map((page) => this.#end(page, chunkPa(chunk) + offsetIn(page)));
    return () => {
      for (const one of gone) this.#retire(one);
      this.#thread.memory.giveChunk(chunk);
    };
  }

  /** @param {number[]} pages @returns {() => void} */
  #takeSingles(pages) {
    const taken = pages.map((page) => [page, Atomics.exchange(this.#board.host, page, 0) - 1]);
    const singles = taken.filter(([, single]) => single >= 0);
    const gone = singles.map(([page, single]) => this.#end(page, singlePa(single)));
    return () => {
      for (const one of gone) this.#retire(one);
      for (const [, single] of singles) this.#thread.memory.giveSingle(single);
    };
  }

  /** @param {number} page @param {number} pa @returns {Gone} */
  #end(page, pa) {
    const { memory } = this.#thread;
    const content = memory.content(pa);
    Atomics.store(this.#board.finished, page, generationOf(memory.load(pa, TAG_WORD)));
    return { pa, content };
  }

  /** @param {Gone} gone */
  #retire({ pa, content }) {
    if (this.#thread.memory.retire(pa, content)) return;
    this.#thread.violation("store after unmap", `to 0x${pa.toString(16)}`);
  }

  /** While nobody else does what has to be alone with these pages. @template T @param {readonly number[]} pages ascending @param {() => T} work @returns {T} */
  #pinned(pages, work) {
    const { pinned } = this.#board;
    for (const page of pages) while (Atomics.compareExchange(pinned, page, 0, 1) !== 0);
    try {
      return work();
    } finally {
      for (const page of pages) Atomics.store(pinned, page, 0);
    }
  }

  /** @param {number} page */
  #nextGeneration(page) {
    return Atomics.add(this.#board.generation, page, 1) + 1;
  }
}
