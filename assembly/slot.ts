/**
 * The only code that reads or writes a live descriptor. Every update is one atomic step, also under the exclusive
 * lock, because hardware may set the access flag (or dirty state) at any instant; the one named exception is
 * plain `update`. Tables that nobody can see yet are filled with plain vector stores and then published by `make`.
 */
import { isCounted, LOCKED } from "./descriptor";

// @ts-ignore: decorator
@inline export function read(slot: usize): u64 { return atomic.load<u64>(slot); }

/**
 * A plain read of an entry above the last level, for the hardware walk of many addresses. If it tears, which no 64-bit host
 * does: valid bit, type and the part of the address that makes a pointer are all in the low half, and the high half must
 * equal that of every table page to be used.
 */
// @ts-ignore: decorator
@inline export function peek(slot: usize): u64 { return load<u64>(slot); }

/** Swaps `old` for `next`; the entry found comes back, and the swap happened iff that is `old`. */
// @ts-ignore: decorator
@inline export function compareExchange(slot: usize, old: u64, next: u64): u64 {
  return atomic.cmpxchg<u64>(slot, old, next);
}

/**
 * First half of break-before-make: puts the locked marker in place of `old`. False if somebody else holds the
 * marker, or if the entry is no longer `old`; then nothing was written and the caller decides anew or gives up.
 */
// @ts-ignore: decorator
@inline export function tryBreak(slot: usize, old: u64): bool {
  return old != LOCKED && compareExchange(slot, old, LOCKED) == old;
}

/** Second half: publishes `next` over the marker that this thread placed. What it points to is visible with it. */
// @ts-ignore: decorator
@inline export function make(slot: usize, next: u64): void { atomic.store<u64>(slot, next); }

/**
 * `compareExchange`, or with `plain` the fallback of cores without an atomic helper: a store that always succeeds, so
 * that an update which hardware made meanwhile is lost. The one exception to the rule above.
 */
// @ts-ignore: decorator
@inline export function update(slot: usize, old: u64, next: u64, plain: bool): u64 {
  if (!plain) return compareExchange(slot, old, next);
  store<u64>(slot, next);
  return old;
}

/**
 * Which of the 8 entries from `slot` (64-byte aligned) have `want` in the bits of `mask`: bit n for entry n.
 * A hint only: vector loads order nothing, the atomic step on the entry decides.
 */
// @ts-ignore: decorator
@inline export function matching8(slot: usize, mask: v128, want: v128): u32 {
  const a = i64x2.eq(v128.and(v128.load(slot), mask), want);
  const b = i64x2.eq(v128.and(v128.load(slot, 16), mask), want);
  const c = i64x2.eq(v128.and(v128.load(slot, 32), mask), want);
  const d = i64x2.eq(v128.and(v128.load(slot, 48), mask), want);
  const ab = v128.shuffle<i32>(a, b, 0, 2, 4, 6);
  const cd = v128.shuffle<i32>(c, d, 0, 2, 4, 6);
  return i16x8.bitmask(i16x8.narrow_i32x4_s(ab, cd));
}

/** Fills an unlinked table with `count` (even) leaves: `first`, `first + step`, … */
export function fill(table: usize, count: u32, first: u64, step: u64): void {
  let pair = i64x2.replace_lane(i64x2.splat(first), 1, first + step);
  const stride = i64x2.splat(step << 1);
  const end = table + (<usize>count << 3);
  for (let slot = table; slot < end; slot += 32) {
    v128.store(slot, pair);
    pair = i64x2.add(pair, stride);
    v128.store(slot, pair, 16);
    pair = i64x2.add(pair, stride);
  }
}

/** How many entries from `slot` to `stop` hold a reference: neither zero nor the locked marker. */
export function countReferences(slot: usize, stop: usize): u32 {
  const all = i64x2.splat(-1);
  const none = i64x2.splat(0);
  const locked = i64x2.splat(LOCKED);
  let counted: u32 = 0;
  for (; stop - slot >= 64; slot += 64) {
    counted += 8 - popcnt(matching8(slot, all, none) | matching8(slot, all, locked));
  }
  for (; slot < stop; slot += 8) {
    if (isCounted(read(slot))) counted++;
  }
  return counted;
}
