/**
 * Levels and granules (Arm ARM D8.2): how many bytes an entry maps, where leaves may be,
 * how large the root is, and the VTCR_EL2 that says all this to the hardware.
 *
 *   granule  page bits p  stride p-3   log2 of an entry at level 3 / 2 / 1 / 0 / -1
 *   4K       12            9           12 / 21 / 30 / 39 / 48
 *   16K      14           11           14 / 25 / 36 / 47 / -
 *   64K      16           13           16 / 29 / 42 / -  / -
 */
import { LAST_LEVEL } from "./descriptor";

// @ts-ignore: decorator
@inline const MAX_ROOT_BITS: u32 = 4; // at most 16 concatenated tables

/** log2 of the bytes that one entry at `level` maps. */
// @ts-ignore: decorator
@inline export function levelShift(pageShift: u32, level: i32): u32 {
  return pageShift + <u32>(LAST_LEVEL - level) * (pageShift - 3);
}

/** Whether a leaf may stand at `level` (KVM uses no level-0 blocks). */
// @ts-ignore: decorator
@inline export function leafLevel(pageShift: u32, level: i32): bool {
  return level == LAST_LEVEL || level == 2 || (level == 1 && pageShift == 12);
}

/** Stage-2 levels: one less than stage 1 would need, as up to 16 tables are concatenated at the root. */
export function stage2Levels(pageShift: u32, ipaBits: u32): i32 {
  const levels = ipaBits < 8 ? 0 : (ipaBits - 8) / (pageShift - 3);
  return levels < 2 ? 2 : <i32>levels;
}

export function stage1Levels(pageShift: u32, vaBits: u32): i32 {
  return <i32>((vaBits - 4) / (pageShift - 3));
}

/** log2 of the number of root tables. */
export function rootOrder(pageShift: u32, iaBits: u32, startLevel: i32): u32 {
  const resolved = levelShift(pageShift, startLevel) + (pageShift - 3);
  return iaBits > resolved ? iaBits - resolved : 0;
}

/** An input size that a root of at most 16 tables at a possible start level can resolve. */
export function stage2Possible(pageShift: u32, ipaBits: u32): bool {
  if (ipaBits < 32 || ipaBits > 52) return false;
  const start = LAST_LEVEL + 1 - stage2Levels(pageShift, ipaBits);
  return start >= (pageShift == 12 ? -1 : 0) && rootOrder(pageShift, ipaBits, start) <= MAX_ROOT_BITS;
}

/** Bytes of every leaf size, OR-ed: the mask that says which sizes a leaf may have. */
export function leafSizes(pageShift: u32): u64 {
  let sizes: u64 = 0;
  for (let level = 1; level <= LAST_LEVEL; level++) {
    if (leafLevel(pageShift, level)) sizes |= <u64>1 << levelShift(pageShift, level);
  }
  return sizes;
}
