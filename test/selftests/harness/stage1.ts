/**
 * A guest's own page tables, in guest memory, as its kernel would have built them before it turns the MMU on: 48 bits of
 * VA, pages of the machine's size, every table at its IPA.
 */
import type { Registers } from "../../../src/index.ts";
import { SCTLR } from "../../hw-model/machine.ts";
import {
  PAGE_SHIFT,
  S1,
  type Shape,
  TABLE,
  indexOf,
  leafType,
  levelsOf,
  tcrFor,
} from "../../hw-model/paging.ts";
import type { Configuration } from "./configurations.ts";

/** Guest memory as the host sees it, word by word, by IPA. */
export interface GuestWords {
  get(ipa: number): bigint;
  set(ipa: number, value: bigint): void;
}

/** TCR_EL1.HA. */
export const TCR_HA = 1n << 39n;
/** MAIR_EL1: attribute 0 is write-back. */
const MAIR = 0xffn;
const VA_BITS = 48;

/** Tables of one address space. They are taken from [ipa, end), the root first. */
export class Stage1 {
  readonly #words: GuestWords;
  readonly #shape: Shape;
  readonly #root: number;
  readonly #end: number;
  #free: number;

  constructor(words: GuestWords, machine: Configuration, place: { ipa: number; end: number }) {
    const { granule, wide } = machine;
    this.#words = words;
    this.#shape = { name: granule, granule, wide, bits: VA_BITS, start: granule === "64K" ? 1 : 0 };
    this.#root = place.ipa;
    this.#end = place.end;
    this.#free = place.ipa + this.page;
  }

  /** Bytes from the root on that tables take up. */
  get used(): number {
    return this.#free - this.#root;
  }

  get page(): number {
    return 2 ** PAGE_SHIFT[this.#shape.granule];
  }

  /** Maps a page: EL1 reads, writes and executes it. */
  map(va: number, ipa: number): void {
    this.#words.set(this.pteOf(va), this.#leaf(ipa));
  }

  /** IPA of the last-level descriptor of an address. Tables that are missing on the way are made. */
  pteOf(va: number): number {
    let table = this.#root;
    for (const level of levelsOf(this.#shape)) {
      const slot = table + indexOf(this.#shape, level, va) * 8;
      if (level === 3) return slot;
      if (this.#words.get(slot) === 0n) this.#words.set(slot, this.#encode(this.#take()) | TABLE);
      table = this.#decode(this.#words.get(slot));
    }
    throw new Error("no last level");
  }

  /** What the guest's kernel sets its CPU to. Hardware updates are off, see {@link TCR_HA}. */
  registers(): Partial<Registers> {
    const tcrEl1 = tcrFor(this.#shape, this.#shape.wide === true ? 52 : 48);
    // BADDR[51:48] lies in bits 5:2 where addresses have 52 bits (Arm ARM D24.2, TTBR0_EL1).
    const root = BigInt(this.#root);
    const ttbr0El1 = (root & (2n ** 48n - 1n)) | ((root >> 48n) << 2n);
    return { sctlrEl1: SCTLR.M, tcrEl1, ttbr0El1, ttbr1El1: ttbr0El1, mairEl1: MAIR };
  }

  #take(): number {
    const table = this.#free;
    this.#free += this.page;
    if (this.#free > this.#end) throw new Error("no memory left for the guest's page tables");
    return table;
  }

  #leaf(ipa: number): bigint {
    // With DS shareability is TCR_EL1's, and its bits are those of the address.
    const shared = this.#shape.wide === true && this.#shape.granule !== "64K" ? 0n : S1.ISH;
    return this.#encode(ipa) | S1.AF | shared | leafType(3);
  }

  /** Output address bits of a descriptor (Arm ARM D8.3): the upper ones of 52 lie elsewhere. */
  #encode(ipa: number): bigint {
    const address = BigInt(ipa);
    if (this.#shape.wide !== true) return address;
    const [from, to] = this.#upper();
    const low = address & (2n ** from - 1n);
    return low | ((address >> from) << to);
  }

  #decode(descriptor: bigint): number {
    const [from, to] = this.#shape.wide === true ? this.#upper() : [48n, 0n];
    const low = descriptor & (2n ** from - 1n) & ~(BigInt(this.page) - 1n);
    const upper = this.#shape.wide === true ? (descriptor >> to) & (2n ** (52n - from) - 1n) : 0n;
    return Number(low | (upper << from));
  }

  /** First of the upper bits, and where it lies. */
  #upper(): readonly [from: bigint, to: bigint] {
    return this.#shape.granule === "64K" ? [48n, 12n] : [50n, 8n];
  }
}
