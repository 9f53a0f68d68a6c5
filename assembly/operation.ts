/**
 * What every operation of a page table has around it: the door, the lock or the section, completion, and the freeing of
 * what went out of the tree. In an engine of one thread it is one look at the door.
 *
 *   door      not inside the guest                       -EDEADLK
 *   enter     mmu_lock (`locking` tables), or the walk section of what runs beside others
 *             … the operation …
 *   complete  DSB behind its TLB invalidations           under the lock, as in KVM
 *   leave     lock or section
 *   settle    grace period, if pages wait for one        outside, as others may wait for this thread too
 */
import { EDEADLK, ETIMEDOUT } from "./errno";
import { header, H_OBJECTS, OBJECT_BYTES, objects, setResult, shared, thread, T_BRACKET } from "./layout";
import { completeTlbi } from "./maintenance";
import { HYP, LOCKING, Pgt, STAGE2 } from "./pgt";
import { freeAll, isEmpty, orphans, putBack, putBackTrees, takeAll } from "./retire";
import { grace } from "./sync/completion";
import * as lock from "./sync/lock";
import { enterWalk, insideWalk, leaveWalk } from "./sync/section";
import { beginWaiting, isLate } from "./sync/wait";
import { reap } from "./visit/free";

/** Which side of mmu_lock an operation needs. */
// @ts-ignore: decorator
@inline export const NO_LOCK: u32 = 0; // it runs beside everything, in a walk section
// @ts-ignore: decorator
@inline export const READ_SIDE: u32 = 1;
// @ts-ignore: decorator
@inline export const WRITE_SIDE: u32 = 2;

// What `end` has to undo.
// @ts-ignore: decorator
@inline const NOTHING: u32 = 0;
// @ts-ignore: decorator
@inline const LEAVE_READ: u32 = 1;
// @ts-ignore: decorator
@inline const LEAVE_WRITE: u32 = 2;
// @ts-ignore: decorator
@inline const LEAVE_WALK: u32 = 3;
let undo: u32 = 0;

/** Number of this thread's vCPU that is inside its bracket, or 0. */
// @ts-ignore: decorator
@inline export function vcpuInside(): u32 { return load<u32>(thread, T_BRACKET + 4); }

/** 0: go on, and `end` follows; else the operation does not take place. */
// @ts-ignore: decorator
@inline export function begin(pgt: Pgt, side: u32): i32 {
  if (vcpuInside()) return refuse();
  return shared ? beginShared(pgt, side) : 0;
}

/** Who is in the guest changes no page table: nobody could tell it that its addresses are void. */
export function refuse(): i32 {
  setResult(0, vcpuInside());
  return -EDEADLK;
}

function beginShared(pgt: Pgt, side: u32): i32 {
  beginWaiting();
  undo = NOTHING;
  if (side != NO_LOCK && pgt.has(LOCKING) && !isHeld(pgt, side)) {
    const result = side == READ_SIDE ? lock.lockRead(pgt.lock) : lock.lockWrite(pgt.lock);
    if (result == 0) undo = side == READ_SIDE ? LEAVE_READ : LEAVE_WRITE;
    return result;
  }
  if (side != WRITE_SIDE && enterWalk()) undo = LEAVE_WALK;
  return 0;
}

/** Whether the caller took the lock itself, on a side that suffices. */
function isHeld(pgt: Pgt, side: u32): bool {
  return lock.holdsWrite(pgt.lock) || (side == READ_SIDE && lock.holdsRead(pgt.lock));
}

/** The operation has taken place, whatever came out; somebody who did not answer is told of in its place. */
// @ts-ignore: decorator
@inline export function end(pgt: Pgt, result: i32): i32 { return shared ? endShared(pgt, result) : result; }

function endShared(pgt: Pgt, result: i32): i32 {
  completeTlbi(pgt);
  if (undo == LEAVE_READ) lock.unlockRead(pgt.lock);
  else if (undo == LEAVE_WRITE) lock.unlockWrite(pgt.lock);
  else if (undo == LEAVE_WALK) leaveWalk();
  settle(pgt);
  return isLate() && result >= 0 ? -ETIMEDOUT : result;
}

/** Frees what waits for a grace period. Inside a read side of its own the thread leaves that to the end of it. */
export function settle(pgt: Pgt): void {
  if (isEmpty(pgt.retired) && isEmpty(pgt.detached)) return;
  if (insideWalk()) return;
  const pages = takeAll(pgt.retired);
  const trees = takeAll(pgt.detached);
  if (grace()) {
    freeAll(pages);
    reap(pgt, trees, true);
  } else {
    putBack(pgt.retired, pages);
    putBackTrees(pgt.detached, trees);
  }
}

/** The same for every page table that is there. */
export function settleAll(): void {
  const stop = objects + <usize>load<u32>(header, H_OBJECTS) * OBJECT_BYTES;
  for (let slot = objects; slot < stop; slot += OBJECT_BYTES) {
    const kind = atomic.load<u32>(slot);
    if (kind == STAGE2 || kind == HYP) settle(changetype<Pgt>(slot));
  }
}

/** A page table ends: what still waits outlives it, and is freed by `settleOrphans`. */
export function settleLast(pgt: Pgt): void {
  settle(pgt);
  reap(pgt, takeAll(pgt.detached), false); // who is late is inside a walk that maps nothing any more
  putBack(orphans(), takeAll(pgt.retired));
}

/** Frees what tables left behind that have ended. False: somebody is still in the way. */
export function settleOrphans(): bool {
  if (isEmpty(orphans())) return true;
  const pages = takeAll(orphans());
  const over = grace();
  if (over) freeAll(pages);
  else putBack(orphans(), pages);
  return over;
}
