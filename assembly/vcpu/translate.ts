/** From virtual to physical: TLB, stage 1, stage 2, and a new TLB entry. */
import { enterHardware, leaveHardware } from "../sync/section";
import { head } from "../tlbi";
import { signedWord } from "../number";
import * as cached from "./cached";
import { applyInvalidations } from "./invalidate";
import * as fault from "./fault";
import { beginAccess, raise } from "./fault";
import { BLOCK_ADDRESSES, maskOf, NOT_QUICK, quick, quickBlock, wantOf } from "./quick";
import * as second from "./stage2";
import { needOf } from "./stage2";
import * as first from "./stage1";
import { regimeFor, untagged, walkStage1 } from "./stage1";
import {
  add, count, Derived, derived, FETCH, has, IS_AT, IS_PROBE, KEEP_ON_FAULT, QUICK, READ, SPECULATIVE, SPECULATIVE_WALK,
  STAGE1_ONLY, TLB_HITS, TLB_MISSES, TLB_STALE, SPURIOUS_FAULTS, UNALIGNED, Vcpu, WRITE, CHECKER,
} from "./state";
import * as tlb from "./tlb";
import { TLB_STALE as STALE_EVENT } from "../events";
import { logTlb } from "./trace";
import { E0PD, physicalBits } from "./regime";
import { DC } from "./configure";

/** Physical address of the last translation of this thread that worked. */
export let pa: u64 = 0;

/** PA of a virtual address, or -1 - status code of the fault that was recorded. */
// @ts-ignore: decorator
@inline export function translate(v: Vcpu, va: u64, mode: u32): f64 {
  const d = derived(v);
  // A TLB, and nobody who wants to see every hit; one load of the log's head keeps it honest. Four ways are looked at without
  // a branch to mispredict; one that is another set's cannot match, as its addresses differ.
  if (d.direct && head() == d.seen) {
    const tag = (va & d.pageMask) | d.name;
    let entry = d.combined + (<u32>(va >> d.toSet) & d.setBits);
    const past0 = <usize>(load<u64>(entry) != tag);
    const past1 = past0 & <usize>(load<u64>(entry, 32) != tag);
    const past2 = past1 & <usize>(load<u64>(entry, 64) != tag);
    entry += (past0 + past1 + past2) << 5; // ENTRY_BYTES
    if (load<u64>(entry) == tag) {
      const out = tlb.outOf(entry);
      const need = mode * d.needFactor;
      if ((<u32>out & need) == need && mode <= ALL_RIGHTS) {
        count(v, TLB_HITS);
        return <f64><i64>((out & tlb.PAGE) | (va & ~d.pageMask));
      }
    }
  }
  return beyondTlb(v, va, mode);
}

/** The section comes before the look at the log's head: what is invalidated later waits for it, what came earlier is seen. */
function beyondTlb(v: Vcpu, va: u64, mode: u32): f64 {
  const entered = enterHardware();
  const result = walkOrTlb(v, va, mode);
  if (entered) leaveHardware();
  return result;
}

// @ts-ignore: decorator
@inline function walkOrTlb(v: Vcpu, va: u64, mode: u32): f64 {
  const d = derived(v);
  if (d.quick && mode <= ALL_RIGHTS && !v.events) {
    const direct = quick(v, d, va, mode);
    if (direct != NOT_QUICK) return <f64><i64>direct;
  }
  return resolve(v, va, mode) ? <f64><i64>pa : -<f64>v.fsc - 1;
}

// @ts-ignore: decorator
@inline const ALL_RIGHTS: u32 = READ | WRITE | FETCH;

/** The same without the shortest way: `pa`, or false and a fault record. */
export function resolve(v: Vcpu, va: u64, mode: u32): bool {
  const d = derived(v);
  beginAccess(va, mode);
  if (d.hasTlb && head() != d.seen) applyInvalidations(v); // before anything is looked up, by the program or for it
  if (v.speculate && !(mode & (IS_PROBE | IS_AT | SPECULATIVE_WALK))) speculate(v, d, va, mode);
  if (!d.hasTlb || d.el2 || mode & (IS_PROBE | IS_AT)) return walk(v, d, va, mode);
  const entry = tlb.findCombined(d, va);
  if (entry) {
    if (has(v, CHECKER) && !(mode & SPECULATIVE_WALK)) compareWithMemory(v, d, entry, va, mode);
    const decided = useEntry(v, d, entry, va, mode);
    if (decided >= 0) return decided != 0;
    tlb.drop(entry);
  }
  count(v, TLB_MISSES);
  return walk(v, d, va, mode);
}

/** 1: translated, 0: a fault was recorded, -1: the entry cannot decide, memory must. */
function useEntry(v: Vcpu, d: Derived, entry: usize, va: u64, mode: u32): i32 {
  const need = needOf(v, mode);
  const rights = tlb.rightsOf(entry);
  if (mode & UNALIGNED && tlb.isDevice(entry)) return -1;
  const inPage = (<u64>1 << d.fragment) - 1;
  if ((rights & need) == need) {
    count(v, TLB_HITS);
    pa = tlb.pageOf(entry) | (va & inPage);
    return 1;
  }
  if (tlb.isClean(entry) || mode & SPECULATIVE_WALK) return -1; // dirty state is decided on memory, never on a copy
  if (need > ALL_RIGHTS && regimeFor(v, va).has(E0PD)) return -1; // no permission fault: nothing is translated
  const stage: u32 = (tlb.rights1Of(entry) & need) == need ? 2 : 1;
  const lacks = need & ~(stage == 2 ? rights : tlb.rights1Of(entry));
  const extra: u32 = (lacks & (WRITE | WRITE << 3)) == lacks ? fault.F_WRITE : 0;
  if (isSpurious(v, va, mode)) count(v, SPURIOUS_FAULTS);
  const level = stage == 2 ? tlb.level2Of(entry) : tlb.level1Of(entry);
  raise(v, fault.PERMISSION, level, stage, (tlb.ipaPageOf(entry) & ~inPage) | (va & inPage), mode, extra | fault.F_FROM_TLB);
  if (!has(v, KEEP_ON_FAULT)) {
    tlb.drop(entry);
    const below = tlb.findStage2(d, tlb.ipaPageOf(entry));
    if (below) tlb.drop(below);
  }
  return 0;
}

/** Both stages on memory, and through the stage-2 TLB. */
function walk(v: Vcpu, d: Derived, tagged: u64, mode: u32): bool {
  const r = regimeFor(v, tagged);
  const va = untagged(r, tagged);
  let ipa = va;
  const on = d.el2 ? (v.sctlr2 & 1) != 0 : d.stage1On;
  if (on) {
    if (!walkStage1(v, r, va, mode)) return false;
    ipa = first.ipa;
  } else if (!flat(v, va, mode)) return false;
  const device1 = on ? !(first.attributesOf(v, first.leaf) & 0xf0) : !(v.hcr & DC); // of data, whatever fills the entry
  if (d.el2 || !d.stage2On || mode & STAGE1_ONLY) {
    pa = ipa;
    cached.setOff(device1);
  } else {
    if (!cached.translateStage2(v, ipa, mode)) return false;
    pa = second.pa;
  }
  if (d.hasTlb && !d.el2 && !(mode & (IS_PROBE | IS_AT))) fill(v, d, tagged, ipa, on, device1);
  return true;
}

/** Stage 1 off: the address is its own translation, if the implementation has that many bits. */
function flat(v: Vcpu, va: u64, mode: u32): bool {
  if (va >> physicalBits(<u32>v.mmfr0 & 0b1111)) return raise(v, fault.ADDRESS_SIZE, 0, 1, 0, mode, 0);
  if (mode & UNALIGNED && !(v.hcr & DC)) return raise(v, fault.ALIGNMENT, 0, 1, 0, mode, 0);
  return true;
}

function fill(v: Vcpu, d: Derived, va: u64, ipa: u64, on: bool, device1: bool): void {
  const rights1: u32 = on ? first.allowed : 63;
  const global = on && !(first.leaf & first.NOT_GLOBAL);
  const clean = cached.clean || (on && first.clean);
  const level2 = d.stage2On ? second.level : tlb.OFF;
  const shift2: u32 = d.stage2On ? second.shift : 63;
  tlb.fillCombined(
    v, va, ipa, pa, rights1 & cached.allowed, rights1, global, clean, device1 || cached.device,
    on ? first.level : tlb.OFF, on ? first.shift : 63, level2, shift2,
  );
}

// ---- checker and speculation ------------------------------------------------------------------------------------

// @ts-ignore: decorator
@inline const NOWHERE: u64 = ~(<u64>0);

/** What memory says now, with no trace left. */
function probe(v: Vcpu, va: u64, mode: u32): u64 {
  beginAccess(va, mode | IS_PROBE);
  const found = walk(v, derived(v), va, mode | IS_PROBE) ? pa : NOWHERE;
  beginAccess(va, mode);
  return found;
}

/** A hit on an entry that memory no longer agrees with: legal until the invalidation is complete, and counted. */
function compareWithMemory(v: Vcpu, d: Derived, entry: usize, va: u64, mode: u32): void {
  const says = tlb.pageOf(entry) | (va & ((<u64>1 << d.fragment) - 1));
  const now = probe(v, va, READ & mode ? READ : mode);
  if (now == says || (now == NOWHERE && v.fsc >> 2 == fault.PERMISSION >> 2)) return;
  count(v, TLB_STALE);
  logTlb(v, STALE_EVENT, tlb.COMBINED, tlb.knownLevel2(entry), 0, va, says, now);
}

function isSpurious(v: Vcpu, va: u64, mode: u32): bool { return probe(v, va, mode) != NOWHERE; }

/** Now and then a walk of a neighbouring page that no program asked for: it may set an access flag, never dirty state. */
function speculate(v: Vcpu, d: Derived, va: u64, mode: u32): void {
  let x = d.random; // xorshift32
  x ^= x << 13;
  x ^= x >> 17;
  x ^= x << 5;
  d.random = x;
  if (x % v.speculate) return;
  const page = <u64>1 << d.fragment;
  const near = x & 0x1_0000 ? va + page : va - page;
  const wanted: u32 = READ | SPECULATIVE_WALK;
  beginAccess(near, wanted);
  count(v, SPECULATIVE);
  walk(v, d, near, wanted);
  beginAccess(va, mode);
}

// ---- batches ------------------------------------------------------------------------------------------------------

/** `count` addresses at `from` to addresses or negative codes at `to`. How many failed. */
export function translateMany(v: Vcpu, from: usize, to: usize, addresses: u32, mode: u32): u32 {
  const d = derived(v);
  if (!d.quick || v.events) return translateEach(v, from, to, addresses, mode, false);
  const mask = maskOf(mode);
  const want = wantOf(mode);
  let failed: u32 = 0;
  while (addresses >= 4) {
    const block = min(addresses & ~3, BLOCK_ADDRESSES);
    const entered = enterHardware();
    const left = quickBlock(v, d, from, to, block, mask, want);
    if (entered) leaveHardware();
    if (left) failed += translateEach(v, from, to, block, mode, true);
    add(v, QUICK + 2, block - left);
    from += <usize>block << 3;
    to += <usize>block << 3;
    addresses -= block;
  }
  return failed + translateEach(v, from, to, addresses, mode, false);
}

/** One by one; with `left` only those that have no result yet. */
function translateEach(v: Vcpu, from: usize, to: usize, addresses: u32, mode: u32, left: bool): u32 {
  let failed: u32 = 0;
  for (const end = from + (<usize>addresses << 3); from < end; from += 8, to += 8) {
    if (left && load<f64>(to) >= 0) continue;
    const result = translate(v, signedWord(load<f64>(from)), mode);
    store<f64>(to, result);
    if (result < 0) failed++;
  }
  return failed;
}
