/**
 * Memory attributes of both stages together (Arm ARM D8.6): Device beats Normal and the stronger Device the weaker; of
 * cacheabilities the weaker wins; with FWB stage 2 decides, except where it leaves stage 1 its own.
 *
 *   MAIR byte: 0000dd00 Device (dd: nGnRnE, nGnRE, nGRE, GRE); else outer 7:4, inner 3:0, each 0RW transient WT,
 *   01RW transient WB (0100: non-cacheable), 10RW WT, 11RW WB
 */
import { DS, FWB } from "./regime";
import { derived, has, MEMATTR_DEVICE, SH_OUTER, stage2Of, Vcpu } from "./state";

// Shareability, as descriptors have it.
// @ts-ignore: decorator
@inline const NON: u32 = 0;
// @ts-ignore: decorator
@inline const OUTER: u32 = 2;
// @ts-ignore: decorator
@inline const INNER: u32 = 3;
// @ts-ignore: decorator
@inline const NON_CACHEABLE: u32 = 0b0100;
// @ts-ignore: decorator
@inline const WRITE_BACK: u32 = 0b1111;

export let attributes: u32 = 0;
export let shareability: u32 = 0;

// @ts-ignore: decorator
@inline export function isDevice(attr: u32): bool { return (attr & 0xf0) == 0; }

/** Cacheability of one half of a MAIR byte: 0 none, 1 write-through, 2 write-back. */
function strength(half: u32): u32 {
  if (half == NON_CACHEABLE) return 0;
  return half & 0b0100 ? 2 : 1;
}

/** One half combined with a stage-2 field (01 NC, 10 WT, 11 WB): the weaker, with the hints of stage 1. */
function weaker(half: u32, second: u32): u32 {
  const cached = min(strength(half), second - 1);
  if (cached == 0) return NON_CACHEABLE;
  const hints = half == NON_CACHEABLE ? 0b11 : half & 0b11;
  return (cached == 2 ? 0b1100 : 0b1000) | hints;
}

// @ts-ignore: decorator
@inline function knownShareability(v: Vcpu, sh: u32): u32 { return sh == 1 ? (has(v, SH_OUTER) ? OUTER : NON) : sh; }

/** Stage 1 alone. `attr`: MAIR byte. Device and non-cacheable memory is outer shareable. */
export function stage1Alone(v: Vcpu, attr: u32, sh: u32): void {
  attributes = attr;
  shareability = isDevice(attr) || attr == (NON_CACHEABLE << 4 | NON_CACHEABLE) ? OUTER : knownShareability(v, sh);
}

/** Stage 1 (`attr`, `sh`) under a stage-2 leaf. */
export function combine(v: Vcpu, attr: u32, sh: u32, leaf: u64): void {
  const r = stage2Of(v);
  const memAttr = <u32>(leaf >> 2) & 0b1111;
  const sh2 = knownShareability(v, r.has(DS) ? r.sh : <u32>(leaf >> 8) & 0b11);
  attributes = r.has(FWB) ? forced(attr, memAttr) : plain(v, attr, memAttr);
  const sh1 = isDevice(attr) ? OUTER : knownShareability(v, sh);
  if (isDevice(attributes) || attributes == (NON_CACHEABLE << 4 | NON_CACHEABLE)) shareability = OUTER;
  else if (sh1 == OUTER || sh2 == OUTER) shareability = OUTER;
  else shareability = sh1 == INNER || sh2 == INNER ? INNER : NON;
}

function plain(v: Vcpu, attr: u32, memAttr: u32): u32 {
  const outer = memAttr >> 2;
  let inner = memAttr & 0b11;
  if (outer == 0) { // Device: the order of the encodings is the order of strength
    return isDevice(attr) ? min(attr, inner << 2) : inner << 2;
  }
  if (inner == 0) { // reserved
    if (has(v, MEMATTR_DEVICE)) return 0;
    return isDevice(attr) ? attr : NON_CACHEABLE << 4 | NON_CACHEABLE;
  }
  if (isDevice(attr)) return attr;
  return weaker(attr >> 4, outer) << 4 | weaker(attr & 0xf, inner);
}

/** Forced write-back. */
function forced(attr: u32, memAttr: u32): u32 {
  if (!(memAttr & 0b0100)) return isDevice(attr) ? min(attr, (memAttr & 0b11) << 2) : (memAttr & 0b11) << 2;
  const how = memAttr & 0b11;
  if (how == 0b10) { // write-back, whatever stage 1 says
    const hint1 = isDevice(attr) || attr >> 4 == NON_CACHEABLE ? 0b11 : attr >> 4 & 0b11;
    const hint0 = isDevice(attr) || (attr & 0xf) == NON_CACHEABLE ? 0b11 : attr & 0b11;
    return (0b1100 | hint1) << 4 | 0b1100 | hint0;
  }
  if (how == 0b11) return attr;
  return isDevice(attr) ? attr : NON_CACHEABLE << 4 | NON_CACHEABLE;
}

/** Stage 1 off: Device-nGnRnE, or write-back with HCR_EL2.DC; fetches are Normal. */
export function flatAttributes(dc: bool): u32 { return dc ? WRITE_BACK << 4 | WRITE_BACK : 0; }
