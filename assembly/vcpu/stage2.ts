/**
 * The stage-2 walk (Arm ARM D8.2, D8.4, D8.5). At each step the first test that fails decides: translation, address
 * size, access flag, walk of Device memory, alignment, permission; a step that fails changes no memory.
 */
import { AF, isValid, S2AP_W, TYPE } from "../descriptor";
import { tablePointer } from "../memory";
import * as slots from "../slot";
import { isReserved } from "./attributes";
import { isConsistent } from "./contiguous";
import * as fault from "./fault";
import { raise } from "./fault";
import { advance, record } from "./hdbss";
import { FWB, HA, HAFT, HD, HDBSS, Regime, TELLS_DIRTY, XNX } from "./regime";
import {
  add, AF_ON_PERMISSION, AT_UPDATES, CHECKER, CONTIGUOUS_CONFLICT, count, derived, EXEC_NEEDS_R, FETCH, has, IS_AT,
  IS_PROBE, MEMATTR_BITS, NO_ATOMIC_UPDATE, READ, READS_STAGE2, RESTARTS, SPECULATIVE_WALK, stage2Of, STAY_CLEAN,
  TABLE_WALK, UNALIGNED, UNPRIVILEGED, Vcpu, WALKS, WRITE,
} from "./state";
import { update } from "./update";
import { logRead } from "./trace";
import { rememberTable2, startTable2 } from "./walk_cache";

// What the last walk found ----------------------------------------------------------------------------------------
/** Physical address of the byte. */
export let pa: u64 = 0;
/** The leaf as it is now, its level, log2 of what it maps. */
export let leaf: u64 = 0;
export let level: i32 = 0;
export let shift: u32 = 0;

// @ts-ignore: decorator
@inline export const DBM: u64 = <u64>1 << 51;
// @ts-ignore: decorator
@inline export const CONTIGUOUS: u64 = <u64>1 << 52;

/** Whether a leaf's memory type is Device, as far as stage 2 alone decides. */
export function isDevice(v: Vcpu, r: Regime, pte: u64): bool {
  const attr = <u32>(pte >> 2) & 0b1111;
  const fwb = r.has(FWB);
  if (isReserved(attr, fwb) && !has(v, MEMATTR_BITS)) return false; // non-cacheable
  return (attr & (fwb ? 0b0100 : 0b1100)) == 0;
}

/** What a leaf allows: READ, WRITE, FETCH, and the same for EL0 three bits up. */
export function allowed(v: Vcpu, r: Regime, pte: u64): u32 {
  const data = <u32>(pte >> 6) & 0b11;
  let fetch: u32; // bit 0 at EL1, bit 1 at EL0
  const xn = <u32>(pte >> 53) & 0b11;
  if (r.has(XNX)) fetch = xn == 0 ? 3 : xn == 1 ? 2 : xn == 2 ? 0 : 1;
  else fetch = xn & 2 ? 0 : 3;
  if (has(v, EXEC_NEEDS_R) && !(data & 1)) fetch = 0;
  return data | (fetch & 1) << 2 | data << 3 | (fetch & 2) << 4;
}

/** What an access needs among these. */
// @ts-ignore: decorator
@inline export function needOf(v: Vcpu, mode: u32): u32 {
  const need = mode & (READ | WRITE | FETCH);
  const d = derived(v);
  return d.el0 || (mode & UNPRIVILEGED && !d.el2) ? need << 3 : need; // EL2 has one level of privilege
}

// @ts-ignore: decorator
@inline function found(pte: u64, at: i32, size: u32, address: u64): bool {
  leaf = pte;
  level = at;
  shift = size;
  pa = address;
  return true;
}

/** What a cached entry gives in place of a walk; or what a walk had found, after another one. */
export function setFound(pte: u64, address: u64, at: i32, size: u32): void { found(pte, at, size, address); }

/** Whether the last walk began at a cached table. */
export let fromCache: bool = false;

/** Translates `ipa`. False: a fault was recorded. */
export function walkStage2(v: Vcpu, ipa: u64, mode: u32): bool {
  const r = stage2Of(v);
  if (r.refusal == fault.TRANSLATION || ipa >> r.iaBits) return raise(v, fault.TRANSLATION, 0, 2, ipa, mode, 0);
  if (r.refusal != fault.NONE) return raise(v, r.refusal, 0, 2, ipa, mode, 0);
  while (true) {
    const slot = descend(v, r, ipa, mode);
    if (!slot) return false;
    const result = checkLeaf(v, r, slot, ipa, mode);
    if (result == DONE) return true;
    if (result == FAULTED) return false;
    if (!(mode & IS_PROBE)) count(v, RESTARTS); // the entry changed since it was read: walk again, never write over it
  }
}

// @ts-ignore: decorator
@inline const DONE: i32 = 1;
// @ts-ignore: decorator
@inline const FAULTED: i32 = 0;
// @ts-ignore: decorator
@inline const CHANGED: i32 = -1;

/** Down to the leaf, which is left in `leaf`, `level` and `shift`; its pointer, or 0 after a fault. */
function descend(v: Vcpu, r: Regime, ipa: u64, mode: u32): usize {
  const stride = r.pageShift - 3;
  const quiet = (mode & IS_PROBE) != 0;
  let at = r.startLevel;
  let size = r.rootShift;
  let address = r.base + (ipa >> size << 3);
  let slot: usize = 0;
  if (derived(v).hasTlb && !quiet && at < 3) {
    slot = startTable2(v, r, ipa);
    fromCache = slot != 0;
    if (slot) {
      at = 3;
      size = r.pageShift;
    }
  }
  while (true) {
    if (!slot) {
      slot = tablePointer(address);
      if (!slot) {
        raise(v, fault.EXTERNAL_ON_WALK, at, 2, ipa, mode, 0);
        return 0;
      }
    }
    const pte = slots.read(slot);
    if (!quiet) add(v, READS_STAGE2 + <u32>(at + 1), 1);
    if (v.events & WALKS && !quiet) logRead(v, 2, at, slot, pte, ipa);
    if (!isValid(pte) || (at == 3 && !(pte & TYPE))) {
      raise(v, fault.TRANSLATION, at, 2, ipa, mode, 0);
      return 0;
    }
    if (at == 3 || !(pte & TYPE)) {
      if (at < r.blockLevel) {
        raise(v, fault.TRANSLATION, at, 2, ipa, mode, 0);
        return 0;
      }
      found(pte, at, size, 0);
      return slot;
    }
    const next = r.address(pte);
    if (next >= r.paLimit) {
      raise(v, fault.ADDRESS_SIZE, at, 2, ipa, mode, 0);
      return 0;
    }
    if (r.has(HAFT) && !(pte & AF) && changes(v, mode)) {
      if (has(v, NO_ATOMIC_UPDATE)) {
        raise(v, fault.NO_ATOMIC_UPDATES, 0, 2, ipa, mode, 0);
        return 0;
      }
      if (!update(v, slot, pte, AF, at, 2, ipa)) continue; // the entry changed: look at what it is now
    }
    at++;
    size -= stride;
    address = next + ((ipa >> size & ((1 << stride) - 1)) << 3);
    slot = 0;
    if (at == 3 && derived(v).hasTlb && !quiet) rememberTable2(v, r, ipa, next);
  }
}

/** The tests of a leaf, and what hardware does to it. */
function checkLeaf(v: Vcpu, r: Regime, slot: usize, ipa: u64, mode: u32): i32 {
  const pte = leaf;
  const at = level;
  const inLeaf = (<u64>1 << shift) - 1;
  const oa = r.address(pte) & ~inLeaf;
  if (oa >= r.paLimit) return failed(raise(v, fault.ADDRESS_SIZE, at, 2, ipa, mode, 0));
  if (pte & CONTIGUOUS && v.knobs & (CHECKER | CONTIGUOUS_CONFLICT) && !isConsistent(v, r, slot, pte, at, 2, mode)) {
    if (has(v, CONTIGUOUS_CONFLICT)) return failed(raise(v, fault.TLB_CONFLICT, 0, 2, ipa, mode, 0));
  }
  const young = (pte & AF) != 0;
  if (!young && !r.has(HA)) return failed(raise(v, fault.ACCESS_FLAG, at, 2, ipa, mode, 0));
  const device = mode & (TABLE_WALK | UNALIGNED) && isDevice(v, r, pte);
  if (device && !(mode & TABLE_WALK)) return failed(raise(v, fault.ALIGNMENT, 0, 2, ipa, mode, 0));
  let set: u64 = young ? 0 : AF;
  const need = mode & TABLE_WALK ? mode & (READ | WRITE) : needOf(v, mode);
  const lacks = need & ~allowed(v, r, pte);
  if (lacks) {
    const onlyWrite = (lacks & (WRITE | WRITE << 3)) == lacks;
    if (!onlyWrite || !(pte & DBM) || !r.has(HD)) {
      // AF may be set although the access fails: a choice. Lost: the entry changed, and the fault is about what it was.
      if (set && has(v, AF_ON_PERMISSION) && changes(v, mode)) update(v, slot, pte, set, at, 2, ipa);
      let extra: u32 = onlyWrite ? fault.F_WRITE : 0;
      if (onlyWrite && pte & DBM && r.has(TELLS_DIRTY)) extra |= fault.F_DIRTY_BIT;
      return failed(raise(v, fault.PERMISSION, at, 2, ipa, mode, extra));
    }
    // A walk that nobody asked for makes nothing dirty: an update of stage 1 that would is given up.
    if (mode & SPECULATIVE_WALK && mode & TABLE_WALK) return failed(raise(v, fault.PERMISSION, at, 2, ipa, mode, 0));
    if (!(mode & (STAY_CLEAN | SPECULATIVE_WALK))) set |= S2AP_W;
  }
  if (set && changes(v, mode)) {
    if (has(v, NO_ATOMIC_UPDATE)) {
      return failed(raise(v, fault.NO_ATOMIC_UPDATES, 0, 2, ipa, mode, lacks ? fault.F_WRITE : 0));
    }
    const recorded = (set & S2AP_W) != 0 && r.has(HDBSS);
    if (recorded && !record(v, at, ipa, ~inLeaf, mode)) return FAULTED;
    if (!update(v, slot, pte, set, at, 2, ipa)) return CHANGED;
    if (recorded) advance(v); // only now: an entry counts once its page is dirty
  } else set = 0;
  // HCR_EL2.PTW: a walk of stage 1 may not read Device memory. Found out when the memory is read: AF is set by then.
  if (device && v.hcr & PTW) return failed(raise(v, fault.PERMISSION, at, 2, ipa, mode, 0));
  found(pte | set, at, shift, oa | (ipa & inLeaf));
  return DONE;
}

// @ts-ignore: decorator
@inline function failed(never: bool): i32 { return FAULTED; }

/** HCR_EL2.PTW. */
// @ts-ignore: decorator
@inline const PTW: u64 = 1 << 2;

/** Whether this access may change descriptors. */
export function changes(v: Vcpu, mode: u32): bool {
  return !(mode & IS_PROBE) && (!(mode & IS_AT) || has(v, AT_UPDATES));
}
