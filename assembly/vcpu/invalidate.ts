/**
 * Applying the TLB invalidation log to this vCPU's arrays (Arm ARM D8.14). What an invalidation does not have to remove
 * stays: combined entries survive one by IPA, entries of another level survive a level hint.
 */
import { LAST_LEVEL } from "../descriptor";
import { LEVEL_UNKNOWN } from "../events";
import { thisThread, thread, TLBI_RECORDS, T_SPINS } from "../layout";
import {
  addressOf, ALLE1, ALL_THREADS, ASIDE1, asidOf, head, IPAS2E1, isComplete, levelOf, opOf, pagesOf, recordAt, RIPAS2E1,
  RIPAS2LE1, RVAAE1, RVAALE1, RVALE1, threadOf, VAAE1, VAALE1, VALE1, VMALLE1, VMALLS12E1, vmidOf,
} from "../tlbi";
import { retag } from "./configure";
import { advanceGeneration, count, derived, Derived, generationOf, highHalfOf, lowHalfOf, TLBI_APPLIED, Vcpu, WALK_CACHE_BYTES, WALK_CACHES } from "./state";
import { TBI } from "./regime";
import * as tlb from "./tlb";
import { ANY_ASID, dropTables1, dropTables2 } from "./walk_cache";

/** Applies what was logged since the last time. How many invalidations concerned this vCPU. */
export function applyInvalidations(v: Vcpu): u32 {
  const d = derived(v);
  const until = head();
  let applied: u32 = 0;
  if (until - d.seen > TLBI_RECORDS) {
    dropAll(v);
    applied++;
  } else {
    for (let number = d.seen; number != until; number++) {
      if (!awaitRecord(number)) { // overtaken by a whole ring, or its writer is not done: drop everything
        dropAll(v);
        applied++;
        break;
      }
      const record = recordAt(number);
      const threads = threadOf(record);
      if (threads != ALL_THREADS && threads != thisThread()) continue;
      apply(v, d, record);
      applied++;
      if (!isComplete(number)) dropAll(v); // overtaken while it was read
    }
  }
  d.seen = until;
  if (applied) {
    retag(v);
    count(v, TLBI_APPLIED);
  }
  return applied;
}

function awaitRecord(number: u32): bool {
  let looks = load<u32>(thread, T_SPINS);
  while (true) {
    if (isComplete(number)) return true;
    if (looks-- == 0 || head() - number > TLBI_RECORDS) return false;
  }
}

/** What this CPU combined for a VMID, and nobody else's. */
export function dropCombined(v: Vcpu, vmid: u32): void {
  advance(v, vmid, false);
  retag(v);
}

/** Everything of every context. */
export function dropAll(v: Vcpu): void {
  for (let vmid: u32 = 0; vmid < 16; vmid++) {
    advance(v, vmid, false);
    advance(v, vmid, true);
  }
}

/** A new generation for a VMID's entries; when the numbers start anew, nothing old may be left that could match them. */
function advance(v: Vcpu, vmid: u32, stage2: bool): void {
  advanceGeneration(v, vmid, stage2);
  if (tlb.generationIn(generationOf(v, vmid, stage2)) != 0) return;
  const d = derived(v);
  memory.fill(d.combined, 0, 2 * <usize>(d.sets * d.ways) * tlb.ENTRY_BYTES);
  memory.fill(changetype<usize>(v) + WALK_CACHES, 0, WALK_CACHE_BYTES);
}

function apply(v: Vcpu, d: Derived, record: usize): void {
  const op = opOf(record);
  const vmid = vmidOf(record);
  const level = levelOf(record);
  const address = addressOf(record);
  const bytes = <u64>max(pagesOf(record), 1) << 12;
  if (op == ALLE1) return dropAll(v);
  if (op == VMALLE1 || op == VMALLS12E1) {
    advance(v, vmid, false);
    if (op == VMALLS12E1) advance(v, vmid, true);
    return;
  }
  if (op <= RIPAS2LE1) {
    const range = op == RIPAS2E1 || op == RIPAS2LE1;
    dropIpa(v, d, vmid, address, range ? bytes : 1, level);
    // A cached table was found at level 2: a hint for a leaf above says nothing about it.
    const tables = op == IPAS2E1 || op == RIPAS2E1;
    if (tables && (level == LEVEL_UNKNOWN || level >= 2)) {
      dropTables2(v, vmid, address, range ? bytes : 1);
    }
    return;
  }
  const lastOnly = op == VALE1 || op == VAALE1 || op == RVALE1 || op == RVAALE1;
  const anyAsid = op == VAAE1 || op == VAALE1 || op == RVAAE1 || op == RVAALE1;
  const range = op > ASIDE1;
  if (op == ASIDE1) return dropAsid(v, d, vmid, asidOf(record));
  const asid = anyAsid ? ANY_ASID : asidOf(record);
  const reach = range ? bytes : 1;
  dropVa(v, d, vmid, asid, address, reach, level);
  if (!lastOnly) dropTables1(v, vmid, asid, address, reach);
}

// @ts-ignore: decorator
@inline const GLOBAL_BIT: u64 = <u64>1 << 63;

// @ts-ignore: decorator
@inline function fits(level: i32, cached: i32): bool { return level == LEVEL_UNKNOWN || level == cached; }

/** Stage-2 entries whose leaf touches [ipa, ipa + bytes). */
function dropIpa(v: Vcpu, d: Derived, vmid: u32, ipa: u64, bytes: u64, level: i32): void {
  // Of a page one set can have an entry: where only pages are meant, or held.
  if (bytes == 1 && d.filled == d.page2 && (d.largest == d.page2 || level == LAST_LEVEL)) {
    let entry = tlb.setOf(d, d.stage2, ipa >> d.page2);
    for (let way: u32 = 0; way < d.ways; way++, entry += tlb.ENTRY_BYTES) dropIfIpa(d, entry, vmid, ipa, bytes, level);
    return;
  }
  const end = d.stage2 + <usize>d.sets * d.ways * tlb.ENTRY_BYTES;
  for (let entry = d.stage2; entry < end; entry += tlb.ENTRY_BYTES) dropIfIpa(d, entry, vmid, ipa, bytes, level);
}

// @ts-ignore: decorator
@inline function dropIfIpa(d: Derived, entry: usize, vmid: u32, ipa: u64, bytes: u64, level: i32): void {
  if (tlb.isEmpty(entry) || tlb.vmidIn(tlb.contextOf(entry), true) != vmid || !fits(level, tlb.level2Of(entry))) return;
  const size = <u64>1 << tlb.shift2Of(entry);
  const first = tlb.inputOf(entry) & ~(size - 1);
  if (first < ipa + bytes && first + size > ipa) tlb.drop(entry);
}

/** Combined entries whose stage-1 leaf touches [va, va + bytes); of one ASID and global ones, or of all. */
function dropVa(v: Vcpu, d: Derived, vmid: u32, asid: u32, va: u64, bytes: u64, level: i32): void {
  const end = d.combined + <usize>d.sets * d.ways * tlb.ENTRY_BYTES;
  const tag: u64 = lowHalfOf(v).has(TBI) || highHalfOf(v).has(TBI) ? 8 : 0;
  for (let entry = d.combined; entry < end; entry += tlb.ENTRY_BYTES) {
    if (tlb.isEmpty(entry)) continue;
    const context = tlb.contextOf(entry);
    if (tlb.vmidIn(context, false) != vmid || !fits(level, tlb.level1Of(entry))) continue;
    if (asid != ANY_ASID && !(context & GLOBAL_BIT) && (<u32>context & 0xffff) != asid) continue;
    const shift = tlb.level1Of(entry) == tlb.OFF ? d.fragment : tlb.shift1Of(entry);
    const size = <u64>1 << shift;
    const first = tlb.inputOf(entry) & ~(size - 1);
    // Modulo 2^64, as the high half ends there; a tag byte is no part of the address.
    if ((va - first) << tag < size << tag || (first - va) << tag < bytes << tag) tlb.drop(entry);
  }
}

function dropAsid(v: Vcpu, d: Derived, vmid: u32, asid: u32): void {
  const end = d.combined + <usize>d.sets * d.ways * tlb.ENTRY_BYTES;
  const tag: u64 = lowHalfOf(v).has(TBI) || highHalfOf(v).has(TBI) ? 8 : 0;
  for (let entry = d.combined; entry < end; entry += tlb.ENTRY_BYTES) {
    if (tlb.isEmpty(entry)) continue;
    const context = tlb.contextOf(entry);
    if (context & GLOBAL_BIT || tlb.vmidIn(context, false) != vmid || (<u32>context & 0xffff) != asid) continue;
    tlb.drop(entry);
  }
  dropTables1(v, vmid, asid, 0, ~(<u64>0));
}
