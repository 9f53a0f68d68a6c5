/**
 * The operations as callers have them: each with its door, its side of mmu_lock or its section, its completion
 * (operation.ts). What only looks runs in a walk section and has no door.
 */
import * as entry from "./entry";
import { ETIMEDOUT } from "./errno";
import { releaseTable } from "./holders";
import { resultWord, shared, setResult } from "./layout";
import { flushRange, flushVmid } from "./maintenance";
import { AGING, begin, beginLast, bury, end, NO_LOCK, READ_SIDE, settleDead, settleLast, WRITE_SIDE } from "./operation";
import { Pgt } from "./pgt";
import { detach } from "./retire";
import { enterWalk, leaveWalk } from "./sync/section";
import * as age from "./visit/age";
import * as flushing from "./visit/flush";
import * as free from "./visit/free";
import * as hyp from "./visit/hyp";
import * as look from "./visit/list";
import * as mapping from "./visit/map";
import * as protect from "./visit/protect";
import * as splitting from "./visit/split";
import * as unmapping from "./visit/unmap";
import { find, levelOf, SHARED, slotOf } from "./walk";

// ---- changes -----------------------------------------------------------------------------------------------------

export function map(pgt: Pgt, ia: u64, size: u64, pa: u64, prot: u64, flags: u32, source: usize): i32 {
  const refused = begin(pgt, flags & SHARED ? READ_SIDE : WRITE_SIDE);
  if (refused != 0) return refused;
  return end(pgt, mapping.map(pgt, ia, size, pa, prot, flags, source));
}

export function setOwner(pgt: Pgt, ia: u64, size: u64, owner: u32, source: usize): i32 {
  const refused = begin(pgt, WRITE_SIDE);
  if (refused != 0) return refused;
  return end(pgt, mapping.setOwner(pgt, ia, size, owner, source));
}

export function unmap(pgt: Pgt, ia: u64, size: u64): i32 {
  const refused = begin(pgt, WRITE_SIDE);
  if (refused != 0) return refused;
  return end(pgt, unmapping.unmap(pgt, ia, size));
}

export function writeProtect(pgt: Pgt, ia: u64, size: u64): i32 {
  const refused = begin(pgt, WRITE_SIDE);
  if (refused != 0) return refused;
  return end(pgt, protect.writeProtect(pgt, ia, size));
}

export function flush(pgt: Pgt, ia: u64, size: u64): i32 {
  const refused = begin(pgt, WRITE_SIDE);
  if (refused != 0) return refused;
  return end(pgt, flushing.flush(pgt, ia, size));
}

/** Each flag goes by one compare-exchange from a valid entry, so it can do without the lock: the section keeps tables alive. */
export function testClearYoung(pgt: Pgt, ia: u64, size: u64, clear: bool): i32 {
  const refused = begin(pgt, AGING);
  if (refused != 0) return refused;
  return end(pgt, age.testClearYoung(pgt, ia, size, clear));
}

export function relaxPermissions(pgt: Pgt, ia: u64, prot: u64): i32 {
  const refused = begin(pgt, READ_SIDE);
  if (refused != 0) return refused;
  return end(pgt, protect.relaxPermissions(pgt, ia, prot));
}

export function makeYoung(pgt: Pgt, ia: u64): i32 {
  const refused = begin(pgt, READ_SIDE);
  if (refused != 0) return refused;
  return end(pgt, protect.makeYoung(pgt, ia));
}

/** The entry that the last makeYoung of this thread found. */
export function youngBefore(): u64 { return resultWord(0); }

export function split(pgt: Pgt, ia: u64, size: u64, source: usize): i32 {
  const refused = begin(pgt, WRITE_SIDE);
  if (refused != 0) return refused;
  return end(pgt, splitting.split(pgt, ia, size, source));
}

export function tlbFlushRange(pgt: Pgt, ia: u64, size: u64): i32 {
  const refused = begin(pgt, NO_LOCK);
  if (refused != 0) return refused;
  flushRange(pgt, ia, size);
  return end(pgt, 0);
}

/** Everything of the table's VMID. */
export function tlbFlush(pgt: Pgt): i32 {
  const refused = begin(pgt, NO_LOCK);
  if (refused != 0) return refused;
  flushVmid(pgt);
  return end(pgt, 0);
}

/** Touches nothing that others see. */
export function createUnlinked(pgt: Pgt, pa: u64, level: i32, prot: u64, source: usize, pagesOnly: bool): usize {
  return splitting.createUnlinked(pgt, pa, level, prot, source, pagesOnly);
}

/** A tree that a shared walk took out may have others inside, who still count in it: it is freed after a grace period. */
export function freeUnlinked(pgt: Pgt, page: usize, level: i32): void {
  if (!shared) return free.freeUnlinked(pgt, page, level);
  detach(pgt.detached, page, level);
  if (begin(pgt, NO_LOCK) == 0) end(pgt, 0);
  settleDead(pgt);
}

export function hypMap(pgt: Pgt, ia: u64, size: u64, pa: u64, prot: u64, source: usize): i32 {
  const refused = begin(pgt, WRITE_SIDE);
  if (refused != 0) return refused;
  return end(pgt, hyp.hypMap(pgt, ia, size, pa, prot, source));
}

/** Bytes unmapped, or -errno. */
export function hypUnmap(pgt: Pgt, ia: u64, size: u64): u64 {
  const refused = begin(pgt, WRITE_SIDE);
  if (refused != 0) return refused;
  const bytes = hyp.hypUnmap(pgt, ia, size);
  const late = end(pgt, 0);
  return late != 0 ? late : bytes;
}

// ---- the end -------------------------------------------------------------------------------------------------------

/** kvm_pgtable_stage2_destroy. With an error the table may be destroyed all the same: then its root is 0. */
export function destroy(pgt: Pgt): i32 {
  const refused = beginLast(pgt);
  if (refused != 0) return refused;
  const result = end(pgt, free.destroy(pgt));
  return shared && !settleLast(pgt) ? -ETIMEDOUT : result;
}

/** Gives the object of a destroyed table back. */
export function release(pgt: Pgt): void {
  if (releaseTable(pgt)) bury(pgt);
}

// ---- one entry -----------------------------------------------------------------------------------------------------

export function testAndClearYoung(pgt: Pgt, ia: u64, exclusive: bool): i32 {
  const refused = begin(pgt, NO_LOCK);
  if (refused != 0) return refused;
  return end(pgt, entry.testAndClearYoung(pgt, ia, exclusive));
}

export function setReadonly(pgt: Pgt, ia: u64, exclusive: bool): i32 {
  const refused = begin(pgt, NO_LOCK);
  if (refused != 0) return refused;
  return end(pgt, entry.setReadonly(pgt, ia, exclusive));
}

// ---- looking -------------------------------------------------------------------------------------------------------

export function isReadonly(pgt: Pgt, ia: u64): i32 {
  const entered = enterWalk();
  const result = entry.isReadonly(pgt, ia);
  if (entered) leaveWalk();
  return result;
}

export function getLeaf(pgt: Pgt, ia: u64): i32 {
  const entered = enterWalk();
  const result = look.getLeaf(pgt, ia);
  if (entered) leaveWalk();
  return result;
}

export function lookup(pgt: Pgt, ia: u64): f64 {
  const entered = enterWalk();
  const result = look.lookup(pgt, ia);
  if (entered) leaveWalk();
  return result;
}

export function entryAt(pgt: Pgt, ia: u64): usize {
  const entered = enterWalk();
  const found = find(pgt, ia);
  if (entered) leaveWalk();
  setResult(1, <u64>levelOf(found));
  return slotOf(found);
}

export function walk(
  pgt: Pgt, ia: u64, size: u64, flags: u32, skip: u32, stopAt: u32, stopResult: i32,
): i32 {
  const entered = enterWalk();
  const result = look.generic(pgt, ia, size, flags, skip, stopAt, stopResult);
  if (entered) leaveWalk();
  return result;
}
