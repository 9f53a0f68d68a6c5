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
const ZERO = 0x6000_0000;

/** The place of the first zero among 32-bit halves. */
const ZERO_AT = (ZERO - RAM.pa) / 4;

const WORD_BYTES = 8;
const PAGE_SHIFT = 12;
/** The low half: an HVC instruction whose immediate is the number of the page. */
const INSTRUCTION = 0xd400_0002;
const IMMEDIATE_SHIFT = 5;

/** What an untouched word holds. */
export function initialWord(pa: number): bigint {
  if (pa >= ZERO) return 0n;
  return (BigInt(highHalf(pa)) << 32n) | BigInt(lowHalf(pa));
}

function lowHalf(pa: number): number {
  return (INSTRUCTION | (((pa >>> PAGE_SHIFT) & 0xffff) << IMMEDIATE_SHIFT)) >>> 0;
}

function highHalf(pa: number): number {
  return pa >>> 3;
}

/** The banks of one engine that was made with {@link RAM} as its guest memory. */
export class VectorMemory {
  readonly #halves: Uint32Array;
  readonly #words: BigUint64Array;

  constructor(engine: Engine) {
    const { buffer, byteOffset, byteLength } = engine.memoryMap.bytes(RAM.pa, RAM.size);
    this.#halves = new Uint32Array(buffer, byteOffset, byteLength / 4);
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

  /** Addresses of words that are not as in the beginning, `most` of them. Looks at every word: 0.3 s. */
  changed(most: number): number[] {
    const halves = this.#halves;
    const found: number[] = [];
    // Plain loops: `findIndex` takes five times as long (measured).
    for (
      let pa: number = RAM.pa, at = 0;
      pa < ZERO && found.length < most;
      pa += WORD_BYTES, at += 2
    ) {
      if (halves[at] !== lowHalf(pa) || halves[at + 1] !== highHalf(pa)) found.push(pa);
    }
    for (let at = ZERO_AT; at < halves.length && found.length < most; at += 2) {
      if (halves[at] !== 0 || halves[at + 1] !== 0) found.push(RAM.pa + at * 4);
    }
    return found;
  }

  /** Puts everything back as in the beginning. */
  reset(): void {
    this.#layPattern();
    this.#halves.fill(0, ZERO_AT);
  }

  /** 256 MiB: about 0.3 s. */
  #layPattern(): void {
    const halves = this.#halves;
    for (let pa: number = RAM.pa, at = 0; pa < ZERO; pa += WORD_BYTES, at += 2) {
      halves[at] = lowHalf(pa);
      halves[at + 1] = highHalf(pa);
    }
  }

  #index(pa: number): number {
    return Math.floor((pa - RAM.pa) / WORD_BYTES);
  }
}
