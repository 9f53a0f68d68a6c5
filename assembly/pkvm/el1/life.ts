/** Making a guest whose page table is the hypervisor's, and its end: pkvm_create_hyp_vm, pkvm_pgtable_init, _destroy. */
import { EBUSY, ENOMEM } from "../../errno";
import { header, H_THREADS, shared } from "../../layout";
import * as operate from "../../operate";
import { settle } from "../../operation";
import { LOCKLESS_AGING, OWN_LOCK, Pgt } from "../../pgt";
import { freePrivate, privatePages } from "../../private";
import { isHosts, lockBothAtLast, ROUNDS, shareHyp, unlockBoth, unshareHypLocked } from "../hyp";
import { returnHostPage, takeHostPages } from "../host_pages";
import { Machine, MAPPINGS_LOCK, VM_TABLE_LOCK } from "../machine";
import { nap } from "../../sync/wait";
import { clear } from "../mappings/tree";
import { createMemcache, destroyMemcache, memcacheAt } from "../memcache";
import { initVcpu, putBorrowed } from "../vcpus";
import { entryTablePages, initVm, made, teardownVm } from "../vm_life";
import { changeReferences, MAX_VCPUS } from "../vms";
import { El1, el1Of } from "./object";
import { unshareAll } from "./range";

/** Pointer of its page table, or -errno: then nothing has changed. `vcpus`: as many may be made; `made`: as many are. */
export function createGuest(m: Machine, vcpus: u32, made: u32, flags: u32, table: u32, events: u32): i32 {
  const page = privatePages(1);
  if (!page) return -ENOMEM;
  table &= ~LOCKLESS_AGING; // the mappings are read under the lock
  if (m.has(MAPPINGS_LOCK)) table |= OWN_LOCK;
  const e = changetype<El1>(page);
  e.machinePointer = changetype<usize>(m);
  e.memcache = createMemcache(m);
  let result = e.memcache ? makeVm(e, m, vcpus, flags, table, events) : -ENOMEM;
  for (let index: u32 = 0; index < made && result == 0; index++) result = min(addVcpu(e), 0);
  if (result != 0) endAtLast(e);
  settleMachine(m);
  if (result != 0) return result;
  e.vm.pgt.el1 = page;
  return <i32>e.vm.table;
}

function makeVm(e: El1, m: Machine, vcpus: u32, flags: u32, table: u32, events: u32): i32 {
  const kvm = takeHostPages(m, 1);
  const vm = takeHostPages(m, 1);
  const root = takeHostPages(m, entryTablePages(m));
  let result = kvm >= 0 && vm >= 0 && root >= 0 ? shareHyp(m, kvm) : -ENOMEM;
  if (result == 0) {
    result = initVm(m, 0, kvm, vm, root, vcpus, flags, table, events, true);
    if (result > 0) {
      e.handle = result;
      e.vmPointer = changetype<usize>(made);
      return 0;
    }
    if (lockBothAtLast(m) == 0) {
      unshareHypLocked(m, kvm);
      unlockBoth(m);
    }
  }
  takeBack(m, kvm, 1);
  takeBack(m, vm, 1);
  takeBack(m, root, entryTablePages(m));
  return result;
}

/** Pages that were taken from the list, those that are the host's still, or again. */
function takeBack(m: Machine, first: i64, count: u32): void {
  for (let pfn = first; first >= 0 && pfn < first + count; pfn++) if (isHosts(m, pfn)) returnHostPage(m, pfn);
}

/** One more vCPU, with a page of the host's: its index. */
export function addVcpu(e: El1): i32 {
  const pfn = takeHostPages(e.machine, 1);
  if (pfn < 0) return -ENOMEM;
  const index = initVcpu(e.machine, e.handle, pfn);
  if (index >= 0) return index;
  returnHostPage(e.machine, pfn);
  return index;
}

/** Beside a guest's table, hypercalls change the host's and the hypervisor's: what went out of them is freed. */
export function settleMachine(m: Machine): void {
  if (!shared) return;
  settle(m.hostTable, false);
  settle(m.hypTable, false);
}

/** vCPUs for a table of its own: one for each thread that there can be. */
export function usualVcpus(): u32 { return min(load<u32>(header, H_THREADS), MAX_VCPUS); }

/**
 * Unshares what is mapped, then ends the VM: 0, or -EBUSY, as a vCPU is loaded by hand. The object of the page table is the caller's to
 * release. With the write side of the mmu_lock, so no CPU is in the middle of a call.
 */
export function destroyGuest(pgt: Pgt): i32 {
  const e = el1Of(pgt);
  putBorrowed(e.machine, e.handle);
  if (changeReferences(e.vm, 0) != 1) return -EBUSY;
  unshareAll(e);
  const result = endGuest(e, true);
  if (result == 0) pgt.el1 = 0;
  return result;
}

/** The same for who cannot say that it is not possible now: a call of another thread may refer to the VM, or have a lock. */
function endAtLast(e: El1): void {
  const word = e.machine.word(VM_TABLE_LOCK);
  let result = endGuest(e, false);
  for (let rounds = ROUNDS; result != 0 && rounds; rounds--) {
    nap<u32>(word, 0);
    result = endGuest(e, false);
  }
}

/** `keeps`: the object of the page table. */
function endGuest(e: El1, keeps: bool): i32 {
  const m = e.machine;
  if (e.handle) {
    const pgt = e.vm.pgt;
    const result = teardownVm(m, e.handle, true);
    if (result != 0) return result; // a vCPU was loaded at the last moment, or somebody does not let go of a lock
    if (!keeps) operate.release(pgt);
  }
  clear(e.mappings);
  if (e.memcache) destroyMemcache(memcacheAt(e.memcache));
  freePrivate(changetype<usize>(e), 1);
  return 0;
}
