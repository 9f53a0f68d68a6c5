/**
 * The stage-1 walk of EL1&0 and of EL2 (Arm ARM D8.2 to D8.5). Each descriptor lies at an intermediate physical address,
 * which stage 2 translates first; so does each update of one, as a write.
 */
import { AF, isValid, TYPE } from "../descriptor";
import { physicalOf, tablePointer } from "../memory";
import * as slots from "../slot";
import { translateStage2 } from "./cached";
import { isConsistent } from "./contiguous";
import * as fault from "./fault";
import { raise } from "./fault";
import { DS, E0PD, HA, HD, HIGH, HPD, ONE_PRIVILEGE, Regime, TBI, WXN } from "./regime";
import * as second from "./stage2";
import { changes, CONTIGUOUS, DBM, needOf } from "./stage2";
import {
  add, AF_ON_PERMISSION, CHECKER, CONTIGUOUS_CONFLICT, count, derived, el2Of, FAULTS, FETCH, has, highHalfOf, IS_AT, IS_PROBE,
  lowHalfOf, NO_ATOMIC_UPDATE, READ, READS_STAGE1, RESTARTS, SPECULATIVE_WALK, STAY_CLEAN, TABLE_WALK, UNALIGNED,
  UNPRIVILEGED, Vcpu, WALKS, WRITE,
} from "./state";
import { logRead } from "./trace";
import { update } from "./update";
import { HIERARCHICAL, inherited, rememberTable1, startTable1, tableIpa } from "./walk_cache";

// What the last walk found ----------------------------------------------------------------------------------------
export let ipa: u64 = 0;
export let leaf: u64 = 0;
export let level: i32 = 0;
export let shift: u32 = 0;
/** READ, WRITE, FETCH at EL1, and for EL0 three bits up. */
export let allowed: u32 = 0;
/** A write would make the page dirty first. */
export let clean: bool = false;

/** AP[1]: EL0 may; AP[2]: nobody may write; PXN; UXN (XN where there is one privilege level); nG. */
// @ts-ignore: decorator
@inline const AP1: u64 = 1 << 6;
// @ts-ignore: decorator
@inline const AP2: u64 = 1 << 7;
// @ts-ignore: decorator
@inline const PXN: u64 = <u64>1 << 53;
// @ts-ignore: decorator
@inline const UXN: u64 = <u64>1 << 54;
// @ts-ignore: decorator
@inline export const NOT_GLOBAL: u64 = 1 << 11;
// Table descriptors: what they take from everything below.
// @ts-ignore: decorator
@inline const PXN_TABLE: u64 = <u64>1 << 59;
// @ts-ignore: decorator
@inline const UXN_TABLE: u64 = <u64>1 << 60;
// @ts-ignore: decorator
@inline const NO_EL0_TABLE: u64 = <u64>1 << 61;
// @ts-ignore: decorator
@inline const READ_ONLY_TABLE: u64 = <u64>1 << 62;

/** The regime that translates this address. */
export function regimeFor(v: Vcpu, va: u64): Regime {
  if (derived(v).el2) return el2Of(v);
  return va >> 55 & 1 ? highHalfOf(v) : lowHalfOf(v);
}

/** An address as its regime sees it: with top-byte ignore, bit 55 in place of the tag. */
export function untagged(r: Regime, va: u64): u64 {
  if (!r.has(TBI)) return va;
  if (r.has(ONE_PRIVILEGE)) return va & 0x00ff_ffff_ffff_ffff;
  return <u64>(<i64>(va << 8) >> 8);
}

// @ts-ignore: decorator
@inline function isInput(r: Regime, va: u64): bool {
  return (r.has(HIGH) ? ~va : va) >> r.iaBits == 0;
}

/** Memory attributes of a stage-1 leaf, as MAIR_ELx has them. */
export function attributesOf(v: Vcpu, pte: u64): u32 {
  const mair = derived(v).el2 ? v.mair2 : v.mair1;
  return <u32>(mair >> ((pte >> 2 & 0b111) << 3)) & 0xff;
}

/** Shareability of a stage-1 leaf: its own field, or that of the regime where the address takes its place. */
export function shareabilityOf(v: Vcpu, pte: u64): u32 {
  const r = derived(v).el2 ? el2Of(v) : untaggedHigh ? highHalfOf(v) : lowHalfOf(v);
  return r.has(DS) ? r.sh : <u32>(pte >> 8) & 0b11;
}

/** What a leaf allows below tables with the bits `from`. */
function allows(v: Vcpu, r: Regime, pte: u64, from: u64): u32 {
  const readOnly = (pte & AP2) != 0 || (from & READ_ONLY_TABLE) != 0;
  const wxn = r.has(WXN);
  if (r.has(ONE_PRIVILEGE)) {
    const fetch = !(pte & UXN) && !(from & UXN_TABLE) && !(wxn && !readOnly);
    return READ | (readOnly ? 0 : WRITE) | (fetch ? FETCH : 0);
  }
  const user = (pte & AP1) != 0 && !(from & NO_EL0_TABLE);
  const userWrite = user && !readOnly;
  // What EL0 may write, EL1 never executes.
  const fetch1 = !(pte & PXN) && !(from & PXN_TABLE) && !userWrite && !(wxn && !readOnly);
  const fetch0 = !(pte & UXN) && !(from & UXN_TABLE) && !(wxn && userWrite);
  let rights: u32 = READ | (readOnly ? 0 : WRITE);
  if (derived(v).pan && user) rights = 0;
  if (fetch1) rights |= FETCH;
  if (user) rights |= (READ | (readOnly ? 0 : WRITE)) << 3;
  if (fetch0) rights |= FETCH << 3;
  return r.has(E0PD) ? rights & 7 : rights; // such a half is not there for EL0
}

// Where the leaf of this walk is, for its update
let leafSlot: usize = 0;
let untaggedHigh: bool = false;
let leafSlotIpa: u64 = 0;
let above: u64 = 0;

/** Pointer to the descriptor at an intermediate physical address; 0: a fault was recorded. */
function descriptorAt(v: Vcpu, address: u64, mode: u32, at: i32): usize {
  const d = derived(v);
  let physical = address;
  if (d.stage2On && !d.el2) {
    if (!translateStage2(v, address, mode)) return 0;
    physical = second.pa;
  }
  const slot = tablePointer(physical);
  if (!slot) raise(v, fault.EXTERNAL_ON_WALK, at, 1, 0, mode, 0);
  return slot;
}

// @ts-ignore: decorator
@inline function walkMode(mode: u32, need: u32): u32 {
  return (mode & ~(READ | WRITE | FETCH | UNALIGNED | UNPRIVILEGED | STAY_CLEAN)) | need | TABLE_WALK;
}

/** Translates `va` (untagged) to `ipa`. False: a fault was recorded. */
export function walkStage1(v: Vcpu, r: Regime, va: u64, mode: u32): bool {
  const closed = r.has(E0PD) && (derived(v).el0 || mode & UNPRIVILEGED);
  if (r.refusal == fault.TRANSLATION || !isInput(r, va) || closed) {
    return raise(v, fault.TRANSLATION, 0, 1, 0, mode, 0);
  }
  if (r.refusal != fault.NONE) return raise(v, r.refusal, 0, 1, 0, mode, 0);
  while (true) {
    if (!descend(v, r, va, mode)) return false;
    const result = checkLeaf(v, r, va, mode);
    if (result == DONE) return true;
    if (result == FAULTED) return false;
    if (!(mode & IS_PROBE)) count(v, RESTARTS); // somebody changed the entry since it was read: walk again
  }
}

// @ts-ignore: decorator
@inline const DONE: i32 = 1;
// @ts-ignore: decorator
@inline const FAULTED: i32 = 0;
// @ts-ignore: decorator
@inline const CHANGED: i32 = -1;

function descend(v: Vcpu, r: Regime, va: u64, mode: u32): bool {
  const stride = r.pageShift - 3;
  const probe = (mode & IS_PROBE) != 0;
  const cached = derived(v).hasTlb && !derived(v).el2 && !(mode & (IS_PROBE | IS_AT));
  const ia = va & ((<u64>1 << r.iaBits) - 1);
  let at = r.startLevel;
  let size = r.rootShift;
  let address = r.base + (ia >> size << 3);
  let slot: usize = 0;
  above = 0;
  if (cached && at < 3) {
    slot = startTable1(v, r, va);
    if (slot) {
      at = 3;
      size = r.pageShift;
      above = inherited;
      address = tableIpa + ((ia >> size & ((1 << stride) - 1)) << 3);
    }
  }
  while (true) {
    if (!slot) {
      slot = descriptorAt(v, address, walkMode(mode, READ), at);
      if (!slot) return false;
    }
    const pte = slots.read(slot);
    if (!probe) add(v, READS_STAGE1 + <u32>(at + 1), 1);
    if (v.events & WALKS && !probe) logRead(v, 1, at, slot, pte, va);
    if (!isValid(pte) || (at == 3 && !(pte & TYPE))) return raise(v, fault.TRANSLATION, at, 1, 0, mode, 0);
    if (at == 3 || !(pte & TYPE)) {
      if (at < r.blockLevel) return raise(v, fault.TRANSLATION, at, 1, 0, mode, 0);
      leaf = pte;
      level = at;
      shift = size;
      leafSlot = slot;
      leafSlotIpa = address;
      return true;
    }
    const next = r.address(pte);
    if (next >= r.paLimit) return raise(v, fault.ADDRESS_SIZE, at, 1, 0, mode, 0);
    if (!r.has(HPD)) above |= pte & HIERARCHICAL;
    at++;
    size -= stride;
    address = next + ((ia >> size & ((1 << stride) - 1)) << 3);
    slot = 0;
    if (at == 3 && cached) {
      slot = descriptorAt(v, address, walkMode(mode, READ), at);
      if (!slot) return false;
      // One stage-2 leaf must hold the whole table, or its pieces lie anywhere.
      const d = derived(v);
      if (!d.stage2On || d.el2 || second.shift >= r.pageShift) {
        rememberTable1(v, r, va, next, physicalOf(slot) - (address - next), above);
      }
    }
  }
}

function checkLeaf(v: Vcpu, r: Regime, va: u64, mode: u32): i32 {
  const pte = leaf;
  const at = level;
  const inLeaf = (<u64>1 << shift) - 1;
  const oa = r.address(pte) & ~inLeaf;
  if (oa >= r.paLimit) return failed(raise(v, fault.ADDRESS_SIZE, at, 1, 0, mode, 0));
  if (pte & CONTIGUOUS && v.knobs & (CHECKER | CONTIGUOUS_CONFLICT) && !isConsistent(v, r, leafSlot, pte, at, 1, mode)) {
    if (has(v, CONTIGUOUS_CONFLICT)) return failed(raise(v, fault.TLB_CONFLICT, 0, 1, 0, mode, 0));
  }
  const young = (pte & AF) != 0;
  if (!young && !r.has(HA)) return failed(raise(v, fault.ACCESS_FLAG, at, 1, 0, mode, 0));
  if (mode & UNALIGNED && !(attributesOf(v, pte) & 0xf0)) return failed(raise(v, fault.ALIGNMENT, 0, 1, 0, mode, 0));
  let change: u64 = young ? 0 : AF;
  const need = needOf(v, mode);
  const dirtying = r.has(HD) && (pte & DBM) != 0 && (pte & AP2) != 0;
  allowed = allows(v, r, pte, above);
  clean = false;
  if (need & ~allowed) {
    const dirty = dirtying ? allows(v, r, pte & ~AP2, above) : allowed;
    const lacks = need & ~dirty;
    if (lacks || !(need & (WRITE | WRITE << 3))) {
      if (change && has(v, AF_ON_PERMISSION) && changes(v, mode)) updateAnyway(v, pte, change, at, va, mode);
      const missing = need & ~allowed;
      const onlyWrite = (missing & (WRITE | WRITE << 3)) == missing;
      return failed(raise(v, fault.PERMISSION, at, 1, 0, mode, onlyWrite ? fault.F_WRITE : 0));
    }
    if (!(mode & (STAY_CLEAN | SPECULATIVE_WALK))) change |= AP2;
  }
  untaggedHigh = r.has(HIGH);
  ipa = oa | (va & inLeaf);
  if (!change || !changes(v, mode)) {
    clean = dirtying;
    return DONE;
  }
  if (has(v, NO_ATOMIC_UPDATE)) return failed(raise(v, fault.NO_ATOMIC_UPDATES, 0, 1, 0, mode, 0));
  // The update is a write by the walk: stage 2 must allow it.
  const slot = descriptorAt(v, leafSlotIpa, walkMode(mode, READ | WRITE), at);
  if (!slot) return FAULTED;
  if (!update(v, slot, pte, change, at, 1, va)) return CHANGED;
  leaf = pte ^ change;
  allowed = allows(v, r, leaf, above);
  clean = dirtying && !(change & AP2);
  return DONE;
}

/** AF of a leaf whose access fails: if it can be had. Stage 2 may refuse, which is nobody's fault then. */
function updateAnyway(v: Vcpu, pte: u64, change: u64, at: i32, va: u64, mode: u32): void {
  if (has(v, NO_ATOMIC_UPDATE)) return;
  const slot = descriptorAt(v, leafSlotIpa, walkMode(mode, READ | WRITE), at);
  if (slot) update(v, slot, pte, change, at, 1, va); // lost: the entry changed, and the fault is about what it was
  else add(v, FAULTS, ~(<u64>0)); // recorded and counted by the walk: taken back
}

// @ts-ignore: decorator
@inline function failed(never: bool): i32 { return FAULTED; }
