/**
 * TLB invalidation, cache maintenance and barriers: the one place that every operation sends them through.
 * A table that logs nothing and that no TLB watches pays one test of its event mask.
 */
import { BARRIERS, FLUSH_CALLS, LEVEL_UNKNOWN, MAINTENANCE } from "./events";
import * as events from "./events";
import { shared, thisThread } from "./layout";
import { NO_DCACHE, NO_ICACHE, Pgt, TLBI_BY_RANGE, WATCHED } from "./pgt";
import { complete, othersInside, owe, owed, settleDebt } from "./sync/completion";
import { ALL_THREADS, announce, recorded, IPAS2E1, RIPAS2E1, VMALLE1, VMALLS12E1 } from "./tlbi";

/** Largest range of one TLBI RIPAS2E1IS, in pages: (NUM 31 + 1) << (5 * SCALE 3 + 1) (Arm ARM C5.5). */
// @ts-ignore: decorator
@inline const MAX_RANGE_PAGES: u64 = 1 << 21;

// @ts-ignore: decorator
@inline function log(pgt: Pgt, group: u32, kind: u32, level: i32, a: u64, b: u64): void {
  if (pgt.logs(group)) events.append(kind, level, thisThread(), pgt.vmid, a, b, 0);
}

/**
 * Stage-2 entries first, then what was combined with them: in the other order a CPU could combine anew what is about
 * to go (Arm ARM D8.14). __kvm_tlb_flush_vmid_ipa.
 */
function dropIpa(pgt: Pgt, ipa: u64, level: i32, threads: u32): void {
  announce(IPAS2E1, level, pgt.vmid, 0, ipa, 1 << (pgt.pageShift - 12), threads);
  announce(VMALLE1, LEVEL_UNKNOWN, pgt.vmid, 0, 0, 0, threads);
}

/** Every CPU drops what it holds for this IPA at this level (LEVEL_UNKNOWN: at any). */
export function tlbiIpa(pgt: Pgt, ipa: u64, level: i32): void {
  owe();
  if (pgt.events & WATCHED) dropIpa(pgt, ipa, level, ALL_THREADS);
  log(pgt, MAINTENANCE, events.TLBI_IPA, level, ipa, 0);
}

/** The same on this CPU only. */
export function tlbiIpaLocal(pgt: Pgt, ipa: u64, level: i32): void {
  if (pgt.events & WATCHED) dropIpa(pgt, ipa, level, thisThread());
  log(pgt, MAINTENANCE, events.TLBI_IPA_NSH, level, ipa, 0);
}

/** kvm_tlb_flush_vmid_range: pieces of at most 2^21 pages, or the whole VMID where there is no range TLBI. */
export function flushRange(pgt: Pgt, ipa: u64, size: u64): void {
  log(pgt, FLUSH_CALLS, events.TLB_FLUSH_RANGE, 0, ipa, size);
  if (!pgt.has(TLBI_BY_RANGE)) return flushVmid(pgt);
  forgetRange(pgt, ipa, size);
  if (!pgt.logs(MAINTENANCE)) return;
  let pages = size >> pgt.pageShift;
  while (pages > 0) {
    const piece = min(pages, MAX_RANGE_PAGES);
    log(pgt, MAINTENANCE, events.TLBI_RANGE, 0, ipa, piece);
    ipa += piece << pgt.pageShift;
    pages -= piece;
  }
}

/** __kvm_tlb_flush_vmid. */
export function flushVmid(pgt: Pgt): void {
  forgetTable(pgt);
  log(pgt, MAINTENANCE, events.TLBI_VMID, 0, 0, 0);
}

/** To the TLBs the same in one record, and every page that the range touches: operations round outwards, this does too. */
export function forgetRange(pgt: Pgt, ipa: u64, size: u64): void {
  owe();
  if (!(pgt.events & WATCHED)) return;
  const inPage = (<u64>1 << pgt.pageShift) - 1;
  const first = ipa & ~inPage;
  const pages = ((ipa + size + inPage) & ~inPage) - first >> 12;
  if (pages >> 32) return forgetTable(pgt);
  announce(RIPAS2E1, LEVEL_UNKNOWN, pgt.vmid, 0, first, <u32>pages, ALL_THREADS);
  announce(VMALLE1, LEVEL_UNKNOWN, pgt.vmid, 0, 0, 0, ALL_THREADS);
}

/** Nothing of this table's VMID stays in any TLB. */
export function forgetTable(pgt: Pgt): void {
  owe();
  if (pgt.events & WATCHED) announce(VMALLS12E1, LEVEL_UNKNOWN, pgt.vmid, 0, 0, 0, ALL_THREADS);
}

/**
 * DSB ISH behind the invalidations of this thread: no other thread's vCPU uses what they were for. Where no TLB could hold it
 * nothing was logged, but a vCPU inside its bracket may still have an address: a record gives it something to catch up with.
 */
export function completeTlbi(pgt: Pgt): void {
  if (!owed) return;
  if (!shared) return settleDebt();
  if (!recorded && othersInside()) announce(VMALLS12E1, LEVEL_UNKNOWN, pgt.vmid, 0, 0, 0, ALL_THREADS);
  complete();
}

/** Hypervisor stage 1: by VA, the last level only. */
export function tlbiVaLastLevel(pgt: Pgt, va: u64, level: i32): void {
  owe();
  log(pgt, MAINTENANCE, events.TLBI_VALE2IS, level, va, 0);
}

/** Hypervisor stage 1: by VA, walk caches too. */
export function tlbiVa(pgt: Pgt, va: u64, level: i32): void {
  owe();
  log(pgt, MAINTENANCE, events.TLBI_VAE2IS, level, va, 0);
}

export function cleanDataCache(pgt: Pgt, pa: u64, size: u64): void {
  if (!pgt.has(NO_DCACHE)) log(pgt, MAINTENANCE, events.DCACHE_CLEAN, 0, pa, size);
}

export function invalidateInstructionCache(pgt: Pgt, pa: u64, size: u64): void {
  if (!pgt.has(NO_ICACHE)) log(pgt, MAINTENANCE, events.ICACHE_INVAL, 0, pa, size);
}

/** WebAssembly atomics are sequentially consistent, stronger than these barriers ask: there is nothing to do but log. */
export function dsbIshst(pgt: Pgt): void { log(pgt, BARRIERS, events.DSB_ISHST, 0, 0, 0); }

export function dsbIsh(pgt: Pgt): void { log(pgt, BARRIERS, events.DSB_ISH, 0, 0, 0); }

export function isb(pgt: Pgt): void { log(pgt, BARRIERS, events.ISB, 0, 0, 0); }
