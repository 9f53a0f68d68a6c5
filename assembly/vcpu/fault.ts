/** Faults: what a walk ends with, and how ESR, FAR and HPFAR tell of it (Arm ARM D24.2 ESR_EL2, HPFAR_EL2; D8.15). */
import {
  AT_EL1, count, derived, FAULTS, FETCH, has, HPFAR_POISON, IS_AT, IS_PROBE, SPECULATIVE_WALK, TABLE_WALK, Vcpu,
  WNR_WALK, WRITE,
} from "./state";

import { ADDRESS_SIZE, EXTERNAL_ON_WALK, PERMISSION, TRANSLATION } from "./status";

export * from "./status";

// Flags of the record.
// @ts-ignore: decorator
@inline export const F_S1PTW: u32 = 1;
// @ts-ignore: decorator
@inline export const F_WRITE: u32 = 2;
// @ts-ignore: decorator
@inline export const F_FETCH: u32 = 4;
// @ts-ignore: decorator
@inline export const F_CM: u32 = 8;
// @ts-ignore: decorator
@inline export const F_TO_EL2: u32 = 16;
// @ts-ignore: decorator
@inline export const F_HDBSSF: u32 = 32;
// @ts-ignore: decorator
@inline export const F_DIRTY_BIT: u32 = 64;
// @ts-ignore: decorator
@inline export const F_FROM_TLB: u32 = 128;

/** For faults that have no level. */
// @ts-ignore: decorator
@inline export const NO_LEVEL: i32 = 4;

/** The access that is under way on this thread, as it was asked for. */
export let accessVa: u64 = 0;
export let accessMode: u32 = 0;

// @ts-ignore: decorator
@inline export function beginAccess(va: u64, mode: u32): void {
  accessVa = va;
  accessMode = mode;
}

/** ISS[5:0]. */
export function statusCode(type: u32, level: i32): u32 {
  if (level == NO_LEVEL) return type;
  if (level < 0) {
    return type == ADDRESS_SIZE ? 0x29 : type == TRANSLATION ? 0x2b : type == EXTERNAL_ON_WALK ? 0x13 : type;
  }
  return type + <u32>level;
}

// @ts-ignore: decorator
@inline function isLevelled(type: u32): bool { return type <= PERMISSION || type == EXTERNAL_ON_WALK; }

// @ts-ignore: decorator
@inline const EC_INSTRUCTION: u64 = 0x20;
// @ts-ignore: decorator
@inline const EC_DATA: u64 = 0x24;
// @ts-ignore: decorator
@inline const POISON: u64 = 0x0000_dead_dead_def0;

/**
 * Records a fault; always false. `mode` is that of the step that failed: a fetch of a stage-1 descriptor has TABLE_WALK.
 * `ipa` counts for stage 2 only. `extra`: flags of the record.
 */
export function raise(v: Vcpu, type: u32, level: i32, stage: u32, ipa: u64, mode: u32, extra: u32): bool {
  const access = accessMode;
  if (access & SPECULATIVE_WALK) return false; // nobody asked: nobody is told
  const known = isLevelled(type);
  const walking = (mode & TABLE_WALK) != 0;
  const fetch = (access & FETCH) != 0;
  let flags = extra & ~F_WRITE;
  if (stage == 2 && walking) flags |= F_S1PTW;
  if (fetch) flags |= F_FETCH;
  if (access & IS_AT) flags |= F_CM | F_WRITE;
  else if (!fetch && isWrite(v, access, mode, type, extra)) flags |= F_WRITE;
  const el2 = derived(v).el2;
  // AT executed at EL2 takes the exceptions that it can take there, from the same level.
  const atEl2 = (access & IS_AT) != 0 && !(access & AT_EL1);
  if (stage == 2 || el2 || atEl2) flags |= F_TO_EL2;
  v.fsc = statusCode(type, known ? level : NO_LEVEL);
  v.faultLevel = known ? level : NO_LEVEL;
  v.faultStage = stage;
  v.faultFlags = flags;
  v.faultIpa = stage == 2 ? ipa : 0;
  v.far = accessVa;
  const isAt = (access & IS_AT) != 0; // names the rights to check, EL0 ones too; executed at EL1 or EL2
  const sameEl = atEl2 || (stage != 2 && (el2 || isAt || !derived(v).el0));
  let esr = ((fetch ? EC_INSTRUCTION : EC_DATA) + (sameEl ? 1 : 0)) << 26 | <u64>1 << 25 | v.fsc;
  if (flags & F_S1PTW) esr |= 1 << 7;
  if (flags & F_WRITE && !fetch) esr |= 1 << 6;
  if (flags & F_CM) esr |= 1 << 8;
  if (flags & F_HDBSSF) esr |= <u64>1 << 43;
  if (flags & F_DIRTY_BIT) esr |= <u64>1 << 37;
  v.esr = esr;
  v.hpfar = stage == 2 && !(atEl2 && type == EXTERNAL_ON_WALK) ? faultingIpa(v, type, flags, ipa) : 0;
  if (!(access & IS_PROBE)) count(v, FAULTS);
  return false;
}

/** WnR. A read-modify-write counts as a read where a read would have failed too. */
function isWrite(v: Vcpu, access: u32, mode: u32, type: u32, extra: u32): bool {
  if (mode & TABLE_WALK && has(v, WNR_WALK)) return (mode & WRITE) != 0;
  if (!(access & WRITE)) return false;
  if ((access & 3) == WRITE) return true;
  return stageOneDone(mode) && (extra & F_WRITE) != 0; // set by the one check that a read would have passed
}

// @ts-ignore: decorator
@inline function stageOneDone(mode: u32): bool { return (mode & TABLE_WALK) == 0; }

/** HPFAR_EL2: UNKNOWN for a permission fault that is not on a stage-1 descriptor. */
function faultingIpa(v: Vcpu, type: u32, flags: u32, ipa: u64): u64 {
  if (type == PERMISSION && !(flags & F_S1PTW) && has(v, HPFAR_POISON)) return POISON;
  return (ipa >> 12) << 4;
}
