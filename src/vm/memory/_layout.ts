/**
 * The state of a guest memory: one array of 32-bit words that all its threads share and edit with atomics.
 *
 *   +--------+----------+-------+-------------+------+-------+----------+------------+
 *   | header | counters | areas | group locks | used | dirty | accessed | page words |
 *   +--------+----------+-------+-------------+------+-------+----------+------------+
 *
 * `used`, `dirty`, `accessed`: a bit per frame. A group is as many page words as a block has pages; one lock guards it, as the
 * lock of a table page does in a kernel.
 */

/** Words of the header. */
export const HEADER = {
  MAGIC: 0,
  VERSION: 1,
  PAGE_SHIFT: 2,
  FRAMES: 3,
  PAGES: 4,
  AREAS: 5,
  /** Frame number of frame 0: physical address / page size, low and high half. */
  BASE_LOW: 6,
  BASE_HIGH: 7,
  /** 1: frames have bytes, from POINTER in the engine's memory on. */
  HAS_BYTES: 8,
  POINTER: 9,
  AREA_LOCK: 10,
  /** Grows with every change of the areas. Its lowest bit says which of their two tables is valid. */
  AREA_SEQUENCE: 11,
  /** Areas that were mapped so far: the number of the last one. It counts on from 0 after 2^32 - 1. */
  AREA_BIRTHS: 12,
  /** Where to look for a single frame first (upwards), and for a run (downwards): words of `used`. */
  FRAME_HINT: 13,
  RUN_HINT: 14,
  /** Frame of the page of zeros + 1; 0: none was needed yet. */
  ZERO_FRAME: 15,
} as const;

/** Counters, from word 16 on. */
export const COUNTER_NAMES = [
  "framesUsed",
  "framesPoisoned",
  "faults",
  "zeroPages",
  "pages",
  "blocks",
  "hugePages",
  "copies",
  "upgrades",
  "splits",
  "collapses",
  "invalidations",
  "missing",
  "minor",
  "filled",
  "exists",
  "waited",
  "dirtied",
  "accessed",
] as const;

/** Name of a counter. */
export type CounterName = (typeof COUNTER_NAMES)[number];

const COUNTERS = 16;
const COUNTER_WORDS = Object.fromEntries(
  COUNTER_NAMES.map((name, index) => [name, COUNTERS + index]),
) as Readonly<Record<CounterName, number>>;
/** Words before the records of areas. */
export const HEADER_WORDS = 48;
const MAGIC = 0x6d_65_6d_73;
const VERSION = 2;
/** Words of an area's record. There are two tables of them, each behind its length. */
export const AREA_WORDS = 13;

/** How much of everything there is. */
export interface Shape {
  readonly pageShift: number;
  readonly frames: number;
  /** Page words: a multiple of the pages of a block. */
  readonly pages: number;
  readonly areas: number;
  /** Physical address of frame 0. */
  readonly pa: number;
  /** Where its bytes are in the engine's memory. */
  readonly pointer: number | undefined;
}

/** The words, and where what begins. */
export class State {
  readonly words: Int32Array;
  readonly shape: Shape;
  /** Bytes of a page. */
  readonly page: number;
  /** Pages of a block, and page words of a group: 8-byte entries in a table page. */
  readonly blockPages: number;
  /** Frame number of frame 0. */
  readonly baseFrame: number;
  /** Bits of `used` before frame 0, so that frames that are aligned are aligned words. */
  readonly skew: number;
  /** Words of a table of areas. */
  readonly tableWords: number;
  readonly locks: number;
  readonly used: number;
  readonly frameWords: number;
  readonly dirty: number;
  readonly accessed: number;
  readonly pages: number;

  private constructor(shape: Shape, buffer?: ArrayBufferLike, shared = false) {
    this.shape = shape;
    this.page = 2 ** shape.pageShift;
    this.blockPages = 2 ** (shape.pageShift - 3);
    this.baseFrame = shape.pa / this.page;
    this.skew = this.baseFrame % 32;
    this.frameWords = Math.ceil((shape.frames + this.skew) / 32);
    this.tableWords = 1 + shape.areas * AREA_WORDS;
    this.locks = HEADER_WORDS + 2 * this.tableWords;
    this.used = this.locks + shape.pages / this.blockPages;
    this.dirty = this.used + this.frameWords;
    this.accessed = this.dirty + this.frameWords;
    this.pages = this.accessed + this.frameWords;
    const bytes = (this.pages + shape.pages) * 4;
    this.words = new Int32Array(
      buffer ?? (shared ? new SharedArrayBuffer(bytes) : new ArrayBuffer(bytes)),
    );
  }

  /** A fresh one: no area, every frame free. */
  static create(shape: Shape, shared: boolean): State {
    const state = new State(shape, undefined, shared);
    const { words } = state;
    words[HEADER.MAGIC] = MAGIC;
    words[HEADER.VERSION] = VERSION;
    words[HEADER.PAGE_SHIFT] = shape.pageShift;
    words[HEADER.FRAMES] = shape.frames;
    words[HEADER.PAGES] = shape.pages;
    words[HEADER.AREAS] = shape.areas;
    words[HEADER.BASE_LOW] = state.baseFrame | 0;
    words[HEADER.BASE_HIGH] = Math.floor(state.baseFrame / 2 ** 32);
    words[HEADER.HAS_BYTES] = shape.pointer === undefined ? 0 : 1;
    words[HEADER.POINTER] = (shape.pointer ?? 0) | 0;
    words[HEADER.RUN_HINT] = state.frameWords - 1;
    for (let bit = 0; bit < state.skew; bit++) state.#taken(bit);
    for (let bit = state.skew + shape.frames; bit < state.frameWords * 32; bit++) state.#taken(bit);
    return state;
  }

  /** The one in a buffer that another thread made; `undefined` if there is none. */
  static over(buffer: ArrayBufferLike): State | undefined {
    if (buffer.byteLength < HEADER_WORDS * 4 || buffer.byteLength % 4 !== 0) return undefined;
    const words = new Int32Array(buffer);
    if (words[HEADER.MAGIC] !== MAGIC || words[HEADER.VERSION] !== VERSION) return undefined;
    const at = (word: number): number => words[word] as number;
    const pageShift = at(HEADER.PAGE_SHIFT);
    const base = at(HEADER.BASE_HIGH) * 2 ** 32 + (at(HEADER.BASE_LOW) >>> 0);
    return new State(
      {
        pageShift,
        frames: at(HEADER.FRAMES),
        pages: at(HEADER.PAGES),
        areas: at(HEADER.AREAS),
        pa: base * 2 ** pageShift,
        pointer: at(HEADER.HAS_BYTES) === 1 ? at(HEADER.POINTER) >>> 0 : undefined,
      },
      buffer,
    );
  }

  load(index: number): number {
    return Atomics.load(this.words, index);
  }

  store(index: number, word: number): void {
    Atomics.store(this.words, index, word);
  }

  /** Adds to a counter; it counts on from 0 after 2^32 - 1. */
  count(name: CounterName, by = 1): void {
    Atomics.add(this.words, COUNTER_WORDS[name], by);
  }

  counter(name: CounterName): number {
    return this.load(COUNTER_WORDS[name]) >>> 0;
  }

  /** Physical address of a frame. */
  physical(frame: number): number {
    return (this.baseFrame + frame) * this.page;
  }

  /** First page word of the group of this one. */
  groupOf(index: number): number {
    return index - ((index - this.pages) % this.blockPages);
  }

  /** The lock that guards a page word. */
  lockOf(index: number): number {
    return this.locks + Math.floor((index - this.pages) / this.blockPages);
  }

  #taken(bit: number): void {
    const index = this.used + (bit >>> 5);
    this.words[index] = (this.words[index] as number) | (1 << (bit & 31));
  }
}
