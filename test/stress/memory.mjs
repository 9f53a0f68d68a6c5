// @ts-check
/**
 * The host's memory for guests. Each piece is somebody's, or free and full of a pattern: a store that comes late leaves a
 * trace. Free pieces queue up, so that each rests as long as possible.
 */
import { FIRST_STORE_WORD, TAG_WORD } from "./board.mjs";
import { CHUNKS, HOT, PAGE, RAM, SINGLES, chunkPa, offsetIn, singlePa } from "./scene.mjs";

/** What words of free memory hold. No tag and no stored value is this. */
export const FREE = -1;
const GENERATION_BITS = 24;
const TAKE = 0;
const GIVE = 1;
const PLACES = 2;

/** A page's owner and generation in one word. @param {number} page @param {number} generation */
export const tagOf = (page, generation) =>
  ((page + 1) << GENERATION_BITS) | (generation & (2 ** GENERATION_BITS - 1)) | 0;
/** @param {number} tag */
export const ownerOf = (tag) => (tag >>> GENERATION_BITS) - 1;
/** @param {number} tag */
export const generationOf = (tag) => tag & (2 ** GENERATION_BITS - 1);

/** The part of a board that this needs. @typedef {{ common: { singles: Int32Array, chunks: Int32Array }, threads: readonly unknown[] }} Queues */

/** Guest memory as words, and the two queues of its free pieces. */
export class Memory {
  #words;
  #threads;
  #board;

  /** @param {import("stage2").Engine} engine @param {Queues} board */
  constructor(engine, board) {
    const bytes = engine.memoryMap.bytes(RAM.pa, RAM.size);
    this.#words = new Int32Array(bytes.buffer, bytes.byteOffset, RAM.size / 4);
    this.#threads = board.threads.length;
    this.#board = board.common;
  }

  /** Frees everything. Once, before any thread runs. */
  format() {
    for (let single = 0; single < SINGLES; single++) {
      this.#fill(singlePa(single));
      this.giveSingle(single);
    }
    for (let chunk = 0; chunk < CHUNKS; chunk++) {
      for (const pa of hotPages(chunk)) this.#fill(pa);
      this.giveChunk(chunk);
    }
  }

  takeSingle() {
    return take(this.#board.singles);
  }

  /** @param {number} single */
  giveSingle(single) {
    give(this.#board.singles, single);
  }

  takeChunk() {
    return take(this.#board.chunks);
  }

  /** @param {number} chunk */
  giveChunk(chunk) {
    give(this.#board.chunks, chunk);
  }

  /** The word of a page: also what a thread stores to from JavaScript. @param {number} pa @param {number} word */
  load(pa, word) {
    return Atomics.load(this.#words, (pa - RAM.pa) / 4 + word);
  }

  /** @param {number} pa @param {number} word @param {number} value */
  store(pa, word, value) {
    Atomics.store(this.#words, (pa - RAM.pa) / 4 + word, value);
  }

  /** The sum of what guests stored: they only ever store more than before. @param {number} pa */
  content(pa) {
    let sum = 0;
    for (let thread = 0; thread < this.#threads; thread++) {
      sum = (sum + this.load(pa, FIRST_STORE_WORD + thread)) | 0;
    }
    return sum;
  }

  /** Whether nobody stored to a free page. @param {number} pa */
  isFree(pa) {
    for (let thread = 0; thread < this.#threads; thread++) {
      if (this.load(pa, FIRST_STORE_WORD + thread) !== FREE) return false;
    }
    return this.load(pa, TAG_WORD) === FREE;
  }

  /** Gives a page to its owner, with nothing stored. @param {number} pa @param {number} tag */
  prepare(pa, tag) {
    for (let thread = 0; thread < this.#threads; thread++) {
      this.store(pa, FIRST_STORE_WORD + thread, 0);
    }
    this.store(pa, TAG_WORD, tag);
  }

  /** Fills a page with the pattern. False: somebody stored since it held `content`. @param {number} pa @param {number} content */
  retire(pa, content) {
    let sum = 0;
    for (let thread = 0; thread < this.#threads; thread++) {
      const at = (pa - RAM.pa) / 4 + FIRST_STORE_WORD + thread;
      sum = (sum + Atomics.exchange(this.#words, at, FREE)) | 0;
    }
    this.store(pa, TAG_WORD, FREE);
    return sum === content;
  }

  /** Addresses of free pages that somebody stored to. Quiet points only. */
  *disturbed() {
    for (const single of queued(this.#board.singles)) {
      if (!this.isFree(singlePa(single))) yield singlePa(single);
    }
    for (const chunk of queued(this.#board.chunks)) {
      for (const pa of hotPages(chunk)) if (!this.isFree(pa)) yield pa;
    }
  }

  /** @param {number} pa */
  #fill(pa) {
    for (let word = 0; word < PAGE / 4; word++) this.store(pa, word, FREE);
  }
}

/** Where the hot pages of a region lie in a chunk. @param {number} chunk */
export function hotPages(chunk) {
  return Array.from({ length: HOT }, (_, hot) => chunkPa(chunk) + offsetIn(hot));
}

/** Takes the piece that was given first; waits only for one that is just being given. @param {Int32Array} queue */
function take(queue) {
  const place = PLACES + ((Atomics.add(queue, TAKE, 1) >>> 0) % (queue.length - PLACES));
  for (;;) {
    const found = Atomics.exchange(queue, place, 0);
    if (found !== 0) return found - 1;
  }
}

/** @param {Int32Array} queue @param {number} piece */
function give(queue, piece) {
  const place = PLACES + ((Atomics.add(queue, GIVE, 1) >>> 0) % (queue.length - PLACES));
  Atomics.store(queue, place, piece + 1);
}

/** @param {Int32Array} queue */
function queued(queue) {
  return Array.from(queue.subarray(PLACES))
    .filter((found) => found !== 0)
    .map((found) => found - 1);
}
