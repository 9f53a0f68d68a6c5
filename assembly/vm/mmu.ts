/**
 * Where a VM's page table is the host's own, its operations are those of the page-table library; where it is the hypervisor's, they are
 * hypercalls (KVM_PGT_FN). Nobody above has to know.
 */
import { fill } from "../cache";
import { ENOMEM } from "../errno";
import * as operate from "../operate";
import { Pgt } from "../pgt";
import * as el1 from "../pkvm/el1/operate";
import { addVcpu } from "../pkvm/el1/life";
import { el1Of } from "../pkvm/el1/object";
import { machineAt } from "../pkvm/machine";
import { createMemcache, destroyMemcache, memcacheAt, topUpMemcache } from "../pkvm/memcache";
import { CACHE_CAPACITY, Context } from "./context";
import { HYP_VCPUS, MAX_CONTEXTS, tableOf, Vm } from "./vm";

export function map(c: Context, pgt: Pgt, ipa: u64, size: u64, pa: u64, prot: u64, flags: u32): i32 {
  return pgt.el1 ? el1.map(pgt, ipa, size, pa, prot, flags, c.memcache, c.hypVcpu - 1) : operate.map(pgt, ipa, size, pa, prot, flags, c.cache);
}

export function relaxPermissions(c: Context, pgt: Pgt, ipa: u64, prot: u64): i32 {
  return pgt.el1 ? el1.relaxPermissions(pgt, ipa, prot, c.hypVcpu - 1) : operate.relaxPermissions(pgt, ipa, prot);
}

export function makeYoung(c: Context, pgt: Pgt, ipa: u64): i32 {
  return pgt.el1 ? el1.makeYoung(pgt, ipa, c.hypVcpu - 1) : operate.makeYoung(pgt, ipa);
}

export function unmap(pgt: Pgt, ipa: u64, size: u64): i32 {
  return pgt.el1 ? el1.unmap(pgt, ipa, size) : operate.unmap(pgt, ipa, size);
}

export function writeProtect(pgt: Pgt, ipa: u64, size: u64): i32 {
  return pgt.el1 ? el1.writeProtect(pgt, ipa, size) : operate.writeProtect(pgt, ipa, size);
}

export function flush(pgt: Pgt, ipa: u64, size: u64): i32 {
  return pgt.el1 ? el1.flush(pgt, ipa, size) : operate.flush(pgt, ipa, size);
}

export function testClearYoung(pgt: Pgt, ipa: u64, size: u64, clear: bool): i32 {
  return pgt.el1 ? el1.testClearYoung(pgt, ipa, size, clear) : operate.testClearYoung(pgt, ipa, size, clear);
}

export function tlbFlushRange(pgt: Pgt, ipa: u64, size: u64): i32 {
  return pgt.el1 ? el1.tlbFlush(pgt) : operate.tlbFlushRange(pgt, ipa, size);
}

export function destroy(pgt: Pgt): i32 { return pgt.el1 ? el1.destroy(pgt) : operate.destroy(pgt); }

/** What a fault may need is there before anything is locked: table pages, or pages for the hypervisor, and a vCPU of its. */
export function topUp(c: Context): i32 {
  const vm = c.vm;
  if (!vm.machine) return fill(c.cache, vm.minPages, CACHE_CAPACITY);
  if (!vm.pgt) return 0; // nothing can be mapped, and the machine may be gone
  if (!c.memcache) c.memcache = createMemcache(machineAt(vm.machine));
  if (!c.memcache) return -ENOMEM;
  const result = topUpMemcache(memcacheAt(c.memcache), vm.minPages);
  return result == 0 && !c.hypVcpu ? takeVcpu(vm, c) : result;
}

/** A vCPU of the hypervisor's that no context has, or a new one. */
function takeVcpu(vm: Vm, c: Context): i32 {
  const e = el1Of(tableOf(vm));
  for (let index: u32 = 0; index < MAX_CONTEXTS; index++) {
    if (index == e.vm.made) {
      const added = addVcpu(e);
      if (added < 0) return added;
    }
    const owner = vm.word(HYP_VCPUS) + (<usize>index << 1);
    if (atomic.cmpxchg<u16>(owner, 0, <u16>(c.id + 1)) != 0) continue; // another context has it, or was first
    c.hypVcpu = index + 1;
    return 0;
  }
  return -ENOMEM;
}

/** Whether the hypervisor has made a vCPU of this VM: it does at its first fault. */
export function hasRun(vm: Vm): bool { return vm.pgt != 0 && tableOf(vm).el1 != 0 && el1Of(tableOf(vm)).vm.made != 0; }

/** Pages that the host has set aside for the hypervisor are free again. */
export function dropMemcache(c: Context): void {
  if (c.memcache) destroyMemcache(memcacheAt(c.memcache));
  c.memcache = 0;
}

/** The context ends, or its VM: what it had under pKVM is another's to use. */
export function leaveMachine(c: Context): void {
  dropMemcache(c);
  if (c.hypVcpu) atomic.store<u16>(c.vm.word(HYP_VCPUS) + (<usize>(c.hypVcpu - 1) << 1), 0);
  c.hypVcpu = 0;
}
