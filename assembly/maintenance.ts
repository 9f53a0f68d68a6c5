/**
 * TLB invalidation, cache maintenance and barriers: the one place that every operation sends them through.
 * A table that logs nothing pays one test of its event mask.
 */
import { BARRIERS, FLUSH_CALLS, MAINTENANCE } from "./events";
import * as events from "./events";
import { NO_DCACHE, NO_ICACHE, Pgt, TLBI_BY_RANGE } from "./pgt";

/** Largest range of one TLBI RIPAS2E1IS, in pages: (NUM 31 + 1) << (5 * SCALE 3 + 1) (Arm ARM C5.5). */
// @ts-ignore: decorator
@inline const MAX_RANGE_PAGES: u64 = 1 << 21;

// @ts-ignore: decorator
@inline function log(pgt: Pgt, group: u32, kind: u32, level: i32, a: u64, b: u64): void {
  if (pgt.logs(group)) events.append(kind, level, 0, 0, a, b, 0);
}

/** Every CPU drops what it holds for this IPA at this level (LEVEL_UNKNOWN: at any). */
export function tlbiIpa(pgt: Pgt, ipa: u64, level: i32): void {
  log(pgt, MAINTENANCE, events.TLBI_IPA, level, ipa, 0);
}

/** The same on this CPU only. */
export function tlbiIpaLocal(pgt: Pgt, ipa: u64, level: i32): void {
  log(pgt, MAINTENANCE, events.TLBI_IPA_NSH, level, ipa, 0);
}

/** kvm_tlb_flush_vmid_range: pieces of at most 2^21 pages, or the whole VMID where there is no range TLBI. */
export function flushRange(pgt: Pgt, ipa: u64, size: u64): void {
  log(pgt, FLUSH_CALLS, events.TLB_FLUSH_RANGE, 0, ipa, size);
  if (!pgt.has(TLBI_BY_RANGE)) {
    log(pgt, MAINTENANCE, events.TLBI_VMID, 0, 0, 0);
    return;
  }
  if (!pgt.logs(MAINTENANCE)) return;
  let pages = size >> pgt.pageShift;
  while (pages > 0) {
    const piece = min(pages, MAX_RANGE_PAGES);
    log(pgt, MAINTENANCE, events.TLBI_RANGE, 0, ipa, piece);
    ipa += piece << pgt.pageShift;
    pages -= piece;
  }
}

/** Hypervisor stage 1: by VA, the last level only. */
export function tlbiVaLastLevel(pgt: Pgt, va: u64, level: i32): void {
  log(pgt, MAINTENANCE, events.TLBI_VALE2IS, level, va, 0);
}

/** Hypervisor stage 1: by VA, walk caches too. */
export function tlbiVa(pgt: Pgt, va: u64, level: i32): void {
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
