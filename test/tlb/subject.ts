/** A guest of the random tests, and what the test knows of it. */
import { Prot } from "../../src/index.ts";
import type { Lab } from "../support.ts";
import { Guest, type GuestOptions, S1, type Slot } from "./support.ts";

/** A number below another. */
export type Random = (below: number) => number;

/** The same seed gives the same numbers. */
export function generator(seed: number): Random {
  let state = seed * 0x9e37_79b9;
  return (below) => {
    state = (state + 0x6d2b_79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

export function pick<T>(random: Random, list: readonly T[]): T {
  return list[random(list.length)] as T;
}

export interface Stretch {
  readonly ipa: number;
  readonly size: number;
}

/** Page, and block of level 2. */
const SIZES = {
  "4K": { page: 0x1000, block: 0x20_0000 },
  "16K": { page: 0x4000, block: 0x200_0000 },
  "64K": { page: 0x1_0000, block: 0x2000_0000 },
} as const;
/** Where the data of the tests is: two blocks from here. Mostly their first pages are used: they shall be met again. */
export const WINDOW = 0x8000_0000;
const BLOCKS = 2;
const PAGES = 6;
const PROTS = [Prot.R, Prot.RW, Prot.RX, Prot.RWX, Prot.RWX, Prot.W];
/** Stage-1 pages, of which some are in the high half. */
const VAS = 24;

export class Subject {
  readonly guest: Guest;
  readonly page: number;
  readonly block: number;
  /** The whole window. */
  readonly all: Stretch;
  /** VAs of stage-1 pages. */
  readonly vas: readonly number[];
  /** First IPAs of leaves that software has aged, with no invalidation of them since. */
  readonly aged = new Set<number>();

  constructor(here: Lab, options: GuestOptions) {
    this.guest = new Guest(here, { ipaBits: 40, parange: 4, ...options });
    const { page, block } = SIZES[options.granule ?? "4K"];
    this.page = page;
    this.block = block;
    this.all = { ipa: WINDOW, size: BLOCKS * block };
    const size = 2 ** this.guest.shift;
    this.vas = Array.from({ length: VAS }, (_, i) => {
      const half = i < 16 ? 0x4000_0000 : -0x4000_0000;
      return half + i * size * (i % 5 === 0 ? 3 : 1);
    });
  }

  ipa(random: Random): number {
    const page = random(16) === 0 ? random(this.block / this.page) : random(PAGES);
    return this.blockAt(random) + page * this.page;
  }

  blockAt(random: Random): number {
    return WINDOW + random(BLOCKS) * this.block;
  }

  /** A few pages; now and then a block, or all. `odd`: no whole pages. */
  range(random: Random, odd: boolean): Stretch {
    const choice = random(24);
    if (choice === 0) return { ipa: this.blockAt(random), size: this.block };
    if (choice === 1) return this.all;
    const ipa = this.ipa(random);
    const size = (1 + random(4)) * this.page;
    if (!odd) return { ipa, size };
    return { ipa: ipa + random(this.page), size: size - random(this.page) };
  }

  prot(random: Random): number {
    return pick(random, PROTS);
  }

  /** Points a stage-1 page somewhere. */
  point(random: Random, va: number): void {
    const size = 2 ** this.guest.shift;
    const ipa = Math.floor(this.ipa(random) / size) * size;
    const bits = [S1.USER, S1.READ_ONLY, S1.NOT_GLOBAL, 1n << 54n, 1n << 53n];
    const chosen = bits.filter(() => random(5) === 0).reduce((all, bit) => all | bit, 0n);
    this.guest.map(va, ipa, chosen);
  }

  /** The valid stage-2 leaf that decides an IPA, or undefined. */
  leaf(ipa: number): Slot | undefined {
    for (let level = this.guest.s2.startLevel; ; level++) {
      const slot = this.guest.slot2(ipa, level);
      const { value } = slot;
      if ((value & 1n) === 0n) return undefined;
      if (level === 3 || (value & 2n) === 0n) return slot;
    }
  }
}
