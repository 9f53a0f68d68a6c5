/**
 * The straight descent: KVM's usual shape, stage 1 off, no TLB. One shift, one mask, one load and one bounds check a
 * level; four at a time the cache misses of a batch overlap. What it does not expect - a fault, an update, an entry beyond
 * the pool - it leaves to the walk, which starts anew.
 */
import { AF, S2AP_R, S2AP_W, TABLE_ADDRESS, TYPE, VALID } from "../descriptor";
import { delta, poolPhys } from "../layout";
import { poolBytes } from "../memory";
import * as slots from "../slot";
import { add, Derived, FETCH, QUICK, READ, stage2Of, Vcpu, WRITE } from "./state";

/** Not a physical address: the walk must decide. */
// @ts-ignore: decorator
@inline export const NOT_QUICK: u64 = ~(<u64>0);

// @ts-ignore: decorator
@inline const XN_BITS: u64 = <u64>0b11 << 53;
// @ts-ignore: decorator
@inline const LEAF_ADDRESS: u64 = 0x0000_ffff_ffff_f000;
// @ts-ignore: decorator
@inline const BLOCK: u64 = VALID;
// @ts-ignore: decorator
@inline const TABLE: u64 = VALID | TYPE;

/** Bits of a leaf that decide an access, and what they must be. */
// @ts-ignore: decorator
@inline export function maskOf(mode: u32): u64 {
  return VALID | TYPE | AF | (mode & READ ? S2AP_R : 0) | (mode & WRITE ? S2AP_W : 0) | (mode & FETCH ? XN_BITS : 0);
}

// @ts-ignore: decorator
@inline export function wantOf(mode: u32): u64 { return maskOf(mode) & ~XN_BITS; }

/** Pointer into the pool for the next table, or 0. */
// @ts-ignore: decorator
@inline function next(pte: u64, limit: u64, index: usize): usize {
  const offset = (pte & TABLE_ADDRESS) - poolPhys;
  return offset < limit ? <usize>(pte & TABLE_ADDRESS) + <usize>delta + index : 0;
}

/** Physical address, or NOT_QUICK. */
// @ts-ignore: decorator
@inline function blockOrNot(pte: u64, ipa: u64, shift: u32, mask: u64, want: u64, paLimit: u64): u64 {
  const inLeaf = (<u64>1 << shift) - 1;
  const pa = pte & LEAF_ADDRESS & ~inLeaf;
  return (pte & mask) == (want & ~TYPE) && pa < paLimit ? pa | (ipa & inLeaf) : NOT_QUICK;
}

export function quick(v: Vcpu, d: Derived, ipa: u64, mode: u32): u64 {
  const r = stage2Of(v);
  if (ipa >> r.iaBits) return NOT_QUICK;
  const limit = poolBytes();
  const mask = maskOf(mode);
  const want = wantOf(mode);
  let pte = slots.read(d.root + (<usize>(ipa >> 27) & ~7));
  if ((pte & TABLE) != TABLE) {
    const pa = blockOrNot(pte, ipa, 30, mask, want, r.paLimit);
    if (pa != NOT_QUICK) add(v, QUICK, 1);
    return pa;
  }
  let slot = next(pte, limit, <usize>(ipa >> 18) & 0xff8);
  if (!slot) return NOT_QUICK;
  pte = slots.read(slot);
  if ((pte & TABLE) != TABLE) {
    const pa = blockOrNot(pte, ipa, 21, mask, want, r.paLimit);
    if (pa != NOT_QUICK) add(v, QUICK + 1, 1);
    return pa;
  }
  slot = next(pte, limit, <usize>(ipa >> 9) & 0xff8);
  if (!slot) return NOT_QUICK;
  pte = slots.read(slot);
  const pa = pte & LEAF_ADDRESS;
  if ((pte & mask) != want || pa >= r.paLimit) return NOT_QUICK;
  add(v, QUICK + 2, 1);
  return pa | (ipa & 0xfff);
}

/**
 * Four addresses at `from` to four results at `to`, their levels interleaved. How many of them were done from the first on:
 * all four, or none where any of them is not a page behind two tables of the pool.
 */
export function quickFour(v: Vcpu, d: Derived, from: usize, to: usize, mask: u64, want: u64): bool {
  const r = stage2Of(v);
  const limit = poolBytes();
  const root = d.root;
  const a = <u64><i64>load<f64>(from);
  const b = <u64><i64>load<f64>(from, 8);
  const c = <u64><i64>load<f64>(from, 16);
  const e = <u64><i64>load<f64>(from, 24);
  if ((a | b | c | e) >> r.iaBits) return false;
  let pa = slots.read(root + (<usize>(a >> 27) & ~7));
  let pb = slots.read(root + (<usize>(b >> 27) & ~7));
  let pc = slots.read(root + (<usize>(c >> 27) & ~7));
  let pe = slots.read(root + (<usize>(e >> 27) & ~7));
  if ((pa & pb & pc & pe & TABLE) != TABLE) return false;
  let sa = next(pa, limit, <usize>(a >> 18) & 0xff8);
  let sb = next(pb, limit, <usize>(b >> 18) & 0xff8);
  let sc = next(pc, limit, <usize>(c >> 18) & 0xff8);
  let se = next(pe, limit, <usize>(e >> 18) & 0xff8);
  if (!sa || !sb || !sc || !se) return false;
  pa = slots.read(sa);
  pb = slots.read(sb);
  pc = slots.read(sc);
  pe = slots.read(se);
  if ((pa & pb & pc & pe & TABLE) != TABLE) return false;
  sa = next(pa, limit, <usize>(a >> 9) & 0xff8);
  sb = next(pb, limit, <usize>(b >> 9) & 0xff8);
  sc = next(pc, limit, <usize>(c >> 9) & 0xff8);
  se = next(pe, limit, <usize>(e >> 9) & 0xff8);
  if (!sa || !sb || !sc || !se) return false;
  pa = slots.read(sa);
  pb = slots.read(sb);
  pc = slots.read(sc);
  pe = slots.read(se);
  if (((pa ^ want) | (pb ^ want) | (pc ^ want) | (pe ^ want)) & mask) return false;
  pa &= LEAF_ADDRESS;
  pb &= LEAF_ADDRESS;
  pc &= LEAF_ADDRESS;
  pe &= LEAF_ADDRESS;
  const paLimit = r.paLimit;
  if (pa >= paLimit || pb >= paLimit || pc >= paLimit || pe >= paLimit) return false;
  store<f64>(to, <f64><i64>(pa | (a & 0xfff)));
  store<f64>(to, <f64><i64>(pb | (b & 0xfff)), 8);
  store<f64>(to, <f64><i64>(pc | (c & 0xfff)), 16);
  store<f64>(to, <f64><i64>(pe | (e & 0xfff)), 24);
  return true;
}
