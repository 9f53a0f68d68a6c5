/** Stage-2 translation through the TLB: a cached entry of the IPA, or a walk that leaves one. */
import { TLB_STALE as STALE_EVENT } from "../events";
import * as fault from "./fault";
import { raise } from "./fault";
import { HD, TELLS_DIRTY } from "./regime";
import * as second from "./stage2";
import { DBM, isDevice, needOf, walkStage2 } from "./stage2";
import {
  CHECKER, count, derived, IS_AT, IS_PROBE, KEEP_ON_FAULT, has, READ, SPECULATIVE_WALK, stage2Of, STAGE2_TLB_HITS, TABLE_WALK,
  TLB_STALE, UNALIGNED, Vcpu, WRITE,
} from "./state";
import * as tlb from "./tlb";
import { logTlb } from "./trace";
import { TABLE_STAGE2 } from "./walk_cache";
import { S2AP_W } from "../descriptor";

// What stage 2 allowed for the last translation, beside its address in stage2.ts.
export let allowed: u32 = 0;
export let clean: bool = false;
export let device: bool = false;

/** Stage 2 takes no part. */
export function setOff(isDevice: bool): void {
  allowed = 63;
  clean = false;
  device = isDevice;
}

export function translateStage2(v: Vcpu, ipa: u64, mode: u32): bool {
  const d = derived(v);
  const r = stage2Of(v);
  const cached = d.hasTlb && !(mode & (IS_PROBE | IS_AT));
  if (cached) {
    const entry = tlb.findStage2(d, ipa);
    if (entry) {
      if (has(v, CHECKER) && !(mode & SPECULATIVE_WALK)) compareWithMemory(v, entry, ipa);
      const decided = useEntry(v, entry, ipa, mode);
      if (decided >= 0) return decided != 0;
      tlb.drop(entry);
    }
  }
  if (!walkStage2(v, ipa, mode)) return false;
  if (has(v, CHECKER) && second.fromCache && cached && !(mode & SPECULATIVE_WALK)) compareTable(v, ipa);
  allowed = second.allowed(v, r, second.leaf);
  clean = r.has(HD | TELLS_DIRTY) && (second.leaf & DBM) != 0 && !(second.leaf & S2AP_W);
  device = isDevice(v, r, second.leaf);
  if (cached) tlb.fillStage2(v, ipa, second.pa, allowed, clean, device, second.level, second.shift);
  return true;
}

/** 1: translated, 0: a fault was recorded, -1: the entry cannot decide, memory must. */
function useEntry(v: Vcpu, entry: usize, ipa: u64, mode: u32): i32 {
  const rights = tlb.rightsOf(entry);
  const need = mode & TABLE_WALK ? mode & (READ | WRITE) : needOf(v, mode);
  if (mode & (TABLE_WALK | UNALIGNED) && tlb.isDevice(entry)) return -1;
  if ((rights & need) == need) {
    count(v, STAGE2_TLB_HITS);
    const page = (<u64>1 << stage2Of(v).pageShift) - 1;
    second.setFound(0, tlb.pageOf(entry) | (ipa & page), tlb.level2Of(entry), tlb.shift2Of(entry));
    allowed = rights;
    clean = tlb.isClean(entry);
    device = tlb.isDevice(entry);
    return 1;
  }
  if (tlb.isClean(entry) || mode & SPECULATIVE_WALK) return -1; // dirty state is decided on memory, never on a copy
  const lacks = need & ~rights;
  const extra: u32 = (lacks & (WRITE | WRITE << 3)) == lacks ? fault.F_WRITE : 0;
  raise(v, fault.PERMISSION, tlb.level2Of(entry), 2, ipa, mode, extra | fault.F_FROM_TLB);
  if (!has(v, KEEP_ON_FAULT)) tlb.drop(entry);
  return 0;
}

/** Checker: an entry that memory no longer agrees with, which is legal until its invalidation is complete. */
function compareWithMemory(v: Vcpu, entry: usize, ipa: u64): void {
  const says = tlb.pageOf(entry) | (ipa & ((<u64>1 << stage2Of(v).pageShift) - 1));
  compare(v, tlb.STAGE2, tlb.level2Of(entry), ipa, says);
}

/** The same for the cached table that a walk began at. What the walk found stays. */
function compareTable(v: Vcpu, ipa: u64): void {
  const pa = second.pa;
  const leaf = second.leaf;
  const level = second.level;
  const shift = second.shift;
  compare(v, TABLE_STAGE2, 2, ipa, pa);
  second.setFound(leaf, pa, level, shift);
}

function compare(v: Vcpu, kind: u32, level: i32, ipa: u64, says: u64): void {
  const va = fault.accessVa;
  const access = fault.accessMode;
  fault.beginAccess(va, access | IS_PROBE);
  let now = ~(<u64>0);
  if (walkStage2(v, ipa, READ | TABLE_WALK | IS_PROBE)) now = second.pa;
  else if (v.fsc >> 2 == fault.PERMISSION >> 2) now = says;
  fault.beginAccess(va, access);
  if (now == says) return;
  count(v, TLB_STALE);
  logTlb(v, STALE_EVENT, kind, level, 0, ipa, says, now);
}
