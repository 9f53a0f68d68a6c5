/**
 * The physical memory of the hardware vectors.
 *
 *   0x5000_0000  256 MiB  a pattern: every word tells its own address, and none is a valid descriptor
 *   0x6000_0000  256 MiB  zero: the tables of a vector are stored here, a handful of words
 *   elsewhere             nothing: reading there is an external abort
 */
import type { Engine } from "../engine.ts";
import type { Word } from "./format.ts";

/** Both banks: they adjoin. */
export const RAM = { pa: 0x5000_0000, size: 0x2000_0000 } as const;
/** Where the pattern ends and zeros begin. */
export const ZERO = 0x6000_0000;

const WORD_BYTES = 8;
const PAGE_BYTES = 4096;
const PAGE_SHIFT = 12;
/** 32-bit halves of words in a page. */
const PAGE_HALVES = PAGE_BYTES / 4;
/** The place of the first zero. */
const ZERO_AT = (ZERO - RAM.pa) / 4;
/** The low half: an HVC instruction whose immediate is the number of the page. */
const INSTRUCTION = 0xd400_0002;
const IMMEDIATE_SHIFT = 5;

/** What an untouched word holds. */
export function initialWord(pa: number): bigint {
  if (pa >= ZERO) return 0n;
  return (BigInt(highHalf(pa)) << 32n) | BigInt(lowHalf(pa) >>> 0);
}

/** Signed, as the view of the memory is: V8 compares such without a detour. */
function lowHalf(pa: number): number {
  return INSTRUCTION | (((pa >>> PAGE_SHIFT) & 0xffff) << IMMEDIATE_SHIFT);
}

/** Counts words. */
function highHalf(pa: number): number {
  return pa >>> 3;
}

/** The banks of one engine that was made with {@link RAM} as its guest memory. */
export class VectorMemory {
  readonly #halves: Int32Array;
  readonly #words: BigUint64Array;

  constructor(engine: Engine) {
    const { buffer, byteOffset, byteLength } = engine.memoryMap.bytes(RAM.pa, RAM.size);
    this.#halves = new Int32Array(buffer, byteOffset, byteLength / 4);
    this.#words = new BigUint64Array(buffer, byteOffset, byteLength / WORD_BYTES);
    this.#layPattern();
  }

  /** Stores words. */
  store(words: readonly Word[]): void {
    for (const { pa, value } of words) this.#words[this.#index(pa)] = value;
  }

  /** The word that holds this address; `undefined` where no memory is. */
  read(pa: number): bigint | undefined {
    return this.has(pa) ? this.#words[this.#index(pa)] : undefined;
  }

  /** Whether memory is at this address. */
  has(pa: number): boolean {
    return pa >= RAM.pa && pa < RAM.pa + RAM.size;
  }

  /** Gives the word that holds this address what it had in the beginning. */
  restore(pa: number): void {
    if (this.has(pa)) this.#words[this.#index(pa)] = initialWord(pa - (pa % WORD_BYTES));
  }

  /** Addresses of words that are not as in the beginning, about `most` of them. Looks at every word: 0.2 s. */
  changed(most: number): number[] {
    const found: number[] = [];
    const { length } = this.#halves;
    for (let at = 0; at < length && found.length < most; at += PAGE_HALVES) {
      if (at < ZERO_AT ? this.#differs(at) : this.#isWritten(at))
        found.push(...this.#changedIn(at));
    }
    return found;
  }

  /** Puts everything back as in the beginning. */
  reset(): void {
    this.#layPattern();
    this.#halves.fill(0, ZERO_AT);
  }

  /** 256 MiB: about 0.2 s. */
  #layPattern(): void {
    const halves = this.#halves;
    for (let page: number = RAM.pa, at = 0; page < ZERO; page += PAGE_BYTES) {
      const low = lowHalf(page);
      let high = highHalf(page);
      for (const end = at + PAGE_HALVES; at < end; at += 2) {
        halves[at] = low;
        halves[at + 1] = high++;
      }
    }
  }

  // A look at a whole page has no branch per word, and goes by index: small integers, where addresses would be floating
  // point. That makes it twice as fast (measured).

  /** Whether a page of the pattern is not as it was laid. */
  #differs(first: number): boolean {
    const halves = this.#halves;
    const page = RAM.pa + first * 4;
    const low = lowHalf(page);
    let high = highHalf(page);
    let bits = 0;
    for (let at = first; at < first + PAGE_HALVES; at += 2)
      bits |= ((halves[at] as number) ^ low) | ((halves[at + 1] as number) ^ high++);
    return bits !== 0;
  }

  /** Whether a page of zeros has anything else. */
  #isWritten(first: number): boolean {
    const halves = this.#halves;
    let bits = 0;
    for (let at = first; at < first + PAGE_HALVES; at++) bits |= halves[at] as number;
    return bits !== 0;
  }

  #changedIn(first: number): number[] {
    const page = RAM.pa + first * 4;
    const words = Array.from({ length: PAGE_BYTES / WORD_BYTES }, (_, i) => page + i * WORD_BYTES);
    return words.filter((pa) => this.read(pa) !== initialWord(pa));
  }

  #index(pa: number): number {
    return Math.floor((pa - RAM.pa) / WORD_BYTES);
  }
}
