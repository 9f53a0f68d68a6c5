/**
 * What every operation of a page table has around it: the door, the lock or the section, completion, and the freeing of
 * what went out of the tree. In an engine of one thread it is one look at the door.
 *
 *   door      not inside the guest                       -EDEADLK
 *   enter     mmu_lock (`locking` tables), or the walk section of what runs beside others
 *             … the operation …
 *   complete  DSB behind its TLB invalidations           under the lock, as in KVM
 *   leave     lock or section
 *   settle    frees pages whose grace period is over     those that others may be in go on waiting, nobody waits for them
 */
import { EAGAIN, EDEADLK, ESTALE, ETIMEDOUT } from "./errno";
import { header, heedful, H_OBJECTS, OBJECT_BYTES, objects, setResult, shared, thread, T_BRACKET, T_PAGES, T_TREES } from "./layout";
import { completeTlbi } from "./maintenance";
import { hold, holdLast, unhold } from "./holders";
import { HYP, LOCKING, LOCKLESS_AGING, Pgt, releaseSlot, STAGE2 } from "./pgt";
import { freeAll, isEmpty, orphans, putBack, takeAll, takeFrom, takeInto } from "./retire";
import { grace, graceAtOnce } from "./sync/completion";
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
/** None or the write side, as the table says. */
// @ts-ignore: decorator
@inline export const AGING: u32 = 3;

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
let undoLock: usize = 0;

/** How the last operation ended, whoever was late. */
export let ownResult: i32 = 0;

/** Number of this thread's vCPU that is inside its bracket, or 0. */
// @ts-ignore: decorator
@inline export function vcpuInside(): u32 { return load<u32>(thread, T_BRACKET + 4); }

/** 0: go on, and `end` follows; else the operation does not take place. */
// @ts-ignore: decorator
@inline export function begin(pgt: Pgt, side: u32): i32 {
  return heedful ? beginHeedful(pgt, side) : 0;
}

/** Who is in the guest changes no page table: nobody could tell it that its addresses are void. */
export function refuse(): i32 {
  setResult(0, vcpuInside());
  return -EDEADLK;
}

/** The last operation of a table: whoever holds its lock must be done with it, whether operations take it or not. */
export function beginLast(pgt: Pgt): i32 {
  if (vcpuInside()) return refuse();
  return shared ? enter(pgt, WRITE_SIDE, true) : 0;
}

function beginHeedful(pgt: Pgt, asked: u32): i32 {
  if (vcpuInside()) return refuse();
  if (!shared) return 0;
  const side = asked != AGING ? asked : pgt.has(LOCKLESS_AGING) ? NO_LOCK : WRITE_SIDE;
  return enter(pgt, side, side != NO_LOCK && pgt.has(LOCKING));
}

function enter(pgt: Pgt, side: u32, locks: bool): i32 {
  beginWaiting();
  leaveAgain(); // an operation of this thread that a trap has ended never came to its end
  if (locks && !isHeld(pgt, side)) {
    const result = takeLock(pgt, side);
    if (result != 0) return result;
    undo = side == READ_SIDE ? LEAVE_READ : LEAVE_WRITE;
    undoLock = pgt.lock;
    return 0;
  }
  if (side != WRITE_SIDE && enterWalk()) undo = LEAVE_WALK;
  return 0;
}

/** Takes a side of mmu_lock. -ESTALE: the table was destroyed meanwhile, and another may have its place. */
export function takeLock(pgt: Pgt, side: u32): i32 {
  const generation = pgt.generation;
  const result = side == READ_SIDE ? lock.lockRead(pgt.lock) : lock.lockWrite(pgt.lock);
  if (result != 0 || (pgt.generation == generation && pgt.root != 0)) return result;
  if (side == READ_SIDE) lock.unlockRead(pgt.lock);
  else lock.unlockWrite(pgt.lock);
  return -ESTALE;
}

/** Leaves what the operation has entered. */
function leaveAgain(): void {
  const entered = undo;
  undo = NOTHING;
  if (entered == LEAVE_READ) lock.unlockRead(undoLock);
  else if (entered == LEAVE_WRITE) lock.unlockWrite(undoLock);
  else if (entered == LEAVE_WALK) leaveWalk();
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
  const keeps = waits(pgt) && hold(pgt); // while the lock is held: the table may be destroyed as soon as it is left
  leaveAgain();
  if (keeps) {
    settleHeld(pgt, false);
    unholdOrBury(pgt);
  }
  if (!isEmpty(orphans())) settleOrphans(false);
  ownResult = result;
  return isLate() && (result >= 0 || result == -EAGAIN) ? -ETIMEDOUT : result;
}

// @ts-ignore: decorator
@inline function waits(pgt: Pgt): bool { return !isEmpty(pgt.retired) || !isEmpty(pgt.detached); }

/** Frees what waits for a grace period: what can be freed at once, or with patience. */
export function settle(pgt: Pgt, patient: bool): void {
  if (!waits(pgt) || !hold(pgt)) return;
  settleHeld(pgt, patient);
  unholdOrBury(pgt);
}

function unholdOrBury(pgt: Pgt): void {
  if (unhold(pgt, thread)) bury(pgt);
}

/** The last thread that held a table whose destruction did not wait for it. */
export function bury(pgt: Pgt): void {
  leaveBehind(pgt);
  releaseSlot(changetype<usize>(pgt));
}

/** What still waits outlives the table, and is freed by `settleOrphans`. */
function leaveBehind(pgt: Pgt): void {
  reap(pgt, takeAll(pgt.detached), false); // who is late is inside a walk that maps nothing any more
  putBack(orphans(), takeAll(pgt.retired));
}

/** A tree that its caller kept is freed after its table has ended. */
export function settleDead(pgt: Pgt): void {
  if (!pgt.root && waits(pgt)) settleHeld(pgt, false);
}

/** Inside a read side of its own the thread leaves it to the end of that. */
function settleHeld(pgt: Pgt, patient: bool): void {
  if (insideWalk()) return;
  takeInto(T_PAGES, pgt.retired);
  takeInto(T_TREES, pgt.detached);
  if (patient ? grace() : graceAtOnce()) {
    freeAll();
    reap(pgt, takeFrom(T_TREES), true);
  } else {
    putBack(pgt.retired, takeFrom(T_PAGES));
    putBack(pgt.detached, takeFrom(T_TREES));
  }
}

/** Frees what waits of every page table, with patience. */
export function settleAll(): void {
  const stop = objects + <usize>load<u32>(header, H_OBJECTS) * OBJECT_BYTES;
  for (let slot = objects; slot < stop; slot += OBJECT_BYTES) {
    const kind = atomic.load<u32>(slot);
    if (kind == STAGE2 || kind == HYP) settle(changetype<Pgt>(slot), true);
  }
}

/** A page table ends. False: another thread has it in its hands and does not let go; it ends when that one does. */
export function settleLast(pgt: Pgt): bool {
  if (!holdLast(pgt)) return false;
  settleHeld(pgt, false);
  leaveBehind(pgt);
  return true;
}

/** Frees what tables left behind that have ended. False: somebody is still in the way. */
export function settleOrphans(patient: bool): bool {
  if (isEmpty(orphans()) || insideWalk()) return true;
  takeInto(T_PAGES, orphans());
  const over = patient ? grace() : graceAtOnce();
  if (over) freeAll();
  else putBack(orphans(), takeFrom(T_PAGES));
  return over;
}
