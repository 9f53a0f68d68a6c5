/**
 * What an entry says, in plain fields. Protection and addresses are decoded by the core; here are only the marks that
 * PGTABLE-level software puts into entries: valid, accessed, owner, locked.
 */
import type { Context } from "./_context.ts";

/** A valid block or page. */
export interface Leaf {
  readonly kind: "leaf";
  /** First input address of the entry. */
  readonly ipa: number;
  /** Bytes the entry covers. */
  readonly size: number;
  /** Level of the entry: -1 to 3 (pages). */
  readonly level: number;
  /** First output address. */
  readonly pa: number;
  /** {@link Prot} bits. */
  readonly prot: number;
  /** Access flag. */
  readonly accessed: boolean;
  /** The descriptor. */
  readonly pte: bigint;
}

/** An invalid entry that names an owner: `kvm_pgtable_stage2_set_owner`. */
export interface Annotation {
  readonly kind: "annotation";
  readonly ipa: number;
  readonly size: number;
  readonly level: number;
  readonly owner: number;
  readonly pte: bigint;
}

/** An entry that is being changed right now: the marker that break-before-make leaves. */
export interface Locked {
  readonly kind: "locked";
  readonly ipa: number;
  readonly size: number;
  readonly level: number;
  readonly pte: bigint;
}

/** An entry of zero. */
export interface Empty {
  readonly kind: "empty";
  readonly ipa: number;
  readonly size: number;
  readonly level: number;
  readonly pte: bigint;
}

/** A pointer to a table of the next level. */
export interface Table {
  readonly kind: "table";
  readonly ipa: number;
  readonly size: number;
  readonly level: number;
  /** Physical address of the table. */
  readonly pa: number;
  /** 1 + the counted entries of the table. */
  readonly references: number;
  readonly pte: bigint;
}

/** An entry of a page table, by what it is. */
export type Entry = Leaf | Annotation | Locked | Empty | Table;

const FIRST_LEVEL = -1;
const LEVELS = [FIRST_LEVEL, 0, 1, 2, 3];
const LOW_HALF = 0xffff_ffffn;
// In the low word of a stage-2 entry; the same places in stage 1.
const VALID = 1;
const ACCESSED = 1 << 10;
const LOCKED_MARK = 1 << 10;
const OWNER_SHIFT = 2;
const OWNER_BITS = 0xff;
// Software bits 55..58 of a protection sit in the high word from here; {@link Prot} has them from bit 5.
const SOFTWARE_HIGH_SHIFT = 23;
const SOFTWARE_PROT_SHIFT = 5;

/** What decoding depends on. */
export interface Encoding {
  /** KIND_STAGE2 or KIND_HYP. */
  readonly kind: number;
  readonly pageShift: number;
  /** Option bits of the page table. */
  readonly bits: number;
}

/** log2 of what an entry of `level` covers. */
export function levelShift(pageShift: number, level: number): number {
  return pageShift + (3 - level) * (pageShift - 3);
}

/** Where an entry is and what it holds. */
export interface Place {
  /** First input address. */
  readonly ipa: number;
  readonly level: number;
  readonly pte: bigint;
  /** Whether it points at a table, and the references of that. */
  readonly isTable: boolean;
  readonly references: number;
}

/** Decodes entries of one page table through one thread's core. */
export class Decoder {
  readonly #context: Context;
  readonly #encoding: Encoding;
  /** Bytes that an entry covers, from level -1 on: looking up is ten times as fast as a power. */
  readonly #sizes: readonly number[];

  constructor(context: Context, encoding: Encoding) {
    this.#context = context;
    this.#encoding = encoding;
    this.#sizes = LEVELS.map((level) => 2 ** levelShift(encoding.pageShift, level));
  }

  /** Bytes that an entry of `level` covers. */
  size(level: number): number {
    return this.#sizes[level - FIRST_LEVEL] as number;
  }

  /** An entry in plain fields; `low` and `high` are the halves of its `pte`. */
  entry({ ipa, level, pte, isTable, references }: Place, low: number, high: number): Entry {
    const size = this.size(level);
    if (isTable)
      return { kind: "table", ipa, size, level, pa: this.pa(low, high), references, pte };
    if (isValid(low)) {
      const pa = this.pa(low, high);
      const prot = this.prot(low, high);
      return { kind: "leaf", ipa, size, level, pa, prot, accessed: isAccessed(low), pte };
    }
    if (pte === 0n) return { kind: "empty", ipa, size, level, pte };
    if (low === LOCKED_MARK && high === 0) return { kind: "locked", ipa, size, level, pte };
    return { kind: "annotation", ipa, size, level, owner: ownerOf(low), pte };
  }

  /** The same from the descriptor alone: an entry that is no table, or a table of unknown references. */
  descriptor(ipa: number, level: number, pte: bigint, isTable: boolean): Entry {
    const place = { ipa, level, pte, isTable, references: 0 };
    return this.entry(place, Number(pte & LOW_HALF), Number(pte >> 32n));
  }

  /** Output address of an entry. */
  pa(low: number, high: number): number {
    const { core, args32 } = this.#context;
    args32[0] = 0;
    args32[1] = 0;
    args32[2] = low;
    args32[3] = high;
    core.pure_address(this.#encoding.pageShift, this.#encoding.bits);
    return this.#context.resultNumber(1);
  }

  /** {@link Prot} bits of a leaf. */
  prot(low: number, high: number): number {
    const { core, args32 } = this.#context;
    args32[0] = low;
    args32[1] = high;
    core.pure_pte_prot(this.#encoding.kind, this.#encoding.bits);
    const software = (args32[17] as number) >>> SOFTWARE_HIGH_SHIFT;
    return (args32[16] as number) | (args32[18] as number) | (software << SOFTWARE_PROT_SHIFT);
  }
}

/** Whether an entry, by its low half, is valid. */
export function isValid(low: number): boolean {
  return (low & VALID) !== 0;
}

/** Whether a valid entry, by its low half, has its access flag set. */
export function isAccessed(low: number): boolean {
  return (low & ACCESSED) !== 0;
}

/** The owner that an annotation, by its low half, names. */
function ownerOf(low: number): number {
  return (low >>> OWNER_SHIFT) & OWNER_BITS;
}
