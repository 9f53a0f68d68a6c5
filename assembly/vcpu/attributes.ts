/**
 * Memory attributes of both stages together (Arm ARM D8.6): Device beats Normal and the stronger Device the weaker; of
 * cacheabilities the weaker wins; with FWB stage 2 decides, except where it leaves stage 1 its own.
 *
 *   MAIR byte: 0000dd00 Device (dd: nGnRnE, nGnRE, nGRE, GRE); else outer 7:4, inner 3:0, each 0RW transient WT,
 *   01RW transient WB (0100: non-cacheable), 10RW WT, 11RW WB
 */
import { DS, FWB } from "./regime";
import { has, MEMATTR_BITS, SH_OUTER, stage2Of, Vcpu } from "./state";

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
// @ts-ignore: decorator
@inline const NORMAL_NC: u32 = 0x44;
/** HCR_EL2.CD: stage-2 data is non-cacheable. */
// @ts-ignore: decorator
@inline const CD: u64 = <u64>1 << 32;

export let attributes: u32 = 0;
export let shareability: u32 = 0;

// @ts-ignore: decorator
@inline export function isDevice(attr: u32): bool { return (attr & 0xf0) == 0; }

/** Cacheability of one half of a MAIR byte: 0 none, 1 write-through, 2 write-back. */
function strength(half: u32): u32 {
  if (half == NON_CACHEABLE) return 0;
  return half & 0b0100 ? 2 : 1;
}

/** One half under a stage-2 field (00 no say, 01 NC, 10 WT, 11 WB): the weaker, with the hints of stage 1. */
function weaker(half: u32, field: u32): u32 {
  if (field == 0 || strength(half) < field) return half;
  return field == 1 ? NON_CACHEABLE : 0b1000 | (half & 0b11);
}

/** One half made write-back. */
// @ts-ignore: decorator
@inline function writeBack(half: u32): u32 { return half == NON_CACHEABLE ? 0b1111 : half | 0b0100; }

// @ts-ignore: decorator
@inline function knownShareability(v: Vcpu, sh: u32): u32 { return sh == 1 ? (has(v, SH_OUTER) ? OUTER : NON) : sh; }

/** Stage 1 alone. `attr`: MAIR byte. Device and non-cacheable memory is outer shareable. */
export function stage1Alone(v: Vcpu, attr: u32, sh: u32): void {
  attributes = attr;
  shareability = isDevice(attr) || attr == NORMAL_NC ? OUTER : knownShareability(v, sh);
}

/** Stage 1 (`attr`, `sh`) under a stage-2 leaf. */
export function combine(v: Vcpu, attr: u32, sh: u32, leaf: u64): void {
  const r = stage2Of(v);
  const memAttr = <u32>(leaf >> 2) & 0b1111;
  const sh2 = knownShareability(v, r.has(DS) ? r.sh : <u32>(leaf >> 8) & 0b11);
  attributes = r.has(FWB) ? forced(v, attr, memAttr) : plain(v, attr, memAttr);
  const sh1 = knownShareability(v, sh);
  if (isDevice(attributes) || attributes == NORMAL_NC) shareability = OUTER;
  else if (sh1 == OUTER || sh2 == OUTER) shareability = OUTER;
  else shareability = sh1 == INNER || sh2 == INNER ? INNER : NON;
}

/** Whether a stage-2 MemAttr means nothing. */
// @ts-ignore: decorator
@inline export function isReserved(memAttr: u32, fwb: bool): bool {
  return fwb ? memAttr >= 8 || memAttr == 0b0100 : memAttr > 3 && (memAttr & 0b11) == 0;
}

/** Tagged memory (0xf0) is write-back memory that stays tagged as long as both stages leave it write-back. */
// @ts-ignore: decorator
@inline const TAGGED: u32 = 0xf0;

/** Without forced write-back. */
function plain(v: Vcpu, attr: u32, memAttr: u32): u32 {
  if (v.hcr & CD) memAttr = 0b0101;
  else if (isReserved(memAttr, false) && !has(v, MEMATTR_BITS)) memAttr = 0b0101;
  const outer = memAttr >> 2;
  const inner = memAttr & 0b11;
  const device = isDevice(attr);
  // The order of the encodings is the order of strength. A Normal non-cacheable half counts as nGnRE: stronger than need be.
  if (outer == 0) return device ? min(attr, inner << 2) : (attr & 0xf) == NON_CACHEABLE ? min(inner << 2, 4) : inner << 2;
  if (device) return inner == 1 ? min(attr, 4) : attr;
  if (attr == TAGGED) return outer == 3 && (inner == 3 || inner == 0) ? TAGGED : weaker(0xf, outer) << 4 | weaker(0xf, inner);
  return weaker(attr >> 4, outer) << 4 | weaker(attr & 0xf, inner);
}

/** With forced write-back (FEAT_S2FWB). */
function forced(v: Vcpu, attr: u32, memAttr: u32): u32 {
  if (isReserved(memAttr, true)) {
    if (has(v, MEMATTR_BITS)) return 0; // Device-nGnRnE
    memAttr = 0b0101;
  }
  const how = memAttr & 0b11;
  if (!(memAttr & 0b0100)) return how << 2; // Device of this type, whatever stage 1 says
  if (how == 0b11) return attr;
  if (how == 0b01) return isDevice(attr) ? attr : NORMAL_NC;
  if (isDevice(attr)) return WRITE_BACK << 4 | WRITE_BACK;
  return attr == TAGGED ? TAGGED : writeBack(attr >> 4) << 4 | writeBack(attr & 0xf);
}

/** Stage 1 off: Device-nGnRnE, or write-back with HCR_EL2.DC; fetches are Normal. */
export function flatAttributes(dc: bool): u32 { return dc ? WRITE_BACK << 4 | WRITE_BACK : 0; }
