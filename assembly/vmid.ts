/**
 * VMID allocation (arch/arm64 KVM's vmid.c as specified): an identity is generation | number. A VM whose generation is over gets a
 * number anew when a vCPU of it is loaded; when numbers run out a new generation begins, in which CPUs keep the number they run with.
 *
 *   bitmap       numbers taken in this generation
 *   active[cpu]  identity that the CPU runs with; INVALID after put; 0 once a rollover has collected it
 *   reserved[cpu] what the rollover found there
 *
 * A CPU here is a vCPU object of the engine (a PE with a TLB of its own). Page tables that belong to no VM have pinned numbers: from
 * the top of the 16-bit space, which VMs do not reach, or with 8 bits whatever is free at the top.
 */
import { EBUSY, EINVAL } from "./errno";
import {
  header, H_OBJECTS, H_VMID_BITS, H_VMID_CURSOR, H_VMID_GENERATION, H_VMID_LOCK, OBJECT_BYTES, objects, thisThread, VMIDS, vmids,
} from "./layout";
import { numberOf, OWN_VMID, Pgt, STAGE2 } from "./pgt";
import { awaitChange } from "./sync/wait";
import { ALL_THREADS, ALLE1, announce } from "./tlbi";

// @ts-ignore: decorator
@inline export const VMID_BITS: u32 = 16;
/** In a 16-bit space the numbers below are for page tables that say 8 bits. */
// @ts-ignore: decorator
@inline const WIDE_FIRST: u32 = 256;
// @ts-ignore: decorator
@inline const MAX_PINNED: u32 = 32767;
// @ts-ignore: decorator
@inline const VS: u64 = 1 << 19;

export function resetVmids(base: usize, bits: u32): void {
  store<u32>(base, bits, H_VMID_BITS);
  atomic.store<u64>(base, <u64>1 << bits, H_VMID_GENERATION);
  store<u32>(base, bits == VMID_BITS ? WIDE_FIRST : 1, H_VMID_CURSOR);
}

/** Width of VMIDs: 8 or 16. -EBUSY once a VM has run. */
export function setVmidBits(bits: u32): i32 {
  if (bits != 8 && bits != VMID_BITS) return -EINVAL;
  if (!isFresh()) return -EBUSY;
  resetVmids(header, bits);
  return 0;
}

function isFresh(): bool {
  return generation() == <u64>1 << bitsOf() && load<u32>(header, H_VMID_CURSOR) == firstNumber();
}

// @ts-ignore: decorator
@inline function bitsOf(): u32 { return load<u32>(header, H_VMID_BITS); }
// @ts-ignore: decorator
@inline function generation(): u64 { return atomic.load<u64>(header, H_VMID_GENERATION); }
// @ts-ignore: decorator
@inline function firstNumber(): u32 { return bitsOf() == VMID_BITS ? WIDE_FIRST : 1; }
/** The first number that VMs do not get. */
function endOfNumbers(): u32 {
  return bitsOf() == VMID_BITS ? VMIDS - 1 - min(load<u32>(header, H_OBJECTS), MAX_PINNED) : 1 << bitsOf();
}

// @ts-ignore: decorator
@inline export function numberIn(id: u64): u32 { return <u32>(id & ((<u64>1 << bitsOf()) - 1)); }
// @ts-ignore: decorator
@inline function isCurrent(id: u64): bool { return id >> bitsOf() == generation() >> bitsOf(); }
/** In place of an identity: nothing runs there. Its number is 0, which no VM has. */
// @ts-ignore: decorator
@inline function invalid(): u64 { return <u64>1 << bitsOf(); }

// ---- the bitmap: under the lock, or before anybody else is there --------------------------------------------------

// @ts-ignore: decorator
@inline function isTaken(number: u32): bool { return (load<u8>(vmids + (number >> 3)) >> (number & 7) & 1) != 0; }

function take(number: u32): void {
  const byte = vmids + (number >> 3);
  store<u8>(byte, load<u8>(byte) | (<u8>1 << <u8>(number & 7)));
}

function freeFrom(number: u32): u32 {
  const end = endOfNumbers();
  while (number < end && isTaken(number)) number++;
  return number < end ? number : 0;
}

// @ts-ignore: decorator
@inline function activeOf(cpu: u32): usize { return vmids + (VMIDS >> 3) + (<usize>(cpu - 1) << 4); }
// @ts-ignore: decorator
@inline function reservedOf(cpu: u32): usize { return activeOf(cpu) + 8; }

// ---- the lock ------------------------------------------------------------------------------------------------------

function lockVmids(): bool {
  const own = thisThread() + 1;
  while (true) {
    const owner = atomic.cmpxchg<u32>(header, 0, own, H_VMID_LOCK);
    if (owner == 0 || owner == own) return true; // its own: a trap ended the last allocation of this thread
    if (!awaitChange<u32>(header + H_VMID_LOCK, owner)) return false; // lost: another thread allocates, and does not end
  }
}

function unlockVmids(): void {
  atomic.store<u32>(header, 0, H_VMID_LOCK);
  atomic.notify(header + H_VMID_LOCK, 1);
}

/** The thread has ended in the middle of an allocation. */
export function forgetVmidLock(thread: u32): void { atomic.cmpxchg<u32>(header, thread + 1, 0, H_VMID_LOCK); }

// ---- pinned numbers ------------------------------------------------------------------------------------------------

/** A number that a page table outside of VMs has for as long as it lives. */
export function pinVmid(pgt: Pgt): void {
  const number = numberOf(changetype<usize>(pgt));
  if (pgt.has(OWN_VMID)) return;
  if (pgt.vtcr & VS || number > MAX_PINNED) {
    pgt.vmid = number > MAX_PINNED ? VMIDS + number : VMIDS - number; // those above fit into no VTTBR
    return;
  }
  if (bitsOf() == VMID_BITS) pgt.vmid = number < WIDE_FIRST ? WIDE_FIRST - number : VMIDS + number;
  else pinNarrow(pgt);
}

/** VMs have 8 bits too: the highest number that is free; those of tables that are gone are after a rollover. */
function pinNarrow(pgt: Pgt): void {
  pgt.vmid = VMIDS;
  if (!lockVmids()) return;
  let number = lastFree();
  if (!number) {
    rollOver();
    number = lastFree();
  }
  if (number) {
    take(number);
    pgt.vmid = number;
  }
  unlockVmids();
}

function lastFree(): u32 {
  let number: u32 = 255;
  while (number && isTaken(number)) number--;
  return number;
}

function takePinned(): void {
  const limit: u32 = 1 << bitsOf();
  const end = objects + <usize>load<u32>(header, H_OBJECTS) * OBJECT_BYTES;
  for (let slot = objects; slot < end; slot += OBJECT_BYTES) {
    const pgt = changetype<Pgt>(slot);
    if (atomic.load<u32>(slot) == STAGE2 && !pgt.has(OWN_VMID) && pgt.vmid < limit) take(pgt.vmid);
  }
}

// ---- numbers of VMs ------------------------------------------------------------------------------------------------

/** A rollover happened in this thread's last `loadVmid`. */
export let rolledOver: bool = false;

/** In place of an identity: CPUs run with all the numbers there are. */
// @ts-ignore: decorator
@inline export const NO_NUMBER: u64 = u64.MAX_VALUE;

/**
 * The CPU is about to run the VM whose identity is at `word`. The identity; 0 if the lock is not to be had, NO_NUMBER.
 * The quick way is lost to a rollover that takes the active slot away: then the identity is not current any more.
 */
export function loadVmid(word: usize, cpu: u32): u64 {
  rolledOver = false;
  const slot = activeOf(cpu);
  const active = atomic.load<u64>(slot);
  const id = atomic.load<u64>(word);
  if (active != 0 && isCurrent(id) && atomic.cmpxchg<u64>(slot, active, id) == active) return id;
  if (!lockVmids()) return 0;
  let now = atomic.load<u64>(word);
  if (!isCurrent(now)) {
    now = renew(now);
    if (now != NO_NUMBER) atomic.store<u64>(word, now);
  }
  if (now != NO_NUMBER) atomic.store<u64>(slot, now);
  unlockVmids();
  return now;
}

/** The CPU runs it no more: an idle CPU keeps no number through a rollover. */
export function putVmid(cpu: u32): void { atomic.store<u64>(activeOf(cpu), invalid()); }

/** The CPU is gone. */
export function forgetCpu(cpu: u32): void {
  atomic.store<u64>(activeOf(cpu), 0);
  atomic.store<u64>(reservedOf(cpu), 0);
}

function renew(id: u64): u64 {
  if (id != 0) {
    const number = numberIn(id);
    const same = generation() | number;
    if (keepReserved(id, same)) return same;
    if (!isTaken(number)) {
      take(number);
      return same;
    }
  }
  let number = freeFrom(load<u32>(header, H_VMID_CURSOR));
  if (number == 0) {
    rollOver();
    number = freeFrom(firstNumber());
    if (number == 0) return NO_NUMBER;
  }
  take(number);
  store<u32>(header, number + 1, H_VMID_CURSOR);
  return generation() | number;
}

/** Every CPU that has this identity reserved has it in the new generation. Whether any had. */
function keepReserved(id: u64, same: u64): bool {
  const cpus = load<u32>(header, H_OBJECTS);
  let kept = false;
  for (let cpu: u32 = 1; cpu <= cpus; cpu++) {
    if (load<u64>(reservedOf(cpu)) != id) continue;
    store<u64>(reservedOf(cpu), same);
    kept = true;
  }
  return kept;
}

/** A new generation. What CPUs run with right now stays taken; nothing of other numbers stays in any TLB. */
function rollOver(): void {
  rolledOver = true;
  atomic.store<u64>(header, generation() + (<u64>1 << bitsOf()), H_VMID_GENERATION);
  memory.fill(vmids, 0, VMIDS >> 3);
  takePinned();
  const cpus = load<u32>(header, H_OBJECTS);
  for (let cpu: u32 = 1; cpu <= cpus; cpu++) {
    let id = atomic.xchg<u64>(activeOf(cpu), 0);
    if (id == 0) id = load<u64>(reservedOf(cpu)); // it has not loaded anything since the last rollover
    if (id != 0) take(numberIn(id));
    store<u64>(reservedOf(cpu), id);
  }
  announce(ALLE1, 0, 0, 0, 0, 0, ALL_THREADS);
}
