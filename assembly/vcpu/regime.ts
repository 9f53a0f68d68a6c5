/**
 * A translation regime: what a walk needs to know, taken apart from the control registers once (Arm ARM D24.2:
 * VTCR_EL2, TCR_EL1, TCR_EL2; D8.2 for what is legal). What is illegal is a fault of every walk, never an exception.
 */
import { levelShift } from "../geometry";
import { TRANSLATION } from "./status";
import * as status from "./status";

// Flags.
// @ts-ignore: decorator
@inline export const HA: u32 = 1;
// @ts-ignore: decorator
@inline export const HD: u32 = 2;
/** Descriptors with 52-bit addresses: DS (4K and 16K), or LPA (64K). */
// @ts-ignore: decorator
@inline export const DS: u32 = 4;
// @ts-ignore: decorator
@inline export const LPA: u32 = 8;
// @ts-ignore: decorator
@inline export const XNX: u32 = 16;
// @ts-ignore: decorator
@inline export const FWB: u32 = 32;
// @ts-ignore: decorator
@inline export const HAFT: u32 = 64;
// @ts-ignore: decorator
@inline export const HDBSS: u32 = 128;
// @ts-ignore: decorator
@inline export const TBI: u32 = 256;
/** Hierarchical permissions off. */
// @ts-ignore: decorator
@inline export const HPD: u32 = 512;
/** EL0 may not use this half. */
// @ts-ignore: decorator
@inline export const E0PD: u32 = 1024;
// @ts-ignore: decorator
@inline export const WXN: u32 = 2048;
/** EL2's own stage 1: one privilege level. */
// @ts-ignore: decorator
@inline export const ONE_PRIVILEGE: u32 = 4096;
/** Permission faults say whether dirty state would cure them (FEAT_HDBSS). */
// @ts-ignore: decorator
@inline export const TELLS_DIRTY: u32 = 16384;
/** The half whose addresses start with ones. */
// @ts-ignore: decorator
@inline export const HIGH: u32 = 8192;

@unmanaged
@final
export class Regime {
  flags: u32;
  pageShift: u32;
  startLevel: i32;
  /** log2 of what an entry of the start level maps. */
  rootShift: u32;
  /** Input size in bits. */
  iaBits: u32;
  /** What every walk ends with: type of fault at level 0, or NONE. */
  refusal: u32;
  /** First level with leaves. */
  blockLevel: i32;
  /** Shareability of walks and, with DS, of leaves: SH0 or SH1. */
  sh: u32;
  base: u64;
  /** First output address that is too large. */
  paLimit: u64;
  /** Bits of a descriptor that may hold an address, as a mask for the shape of this regime. */
  addressMask: u64;

  // @ts-ignore: decorator
  @inline has(flag: u32): bool { return (this.flags & flag) != 0; }

  /** The address that a descriptor holds, table or leaf, in the shape of this regime. */
  // @ts-ignore: decorator
  @inline address(pte: u64): u64 {
    const low = pte & this.addressMask;
    if (!(this.flags & (DS | LPA))) return low;
    return this.flags & DS ? low | (pte >> 8 & 0b11) << 50 : low | (pte >> 12 & 0b1111) << 48;
  }
}

/** Output size that ID_AA64MMFR0_EL1.PARange, VTCR_EL2.PS and TCR_EL1.IPS stand for. */
// @ts-ignore: decorator
@inline export function physicalBits(code: u32): u32 {
  // 32, 36, 40, 42, 44, 48, 52: a byte each
  return <u32>(<u64>0x34_30_2c_2a_28_24_20 >> (min(code, 6) << 3)) & 0xff;
}

/** Whether the CPU has 52-bit addresses for this granule without and with DS. */
function hasWide(pageShift: u32, mmfr0: u64, stage2: bool): bool {
  if (pageShift == 16) return (mmfr0 & 0b1111) == 6;
  if (pageShift == 12) {
    const own = <u32>(mmfr0 >> 40) & 0b1111; // TGran4_2: 0 as at stage 1, 3 with 52 bits
    return stage2 && own ? own == 3 : (mmfr0 >> 28 & 0b1111) == 1;
  }
  const own = <u32>(mmfr0 >> 32) & 0b1111;
  return stage2 && own ? own == 3 : (mmfr0 >> 20 & 0b1111) == 2;
}

/**
 * What both stages share, once granule, size and start level are known: shape of descriptors, output size, base. `code` is
 * the output size that the register asks for, `ds` its DS bit, `ttbr` the base register.
 */
function complete(r: Regime, mmfr0: u64, code: u32, ds: bool, ttbr: u64, stage2: bool, keepLow: bool): void {
  const wide = hasWide(r.pageShift, mmfr0, stage2);
  if (wide && r.pageShift == 16) r.flags |= LPA;
  else if (wide && ds) r.flags |= DS;
  const shaped = r.flags & (DS | LPA);
  const bits = min(physicalBits(min(code, <u32>mmfr0 & 0b1111)), shaped ? 52 : 48);
  r.paLimit = <u64>1 << bits;
  r.blockLevel = r.pageShift == 12 ? (r.has(DS) ? 0 : 1) : shaped ? 1 : 2;
  const page = ~((<u64>1 << r.pageShift) - 1);
  r.addressMask = (r.has(DS) ? <u64>0x0003_ffff_ffff_ffff : <u64>0x0000_ffff_ffff_ffff) & page;
  r.rootShift = levelShift(r.pageShift, r.startLevel);
  // The root is aligned to its size, at least 16 bytes, at least 64 where the register has room for PA[51:48] below.
  const high = bits == 52;
  const alignment = max(<i32>r.iaBits - <i32>r.rootShift + 3, high ? 6 : 4);
  let base = ttbr & 0x0000_ffff_ffff_fffe;
  if (high) base = (base & ~(<u64>0x3f)) | (ttbr >> 2 & 0b1111) << 48;
  r.base = keepLow ? base & ~(<u64>7) : base & ~((<u64>1 << alignment) - 1);
  if (r.refusal == status.NONE && r.base >= r.paLimit) r.refusal = status.ADDRESS_SIZE;
}

/** Smallest and largest input size of a granule (FEAT_TTST for the small ones, 52 bits for the large ones). */
function isSize(pageShift: u32, iaBits: u32, wide: bool, small: bool): bool {
  const least: u32 = small ? (pageShift == 16 ? 17 : 16) : 25;
  return iaBits >= least && iaBits <= <u32>(wide ? 52 : 48);
}

// ---- stage 2 ----------------------------------------------------------------------------------------------------

/** Start level that SL0 and SL2 stand for, or 4: none. */
function startLevel2(pageShift: u32, sl0: u32, sl2: bool, ds: bool): i32 {
  if (pageShift == 12) {
    if (sl2) return ds && sl0 == 0 ? -1 : 4;
    return sl0 == 3 ? 3 : 2 - <i32>sl0;
  }
  const level = 3 - <i32>sl0;
  return level == 0 && (pageShift == 16 || !ds) ? 4 : level;
}

/** Whether the implemented physical size allows a start level this high (Arm ARM D8.2.7). */
function reaches(pageShift: u32, level: i32, paBits: u32): bool {
  if (pageShift == 12) return level > 0 || (level == 0 ? paBits > 42 : paBits == 52);
  return level > 1 || paBits > (pageShift == 14 ? 40 : 42);
}

export function configureStage2(
  r: Regime, vtcr: u64, vttbr: u64, hcr: u64, mmfr0: u64, mmfr1: u64, mmfr2: u64, keepLow: bool,
): void {
  const tg0 = <u32>(vtcr >> 14) & 0b11;
  const ds = (vtcr >> 32 & 1) != 0;
  r.pageShift = tg0 == 1 ? 16 : tg0 == 2 ? 14 : 12;
  r.iaBits = 64 - (<u32>vtcr & 0b111111);
  r.flags = 0;
  r.refusal = status.NONE;
  const hafdbs = <u32>mmfr1 & 0b1111;
  if (vtcr >> 21 & 1 && hafdbs >= 1) r.flags |= HA;
  if (vtcr >> 22 & 1 && hafdbs >= 2 && r.has(HA)) r.flags |= HD;
  if (vtcr >> 44 & 1 && hafdbs >= 3 && r.has(HA)) r.flags |= HAFT;
  if (hafdbs >= 4) {
    r.flags |= TELLS_DIRTY;
    if (vtcr >> 45 & 1 && r.has(HD)) r.flags |= HDBSS;
  }
  if (mmfr1 >> 28 & 0b1111) r.flags |= XNX;
  if (hcr >> 46 & 1 && mmfr2 >> 40 & 0b1111) r.flags |= FWB;
  r.sh = <u32>(vtcr >> 12) & 0b11;
  const wide = hasWide(r.pageShift, mmfr0, true);
  const usesDs = ds && wide && r.pageShift != 16;
  const level = startLevel2(r.pageShift, <u32>(vtcr >> 6) & 0b11, (vtcr >> 33 & 1) != 0 && usesDs, usesDs);
  const paBits = physicalBits(<u32>mmfr0 & 0b1111);
  const small = (mmfr2 >> 28 & 0b1111) != 0;
  r.startLevel = min(level, 3);
  const resolved = <i32>r.iaBits - <i32>levelShift(r.pageShift, r.startLevel);
  const stride = <i32>r.pageShift - 3;
  const large = r.pageShift == 16 ? wide : usesDs;
  if (tg0 == 3 || level > 3 || !isSize(r.pageShift, r.iaBits, large, small)) r.refusal = TRANSLATION;
  if (resolved < 1 || resolved > stride + (level < 0 ? 0 : 4) || !reaches(r.pageShift, level, paBits)) {
    r.refusal = TRANSLATION;
  }
  if (level == 3 && !small && r.pageShift == 12) r.refusal = TRANSLATION;
  complete(r, mmfr0, <u32>(vtcr >> 16) & 0b111, ds, vttbr, true, keepLow);
}

// ---- stage 1 ----------------------------------------------------------------------------------------------------

function configureStage1(
  r: Regime, granule: u32, t: u32, ips: u32, ds: bool, ttbr: u64, mmfr0: u64, mmfr1: u64, mmfr2: u64, keepLow: bool,
): void {
  r.pageShift = granule;
  r.iaBits = 64 - t;
  const wide = granule == 16 ? (mmfr2 >> 16 & 0b1111) != 0 : ds && hasWide(granule, mmfr0, false);
  const small = (mmfr2 >> 28 & 0b1111) != 0;
  if (!granule || !isSize(granule, r.iaBits, wide, small)) {
    r.refusal = TRANSLATION;
    r.pageShift = 12;
    r.iaBits = 48;
  }
  const stride = r.pageShift - 3;
  const levels = (r.iaBits - r.pageShift + stride - 1) / stride;
  r.startLevel = 4 - <i32>levels;
  complete(r, mmfr0, ips, ds, ttbr, false, keepLow);
}

// @ts-ignore: decorator
@inline function hardwareUpdates(ha: bool, hd: bool, mmfr1: u64): u32 {
  const hafdbs = <u32>mmfr1 & 0b1111;
  return ha && hafdbs >= 1 ? (hd && hafdbs >= 2 ? HA | HD : HA) : 0;
}

/** One half of EL1&0: `high` is TTBR1_EL1's. */
export function configureEl1(
  r: Regime, high: bool, tcr: u64, ttbr: u64, sctlr: u64, mmfr0: u64, mmfr1: u64, mmfr2: u64, keepLow: bool,
): void {
  const shift: u64 = high ? 16 : 0;
  const tg = <u32>(tcr >> (high ? 30 : 14)) & 0b11;
  // TG0: 4K, 64K, 16K; TG1: -, 16K, 4K, 64K
  const granule: u32 = high ? (tg == 1 ? 14 : tg == 2 ? 12 : tg == 3 ? 16 : 0) : (tg == 1 ? 16 : tg == 2 ? 14 : tg == 0 ? 12 : 0);
  r.refusal = status.NONE;
  r.flags = hardwareUpdates((tcr >> 39 & 1) != 0, (tcr >> 40 & 1) != 0, mmfr1);
  if (tcr >> (high ? 38 : 37) & 1) r.flags |= TBI;
  if (tcr >> (high ? 42 : 41) & 1 && mmfr1 >> 12 & 0b1111) r.flags |= HPD;
  if (tcr >> (high ? 56 : 55) & 1 && mmfr2 >> 60) r.flags |= E0PD;
  if (sctlr >> 19 & 1) r.flags |= WXN;
  if (high) r.flags |= HIGH;
  r.sh = <u32>(tcr >> (12 + shift)) & 0b11;
  if (tcr >> (7 + shift) & 1) r.refusal = TRANSLATION; // EPD: walks of this half are off
  const ds = (tcr >> 59 & 1) != 0;
  configureStage1(r, granule, <u32>(tcr >> shift) & 0b111111, <u32>(tcr >> 32) & 0b111, ds, ttbr, mmfr0, mmfr1, mmfr2, keepLow);
}

export function configureEl2(
  r: Regime, tcr: u64, ttbr: u64, sctlr: u64, mmfr0: u64, mmfr1: u64, mmfr2: u64, keepLow: bool,
): void {
  const tg = <u32>(tcr >> 14) & 0b11;
  r.refusal = status.NONE;
  r.flags = hardwareUpdates((tcr >> 21 & 1) != 0, (tcr >> 22 & 1) != 0, mmfr1) | ONE_PRIVILEGE;
  if (tcr >> 20 & 1) r.flags |= TBI;
  if (tcr >> 24 & 1 && mmfr1 >> 12 & 0b1111) r.flags |= HPD;
  if (sctlr >> 19 & 1) r.flags |= WXN;
  r.sh = <u32>(tcr >> 12) & 0b11;
  const granule: u32 = tg == 1 ? 16 : tg == 2 ? 14 : tg == 0 ? 12 : 0;
  const ds = (tcr >> 32 & 1) != 0;
  configureStage1(r, granule, <u32>tcr & 0b111111, <u32>(tcr >> 16) & 0b111, ds, ttbr, mmfr0, mmfr1, mmfr2, keepLow);
}
