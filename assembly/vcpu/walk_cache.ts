/**
 * Walk caches: where the last-level table for an address is, of stage 2 and of stage 1. Direct-mapped, 32 entries each.
 * A stage-1 table is cached as the physical page that stage 2 gave it (Arm ARM D8.13).
 *
 *   +0 address above the table, with bit 0 set   +8 context   +16 table, physical
 *   +24 log2 of what the table maps | stage 1: table as IPA | hierarchical bits
 */
import { TLB_FILL } from "../events";
import { levelShift } from "../geometry";
import { tablePointer } from "../memory";
import { Regime } from "./regime";
import { count, derived, TLB, Vcpu, WALK_CACHE_HITS, WALK_CACHES } from "./state";
import { logTlb } from "./trace";

/** Kinds, as events name them. */
// @ts-ignore: decorator
@inline export const TABLE_STAGE2: u32 = 3;
// @ts-ignore: decorator
@inline const TABLE_STAGE1: u32 = 4;
// @ts-ignore: decorator
@inline const ENTRY_BYTES: usize = 32;
// @ts-ignore: decorator
@inline export const ENTRIES: usize = 32;

// @ts-ignore: decorator
@inline function entryOf(v: Vcpu, above: u64, stage1: bool): usize {
  const index = (<usize>above & (ENTRIES - 1)) + (stage1 ? ENTRIES : 0);
  return changetype<usize>(v) + WALK_CACHES + index * ENTRY_BYTES;
}

// @ts-ignore: decorator
@inline function tagOf(above: u64): u64 { return above << 1 | 1; }

function tableOf(v: Vcpu, above: u64, stage1: bool, context: u64): usize {
  const entry = entryOf(v, above, stage1);
  if (load<u64>(entry) != tagOf(above) || load<u64>(entry, 8) != context) return 0;
  count(v, WALK_CACHE_HITS);
  return entry;
}

// @ts-ignore: decorator
@inline function offsetIn(r: Regime, ia: u64): u64 {
  return (ia >> r.pageShift & ((1 << (r.pageShift - 3)) - 1)) << 3;
}

/** Pointer to the last-level entry for `ipa`, if its table is cached; else 0. */
export function startTable2(v: Vcpu, r: Regime, ipa: u64): usize {
  const entry = tableOf(v, ipa >> levelShift(r.pageShift, 2), false, derived(v).context2);
  return entry ? tablePointer(load<u64>(entry, 16) + offsetIn(r, ipa)) : 0;
}

export function rememberTable2(v: Vcpu, r: Regime, ipa: u64, table: u64): void {
  const above = ipa >> levelShift(r.pageShift, 2);
  const entry = entryOf(v, above, false);
  store<u64>(entry, tagOf(above));
  store<u64>(entry, derived(v).context2, 8);
  store<u64>(entry, table, 16);
  store<u64>(entry, levelShift(r.pageShift, 2), 24);
  if (v.events & TLB) logTlb(v, TLB_FILL, TABLE_STAGE2, 2, <u32>derived(v).context2 & 0xffff, ipa, table, ipa);
}

// @ts-ignore: decorator
@inline const SHIFT: u64 = 63;

/** Table permissions that a cached stage-1 table has inherited, and its IPA: what the last hit of this thread said. */
export let inherited: u64 = 0;
export let tableIpa: u64 = 0;

/** Bits 62:59 of table descriptors. */
// @ts-ignore: decorator
@inline export const HIERARCHICAL: u64 = <u64>0b1111 << 59;

/** The same for a virtual address at stage 1. */
export function startTable1(v: Vcpu, r: Regime, va: u64): usize {
  const entry = tableOf(v, va >> levelShift(r.pageShift, 2), true, derived(v).context);
  if (!entry) return 0;
  const word = load<u64>(entry, 24);
  inherited = word & HIERARCHICAL;
  tableIpa = word & ~(HIERARCHICAL | SHIFT);
  return tablePointer(load<u64>(entry, 16) + offsetIn(r, va));
}

export function rememberTable1(v: Vcpu, r: Regime, va: u64, ipa: u64, table: u64, bits: u64): void {
  const above = va >> levelShift(r.pageShift, 2);
  const entry = entryOf(v, above, true);
  store<u64>(entry, tagOf(above));
  store<u64>(entry, derived(v).context, 8);
  store<u64>(entry, table, 16);
  store<u64>(entry, ipa | bits | levelShift(r.pageShift, 2), 24);
  const context = derived(v).context;
  if (v.events & TLB) logTlb(v, TLB_FILL, TABLE_STAGE1, 2, <u32>(context >> 16 & 0xffff | context << 16), va, table, ipa);
}

/** In place of an ASID: all of them. */
// @ts-ignore: decorator
@inline export const ANY_ASID: u32 = 0xffff_ffff;

/** Drops a VMID's cached stage-2 tables above the `bytes` from `ipa` on. */
export function dropTables2(v: Vcpu, vmid: u32, ipa: u64, bytes: u64): void {
  for (let i: usize = 0; i < ENTRIES; i++) {
    const entry = entryOf(v, i, false);
    if ((load<u32>(entry, 8) & 0xffff) == vmid && reaches(entry, ipa, bytes)) store<u64>(entry, 0);
  }
}

/** Drops a VMID's cached stage-1 tables above the `bytes` from `va` on, of one ASID or of all. */
export function dropTables1(v: Vcpu, vmid: u32, asid: u32, va: u64, bytes: u64): void {
  for (let i: usize = 0; i < ENTRIES; i++) {
    const entry = entryOf(v, i, true);
    const context = load<u32>(entry, 8); // VMID, ASID
    if (context >> 16 != vmid || (asid != ANY_ASID && (context & 0xffff) != asid)) continue;
    if (reaches(entry, va, bytes)) store<u64>(entry, 0);
  }
}

/** Whether what the table maps touches the `bytes` from `from` on, modulo 2^64, where the high half ends. */
function reaches(entry: usize, from: u64, bytes: u64): bool {
  const shift = load<u64>(entry, 24) & SHIFT;
  const first = load<u64>(entry) >> 1 << shift;
  return from - first < <u64>1 << shift || first - from < bytes;
}
