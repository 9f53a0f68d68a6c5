/**
 * Where a VM's page table is the host's own, its operations are those of the page-table library; where it is the hypervisor's, they are
 * hypercalls (KVM_PGT_FN). Nobody above has to know.
 */
import { fill } from "../cache";
import { ENOMEM } from "../errno";
import * as operate from "../operate";
import { Pgt } from "../pgt";
import * as el1 from "../pkvm/el1/operate";
import { prepareVcpu } from "../pkvm/el1/life";
import { el1Of } from "../pkvm/el1/object";
import { machineAt } from "../pkvm/machine";
import { createMemcache, destroyMemcache, memcacheAt, topUpMemcache } from "../pkvm/memcache";
import { CACHE_CAPACITY, Context } from "./context";
import { tableOf, Vm } from "./vm";

export function map(c: Context, pgt: Pgt, ipa: u64, size: u64, pa: u64, prot: u64, flags: u32): i32 {
  return pgt.el1 ? el1.map(pgt, ipa, size, pa, prot, flags, c.memcache, c.id) : operate.map(pgt, ipa, size, pa, prot, flags, c.cache);
}

export function relaxPermissions(c: Context, pgt: Pgt, ipa: u64, prot: u64): i32 {
  return pgt.el1 ? el1.relaxPermissions(pgt, ipa, prot, c.id) : operate.relaxPermissions(pgt, ipa, prot);
}

export function makeYoung(c: Context, pgt: Pgt, ipa: u64): i32 {
  return pgt.el1 ? el1.makeYoung(pgt, ipa, c.id) : operate.makeYoung(pgt, ipa);
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
  return result == 0 ? prepareVcpu(tableOf(vm), c.id) : result;
}

/** Whether the hypervisor has made a vCPU of this VM: it does at its first fault. */
export function hasRun(vm: Vm): bool { return vm.pgt != 0 && tableOf(vm).el1 != 0 && el1Of(tableOf(vm)).vm.made != 0; }

/** Pages that the host has set aside for the hypervisor are free again. */
export function dropMemcache(c: Context): void {
  if (c.memcache) destroyMemcache(memcacheAt(c.memcache));
  c.memcache = 0;
}
