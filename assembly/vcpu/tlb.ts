/**
 * The TLB arrays of a vCPU: combined entries (VA to PA, both stages) and stage-2 entries (IPA to PA), set-associative.
 * Every entry covers one page of the smaller granule and remembers how much the leaves behind it map.
 *
 *   +0   address of the input page | name of the context (combined), 1 (stage 2); 0: empty
 *   +8   context: what else must match
 *   +16  output page 51:12 | rights of stage 1 11:6 | rights of all 5:0
 *   +24  IPA page 63:24 | log2 of the leaves 23:18, 17:12 | levels + 1 11:9, 8:6 (7: stage off) | Device 5 | clean 4 | global 3
 *
 * A context holds a generation (of its VMID, modulo 16), so dropping all entries of a VMID is one increment.
 */
import { LEVEL_UNKNOWN, TLB_CONFLICT, TLB_FILL } from "../events";
import { count, derived, Derived, generationOf, TLB, TLB_CONFLICTS, Vcpu } from "./state";
import { logTlb } from "./trace";

// @ts-ignore: decorator
@inline export const ENTRY_BYTES: usize = 32;
// @ts-ignore: decorator
@inline export const PAGE: u64 = 0x000f_ffff_ffff_f000;
// @ts-ignore: decorator
@inline const RIGHTS: u32 = 0b111111;
// @ts-ignore: decorator
@inline const DEVICE: u64 = 1 << 5;
// @ts-ignore: decorator
@inline const CLEAN: u64 = 1 << 4;
/** Kinds, as events name them. */
// @ts-ignore: decorator
@inline export const COMBINED: u32 = 1;
// @ts-ignore: decorator
@inline export const STAGE2: u32 = 2;

// @ts-ignore: decorator
@inline export function outOf(entry: usize): u64 { return load<u64>(entry, 16); }
// @ts-ignore: decorator
@inline function infoOf(entry: usize): u64 { return load<u64>(entry, 24); }
// @ts-ignore: decorator
@inline export function pageOf(entry: usize): u64 { return outOf(entry) & PAGE; }
// @ts-ignore: decorator
@inline export function rightsOf(entry: usize): u32 { return <u32>outOf(entry) & RIGHTS; }
// @ts-ignore: decorator
@inline export function rights1Of(entry: usize): u32 { return <u32>outOf(entry) >> 6 & RIGHTS; }
// @ts-ignore: decorator
@inline export function ipaPageOf(entry: usize): u64 { return infoOf(entry) >> 24 << 12; }
// @ts-ignore: decorator
@inline export function shift1Of(entry: usize): u32 { return <u32>infoOf(entry) >> 18 & 63; }
// @ts-ignore: decorator
@inline export function shift2Of(entry: usize): u32 { return <u32>infoOf(entry) >> 12 & 63; }
// @ts-ignore: decorator
@inline export function level1Of(entry: usize): i32 { return <i32>(<u32>infoOf(entry) >> 9 & 7) - 1; }
// @ts-ignore: decorator
@inline export function level2Of(entry: usize): i32 { return <i32>(<u32>infoOf(entry) >> 6 & 7) - 1; }
// @ts-ignore: decorator
@inline export function isDevice(entry: usize): bool { return (infoOf(entry) & DEVICE) != 0; }
// @ts-ignore: decorator
@inline export function isClean(entry: usize): bool { return (infoOf(entry) & CLEAN) != 0; }
// @ts-ignore: decorator
@inline export function inputOf(entry: usize): u64 { return load<u64>(entry) & ~(<u64>0xfff); }
// @ts-ignore: decorator
@inline export function contextOf(entry: usize): u64 { return load<u64>(entry, 8); }
// @ts-ignore: decorator
@inline export function isEmpty(entry: usize): bool { return load<u64>(entry) == 0; }
// @ts-ignore: decorator
@inline export function drop(entry: usize): void { store<u64>(entry, 0); }

/** A level that says "this stage is off". */
// @ts-ignore: decorator
@inline export const OFF: i32 = 6;

/** First entry of the set for a page number. */
// @ts-ignore: decorator
@inline export function setOf(d: Derived, array: usize, page: u64): usize {
  return array + (<usize>(<u32>page & (d.sets - 1)) << d.setShift);
}

/** Level of the stage-2 leaf for events, which have another word for "none". */
export function knownLevel2(entry: usize): i32 { return level2Of(entry) == OFF ? LEVEL_UNKNOWN : level2Of(entry); }

/** Entry for a virtual address in this context, global or not; 0: none. */
export function findCombined(d: Derived, va: u64): usize {
  const page = va & d.pageMask;
  const first = setOf(d, d.combined, va >> d.fragment);
  for (let entry = first; entry <= first + d.lastWay; entry += ENTRY_BYTES) {
    const tag = load<u64>(entry);
    if (tag == (page | d.name) || tag == (page | d.globalName)) return entry;
  }
  return 0;
}

/** Entry for an intermediate physical address; 0: none. */
export function findStage2(d: Derived, ipa: u64): usize {
  const page = ipa >> d.page2;
  const tag = page << d.page2 | 1;
  const first = setOf(d, d.stage2, page);
  for (let entry = first; entry <= first + d.lastWay; entry += ENTRY_BYTES) {
    if (load<u64>(entry) == tag && contextOf(entry) == d.context2) return entry;
  }
  return 0;
}

/** The place for a new entry: its own, an empty one of the set, one of a past generation, else each in turn. */
function place(v: Vcpu, d: Derived, array: usize, page: u64, tag: u64, context: u64): usize {
  const first = setOf(d, array, page);
  const last = first + d.lastWay;
  let free: usize = 0;
  for (let entry = first; entry <= last; entry += ENTRY_BYTES) {
    const found = load<u64>(entry);
    if (found == tag && contextOf(entry) == context) return entry;
    if (found == 0 || (contextOf(entry) != context && !free && isPast(v, entry, array == d.stage2))) free = entry;
  }
  if (free) return free;
  const turn = array == d.stage2 ? d.victims2++ : d.victims++;
  return first + <usize>(turn & (d.ways - 1)) * ENTRY_BYTES;
}

/** Contexts: VMID in 15:0 (stage 2) or 31:16, generation above bit 36. */
// @ts-ignore: decorator
@inline export const GENERATION_SHIFT: u64 = 36;
// @ts-ignore: decorator
@inline const GENERATION: u64 = 0x07ff_ffff;

// @ts-ignore: decorator
@inline export function generationIn(generation: u32): u64 { return (<u64>generation & GENERATION) << GENERATION_SHIFT; }

// @ts-ignore: decorator
@inline export function vmidIn(context: u64, stage2: bool): u32 { return <u32>(stage2 ? context : context >> 16) & 0xffff; }

function isPast(v: Vcpu, entry: usize, stage2: bool): bool {
  const context = contextOf(entry);
  const now = generationIn(generationOf(v, vmidIn(context, stage2), stage2));
  return (context & GENERATION << GENERATION_SHIFT) != now;
}

/** In place of a page size: there were several. */
// @ts-ignore: decorator
@inline const MIXED: u32 = 255;

export function fillStage2(
  v: Vcpu, ipa: u64, pa: u64, rights: u32, clean: bool, device: bool, level: i32, shift: u32,
): void {
  const d = derived(v);
  const page = ipa >> d.page2;
  const whole = ~((<u64>1 << d.page2) - 1);
  const info = info2(ipa, OFF, 63, level, shift, device, clean);
  if (d.attentive) findConflict(v, d, STAGE2, ipa, pa, shift, d.context2, d.context2);
  const tag = (ipa & whole) | 1;
  put(place(v, d, d.stage2, page, tag, d.context2), tag, d.context2, (pa & whole) | rights, info);
  if (shift > d.largest) d.largest = shift;
  if (d.filled != d.page2) d.filled = d.filled ? MIXED : d.page2;
  if (v.events & TLB) logTlb(v, TLB_FILL, STAGE2, level, vmidIn(d.context2, true), ipa, pa & whole, ipa);
}

export function fillCombined(
  v: Vcpu, va: u64, ipa: u64, pa: u64, rights: u32, rights1: u32, global: bool, clean: bool, device: bool,
  level1: i32, shift1: u32, level2: i32, shift2: u32,
): void {
  const d = derived(v);
  const page = va >> d.fragment;
  const whole = ~((<u64>1 << d.fragment) - 1);
  const context = global ? d.global : d.context;
  const info = info2(ipa, level1, shift1, level2, shift2, device, clean);
  if (d.attentive) findConflict(v, d, COMBINED, va, pa, min(shift1, shift2), d.context, d.global);
  const tag = (va & whole) | (global ? d.globalName : d.name);
  put(place(v, d, d.combined, page, tag, context), tag, context, (pa & whole) | rights | rights1 << 6, info);
  if (v.events & TLB) logTlb(v, TLB_FILL, COMBINED, level2 == OFF ? LEVEL_UNKNOWN : level2, <u32>(d.context >> 16 & 0xffff | d.context << 16), va, pa & whole, ipa);
}

// @ts-ignore: decorator
@inline function info2(ipa: u64, level1: i32, shift1: u32, level2: i32, shift2: u32, device: bool, clean: bool): u64 {
  return ipa >> 12 << 24 | <u64>(shift1 << 18 | shift2 << 12 | <u32>(level1 + 1) << 9 | <u32>(level2 + 1) << 6) |
    (device ? DEVICE : 0) | (clean ? CLEAN : 0);
}

// @ts-ignore: decorator
@inline function put(entry: usize, tag: u64, context: u64, out: u64, info: u64): void {
  store<u64>(entry, tag);
  store<u64>(entry, context, 8);
  store<u64>(entry, out, 16);
  store<u64>(entry, info, 24);
}

/**
 * Checker: another entry whose leaf covers the same address and says something else. Real TLBs may answer such a lookup
 * with a conflict abort, with either entry, or with a mixture (Arm ARM D8.16).
 */
function findConflict(v: Vcpu, d: Derived, kind: u32, ia: u64, pa: u64, shift: u32, context: u64, global: u64): void {
  const array = kind == STAGE2 ? d.stage2 : d.combined;
  const unit: u32 = kind == STAGE2 ? d.page2 : d.fragment;
  const end = array + <usize>(d.sets * d.ways) * ENTRY_BYTES;
  for (let entry = array; entry < end; entry += ENTRY_BYTES) {
    if (isEmpty(entry) || (contextOf(entry) != context && contextOf(entry) != global)) continue;
    const size = min(shift1Of(entry), shift2Of(entry));
    const cached = inputOf(entry);
    if ((cached ^ ia) >> size) continue;
    const whole = ~((<u64>1 << size) - 1);
    const implied = (pageOf(entry) & whole) | (ia & ~whole);
    if (size == shift && implied >> unit == pa >> unit) continue;
    if (cached >> unit == ia >> unit && size == shift) continue; // the same leaf anew: it takes the old one's place
    count(v, TLB_CONFLICTS);
    logTlb(v, TLB_CONFLICT, kind, knownLevel2(entry), 0, ia, pa, implied);
    return;
  }
}
