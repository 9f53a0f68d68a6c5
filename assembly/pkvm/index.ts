/** The ABI of pKVM: machines, hypercalls, and the host's side of guests. */
import { argument, setResult, thread, T_LOADED, T_MACHINE } from "../layout";
import { word } from "../number";
import { refuse, vcpuInside } from "../operation";
import { Pgt } from "../pgt";
import { unpack } from "../prot";
import * as el1 from "./el1/operate";
import { createGuest, usualVcpus } from "./el1/life";
import { el1Of, OF_THREAD } from "./el1/object";
import { call } from "./hypercalls";
import { returnHostPage, takeHostPages } from "./host_pages";
import { addRegion, createMachine, machineAt, machineGeneration, regionAt } from "./machine";
import { destroyMachine, initMachine } from "./machine_life";
import { CAPACITY, createMemcache, destroyMemcache, memcacheAt, topUpMemcache } from "./memcache";
import { beginWaiting } from "../sync/wait";
import { indexOf } from "./vcpus";
import { held, hold, HypVcpu, letGo, vcpuAt } from "./vms";
import { EINVAL, ENOENT, ENOMEM } from "../errno";

// @ts-ignore: decorator
@inline function table(pointer: usize): Pgt { return changetype<Pgt>(pointer); }

// ---- machines ------------------------------------------------------------------------------------------------------------

export function pkvm_create(pageShift: u32, paBits: u32, options: u32): i32 { return createMachine(pageShift, paBits, options); }
export function pkvm_add_region(m: usize, flags: u32): i32 { return addRegion(machineAt(m), argument(0), argument(1), flags); }

export function pkvm_init(m: usize, table: u32, events: u32): i32 {
  return initMachine(machineAt(m), table, events);
}

export function pkvm_destroy(m: usize): i32 { return vcpuInside() ? refuse() : destroyMachine(machineAt(m)); }
export function pkvm_generation(m: usize): u32 { return machineGeneration(m); }

export function pkvm_describe(pointer: usize): u32 {
  const m = machineAt(pointer);
  setResult(0, m.host);
  setResult(1, m.hyp);
  setResult(2, m.paBits);
  setResult(3, m.options);
  setResult(4, m.regions);
  setResult(5, m.listFree);
  setResult(6, m.listPages);
  setResult(7, m.quota);
  return m.pageShift;
}

export function pkvm_region(m: usize, index: u32): i32 {
  if (index >= machineAt(m).regions) return -ENOENT;
  const region = regionAt(machineAt(m), index);
  setResult(0, region.base);
  setResult(1, region.bytes);
  setResult(2, region.flags);
  setResult(3, region.records);
  return 0;
}

export function pkvm_call(m: usize, number: u32): i32 { return call(machineAt(m), number); }

export function pkvm_vm(m: usize, handle: u32): i32 {
  if (hold(machineAt(m), handle) != 0) return -ENOENT;
  const vm = held;
  setResult(0, vm.table);
  setResult(1, vm.created);
  setResult(2, vm.made);
  setResult(3, vm.references - 1); // but for this look
  setResult(4, <u64>vm.isProtected | <u64>vm.dying << 1);
  setResult(5, vm.pages);
  setResult(6, vm.cached);
  setResult(7, vm.spare);
  letGo(vm);
  return 0;
}

export function pkvm_vcpu(m: usize, handle: u32, index: u32): i32 {
  if (hold(machineAt(m), handle) != 0) return -ENOENT;
  const vm = held;
  setResult(0, index < vm.made ? vcpuAt(vm, index).loaded : 0);
  const pages = index < vm.made ? <i32>vcpuAt(vm, index).pages : -ENOENT;
  letGo(vm);
  return pages;
}

export function pkvm_loaded(m: usize): u32 {
  const loaded = <usize>atomic.load<u32>(thread, T_LOADED);
  if (!loaded || load<u32>(thread, T_MACHINE) != <u32>m) return 0;
  const vcpu = changetype<HypVcpu>(loaded);
  setResult(0, indexOf(vcpu));
  return <u32>vcpu.vm.handle;
}

export function pkvm_host_page(m: usize): f64 {
  beginWaiting();
  const page = takeHostPages(machineAt(m), 1);
  return page < 0 ? -ENOMEM : <f64>page;
}

export function pkvm_host_page_free(m: usize, page: f64): void { returnHostPage(machineAt(m), word(page)); }

// ---- EL1 -----------------------------------------------------------------------------------------------------------------

export function el1_create(m: usize, vcpus: u32, flags: u32, table: u32, events: u32): i32 {
  const count = vcpus ? vcpus : usualVcpus();
  beginWaiting();
  return vcpuInside() ? refuse() : createGuest(machineAt(m), count, count, flags, table, events);
}

export function el1_destroy(pgt: usize): i32 { return el1.destroy(table(pgt)); }

export function el1_map(pgt: usize, ia: f64, size: f64, pa: f64, prot: i32, flags: u32, cache: usize): i32 {
  return el1.map(table(pgt), word(ia), word(size), word(pa), unpack(prot), flags, cache, OF_THREAD);
}

export function el1_unmap(pgt: usize, ia: f64, size: f64): i32 { return el1.unmap(table(pgt), word(ia), word(size)); }
export function el1_wrprotect(pgt: usize, ia: f64, size: f64): i32 { return el1.writeProtect(table(pgt), word(ia), word(size)); }
export function el1_flush(pgt: usize, ia: f64, size: f64): i32 { return el1.flush(table(pgt), word(ia), word(size)); }

export function el1_test_clear_young(pgt: usize, ia: f64, size: f64, mkold: bool): i32 {
  return el1.testClearYoung(table(pgt), word(ia), word(size), mkold);
}

export function el1_relax_perms(pgt: usize, ia: f64, prot: i32): i32 {
  return el1.relaxPermissions(table(pgt), word(ia), unpack(prot), OF_THREAD);
}

export function el1_mkyoung(pgt: usize, ia: f64): i32 { return el1.makeYoung(table(pgt), word(ia), OF_THREAD); }
export function el1_split(pgt: usize): i32 { return el1.unsupported(table(pgt)); }

export function el1_create_unlinked(pgt: usize): usize {
  el1.unsupported(table(pgt));
  return 0;
}

export function el1_free_unlinked(pgt: usize): void { el1.unsupported(table(pgt)); }
export function el1_tlb_flush(pgt: usize): i32 { return el1.tlbFlush(table(pgt)); }

export function el1_mapping(pgt: usize, ia: f64): i32 {
  return el1.mappingBehind(table(pgt), word(ia));
}

export function el1_describe(pgt: usize): void {
  for (let word: u32 = 0; word < 8; word++) setResult(word, 0);
  if (!table(pgt).el1) return;
  const e = el1Of(table(pgt));
  setResult(0, e.machinePointer);
  setResult(1, e.handle);
  setResult(2, e.mappings.records);
  setResult(3, e.mappings.pages);
  setResult(4, e.mappings.height);
  setResult(5, e.warnings);
  setResult(6, e.retries);
  setResult(7, e.longest);
}

/** So many EPERMs in a row on one gfn are told as EAGAIN, 0: any number. */
export function el1_set_retry_limit(pgt: usize, limit: u32): void {
  if (table(pgt).el1) el1Of(table(pgt)).limit = limit;
}

// ---- memcaches -------------------------------------------------------------------------------------------------------------

export function memcache_create(m: usize): usize {
  beginWaiting();
  return createMemcache(machineAt(m));
}

export function memcache_topup(cache: usize, pages: u32): i32 {
  return pages > CAPACITY ? -EINVAL : topUpMemcache(memcacheAt(cache), pages);
}

export function memcache_count(cache: usize): u32 {
  setResult(0, <u64>memcacheAt(cache).room);
  return memcacheAt(cache).count;
}

export function memcache_destroy(cache: usize): void { destroyMemcache(memcacheAt(cache)); }
