/** What the checker reads in a descriptor, and which changes of one need break-before-make (Arm ARM D8.16.1). */

/** How descriptors of a page table are written. */
export interface Format {
  /** log2 of the page size. */
  readonly pageShift: number;
  /** 52-bit descriptors of 4K and 16K pages: there is no shareability in them. */
  readonly lpa2: boolean;
  /** Stage 1 of a hypervisor in place of a stage 2. */
  readonly hyp: boolean;
}

/** ID_AA64MMFR2_EL1.BBM: what hardware does not need broken. 1: sizes with the nT bit. 2: sizes. */
export type BbmLevel = 0 | 1 | 2;

const LAST_LEVEL = 3;
const TYPE = 3n;
const NO_TRANSLATION = 1n << 16n; // nT of a block
const CONTIGUOUS = 1n << 52n;
const MEMORY_STAGE2 = 0b1111n << 2n;
const MEMORY_STAGE1 = 0b111n << 2n;
const SHAREABILITY = 0b11n << 8n;
const ACCESS_STAGE2 = 0b11n << 6n;
const EXECUTE_NEVER = 0b11n << 53n;
const ADDRESS = 0x0000_ffff_ffff_f000n;
const ADDRESS_LPA2 = 0x0003_ffff_ffff_f000n;
/** Software's bits and page-based hardware attributes. */
const IGNORED = 0xffn << 55n;
/** Access flag, and the bits that hardware dirty state sets. */
const UPDATED_BY_HARDWARE = (1n << 10n) | (1n << 7n);

/** KVM_INVALID_PTE_LOCKED: somebody is changing this entry. */
export const LOCKED = 1n << 10n;

export function isValid(pte: bigint, level: number | undefined): boolean {
  return level === LAST_LEVEL ? (pte & TYPE) === TYPE : (pte & 1n) === 1n;
}

export function isTable(pte: bigint, level: number | undefined): boolean {
  return level !== LAST_LEVEL && (pte & TYPE) === TYPE;
}

export function isContiguous(pte: bigint): boolean {
  return (pte & CONTIGUOUS) !== 0n;
}

/** log2 of the bytes that an entry covers. */
export function entryShift(pageShift: number, level: number): number {
  return pageShift + (pageShift - 3) * (LAST_LEVEL - level);
}

/** Bytes that an entry covers. */
export function entrySize(pageShift: number, level: number): number {
  return 2 ** entryShift(pageShift, level);
}

/** Address of the table that a table entry points at. */
export function tableAddress(pte: bigint, format: Format): number {
  return Number(addressOf(pte, format, format.pageShift));
}

/** First output address of a leaf. */
export function outputAddress(pte: bigint, format: Format, level: number): number {
  return Number(addressOf(pte, format, entryShift(format.pageShift, level)));
}

function addressOf(pte: bigint, { pageShift, lpa2 }: Format, shift: number): bigint {
  const above = -(1n << BigInt(shift));
  if (lpa2) return (pte & ADDRESS_LPA2 & above) | (((pte >> 8n) & 3n) << 50n);
  const base = pte & ADDRESS & above;
  return pageShift === 16 ? base | (((pte >> 12n) & 15n) << 48n) : base;
}

/** The bits of a leaf that hold its output address. */
function addressMask({ pageShift, lpa2 }: Format, shift: number): bigint {
  const above = -(1n << BigInt(shift));
  if (lpa2) return (ADDRESS_LPA2 & above) | SHAREABILITY;
  return (ADDRESS & above) | (pageShift === 16 ? 15n << 12n : 0n);
}

/** What a change of a valid entry into another changes that must be broken first; `undefined` if nothing does. */
export function needsBreak(
  old: bigint,
  next: bigint,
  level: number | undefined,
  format: Format,
  bbm: BbmLevel,
): string | undefined {
  const [wasTable, isTableNow] = [isTable(old, level), isTable(next, level)];
  if (wasTable !== isTableNow) {
    const block = wasTable ? next : old;
    if (bbm === 2 || (bbm === 1 && (block & NO_TRANSLATION) !== 0n)) return undefined;
    return wasTable ? "a block takes the place of a table" : "a table takes the place of a block";
  }
  if (wasTable) {
    const same = tableAddress(old, format) === tableAddress(next, format);
    return same ? undefined : "the address of the next table changes";
  }
  return leafChange(old, next, level ?? LAST_LEVEL, format, bbm);
}

function leafChange(
  old: bigint,
  next: bigint,
  level: number,
  format: Format,
  bbm: BbmLevel,
): string | undefined {
  const changed = old ^ next;
  if (outputAddress(old, format, level) !== outputAddress(next, format, level)) {
    return "the output address changes";
  }
  if (changed & (format.hyp ? MEMORY_STAGE1 : MEMORY_STAGE2)) return "the memory type changes";
  if (changed & SHAREABILITY) return "the shareability changes"; // LPA2 has address bits there, which are equal
  if (!(changed & CONTIGUOUS) || bbm === 2) return undefined;
  const tolerated = bbm === 1 && level < LAST_LEVEL && (old & next & NO_TRANSLATION) !== 0n;
  return tolerated ? undefined : "the contiguous hint changes";
}

/** Whether a leaf allows less than it did, so that the old rights may still be in TLBs. */
export function takesRights(old: bigint, next: bigint): boolean {
  return (old & ~next & ACCESS_STAGE2) !== 0n || (~old & next & EXECUTE_NEVER) !== 0n;
}

/** Whether two values are the same entry but for what hardware sets. */
export function sameButHardware(a: bigint, b: bigint): boolean {
  return ((a ^ b) & ~UPDATED_BY_HARDWARE) === 0n;
}

/** Entries of a contiguous group at this level; 0 where the hint says nothing (Arm ARM D8.6). */
export function groupSize(pageShift: number, level: number): number {
  if (pageShift === 12) return level >= 1 ? 16 : 0;
  if (pageShift === 14) return level === LAST_LEVEL ? 128 : level === 2 ? 32 : 0;
  return level >= 2 ? 32 : 0;
}

/** Whether leaf `index` of a group goes on from its first one. What hardware sets or ignores may differ. */
export function agrees(
  first: bigint,
  member: bigint,
  index: number,
  level: number,
  format: Format,
): boolean {
  const step = index * entrySize(format.pageShift, level);
  if (outputAddress(member, format, level) !== outputAddress(first, format, level) + step)
    return false;
  const address = addressMask(format, entryShift(format.pageShift, level));
  return ((first ^ member) & ~(address | UPDATED_BY_HARDWARE | IGNORED)) === 0n;
}
