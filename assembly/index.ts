/**
 * The ABI: functions only, sorted by object. Addresses and sizes cross as f64 (exact to 2^53; `u64` via i64, as that
 * compiles better), pointers and counts as i32, results as 0, a value, or -errno. `_u64` twins take addresses, sizes
 * and prot from the argument block as raw words.
 */
import * as cache from "./cache";
import { addressField, outputAddress } from "./descriptor";
import * as engine from "./engine";
import { makeWritable } from "./entry";
import { EDEADLK, ETIMEDOUT } from "./errno";
import * as events from "./events";
import { leafLevel, leafSizes, levelShift, stage2Levels } from "./geometry";
import {
  argument, BATCH_RECORDS, header, H_BUDGET, H_EVENTS, H_PEAK, H_PHYS, H_RETIRING, H_THREADS, H_UNITS, H_USED, overhead, pool,
  ring, scratch, setResult, share, S_ARGS, S_BATCH, thisThread, VERSION,
} from "./layout";
import * as monitor from "./monitor";
import { word } from "./number";
import * as operate from "./operate";
import { ownResult, READ_SIDE, refuse, settle, settleAll, settleOrphans, takeLock, vcpuInside, WRITE_SIDE } from "./operation";
import { GUARDED, HVHE, HYP, liveGeneration, LPA2, Pgt, setEvents, tableOf } from "./pgt";
import { putVcpu } from "./pkvm/vcpus";
import * as pools from "./pool";
import { hypProt, memoryProt, stage2Prot, unpack } from "./prot";
import { reclaim } from "./reclaim";
import * as lock from "./sync/lock";
import { enterWalk, insideWalk, leaveWalk } from "./sync/section";
import { configureThread, flagsOf, isTaken, lockOf, vcpuOf } from "./sync/thread";
import { beginWaiting, isLate, lateReason, lateThread, lateThreads, lateVcpu } from "./sync/wait";
import { recount } from "./visit/count";
import { destroy } from "./visit/free";
import { list, listUnlinked } from "./visit/list";
import { destroyContextsOf } from "./vm/life";
import { hostPARange, rootBytes, startLevelOf, vtcr } from "./vtcr";

// @ts-ignore: decorator
@inline function table(pointer: usize): Pgt { return changetype<Pgt>(pointer); }

// ---- engine ----------------------------------------------------------------------------------------------------

export function engine_overhead(units: u32, threads: u32, objects: u32, records: u32): f64 {
  return <f64>overhead(units, threads, objects, records);
}

export function engine_init(
  base: usize, bytes: f64, phys: f64, units: u32, threads: u32, objects: u32, records: u32, growable: bool,
): i32 {
  return engine.initialise(base, word(bytes), word(phys), units, threads, objects, records, growable);
}

export function engine_attach(base: usize): i32 { return engine.attach(base); }
export function engine_detach(): i32 {
  if (engine.mayLeave()) {
    destroyContextsOf(thisThread());
    putVcpu();
  }
  return engine.detach();
}
export function engine_share(): void { share(); }
export function engine_waiting(): u32 { return atomic.load<u32>(header, H_RETIRING); }

/** Pages of tables that still live are freed by their own operations. */
export function engine_quiesce(): i32 {
  if (vcpuInside()) return refuse();
  if (insideWalk()) return -EDEADLK;
  beginWaiting();
  settleAll();
  return settleOrphans(true) && !isLate() ? 0 : -ETIMEDOUT;
}
export function engine_version(): u32 { return VERSION; }
export function engine_version_at(base: usize): u32 { return engine.versionAt(base); }
export function args(): usize { return scratch + S_ARGS; }
export function batch(): usize { return scratch + S_BATCH; }
export function batch_capacity(): u32 { return BATCH_RECORDS; }

// ---- threads ---------------------------------------------------------------------------------------------------

export function thread_number(): u32 { return thisThread(); }
export function thread_slots(): u32 { return load<u32>(header, H_THREADS); }

export function thread_configure(blocks: bool, spins: u32, patience: u32): void {
  configureThread(blocks, spins, patience);
}

export function thread_describe(number: u32): bool {
  if (!isTaken(number)) return false;
  setResult(0, flagsOf(number));
  setResult(1, vcpuOf(number));
  setResult(2, tableOf(lockOf(number)));
  return true;
}

export function thread_reclaim(number: u32): i32 { return reclaim(number); }

export function late(): void {
  setResult(0, lateThread);
  setResult(1, lateVcpu);
  setResult(2, lateReason);
  setResult(3, lateThreads);
  setResult(4, <u64><i64>ownResult);
}

// ---- mmu_lock --------------------------------------------------------------------------------------------------

export function lock_read(pgt: usize): i32 {
  beginWaiting();
  return takeLock(table(pgt), READ_SIDE);
}

export function lock_write(pgt: usize): i32 {
  beginWaiting();
  return takeLock(table(pgt), WRITE_SIDE);
}

export function lock_try_read(pgt: usize): i32 { return lock.tryRead(table(pgt).lock); }
export function lock_try_write(pgt: usize): i32 { return lock.tryWrite(table(pgt).lock); }
export function lock_claim_read(pgt: usize): i32 { return lock.claimRead(table(pgt).lock); }
export function lock_abandon_read(pgt: usize): void { lock.abandonRead(table(pgt).lock); }
export function lock_claim_write(pgt: usize): i32 { return lock.claimWrite(table(pgt).lock); }
export function lock_abandon_write(pgt: usize): void { lock.abandonWrite(table(pgt).lock); }
export function lock_state(pgt: usize): void { lock.describeLock(table(pgt).lock); }
export function unlock_write(pgt: usize): i32 { return lock.unlockWrite(table(pgt).lock); }

/** What operations inside it put aside is freed now. */
export function unlock_read(pgt: usize): i32 {
  const result = lock.unlockRead(table(pgt).lock);
  if (result == 0) settle(table(pgt), false);
  return result;
}

// ---- pool ------------------------------------------------------------------------------------------------------

export function pool_pointer(): usize { return pool; }
export function pool_phys(): f64 { return <f64>load<u64>(header, H_PHYS); }
export function pool_used(): u32 { return atomic.load<u32>(header, H_USED); }
export function pool_peak(): u32 { return load<u32>(header, H_PEAK); }
export function pool_capacity(): u32 { return load<u32>(header, H_UNITS); }
export function pool_budget(): u32 { return load<u32>(header, H_BUDGET); }
export function pool_set_budget(units: u32): void { store<u32>(header, units, H_BUDGET); }
export function pool_references(pointer: usize): u32 { return pools.references(pools.pageOf(pointer, 12)); }
export function pool_alloc_private(pageShift: u32): usize {
  const page = pools.allocate(pageShift, 1);
  if (page) pools.setPrivate(page, pageShift, 1);
  return page;
}
export function pool_free(page: usize, pageShift: u32): void { pools.free(page, pageShift, 1); }
export function pool_alloc(pageShift: u32): usize { return pools.allocate(pageShift, 1); }

// ---- caches ----------------------------------------------------------------------------------------------------

export function cache_create(pageShift: u32): usize { return cache.create(pageShift); }
export function cache_topup(pointer: usize, pages: u32): i32 { return cache.topUp(pointer, pages); }
export function cache_count(pointer: usize): u32 { return cache.countOf(pointer); }
export function cache_destroy(pointer: usize): void { cache.destroy(pointer); }

// ---- page tables -----------------------------------------------------------------------------------------------

export function s2_init(pageShift: u32, ipaBits: u32, options: u32, mask: u32): i32 {
  return engine.stage2Init(pageShift, ipaBits, options, mask);
}

export function hyp_init(pageShift: u32, vaBits: u32, options: u32, mask: u32): i32 {
  return engine.hypInit(pageShift, vaBits, options, mask);
}

export function pgt_create(
  kind: u32, pageShift: u32, iaBits: u32, startLevel: i32, options: u32, rootPages: u32,
): i32 {
  return engine.createShaped(kind, pageShift, iaBits, startLevel, options, rootPages);
}

export function pgt_destroy(pgt: usize): i32 { return operate.destroy(table(pgt)); }

export function pgt_release(pgt: usize): void { operate.release(table(pgt)); }
/** 0: anybody's; 1: a hypervisor's (pkvm/); 2: the same of a guest that a host's MMU code keeps. */
export function pgt_guarded(pgt: usize): u32 { return table(pgt).has(GUARDED) ? (table(pgt).el1 ? 2 : 1) : 0; }
export function pgt_options(pgt: usize): u32 { return table(pgt).options; }
export function pgt_vmid(pgt: usize): u32 { return table(pgt).vmid; }
export function pgt_set_events(pgt: usize, mask: u32): void { setEvents(table(pgt), mask); }
export function pgt_root(pgt: usize): usize { return table(pgt).root; }
export function pgt_generation(pgt: usize): u32 { return liveGeneration(pgt); }
export function pgt_pages(pgt: usize): u32 { return table(pgt).tables; }
export function pgt_recount(pgt: usize): u32 { return recount(table(pgt)); }

export function pgt_list(pgt: usize, want: u32): i32 {
  const entered = enterWalk();
  const count = list(table(pgt), want);
  if (entered) leaveWalk();
  return count;
}

export function pgt_list_unlinked(pgt: usize, page: usize, level: i32, want: u32): i32 {
  return listUnlinked(table(pgt), page, level, want);
}

// ---- stage 2 ---------------------------------------------------------------------------------------------------

export function s2_map(pgt: usize, ia: f64, size: f64, pa: f64, prot: i32, flags: u32, source: usize): i32 {
  return operate.map(table(pgt), word(ia), word(size), word(pa), unpack(prot), flags, source);
}

export function s2_set_owner(pgt: usize, ia: f64, size: f64, owner: u32, source: usize): i32 {
  return operate.setOwner(table(pgt), word(ia), word(size), owner, source);
}

export function s2_unmap(pgt: usize, ia: f64, size: f64): i32 {
  return operate.unmap(table(pgt), word(ia), word(size));
}

export function s2_wrprotect(pgt: usize, ia: f64, size: f64): i32 {
  return operate.writeProtect(table(pgt), word(ia), word(size));
}

export function s2_flush(pgt: usize, ia: f64, size: f64): i32 {
  return operate.flush(table(pgt), word(ia), word(size));
}

export function s2_test_clear_young(pgt: usize, ia: f64, size: f64, mkold: bool): i32 {
  return operate.testClearYoung(table(pgt), word(ia), word(size), mkold);
}

export function s2_relax_perms(pgt: usize, ia: f64, prot: i32): i32 {
  return operate.relaxPermissions(table(pgt), word(ia), unpack(prot));
}

export function s2_mkyoung(pgt: usize, ia: f64): i32 { return operate.makeYoung(table(pgt), word(ia)); }

export function s2_split(pgt: usize, ia: f64, size: f64, source: usize): i32 {
  return operate.split(table(pgt), word(ia), word(size), source);
}

export function s2_create_unlinked(
  pgt: usize, pa: f64, level: i32, prot: i32, source: usize, pagesOnly: bool,
): usize {
  return operate.createUnlinked(table(pgt), word(pa), level, unpack(prot), source, pagesOnly);
}

export function s2_free_unlinked(pgt: usize, page: usize, level: i32): void {
  operate.freeUnlinked(table(pgt), page, level);
}

export function s2_get_leaf(pgt: usize, ia: f64): i32 { return operate.getLeaf(table(pgt), word(ia)); }
export function s2_lookup(pgt: usize, ia: f64): f64 { return operate.lookup(table(pgt), word(ia)); }
export function s2_entry(pgt: usize, ia: f64): usize { return operate.entryAt(table(pgt), word(ia)); }

export function s2_walk(
  pgt: usize, ia: f64, size: f64, flags: u32, skip: u32, stopAt: u32, stopResult: i32,
): i32 {
  return operate.walk(table(pgt), word(ia), word(size), flags, skip, stopAt, stopResult);
}

export function s2_tlb_flush_range(pgt: usize, ia: f64, size: f64): i32 {
  return operate.tlbFlushRange(table(pgt), word(ia), word(size));
}

// ---- hypervisor stage 1 ----------------------------------------------------------------------------------------

export function hyp_map(pgt: usize, ia: f64, size: f64, pa: f64, prot: i32, source: usize): i32 {
  return operate.hypMap(table(pgt), word(ia), word(size), word(pa), unpack(prot), source);
}

export function hyp_unmap(pgt: usize, ia: f64, size: f64): f64 {
  return <f64><i64>operate.hypUnmap(table(pgt), word(ia), word(size));
}

// ---- raw twins: [0] ia, [1] size, [2] pa, [3] prot -------------------------------------------------------------

export function s2_map_u64(pgt: usize, flags: u32, source: usize): i32 {
  return operate.map(table(pgt), argument(0), argument(1), argument(2), argument(3), flags, source);
}

export function s2_set_owner_u64(pgt: usize, owner: u32, source: usize): i32 {
  return operate.setOwner(table(pgt), argument(0), argument(1), owner, source);
}

export function s2_unmap_u64(pgt: usize): i32 { return operate.unmap(table(pgt), argument(0), argument(1)); }
export function s2_wrprotect_u64(pgt: usize): i32 { return operate.writeProtect(table(pgt), argument(0), argument(1)); }
export function s2_flush_u64(pgt: usize): i32 { return operate.flush(table(pgt), argument(0), argument(1)); }

export function s2_test_clear_young_u64(pgt: usize, mkold: bool): i32 {
  return operate.testClearYoung(table(pgt), argument(0), argument(1), mkold);
}

export function s2_relax_perms_u64(pgt: usize): i32 {
  return operate.relaxPermissions(table(pgt), argument(0), argument(3));
}

export function s2_mkyoung_u64(pgt: usize): i32 { return operate.makeYoung(table(pgt), argument(0)); }

export function s2_split_u64(pgt: usize, source: usize): i32 {
  return operate.split(table(pgt), argument(0), argument(1), source);
}

export function s2_create_unlinked_u64(pgt: usize, level: i32, source: usize, pagesOnly: bool): usize {
  return operate.createUnlinked(table(pgt), argument(2), level, argument(3), source, pagesOnly);
}

export function s2_get_leaf_u64(pgt: usize): i32 { return operate.getLeaf(table(pgt), argument(0)); }
export function s2_entry_u64(pgt: usize): usize { return operate.entryAt(table(pgt), argument(0)); }

export function s2_walk_u64(pgt: usize, flags: u32, skip: u32, stopAt: u32, stopResult: i32): i32 {
  return operate.walk(table(pgt), argument(0), argument(1), flags, skip, stopAt, stopResult);
}

export function s2_tlb_flush_range_u64(pgt: usize): i32 {
  return operate.tlbFlushRange(table(pgt), argument(0), argument(1));
}

export function hyp_map_u64(pgt: usize, source: usize): i32 {
  return operate.hypMap(table(pgt), argument(0), argument(1), argument(2), argument(3), source);
}

export function hyp_unmap_u64(pgt: usize): i32 {
  const result = operate.hypUnmap(table(pgt), argument(0), argument(1));
  setResult(0, result);
  return <i64>result < 0 ? <i32>result : 0;
}

// ---- single entries, exclusives --------------------------------------------------------------------------------

export function entry_test_and_clear_young(pgt: usize, ia: f64, exclusive: bool): i32 {
  return operate.testAndClearYoung(table(pgt), word(ia), exclusive);
}

export function entry_set_readonly(pgt: usize, ia: f64, exclusive: bool): i32 {
  return operate.setReadonly(table(pgt), word(ia), exclusive);
}

export function entry_readonly(pgt: usize, ia: f64): i32 { return operate.isReadonly(table(pgt), word(ia)); }
export function pte_mkwrite(): void { setResult(0, makeWritable(argument(0))); }
export function monitor_set_spurious(oneIn: u32, seed: u32): void { monitor.setSpurious(oneIn, seed); }
export function monitor_failures(): u32 { return monitor.takeFailures(); }

// ---- pure ------------------------------------------------------------------------------------------------------

export function pure_vtcr(pageShift: u32, physShift: u32, options: u32): void {
  const startLevel = startLevelOf(pageShift, physShift);
  setResult(0, vtcr(pageShift, physShift, options, argument(0), argument(1)));
  setResult(1, rootBytes(pageShift, physShift, startLevel));
  setResult(2, <u64>stage2Levels(pageShift, physShift));
  setResult(3, <u64>startLevel);
  setResult(4, hostPARange(pageShift, argument(0), options));
}

export function pure_pte_prot(kind: u32, options: u32): void {
  const pte = argument(0);
  setResult(0, kind == HYP ? hypProt(pte, (options & HVHE) != 0) : stage2Prot(pte));
  setResult(1, memoryProt(pte, kind == HYP));
}

export function pure_address(pageShift: u32, options: u32): void {
  const lpa2 = (options & LPA2) != 0;
  setResult(0, addressField(argument(0), pageShift, lpa2));
  setResult(1, outputAddress(argument(1), pageShift, lpa2));
}

export function pure_granule(pageShift: u32, level: i32): void {
  setResult(0, levelShift(pageShift, level));
  setResult(1, <u64>leafLevel(pageShift, level));
  setResult(2, leafSizes(pageShift));
}

// ---- events ----------------------------------------------------------------------------------------------------

export function events_pointer(): usize { return ring; }
export function events_capacity(): u32 { return load<u32>(header, H_EVENTS); }
export function events_count(): u32 { return events.count(); }
export function events_tail(): u32 { return events.tail(); }
export function events_consume(count: u32): void { events.consume(count); }
export function events_lost(): u32 { return events.lost(); }

export * from "./vcpu/index";
export * from "./vm/index";
export * from "./pkvm/index";
