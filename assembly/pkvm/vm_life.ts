/** The beginning and the end of a VM. */
import { createLasting, destroy as destroyCache } from "../cache";
import { EINVAL, EMFILE, ENOMEM, ETIMEDOUT } from "../errno";
import * as operate from "../operate";
import { LOCKING } from "../pgt";
import { freePrivate, privatePages, unitsFor } from "../private";
import { destroy } from "../visit/free";
import { rootBytes, startLevelOf } from "../vtcr";
import { completeTlbi, flushVmid } from "../maintenance";
import { admit, dismiss, lockBoth, lockBothAtLast, pin, unlockBoth, unpinLocked, unshareHypLocked } from "./hyp";
import { returnHostPage } from "./host_pages";
import { acquire, release } from "./locks";
import { Machine, makeTable, MAX_VMS, PROTECTED_GUESTS, VM_TABLE_LOCK } from "./machine";
import { takeLeaves } from "./vm_leaves";
import { entryOf, FREE, HANDLE_OFFSET, held, HypVm, MAX_VCPUS, RESERVED, takeEntry, takeOut, VCPU_BYTES, VCPUS, vmAt } from "./vms";

// Flags of a VM.
// @ts-ignore: decorator
@inline export const PROTECTED: u64 = 1;

/** Contiguous pages that the host gives for the root of a guest's table. */
export function entryTablePages(m: Machine): u32 {
  return <u32>(rootBytes(m.pageShift, m.paBits, startLevelOf(m.pageShift, m.paBits)) >> m.pageShift);
}

/**
 * `handle` 0: any free one. The host's struct kvm must be shared with the hypervisor, the pages of the VM's struct and entry table are
 * donated. `table`, `events`: more options of the guest's table. `isKept`: it has one reference to begin with. The handle, or -errno: then nothing has changed.
 */
export function initVm(
  m: Machine, handle: u64, kvmPfn: u64, vmPfn: u64, rootPfn: u64, vcpus: u64, flags: u64, table: u32, events: u32, isKept: bool,
): i32 {
  if (vcpus - 1 >= MAX_VCPUS || flags & ~PROTECTED || (flags & PROTECTED && !m.has(PROTECTED_GUESTS))) return -EINVAL;
  const word = m.word(VM_TABLE_LOCK);
  if (acquire(word) != 0) return -ETIMEDOUT;
  const index = handle ? reservedEntry(m, handle) : takeEntry(m);
  let result = index;
  if (index >= 0) {
    result = pin(m, kvmPfn, 1);
    if (result == 0) {
      result = makeVm(m, <u32>index, vmPfn, rootPfn, <u32>vcpus, flags, table | m.table, events | m.events);
      if (result == 0) {
        made.kvmPfn = kvmPfn;
        made.references = <u32>isKept;
      } else if (lockBothAtLast(m) == 0) {
        unpinLocked(m, kvmPfn, 1);
        unlockBoth(m);
      }
    }
    if (result != 0 && !handle) store<u32>(entryOf(m, <u32>index), FREE);
  }
  release(word);
  return result != 0 ? result : <i32>HANDLE_OFFSET + index;
}

/** The VM that the last `initVm` has made. */
export let made: HypVm = changetype<HypVm>(0);

function reservedEntry(m: Machine, handle: u64): i32 {
  const index = handle - HANDLE_OFFSET;
  return index < MAX_VMS && load<u32>(entryOf(m, <u32>index)) == RESERVED ? <i32>index : -EINVAL;
}

/** Everything that may fail comes before the VM can be found. */
function makeVm(m: Machine, index: u32, vmPfn: u64, rootPfn: u64, vcpus: u32, flags: u64, table: u32, events: u32): i32 {
  const units = unitsFor(VCPUS + <usize>vcpus * VCPU_BYTES);
  const page = privatePages(units);
  if (!page) return -ENOMEM;
  const vm = vmAt(page);
  vm.machinePointer = changetype<usize>(m);
  vm.index = index;
  vm.units = units;
  vm.isProtected = flags != 0;
  vm.created = vcpus;
  const given = admit(m, vm.list, vmPfn, 1) == 0 && admit(m, vm.list, rootPfn, entryTablePages(m)) == 0;
  vm.cache = given ? createLasting(m.pageShift) : 0;
  const pgt = vm.cache ? makeTable(m, table | LOCKING, events) : 0;
  if (!vm.cache || (pgt < 0 && pgt >= -4095)) {
    const result = !given ? -ENOMEM : vm.cache ? pgt : -EMFILE;
    undo(m, vm);
    return result;
  }
  vm.table = <usize>pgt;
  vm.pages = 1 + entryTablePages(m);
  store<u32>(entryOf(m, index), <u32>page); // nobody looks before the table's lock is free
  made = vm;
  return 0;
}

function undo(m: Machine, vm: HypVm): void {
  if (lockBothAtLast(m) == 0) { // else the pages stay the hypervisor's
    while (vm.admitted) dismiss(m, vm.list); // they are the caller's again
    unlockBoth(m);
  }
  freeVm(vm);
}

/** With the locks of host and hypervisor: what the host gave goes back to it, and to its list. */
function dismissAll(m: Machine, vm: HypVm): void {
  while (vm.admitted) returnHostPage(m, dismiss(m, vm.list));
}

function freeVm(vm: HypVm): void {
  if (vm.cache) destroyCache(vm.cache);
  freePrivate(changetype<usize>(vm), vm.units);
}

/**
 * A VM that nobody refers to ends: its leaves are unshared or reclaimed, its VMID flushed, then its pages are the host's again. `isKept`:
 * the host's MMU code has the one reference, the mmu_lock, and the object of the page table; its struct kvm is unshared too. All locks are
 * taken first: -ENOENT, -EBUSY, -ETIMEDOUT, and nothing has changed.
 */
export function teardownVm(m: Machine, handle: u64, isKept: bool): i32 {
  const word = m.word(VM_TABLE_LOCK);
  if (acquire(word) != 0) return -ETIMEDOUT;
  let result = lockBoth(m);
  if (result == 0) {
    result = takeOut(m, handle, <u32>isKept);
    if (result == 0) empty(m, held, isKept);
    unlockBoth(m);
  }
  release(word);
  if (result == 0) bury(held, isKept);
  return result;
}

function empty(m: Machine, vm: HypVm, isKept: bool): void {
  takeLeaves(m, vm);
  flushVmid(vm.pgt);
  completeTlbi(vm.pgt);
  unpinLocked(m, vm.kvmPfn, 1);
  if (isKept && unshareHypLocked(m, vm.kvmPfn) == 0) returnHostPage(m, vm.kvmPfn);
  dismissAll(m, vm);
}

function bury(vm: HypVm, isKept: bool): void {
  const pgt = vm.pgt;
  freeVm(vm);
  if (isKept) {
    destroy(pgt);
    return;
  }
  operate.destroy(pgt);
  operate.release(pgt);
}
