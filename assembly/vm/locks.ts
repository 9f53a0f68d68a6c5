/**
 * What a VM is locked by, in this order: the slots_lock (one owner, changes of memslots and dirty logs), then the mmu_lock of its
 * page table. And the word that keeps slot sets and invalidations apart: a set is published while none is in flight.
 */
import { EBUSY, EDEADLK, ESTALE, ETIMEDOUT } from "../errno";
import { header, H_SLOTS, setResult, shared, thisThread, thread, threadSlot, T_CHANGES, T_HOLDS, T_IN_PROGRESS, T_INVALIDATED, T_INVALIDATES } from "../layout";
import { refuse, READ_SIDE, settle, takeLock, vcpuInside, WRITE_SIDE } from "../operation";
import { Pgt } from "../pgt";
import * as lock from "../sync/lock";
import { awaitChange, beginWaiting, blame, LATE_INVALIDATION, LATE_WRITER, mayBlock, spinWhile } from "../sync/wait";
import { ACTIVE, generationAt, SLOTS_LOCK, Vm } from "./vm";

/** Threads that an engine can have: a word that names another was overwritten. */
// @ts-ignore: decorator
@inline const MAX_THREADS: u32 = 1 << 16;

// ---- slots_lock -----------------------------------------------------------------------------------------------------

/** 0; -EDEADLK: this thread has one, or another lock, or is in the guest; -EBUSY: it may not block; -ETIMEDOUT. */
export function lockSlots(vm: Vm): i32 {
  if (vcpuInside()) return refuse();
  if (load<u32>(thread, T_HOLDS) || load<u32>(thread, T_CHANGES)) return -EDEADLK;
  beginWaiting();
  const word = vm.word(SLOTS_LOCK);
  const generation = generationAt(changetype<usize>(vm));
  while (true) {
    const owner = atomic.cmpxchg<u32>(word, 0, thisThread() + 1);
    if (owner == 0) break;
    const result = awaitWord(word, owner); // lost: another thread is at it
    if (result != 0) return owner - 1 < MAX_THREADS ? blamed(owner - 1, LATE_WRITER, result) : result;
    if (generationAt(changetype<usize>(vm)) != generation) return -ESTALE; // it was the VM's last owner
  }
  if (generationAt(changetype<usize>(vm)) != generation) {
    atomic.store<u32>(word, 0);
    return -ESTALE;
  }
  store<u32>(thread, <u32>changetype<usize>(vm), T_CHANGES);
  return 0;
}

export function unlockSlots(vm: Vm): void {
  if (!holdsSlots(vm)) return;
  store<u32>(thread, 0, T_CHANGES);
  atomic.store<u32>(vm.word(SLOTS_LOCK), 0);
  atomic.notify(vm.word(SLOTS_LOCK), 1);
}

/** The VM is gone, and so is its lock; whoever waits for it is woken, and finds that out. */
export function dropLocks(vm: Vm): void {
  store<u32>(thread, 0, T_CHANGES);
  atomic.notify(vm.word(SLOTS_LOCK), -1);
  atomic.notify(vm.word(ACTIVE), -1);
}

// @ts-ignore: decorator
@inline export function holdsSlots(vm: Vm): bool { return load<u32>(thread, T_CHANGES) == <u32>changetype<usize>(vm); }

function awaitWord(word: usize, value: u32): i32 {
  if (spinWhile(word, value)) return 0;
  if (!mayBlock()) {
    setResult(0, <u64>word);
    setResult(1, value);
    return -EBUSY;
  }
  return awaitChange<u32>(word, value) ? 0 : -ETIMEDOUT;
}

function blamed(number: u32, reason: u32, result: i32): i32 {
  if (result == -ETIMEDOUT) blame(number, reason);
  return result;
}

/** A thread that has started an invalidation and not ended it. */
function invalidator(): u32 {
  const slots = atomic.load<u32>(header, H_SLOTS);
  let number: u32 = 0;
  while (number < slots && !atomic.load<u32>(threadSlot(number), T_INVALIDATES)) number++;
  return number;
}

// ---- invalidations in flight, or one publication ----------------------------------------------------------------------

// @ts-ignore: decorator
@inline export const PUBLISHING: u32 = 1 << 31;

/** From now on, until `endPublishing`, no invalidation begins. Results as lockSlots; -EDEADLK: one of this thread's own is in flight. */
export function beginPublishing(vm: Vm): i32 {
  const word = vm.word(ACTIVE);
  beginWaiting();
  while (true) {
    const active = atomic.cmpxchg<u32>(word, 0, PUBLISHING);
    if (active == 0) return 0;
    if (load<u32>(thread, T_INVALIDATES)) return -EDEADLK;
    const result = awaitWord(word, active); // lost: invalidations of others have to end first
    if (result != 0) return blamed(invalidator(), LATE_INVALIDATION, result);
  }
}

export function endPublishing(vm: Vm): void {
  atomic.store<u32>(vm.word(ACTIVE), 0);
  atomic.notify(vm.word(ACTIVE), -1);
}

/** Counts an invalidation in: the slot set stays as it is until it has ended. */
export function enterActive(vm: Vm): i32 {
  const word = vm.word(ACTIVE);
  const generation = generationAt(changetype<usize>(vm));
  beginWaiting();
  let active = atomic.load<u32>(word);
  while (true) {
    if (active & PUBLISHING) {
      if (!awaitChange<u32>(word, active)) {
        const owner = atomic.load<u32>(vm.word(SLOTS_LOCK));
        return blamed(owner ? owner - 1 : thisThread(), LATE_WRITER, -ETIMEDOUT);
      }
      if (generationAt(changetype<usize>(vm)) != generation) return -ESTALE;
      active = atomic.load<u32>(word);
      continue;
    }
    const found = atomic.cmpxchg<u32>(word, active, active + 1);
    if (found == active) break;
    active = found; // lost to another that starts or ends, or to a publication
  }
  const own = load<u32>(thread, T_INVALIDATES);
  const last = load<u32>(thread, T_INVALIDATED);
  // Of two VMs at a time nobody could tell whose they were.
  atomic.store<u32>(thread, !own || last == <u32>changetype<usize>(vm) ? <u32>changetype<usize>(vm) : 0, T_INVALIDATED);
  atomic.store<u32>(thread, own + 1, T_INVALIDATES);
  return 0;
}

/** Whether this thread may have started one of this VM. */
export function hasStarted(vm: Vm): bool {
  const last = load<u32>(thread, T_INVALIDATED);
  return load<u32>(thread, T_INVALIDATES) != 0 && (!last || last == <u32>changetype<usize>(vm));
}

/** The VM ends, and what this thread has begun on it. */
export function endOwn(vm: Vm): void {
  if (load<u32>(thread, T_INVALIDATED) == <u32>changetype<usize>(vm)) while (leaveActive(vm));
  if (!load<u32>(thread, T_INVALIDATES)) atomic.store<u32>(thread, 0, T_IN_PROGRESS);
}

/** False: this thread has started none. */
export function leaveActive(vm: Vm): bool {
  if (!hasStarted(vm)) return false;
  atomic.store<u32>(thread, load<u32>(thread, T_INVALIDATES) - 1, T_INVALIDATES);
  if (atomic.sub<u32>(vm.word(ACTIVE), 1) == 1) atomic.notify(vm.word(ACTIVE), -1);
  return true;
}

export function ownsSlots(vm: Vm, number: u32): bool { return atomic.load<u32>(vm.word(SLOTS_LOCK)) == number + 1; }

/** Ends what a thread that has ended was in the middle of: its invalidations, its publication, its slots_lock. */
export function releaseOf(vm: Vm, slot: usize, number: u32): void {
  const owned = ownsSlots(vm, number);
  if (load<u32>(slot, T_INVALIDATED) == <u32>changetype<usize>(vm) && load<u32>(slot, T_INVALIDATES)) {
    atomic.sub<u32>(vm.word(ACTIVE), load<u32>(slot, T_INVALIDATES));
    atomic.notify(vm.word(ACTIVE), -1);
  }
  if (!owned) return;
  if (atomic.load<u32>(vm.word(ACTIVE)) & PUBLISHING) endPublishing(vm);
  atomic.store<u32>(vm.word(SLOTS_LOCK), 0);
  atomic.notify(vm.word(SLOTS_LOCK), -1);
}

// ---- mmu_lock of the page table -----------------------------------------------------------------------------------------

/** There is no page table: not made yet, or torn down. */
// @ts-ignore: decorator
@inline export const NO_TABLE: i32 = 1;

/** The page table that this thread has locked. */
export let locked: usize = 0;

/** 0 and `locked` is the page table; NO_TABLE; -EDEADLK, -EBUSY, -ETIMEDOUT. An engine of one thread has nothing to keep out. */
export function lockTable(vm: Vm, side: u32): i32 {
  const pgt = vm.pgt;
  locked = 0; // a trap may have ended what this thread had locked
  if (!pgt) return NO_TABLE;
  if (vcpuInside()) return refuse();
  if (shared) {
    beginWaiting();
    const result = takeLock(changetype<Pgt>(pgt), side);
    if (result == -ESTALE) return NO_TABLE;
    if (result != 0) return result;
    if (vm.pgt != pgt) { // torn down, and another table has its place
      unlockTableAt(pgt, side);
      return NO_TABLE;
    }
  }
  locked = pgt;
  return 0;
}

/** Between lockTable and unlockTable of this VM, in this thread. */
// @ts-ignore: decorator
@inline export function holdsTable(vm: Vm): bool { return locked != 0 && locked == vm.pgt; }

export function unlockTable(side: u32): void {
  unlockTableAt(locked, side);
  locked = 0;
}

function unlockTableAt(pgt: usize, side: u32): void {
  if (!shared) return;
  const table = changetype<Pgt>(pgt);
  if (side == WRITE_SIDE) lock.unlockWrite(table.lock);
  else if (side == READ_SIDE) {
    lock.unlockRead(table.lock);
    settle(table, false);
  }
}
