/** The ABI of VMs: functions only, as in assembly/index.ts; src/vm/_abi.ts says what each takes and gives. */
import * as cache from "../cache";
import { argument, setResult } from "../layout";
import { word } from "../number";
import { setVmidBits } from "../vmid";
import * as abort from "./abort";
import { enableCap } from "./caps";
import { CACHE_CAPACITY, contextAt, contextOf, countersOf, createContext } from "./context";
import { markDirty } from "./dirty";
import { harvest, setBuffer } from "./hdbss";
import * as life from "./life";
import { loadContext, putContext } from "./load";
import * as log from "./log";
import { dropMemcache } from "./mmu";
import * as notifier from "./notifier";
import * as range from "./range";
import * as region from "./region";
import { describe, tellSlot, tellState } from "./report";
import { isSoftFull, pushedOf, resetOf, softLimit } from "./ring";
import { resetRings } from "./ring_reset";
import { findSlot, nextHashed, readSlot, slotAt } from "./slots";
import { cancelAbort, finishAbort } from "./user_abort";
import { createVm, generationAt, MAX_CONTEXTS, vmAt } from "./vm";

export function engine_set_vmid_bits(bits: u32): i32 { return setVmidBits(bits); }

// ---- VM --------------------------------------------------------------------------------------------------------------

export function vm_create(pageShift: u32, hostBits: u32, options: u32): i32 { return createVm(pageShift, hostBits, options); }

export function vm_init(vm: usize, type: u32, options: u32, events: u32, nested: bool): i32 {
  return life.initTable(vmAt(vm), type, options, events, nested);
}

export function vm_teardown(vm: usize): i32 { return life.teardown(vmAt(vm)); }
export function vm_destroy(vm: usize): i32 { return life.destroyVm(vmAt(vm)); }
export function vm_generation(vm: usize): u32 { return generationAt(vm); }
export function vm_number(vm: usize): u32 { return vmAt(vm).number; }
export function vm_describe(vm: usize): usize { return describe(vmAt(vm)); }
export function vm_state(vm: usize): void { tellState(vmAt(vm)); }
export function vm_set_events(vm: usize, mask: u32): void { vmAt(vm).events = mask; }
export function vm_enable_cap(vm: usize, cap: u32, flags: u32): i32 { return enableCap(vmAt(vm), cap, flags, argument(0)); }

// ---- memslots --------------------------------------------------------------------------------------------------------

export function vm_region_begin(vm: usize, slot: u32, flags: u32, version: u32): i32 {
  return region.begin(vmAt(vm), slot, flags, version, argument(0), argument(1), argument(2));
}

export function vm_region_invalidate(vm: usize): i32 { return region.invalidate(vmAt(vm)); }
export function vm_region_commit(vm: usize, facts: u32): i32 { return region.commit(vmAt(vm), facts); }
export function vm_region_end(vm: usize): void { region.end(vmAt(vm)); }
export function vm_slot(vm: usize, slot: u32): i32 {
  const found = readSlot(vmAt(vm), slot);
  if (found > 0) tellSlot(vmAt(vm), found);
  return found;
}
export function vm_slot_at(vm: usize, index: u32): i32 { return tellSlot(vmAt(vm), slotAt(vmAt(vm), index)); }

export function vm_slot_of(vm: usize, ipa: f64): i32 {
  return tellSlot(vmAt(vm), findSlot(vmAt(vm), word(ipa) >> vmAt(vm).pageShift));
}

/** `last`: the slot before it, -1 for the first. The next one, or -1. */
export function vm_slot_hashed(vm: usize, last: i32): i32 { return nextHashed(vmAt(vm), last); }

// ---- ranges ----------------------------------------------------------------------------------------------------------

export function vm_range(vm: usize, op: u32, ipa: f64, size: f64, pieces: u32, resumed: bool): f64 {
  return <f64>range.rangeStep(vmAt(vm), op, word(ipa), word(size), pieces, resumed);
}

export function vm_flush_tlb(vm: usize, ipa: f64, size: f64): i32 { return range.flushTlb(vmAt(vm), word(ipa), word(size)); }
export function vm_flush_all_tlb(vm: usize): i32 { return range.flushAllTlb(vmAt(vm)); }

export function vm_ioremap(vm: usize, writable: bool, done: f64, pieces: u32): f64 {
  return <f64>range.ioremapStep(vmAt(vm), argument(0), argument(1), argument(2), writable, word(done), pieces);
}

// ---- notifiers -------------------------------------------------------------------------------------------------------

export function vm_invalidate_start(vm: usize, pieces: u32): i32 {
  return notifier.invalidateStart(vmAt(vm), argument(0), argument(1), pieces);
}

export function vm_hva_next(vm: usize, index: u32): i32 {
  return notifier.nextInRange(vmAt(vm), argument(0), argument(1), index);
}

export function vm_invalidate_end(vm: usize): i32 { return notifier.invalidateEnd(vmAt(vm), argument(0), argument(1)); }
export function vm_age(vm: usize, op: u32): i32 { return notifier.ageRange(vmAt(vm), op, argument(0), argument(1)); }

// ---- dirty log -------------------------------------------------------------------------------------------------------

export function vm_log_get(vm: usize, slot: u32): i32 { return log.getLog(vmAt(vm), slot); }
export function vm_log_clear(vm: usize, slot: u32): i32 { return log.clearLog(vmAt(vm), slot, argument(0), argument(1)); }
export function vm_log_take(vm: usize, from: u32, words: u32): i32 { return log.takeWords(vmAt(vm), from, words); }
export function vm_log_restore(vm: usize, from: u32, words: u32): void { log.restoreWords(vmAt(vm), from, words); }
export function vm_log_end(vm: usize): i32 { return log.endLog(vmAt(vm)); }
export function vm_mark_dirty(vm: usize, ipa: f64): i32 { return markDirty(vmAt(vm), null, word(ipa) >> vmAt(vm).pageShift); }
export function vm_rings_reset(vm: usize, entries: u32): i32 { return resetRings(vmAt(vm), entries); }

// ---- vCPU contexts ---------------------------------------------------------------------------------------------------

export function vm_vcpu_create(vm: usize, id: u32): i32 { return createContext(vmAt(vm), id); }
export function vm_vcpu_destroy(vcpu: usize): void { life.destroyContext(contextAt(vcpu)); }

export function vm_vcpu_topup(vcpu: usize, least: u32, capacity: u32): i32 {
  return cache.fill(contextAt(vcpu).cache, least, capacity ? capacity : CACHE_CAPACITY);
}

export function vm_vcpu_cache(vcpu: usize): u32 { return contextAt(vcpu).cachedPages; }
export function vm_vcpu_cache_free(vcpu: usize): void {
  cache.drain(contextAt(vcpu).cache);
  dropMemcache(contextAt(vcpu));
}
export function vm_vcpu_load(vcpu: usize, cpu: usize): i32 { return loadContext(contextAt(vcpu), cpu); }
export function vm_vcpu_put(vcpu: usize): void { putContext(contextAt(vcpu)); }

export function vm_vcpu_ring(vcpu: usize): void {
  const c = contextAt(vcpu);
  setResult(0, c.ring);
  setResult(1, c.entries);
  setResult(2, c.ring ? softLimit(c) : 0);
  setResult(3, pushedOf(c));
  setResult(4, resetOf(c));
  setResult(5, c.overflowed);
}

/** Pointer of the context of this id, or 0. */
export function vm_vcpu_at(vm: usize, id: u32): usize { return id < MAX_CONTEXTS ? contextOf(vmAt(vm), id) : 0; }
export function vm_vcpu_ring_full(vcpu: usize): bool { return isSoftFull(contextAt(vcpu)); }
export function vm_vcpu_counters(vcpu: usize): usize { return countersOf(contextAt(vcpu)); }
export function vm_vcpu_hdbss(vcpu: usize, size: i32): i32 { return setBuffer(contextAt(vcpu), size); }
export function vm_vcpu_harvest(vcpu: usize): u32 { return harvest(contextAt(vcpu)); }

// ---- aborts ----------------------------------------------------------------------------------------------------------

export function vm_abort_begin(vcpu: usize, flags: u32): i32 {
  return abort.beginAbort(contextAt(vcpu), argument(0), argument(1), argument(2), flags);
}

export function vm_abort_finish(vcpu: usize, facts: u32, vmaShift: u32, hostShift: u32): i32 {
  return finishAbort(contextAt(vcpu), facts, vmaShift, hostShift, argument(0));
}

export function vm_abort_cancel(vcpu: usize): void { cancelAbort(contextAt(vcpu)); }
