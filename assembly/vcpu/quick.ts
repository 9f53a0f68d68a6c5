/**
 * The straight descent: KVM's usual shape, stage 1 off, no TLB. One shift, one mask, one load and one bounds check a
 * level; four at a time the cache misses of a batch overlap. What it does not expect - a fault, an update, an entry beyond
 * the pool - it leaves to the walk, which starts anew.
 */
import { AF, S2AP_R, S2AP_W, TABLE_ADDRESS, TYPE, VALID } from "../descriptor";
import { delta, pool, poolPhys, shared } from "../layout";
import { poolBytes } from "../memory";
import { fromNumber, inPage, toNumber } from "../number";
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

// ---- batches: four at a time, in two passes ------------------------------------------------------------------------

// @ts-ignore: decorator
@inline const TABLE_BITS: u64 = TABLE_ADDRESS | TABLE;

/**
 * Offset of the table in the pool, or something larger than every pool: what is left of a table descriptor after the
 * pool's base is a whole number of pages; anything else leaves low bits, which the rotation puts on top.
 */
// @ts-ignore: decorator
@inline function pagesInto(left: u64): u64 { return rotr<u64>(left, 12); }

// How entries above the last level are read.
type Plain = u32; // in an engine of one thread
type Ordered = u64; // behind the store that opened the section, which would not hold a plain load back

// @ts-ignore: decorator
@inline function upper<T>(slot: usize): u64 { return sizeof<T>() == 8 ? slots.read(slot) : slots.peek(slot); }

/**
 * First pass: from addresses to the entries of their last tables, kept where the results will be. The upper levels are in the
 * caches of the CPU. False: one of them is not like that, and nothing of the block counts.
 */
function findSlots<T>(v: Vcpu, d: Derived, from: usize, to: usize, end: usize): bool {
  const root = d.root;
  const outside = ~((<u64>1 << stage2Of(v).iaBits) - 1);
  const pages = poolBytes() >> 12;
  const start = poolPhys | TABLE; // a table descriptor of the pool's first page
  const first = pool;
  for (; from < end; from += 32, to += 32) {
    const a = fromNumber(load<f64>(from));
    const b = fromNumber(load<f64>(from, 8));
    const c = fromNumber(load<f64>(from, 16));
    const e = fromNumber(load<f64>(from, 24));
    if ((a | b | c | e) & outside) break;
    let ta = (upper<T>(root + (<usize>(a >> 27) & ~7)) & TABLE_BITS) - start;
    let tb = (upper<T>(root + (<usize>(b >> 27) & ~7)) & TABLE_BITS) - start;
    let tc = (upper<T>(root + (<usize>(c >> 27) & ~7)) & TABLE_BITS) - start;
    let te = (upper<T>(root + (<usize>(e >> 27) & ~7)) & TABLE_BITS) - start;
    if (pagesInto(ta) >= pages) break;
    if (pagesInto(tb) >= pages) break;
    if (pagesInto(tc) >= pages) break;
    if (pagesInto(te) >= pages) break;
    ta = (upper<T>(first + <usize>ta + (<usize>(a >> 18) & 0xff8)) & TABLE_BITS) - start;
    tb = (upper<T>(first + <usize>tb + (<usize>(b >> 18) & 0xff8)) & TABLE_BITS) - start;
    tc = (upper<T>(first + <usize>tc + (<usize>(c >> 18) & 0xff8)) & TABLE_BITS) - start;
    te = (upper<T>(first + <usize>te + (<usize>(e >> 18) & 0xff8)) & TABLE_BITS) - start;
    if (pagesInto(ta) >= pages) break;
    if (pagesInto(tb) >= pages) break;
    if (pagesInto(tc) >= pages) break;
    if (pagesInto(te) >= pages) break;
    store<u32>(to, <u32>(first + <usize>ta + (<usize>(a >> 9) & 0xff8)));
    store<u32>(to, <u32>(first + <usize>tb + (<usize>(b >> 9) & 0xff8)), 8);
    store<u32>(to, <u32>(first + <usize>tc + (<usize>(c >> 9) & 0xff8)), 16);
    store<u32>(to, <u32>(first + <usize>te + (<usize>(e >> 9) & 0xff8)), 24);
  }
  return from >= end;
}

/**
 * Between the passes: nothing but the loads, so that as many cache misses as the CPU can have are under way at a time. What
 * they say is of no use; somebody must want it, or the loop would go away.
 */
function touch(to: usize, count: u32): u32 {
  const end = to + (<usize>count << 3);
  let any: u32 = 0;
  for (; to < end; to += 32) {
    any |= load<u32>(load<u32>(to)) | load<u32>(load<u32>(to, 8));
    any |= load<u32>(load<u32>(to, 16)) | load<u32>(load<u32>(to, 24));
  }
  return any;
}

/** One result: output page, offset in the page. */
// @ts-ignore: decorator
@inline function put(to: usize, from: usize, pte: u64, at: usize): void {
  store<f64>(to + at, toNumber((pte & LEAF_ADDRESS) | inPage(load<f64>(from + at))));
}

/** Second pass: the leaves, whose cache misses overlap, as nothing depends on them. How many the walk must decide. */
function readLeaves(from: usize, to: usize, end: usize, mask: u64, want: u64): u32 {
  let left: u32 = 0;
  for (; from < end; from += 32, to += 32) {
    const a = slots.read(load<u32>(to));
    const b = slots.read(load<u32>(to, 8));
    const c = slots.read(load<u32>(to, 16));
    const e = slots.read(load<u32>(to, 24));
    if (((a ^ want) | (b ^ want) | (c ^ want) | (e ^ want)) & mask) {
      for (let i: usize = 0; i < 32; i += 8) store<f64>(to + i, -1);
      left += 4;
      continue;
    }
    put(to, from, a, 0);
    put(to, from, b, 8);
    put(to, from, c, 16);
    put(to, from, e, 24);
  }
  return left;
}

/** `count` (a multiple of four) addresses; those that the walk must decide are left with -1. How many these are. */
export function quickBlock(v: Vcpu, d: Derived, from: usize, to: usize, count: u32, mask: u64, want: u64): u32 {
  const end = from + (<usize>count << 3);
  const tooLarge = LEAF_ADDRESS & ~(stage2Of(v).paLimit - 1); // must be zero, like a right that is missing
  const found = shared ? findSlots<Ordered>(v, d, from, to, end) : findSlots<Plain>(v, d, from, to, end);
  if (found && touch(to, count)) return readLeaves(from, to, end, mask | tooLarge, want);
  for (; from < end; from += 8, to += 8) store<f64>(to, -1);
  return count;
}

/** Addresses of one block: more misses than any CPU has under way at a time, and little enough to stay in its cache. */
// @ts-ignore: decorator
@inline export const BLOCK_ADDRESSES: u32 = 128;
