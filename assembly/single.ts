/**
 * One page, nobody watching the steps, every table on the way in place: the commonest calls without a walk. Each does
 * what the walk would have done, or nothing at all; then it answers NOT_MINE and the walk decides, lost races included.
 */
import { addressField, isTable, isValid, LAST_LEVEL, leafEntry, PERMISSIONS } from "./descriptor";
import { EAGAIN } from "./errno";
import { Pgt, WATCHED } from "./pgt";
import { shared } from "./layout";
import { tlbiIpa } from "./maintenance";
import * as pool from "./pool";
import * as slots from "./slot";
import { find, levelOf, slotOf } from "./walk";

// @ts-ignore: decorator
@inline export const NOT_MINE: i32 = i32.MIN_VALUE;

/** Whether a call on [ia, ia + size) is for this file. */
// @ts-ignore: decorator
@inline export function isSingle(pgt: Pgt, size: u64): bool {
  return size - 1 < <u64>1 << pgt.pageShift && pgt.quiet;
}

/** A page over an empty entry, or over one that differs in permissions at most: -EAGAIN, and nothing is written. */
export function mapSingle(pgt: Pgt, ia: u64, pa: u64, attributes: u64): i32 {
  const found = find(pgt, ia);
  if (levelOf(found) != LAST_LEVEL || pa >= pgt.paLimit) return NOT_MINE;
  const slot = slotOf(found);
  const leaf = leafEntry(addressField(pa, pgt.pageShift, pgt.lpa2), attributes, LAST_LEVEL);
  const old = slots.read(slot);
  if (old != 0) return isValid(old) && !((old ^ leaf) & ~PERMISSIONS) ? -EAGAIN : NOT_MINE;
  const page = pool.pageOf(slot, pgt.pageShift);
  pool.addReferences(page, 1);
  if (slots.compareExchange(slot, 0, leaf) == 0) return 0;
  pool.dropReferences(page, 1); // lost: another walker breaks or has mapped it
  return NOT_MINE;
}

/** Sets and clears bits of a valid leaf; `before` is what it was. */
export function changeSingle(pgt: Pgt, ia: u64, set: u64, clear: u64): i32 {
  const found = find(pgt, ia);
  if (!found) return NOT_MINE;
  const slot = slotOf(found);
  const old = slots.read(slot);
  if (!isValid(old) || isTable(old, levelOf(found))) return NOT_MINE; // a shared walk may just have put a table here
  const next = (old & ~clear) | set;
  if (next != old && slots.compareExchange(slot, old, next) != old) return NOT_MINE; // lost: the walk looks again
  before = old;
  return 0;
}

/** The leaf that the last `changeSingle` of this thread found. */
export let before: u64 = 0;

/** Unmaps a page that is not the last one of its table. */
export function unmapSingle(pgt: Pgt, ia: u64): i32 {
  const found = find(pgt, ia);
  if (levelOf(found) != LAST_LEVEL) return NOT_MINE;
  const slot = slotOf(found);
  const old = slots.read(slot);
  if (!isValid(old)) return NOT_MINE;
  if (slots.compareExchange(slot, old, 0) != old) return NOT_MINE; // lost to hardware: the walk takes the new value
  if (shared || pgt.events & WATCHED) tlbiIpa(pgt, ia & ~((<u64>1 << pgt.pageShift) - 1), LAST_LEVEL);
  const left = pool.dropReferences(pool.pageOf(slot, pgt.pageShift), 1);
  return left > 1 ? 0 : NOT_MINE; // an empty table: the walk frees it on its way up
}
