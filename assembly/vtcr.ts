/** VTCR_EL2 as KVM programs it (Arm ARM D24.2, VTCR_EL2). */
import { rootOrder, stage2Levels } from "./geometry";
import { LAST_LEVEL } from "./descriptor";
import { AC03, LPA2, NO_HA, PA52 } from "./pgt";

// @ts-ignore: decorator
@inline const T0SZ: u64 = 0b111111;
// @ts-ignore: decorator
@inline const SL0_SHIFT: u64 = 6;
// @ts-ignore: decorator
@inline const WALKS_WRITE_BACK_INNER_SHAREABLE: u64 = 0b01 << 8 | 0b01 << 10 | 0b11 << 12; // IRGN0, ORGN0, SH0
// @ts-ignore: decorator
@inline const TG0_64K: u64 = 0b01 << 14;
// @ts-ignore: decorator
@inline const TG0_16K: u64 = 0b10 << 14;
// @ts-ignore: decorator
@inline const PS_SHIFT: u64 = 16;
// @ts-ignore: decorator
@inline const VS: u64 = 1 << 19;
// @ts-ignore: decorator
@inline const HA: u64 = 1 << 21;
// @ts-ignore: decorator
@inline const RES1: u64 = <u64>1 << 31;
// @ts-ignore: decorator
@inline const DS: u64 = <u64>1 << 32;
// @ts-ignore: decorator
@inline const SIXTEEN_BIT_VMID: u64 = 2; // ID_AA64MMFR1_EL1.VMIDBits

/** Whether descriptors have room for 52-bit output addresses. */
export function wideAddresses(pageShift: u32, options: u32): bool {
  return (options & LPA2) != 0 || (pageShift == 16 && (options & PA52) != 0);
}

/** ID_AA64MMFR0_EL1.PARange as the host uses it: no more than its descriptors can hold. */
export function hostPARange(pageShift: u32, mmfr0: u64, options: u32): u32 {
  return min(<u32>mmfr0 & 0b1111, wideAddresses(pageShift, options) ? 6 : 5);
}

export function startLevelOf(pageShift: u32, ipaBits: u32): i32 {
  return LAST_LEVEL + 1 - stage2Levels(pageShift, ipaBits);
}

/** SL0: the start level, counted from the deepest one that the granule allows. */
function sl0(pageShift: u32, startLevel: i32): u64 {
  return <u64>((pageShift == 12 ? 2 : 3) - startLevel) & 0b11;
}

export function vtcr(pageShift: u32, ipaBits: u32, options: u32, mmfr0: u64, mmfr1: u64): u64 {
  let value = RES1 | WALKS_WRITE_BACK_INNER_SHAREABLE;
  value |= <u64>(64 - ipaBits) & T0SZ;
  value |= sl0(pageShift, startLevelOf(pageShift, ipaBits)) << SL0_SHIFT;
  if (pageShift == 16) value |= TG0_64K;
  if (pageShift == 14) value |= TG0_16K;
  value |= <u64>hostPARange(pageShift, mmfr0, options) << PS_SHIFT;
  if ((mmfr1 >> 4 & 0b1111) == SIXTEEN_BIT_VMID) value |= VS;
  if (!(options & (AC03 | NO_HA))) value |= HA;
  if (options & LPA2) value |= DS;
  return value;
}

/** Bytes of the root: the tables at the start level that `ipaBits` need. */
export function rootBytes(pageShift: u32, ipaBits: u32, startLevel: i32): u64 {
  return <u64>1 << (pageShift + rootOrder(pageShift, ipaBits, startLevel));
}
