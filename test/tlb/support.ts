/**
 * What the TLB tests share: guests with stage-1 tables in guest memory, and single descriptors to be changed behind the
 * TLB's back, with no invalidation.
 */
import type { Engine, EngineOptions, Registers, Stage2, Stage2Options } from "../../src/index.ts";
import { Prot } from "../../src/index.ts";
import { type Lab, SMALL } from "../support.ts";

export const PAGE = 0x1000;
export const BLOCK = 0x20_0000;
/** Guest memory: guests see it from TABLES on, which is where their stage-1 tables are. */
export const RAM = { pa: 0x8000_0000, size: 0x100_0000 };
export const TABLES = 0x4000_0000;
/** Where the tests' data is: an IPA whose last-level table shares no place in a walk cache with that of TABLES. */
export const DATA = 0x5020_0000;
/** What DATA is mapped to. There is no memory: translations need none. */
export const OUT = 0x9000_0000;

export const MACHINE: EngineOptions = { ...SMALL, guestRam: RAM };

/** Bits of stage-1 descriptors. */
export const S1 = {
  PAGE: (1n << 2n) | (3n << 8n) | (1n << 10n) | 3n, // memory type 1, inner shareable, AF
  BLOCK: (1n << 2n) | (3n << 8n) | (1n << 10n) | 1n,
  USER: 1n << 6n,
  READ_ONLY: 1n << 7n,
  AF: 1n << 10n,
  NOT_GLOBAL: 1n << 11n,
  DBM: 1n << 51n,
} as const;

/** Bits of stage-2 descriptors. */
export const S2 = {
  R: 1n << 6n,
  W: 1n << 7n,
  AF: 1n << 10n,
  DBM: 1n << 51n,
  CONTIGUOUS: 1n << 52n,
} as const;

/** Output address field of 48-bit descriptors of pages. */
export const ADDRESS = 0x0000_ffff_ffff_f000n;

/** One descriptor in memory. */
export class Slot {
  readonly #engine: Engine;
  readonly pa: number;

  constructor(engine: Engine, pa: number) {
    this.#engine = engine;
    this.pa = pa;
  }

  get value(): bigint {
    return this.#engine.u64[this.#index] as bigint;
  }

  set value(descriptor: bigint) {
    this.#engine.u64[this.#index] = descriptor;
  }

  /** The same descriptor with another output address. */
  retarget(address: number): void {
    this.value = (this.value & ~ADDRESS) | BigInt(address);
  }

  get #index(): number {
    const pointer = this.#engine.core.map_pointer(this.pa) >>> 0;
    if (pointer === 0) throw new Error(`no memory at ${this.pa.toString(16)}`);
    return pointer / 8;
  }
}

interface Shape {
  readonly root: number;
  readonly startLevel: number;
  readonly shift: number;
}

function bytesAt({ shift }: Shape, level: number): number {
  return 2 ** (shift + (3 - level) * (shift - 3));
}

/** The descriptor of `level` that translates `address`; `toPa`: from addresses in descriptors to physical ones. */
function slotAt(
  engine: Engine,
  shape: Shape,
  address: number,
  level: number,
  toPa: (address: number) => number,
): Slot {
  let table = shape.root;
  for (let at = shape.startLevel; ; at++) {
    const size = bytesAt(shape, at);
    const entries = at === shape.startLevel ? 2 ** 16 : 2 ** (shape.shift - 3);
    const slot = new Slot(engine, toPa(table) + (Math.floor(address / size) % entries) * 8);
    if (at === level) return slot;
    if ((slot.value & 3n) !== 3n) throw new Error(`no table of level ${at + 1}`);
    table = Number(slot.value & ADDRESS & ~BigInt(2 ** shape.shift - 1));
  }
}

/** Granules by the log2 of their pages, with the input size that stage 1 has for them here: T0SZ, T1SZ, TG0, TG1. */
const STAGE1 = {
  12: { bits: 39, tg0: 0n, tg1: 2n },
  14: { bits: 36, tg0: 2n, tg1: 1n },
  16: { bits: 42, tg0: 1n, tg1: 3n },
} as const;
export type Shift = keyof typeof STAGE1;

export interface GuestOptions extends Stage2Options {
  /** Where in guest memory this guest's tables start. */
  offset?: number;
  /** log2 of the stage-1 page, and that of the high half (default: the same). */
  shift?: Shift;
  highShift?: Shift;
}

/** A guest: stage 2, guest memory in it, and stage-1 tables there. */
export class Guest {
  readonly engine: Engine;
  readonly s2: Stage2;
  /** log2 of the stage-1 page of the low half. */
  readonly shift: Shift;
  readonly #low: Shape;
  readonly #high: Shape;
  #next: number;

  constructor({ engine, keep }: Lab, options: GuestOptions = {}) {
    const { offset = 0, shift = 12, highShift = shift, ...stage2 } = options;
    this.engine = engine;
    this.shift = shift;
    this.s2 = keep(engine.stage2(stage2));
    this.s2.map({ ipa: TABLES, size: RAM.size, pa: RAM.pa, prot: Prot.RW });
    this.#next = TABLES + offset;
    this.#low = this.#half(shift);
    this.#high = this.#half(highShift);
  }

  #half(shift: Shift): Shape {
    const { bits } = STAGE1[shift];
    const startLevel = 4 - Math.ceil((bits - shift) / (shift - 3));
    return { shift, startLevel, root: this.newTable(shift) };
  }

  /** A table page of zeros in guest memory: its IPA. */
  newTable(shift: Shift = 12): number {
    const size = 2 ** shift;
    const at = Math.ceil(this.#next / size) * size;
    this.#next = at + size;
    this.engine.memoryMap.bytes(this.paOf(at), size).fill(0);
    return at;
  }

  /** Physical address behind an IPA of guest memory. */
  paOf(ipa: number): number {
    return ipa - TABLES + RAM.pa;
  }

  /** Maps VA to IPA at stage 1 (kernel addresses negative): a page, or with `level` a larger leaf. */
  map(va: number, ipa: number, bits = 0n, level = 3): Slot {
    const shape = this.#shapeFor(va);
    for (let at = shape.startLevel; at < level; at++) {
      const slot = this.slot1(va, at);
      if (slot.value === 0n) slot.value = BigInt(this.newTable(shape.shift as Shift)) | 3n;
    }
    const slot = this.slot1(va, level);
    slot.value = BigInt(ipa) | bits | (level === 3 ? S1.PAGE : S1.BLOCK);
    return slot;
  }

  /** The stage-1 descriptor of a level. */
  slot1(va: number, level = 3): Slot {
    const shape = this.#shapeFor(va);
    const { bits } = STAGE1[shape.shift as Shift];
    const offset = va < 0 ? va + 2 ** bits : va;
    return slotAt(this.engine, shape, offset, level, (ipa) => this.paOf(ipa));
  }

  /** The stage-2 descriptor of a level. */
  slot2(ipa: number, level = 3): Slot {
    return slot2(this.engine, this.s2, ipa, level);
  }

  #shapeFor(va: number): Shape {
    return va < 0 ? this.#high : this.#low;
  }

  /** Registers of a vCPU that runs this guest with stage 1 on, in the address space `asid`. */
  registers(asid = 0, more: { tcr?: bigint; sctlr?: bigint; ttbr0?: number } = {}): Registers1 {
    const tag = BigInt(asid) << 48n;
    const low = STAGE1[this.#low.shift as Shift];
    const high = STAGE1[this.#high.shift as Shift];
    const t0 = BigInt(64 - low.bits) | (low.tg0 << 14n);
    const t1 = (BigInt(64 - high.bits) << 16n) | (high.tg1 << 30n);
    return {
      ttbr0El1: BigInt(more.ttbr0 ?? this.#low.root) | tag,
      ttbr1El1: BigInt(this.#high.root),
      tcrEl1: t0 | t1 | (2n << 32n) | (1n << 36n) | (more.tcr ?? 0n), // IPS 40 bits, 16-bit ASIDs
      mairEl1: 0xff04n, // 0: Device-nGnRE, 1: Normal write-back
      sctlrEl1: 1n | (more.sctlr ?? 0n),
    };
  }

  /** Registers that change when a vCPU goes from another guest to this one. */
  switchTo(): Pick<Registers, "vtcrEl2" | "vttbrEl2"> {
    const { s2 } = this;
    return { vtcrEl2: s2.vtcr, vttbrEl2: s2.vttbr({ vmid: s2.vmid }) };
  }
}

type Registers1 = Pick<Registers, "ttbr0El1" | "ttbr1El1" | "tcrEl1" | "mairEl1" | "sctlrEl1">;

/** The stage-2 descriptor of a level. */
export function slot2(engine: Engine, s2: Stage2, ipa: number, level = 3): Slot {
  const shift = { "4K": 12, "16K": 14, "64K": 16 }[s2.granule];
  const shape = { root: Number(s2.vttbr()), startLevel: s2.startLevel, shift };
  return slotAt(engine, shape, ipa, level, (pa) => pa);
}
