/**
 * FEAT_HDBSS: each page that a stage-2 walk makes dirty gets an entry in this CPU's buffer; FEAT_HACDBS walks such
 * entries and makes the pages writable-clean again.
 *
 *   entry: IPA in 55:12, level in 3:1 (TTWL), valid in 0
 *   HDBSSBR: base 55:12, size 3:0 (4 KiB << SZ)     HDBSSPROD: FSC 31:26, INDEX 18:0
 */
import { isValid, LAST_LEVEL, S2AP_W, TYPE } from "../descriptor";
import { HW_UPDATE } from "../events";
import { bufferPointer, tablePointer } from "../memory";
import * as slots from "../slot";
import * as fault from "./fault";
import { raise } from "./fault";
import { Regime } from "./regime";
import { count, HDBSS_ENTRIES, stage2Of, UPDATES, Vcpu } from "./state";
import { logStep } from "./trace";
import { exchange } from "./update";

// @ts-ignore: decorator
@inline const BASE: u64 = 0x00ff_ffff_ffff_f000;
// @ts-ignore: decorator
@inline const INDEX: u64 = 0x7_ffff;
// @ts-ignore: decorator
@inline const MAX_SIZE: u64 = 9;
// @ts-ignore: decorator
@inline const ENTRY_VALID: u64 = 1;
// @ts-ignore: decorator
@inline const FSC_SHIFT: u64 = 26;
// @ts-ignore: decorator
@inline const DBM: u64 = <u64>1 << 51;

// @ts-ignore: decorator
@inline function entries(register: u64): u64 { return <u64>512 << min(register & 0b1111, MAX_SIZE); }

/** Writes the entry for a leaf that is about to become dirty. False: no room, or no memory; a fault was recorded. */
export function record(v: Vcpu, level: i32, ipa: u64, leafMask: u64, mode: u32): bool {
  const index = v.hdbssprod & INDEX;
  const full = index >= entries(v.hdbssbr);
  const pointer: usize = full ? 0 : bufferPointer((v.hdbssbr & BASE) + (index << 3));
  if (pointer) {
    const entry = (ipa & leafMask) | <u64>(level & 0b111) << 1 | ENTRY_VALID;
    while (!exchange(v, pointer, atomic.load<u64>(pointer), entry)); // lost to a store of others: ours comes after it
    return true;
  }
  v.hdbssprod = index | (full ? 0 : <u64>fault.EXTERNAL << FSC_SHIFT);
  return raise(v, fault.PERMISSION, level, 2, ipa, mode, fault.F_HDBSSF | fault.F_WRITE);
}

/** The page is dirty: its entry counts. */
export function advance(v: Vcpu): void {
  v.hdbssprod = (v.hdbssprod & ~INDEX) | ((v.hdbssprod + 1) & INDEX);
  count(v, HDBSS_ENTRIES);
}

// ---- HACDBS ---------------------------------------------------------------------------------------------------

/** What an update event says when the cleaner made it. */
// @ts-ignore: decorator
@inline const MADE_CLEAN: u32 = 4;
/** TTWL of level -1. */
// @ts-ignore: decorator
@inline const LEVEL_MINUS_1: i32 = 7;
// @ts-ignore: decorator
@inline const ENABLED: u64 = 1 << 11;
// @ts-ignore: decorator
@inline const REASON_SHIFT: u64 = 32;
// Why the cleaner stopped before the end (HACDBSCONS_EL2.ERR_REASON).
// @ts-ignore: decorator
@inline const STRUCTURE_READ: u64 = 1;
// @ts-ignore: decorator
@inline const WALK_FAILED: u64 = 2;
// @ts-ignore: decorator
@inline const LEVEL_MISMATCH: u64 = 3;

/** Cleans page after page from INDEX on, to the end of the buffer, a stop mark or an error. How many were cleaned. */
export function clean(v: Vcpu): u32 {
  if (!(v.hacdbsbr & ENABLED)) return 0;
  let cleaned: u32 = 0;
  let index = v.hacdbscons & INDEX;
  let reason: u64 = 0;
  const end = entries(v.hacdbsbr);
  for (; index < end; index++) {
    const pointer = bufferPointer((v.hacdbsbr & BASE) + (index << 3));
    if (!pointer) {
      reason = STRUCTURE_READ;
      break;
    }
    const entry = atomic.load<u64>(pointer);
    if (!(entry & ENTRY_VALID)) continue;
    const level = <i32>(entry >> 1 & 0b111);
    if (level > LAST_LEVEL && level != LEVEL_MINUS_1) break; // a reserved level is the stop mark
    reason = cleanEntry(v, stage2Of(v), entry & BASE, level == LEVEL_MINUS_1 ? -1 : level);
    if (reason) break;
    cleaned++;
  }
  v.hacdbscons = index | reason << REASON_SHIFT;
  return cleaned;
}

/** One page: writable-clean if it is dirty and may be. 0, or why not. */
function cleanEntry(v: Vcpu, r: Regime, ipa: u64, level: i32): u64 {
  if (r.refusal != fault.NONE || ipa >> r.iaBits) return WALK_FAILED;
  while (true) {
    let at = r.startLevel;
    let size = r.rootShift;
    let address = r.base + (ipa >> size << 3);
    while (true) {
      const slot = tablePointer(address);
      if (!slot) return WALK_FAILED;
      const pte = slots.read(slot);
      if (!isValid(pte)) return WALK_FAILED;
      if (at == 3 || !(pte & TYPE)) {
        if (at == 3 ? !(pte & TYPE) : at < r.blockLevel) return WALK_FAILED;
        if (r.address(pte) >= r.paLimit) return WALK_FAILED;
        if (at != level) return LEVEL_MISMATCH;
        if (!(pte & DBM) || !(pte & S2AP_W)) return 0;
        if (!exchange(v, slot, pte, pte & ~S2AP_W)) break; // lost to another walk or to software: look again
        if (v.events & UPDATES) logStep(v, HW_UPDATE, 2, at, MADE_CLEAN, slot, pte & ~S2AP_W, ipa);
        return 0;
      }
      if (at == level) return LEVEL_MISMATCH;
      if (r.address(pte) >= r.paLimit) return WALK_FAILED;
      at++;
      size -= r.pageShift - 3;
      address = r.address(pte) + ((ipa >> size & ((1 << (r.pageShift - 3)) - 1)) << 3);
    }
  }
}
