/** Tables by hand, from the rules of the architecture alone: granules, levels, indexes, descriptor bits (Arm ARM D8.2, D8.3). */
import { VTCR } from "./machine.ts";

/** Memory that tables are written into. */
export interface Words {
  get(pa: number): bigint;
  set(pa: number, value: bigint): void;
}

export type Granule = "4K" | "16K" | "64K";
export type Level = -1 | 0 | 1 | 2 | 3;

export const PAGE_SHIFT = { "4K": 12, "16K": 14, "64K": 16 } as const;
/** Bits that a level resolves. */
export const STRIDE = { "4K": 9, "16K": 11, "64K": 13 } as const;

/** log2 of what an entry maps. */
export function entryShift(granule: Granule, level: number): number {
  return STRIDE[granule] * (3 - level) + PAGE_SHIFT[granule];
}

/** A table tree: granule, start level, input size; `wide`: descriptors hold 52-bit addresses (DS, LPA). */
export interface Shape {
  readonly name: string;
  readonly granule: Granule;
  readonly start: Level;
  readonly bits: number;
  readonly wide?: boolean;
}

export function levelsOf({ start }: Shape): Level[] {
  return ([-1, 0, 1, 2, 3] as const).filter((level) => level >= start);
}

/** Whether leaves are at this level: pages, and blocks where the granule has them. */
export function hasLeaves({ granule, wide = false }: Shape, level: Level): boolean {
  const first = granule === "4K" ? 1 : 2;
  return level >= (wide ? first - 1 : first);
}

/** Index into the table at a level; the start level takes all bits that are left. */
export function indexOf({ granule, start }: Shape, level: Level, ia: number): number {
  const above = Math.floor(ia / 2 ** entryShift(granule, level));
  return level === start ? above : above % 2 ** STRIDE[granule];
}

/** An address with index 1 at every level from 0 on, and 0x238 behind: the descriptor of a stage-1 table lies there too. */
export function sampleAddress(shape: Shape): number {
  const levels = levelsOf(shape).filter((level) => level >= 0);
  return levels.reduce((sum, level) => sum + 2 ** entryShift(shape.granule, level), 0x238);
}

/** Physical address of each level's descriptor. */
export type Slots = Readonly<Record<Level, number>>;

/** Bytes between the tables of a chain: the largest granule. */
const TABLE_BYTES = 0x1_0000;

/** Writes the tables on the way to the descriptor of `ia` at `level`, and the descriptor. The root is at `root`, the others behind `below`. */
export function chain(
  memory: Words,
  shape: Shape,
  tables: { root: number; below: number },
  ia: number,
  level: Level,
  descriptor: bigint,
): Slots {
  const slots: Record<number, number> = {};
  let table = tables.root;
  for (const [step, at] of levelsOf(shape).entries()) {
    const slot = table + indexOf(shape, at, ia) * 8;
    slots[at] = slot;
    table = tables.below + step * TABLE_BYTES;
    memory.set(slot, at === level ? descriptor : BigInt(table) | TABLE);
    if (at === level) break;
  }
  return slots as Slots;
}

/** Writes a page's descriptor; tables that are missing on the way are taken from `free`, which moves on. */
export function mapPage(
  memory: Words,
  shape: Shape,
  tables: { root: number; free: number },
  ia: number,
  descriptor: bigint,
): void {
  let table = tables.root;
  for (const level of levelsOf(shape)) {
    const slot = table + indexOf(shape, level, ia) * 8;
    if (level === 3) return memory.set(slot, descriptor);
    if (memory.get(slot) === 0n) {
      memory.set(slot, BigInt(tables.free) | TABLE);
      tables.free += 2 ** PAGE_SHIFT[shape.granule];
    }
    table = Number(memory.get(slot) & ~3n);
  }
}

/** Bits 1:0 of a table, and of a leaf at a level. */
export const TABLE = 3n;
export function leafType(level: number): bigint {
  return level === 3 ? 3n : 1n;
}

/** A leaf of either stage. */
export function leaf(level: number, address: number | bigint, bits: bigint): bigint {
  return BigInt(address) | bits | leafType(level);
}

/** Stage-2 leaves. NORMAL is write-back of MemAttr; SH lies elsewhere in wide descriptors. */
export const S2 = {
  NORMAL: 0b1111n << 2n,
  NC: 0b0101n << 2n,
  DEVICE: 0b0001n << 2n,
  R: 1n << 6n,
  W: 1n << 7n,
  RW: 3n << 6n,
  ISH: 3n << 8n,
  AF: 1n << 10n,
  DBM: 1n << 51n,
  CONTIGUOUS: 1n << 52n,
  XN: 2n << 53n,
} as const;

/** Stage-1 leaves and tables. AttrIndx 0 is what MAIR_EL1[7:0] says. */
export const S1 = {
  ATTR1: 1n << 2n,
  /** EL0 may. */
  USER: 1n << 6n,
  READ_ONLY: 1n << 7n,
  ISH: 3n << 8n,
  AF: 1n << 10n,
  NOT_GLOBAL: 1n << 11n,
  DBM: 1n << 51n,
  CONTIGUOUS: 1n << 52n,
  PXN: 1n << 53n,
  UXN: 1n << 54n,
  PXN_TABLE: 1n << 59n,
  UXN_TABLE: 1n << 60n,
  NO_EL0_TABLE: 1n << 61n,
  READ_ONLY_TABLE: 1n << 62n,
} as const;

const TG0 = { "4K": 0n, "64K": 1n, "16K": 2n } as const;
const TG1 = { "16K": 1n, "4K": 2n, "64K": 3n } as const;

/** Output size codes (PS, IPS, PARange) by bits. */
export const SIZE_CODE: Readonly<Record<number, bigint>> = {
  ...{ 32: 0n, 36: 1n, 40: 2n, 42: 3n, 44: 4n, 48: 5n, 52: 6n },
};

/** SL0 for a start level; level -1 has SL2 beside SL0 = 0. */
const SL0: Readonly<Record<Granule, Readonly<Record<number, bigint>>>> = {
  "4K": { [-1]: 0n, 0: 2n, 1: 1n, 2: 0n, 3: 3n },
  "16K": { 0: 3n, 1: 2n, 2: 1n, 3: 0n },
  "64K": { 1: 2n, 2: 1n, 3: 0n },
};

/** VTCR_EL2: 16-bit VMIDs, no hardware updates. */
export function vtcrFor(shape: Shape, outputBits: number): bigint {
  const { granule, start, bits, wide = false } = shape;
  const ds = wide && granule !== "64K" ? VTCR.DS : 0n;
  const sl0 = SL0[granule][start] as bigint;
  const low = BigInt(64 - bits) | (sl0 << 6n) | (3n << 12n) | (TG0[granule] << 14n);
  const size = SIZE_CODE[outputBits] as bigint;
  return VTCR.RES1 | low | (size << 16n) | (1n << 19n) | ds | (start < 0 ? VTCR.SL2 : 0n);
}

/** TCR_EL1 with the same shape for both halves. */
export function tcrFor(shape: Shape, outputBits: number): bigint {
  const { granule, bits, wide = false } = shape;
  const size = BigInt(64 - bits);
  const half = size | (3n << 12n);
  const ips = (SIZE_CODE[outputBits] as bigint) << 32n;
  const ds = wide && granule !== "64K" ? 1n << 59n : 0n;
  return half | (half << 16n) | (TG0[granule] << 14n) | (TG1[granule] << 30n) | ips | ds;
}

/** TCR_EL2. */
export function tcrEl2For(shape: Shape, outputBits: number): bigint {
  const { granule, bits, wide = false } = shape;
  const ps = (SIZE_CODE[outputBits] as bigint) << 16n;
  const ds = wide && granule !== "64K" ? 1n << 32n : 0n;
  return (
    BigInt(64 - bits) | (3n << 12n) | (TG0[granule] << 14n) | ps | ds | (1n << 31n) | (1n << 23n)
  );
}
