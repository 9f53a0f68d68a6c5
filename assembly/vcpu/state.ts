/**
 * One PE: a page of state, and its TLB arrays. Only the thread that runs a vCPU touches its page.
 *
 *   +0      registers, settings, the last fault, what a probe found, counters: read and written from outside
 *   +512    what `configure` derives from the registers, TLB geometry, monitor
 *   +1024   translation regimes: stage 2, EL1&0 low half, EL1&0 high half, EL2
 *   +2048   walk caches: 32 last-level tables of stage 2, 32 of stage 1, 32 bytes each
 */
import { Regime } from "./regime";

@unmanaged
@final
export class Vcpu {
  // registers
  hcr: u64;
  vtcr: u64;
  vttbr: u64;
  sctlr1: u64;
  tcr1: u64;
  ttbr0: u64;
  ttbr1: u64;
  mair1: u64;
  sctlr2: u64;
  tcr2: u64;
  ttbrEl2: u64;
  mair2: u64;
  mmfr0: u64;
  mmfr1: u64;
  mmfr2: u64;
  pstate: u64;
  hdbssbr: u64;
  hdbssprod: u64;
  hacdbsbr: u64;
  hacdbscons: u64;
  par: u64;
  // settings
  knobs: u32;
  events: u32;
  ergShift: u32;
  spurious: u32;
  seed: u32;
  speculate: u32;
  // the last fault
  fsc: u32;
  faultLevel: i32;
  faultStage: u32;
  faultFlags: u32;
  esr: u64;
  far: u64;
  hpfar: u64;
  faultIpa: u64;
  // what a probe found
  probePa: u64;
  probeAttr: u8;
  probeSh: u8;
  probeLevel1: i8;
  probeLevel2: i8;
  probeShift1: u8;
  probeShift2: u8;
  probeAllowed: u8;
}

// Counters ------------------------------------------------------------------------------------------------------
// @ts-ignore: decorator
@inline const COUNTERS: usize = 256;
// @ts-ignore: decorator
@inline export const READS_STAGE2: u32 = 0; // five levels from -1 on
// @ts-ignore: decorator
@inline export const READS_STAGE1: u32 = 5;
// @ts-ignore: decorator
@inline export const QUICK: u32 = 10; // three lengths of a walk from level 1 on
// @ts-ignore: decorator
@inline export const AF_STAGE1: u32 = 13;
// @ts-ignore: decorator
@inline export const DIRTY_STAGE1: u32 = 14;
// @ts-ignore: decorator
@inline export const AF_STAGE2: u32 = 15;
// @ts-ignore: decorator
@inline export const DIRTY_STAGE2: u32 = 16;
// @ts-ignore: decorator
@inline export const TLB_HITS: u32 = 17;
// @ts-ignore: decorator
@inline export const TLB_MISSES: u32 = 18;
// @ts-ignore: decorator
@inline export const TLB_STALE: u32 = 19;
// @ts-ignore: decorator
@inline export const RESTARTS: u32 = 20;
// @ts-ignore: decorator
@inline export const WALK_CACHE_HITS: u32 = 21;
// @ts-ignore: decorator
@inline export const STAGE2_TLB_HITS: u32 = 22;
// @ts-ignore: decorator
@inline export const FAULTS: u32 = 23;
// @ts-ignore: decorator
@inline export const SPURIOUS_FAULTS: u32 = 24;
// @ts-ignore: decorator
@inline export const TLBI_APPLIED: u32 = 25;
// @ts-ignore: decorator
@inline export const TLB_CONFLICTS: u32 = 26;
// @ts-ignore: decorator
@inline export const HDBSS_ENTRIES: u32 = 27;
// @ts-ignore: decorator
@inline export const SPECULATIVE: u32 = 28;

// @ts-ignore: decorator
@inline export function add(v: Vcpu, counter: u32, n: u64): void {
  const at = changetype<usize>(v) + COUNTERS + (<usize>counter << 3);
  store<u64>(at, load<u64>(at) + n);
}

// @ts-ignore: decorator
@inline export function count(v: Vcpu, counter: u32): void { add(v, counter, 1); }

// @ts-ignore: decorator
@inline const PROBE_IPA: usize = 504;

export function setProbeIpa(v: Vcpu, ipa: u64): void { store<u64>(changetype<usize>(v), ipa, PROBE_IPA); }

// Derived state -------------------------------------------------------------------------------------------------
// @ts-ignore: decorator
@inline const DERIVED: usize = 512;
// @ts-ignore: decorator
@inline const REGIMES: usize = 1024;
// @ts-ignore: decorator
@inline export const WALK_CACHES: usize = 2048;
// @ts-ignore: decorator
@inline export const WALK_CACHE_BYTES: usize = 2048;

@unmanaged
@final
export class Derived {
  /** log2 of the granule that combined TLB entries have: the smaller page of both stages. */
  fragment: u32;
  /** log2 of the stage-2 page, which stage-2 TLB entries have. */
  page2: u32;
  stage1On: bool;
  stage2On: bool;
  el2: bool;
  el0: bool;
  pan: bool;
  /** Every access may take the straight descent (quick.ts). */
  quick: bool;
  hasTlb: bool;
  /** A TLB hit needs nobody's attention (translate.ts). */
  direct: bool;
  /** A checker or speculation wants to see every access, TLB hits too. */
  attentive: bool;
  /** Root table as a pointer, for the straight descent. */
  root: usize;
  /** Tags of combined entries of this context, non-global and global; of stage-2 entries. */
  context: u64;
  global: u64;
  context2: u64;
  // TLB geometry
  sets: u32;
  ways: u32;
  /** From an address to the offset of its set: shifted right by `toSet`, these bits. */
  toSet: u32;
  setBits: u32;
  /** Offset of the last way of a set. */
  lastWay: u32;
  pageMask: u64;
  /** Names of this context, non-global and global, in the low bits of the tags of combined entries. */
  name: u64;
  globalName: u64;
  lastName: u32;
  /** log2 of the bytes of a set: ways are a power of two. */
  setShift: u32;
  /** 8 at EL0, whose rights stand three bits up; else 1. */
  needFactor: u32;
  combined: usize;
  stage2: usize;
  /** Units of 4 KiB behind the two arrays, which follow each other. */
  units: u32;
  /** log2 of the largest leaf that the stage-2 array has held, and of the pages that its sets were chosen by. */
  largest: u32;
  filled: u32;
  /** Which way goes next, counted by array. */
  victims: u32;
  victims2: u32;
  /** TLB invalidations applied so far: a position in the log. */
  seen: u32;
  /** Slot of the thread that made it, and runs it. */
  thread: u32;
  /** Object slot of this vCPU, and its number. */
  slot: usize;
  number: u32;
  /** Word of who has this CPU loaded (vm/load.ts), to be cleared at its end; 0 nobody. */
  owner: usize;
  /** Generator behind speculation and failures for no reason, and the seed that it was started from. */
  random: u32;
  seed: u32;
  // the local exclusive monitor
  monitor: usize;
  monitorBytes: u32;
  monitorVersion: u32;
  monitorSum: u32;
  monitorVa: u64;
  monitorLow: u64;
}

/** Generations of the TLB tags by VMID modulo 16: of combined entries, of stage-2 entries. */
// @ts-ignore: decorator
@inline const GENERATIONS: usize = 768;

/** Contexts that have a name: 8 of 16 bytes. */
// @ts-ignore: decorator
@inline export const NAMES: usize = 896;

// @ts-ignore: decorator
@inline export function derived(v: Vcpu): Derived { return changetype<Derived>(changetype<usize>(v) + DERIVED); }

// @ts-ignore: decorator
@inline function regime(v: Vcpu, index: usize): Regime {
  return changetype<Regime>(changetype<usize>(v) + REGIMES + (index << 7));
}

// @ts-ignore: decorator
@inline export function stage2Of(v: Vcpu): Regime { return regime(v, 0); }
// @ts-ignore: decorator
@inline export function lowHalfOf(v: Vcpu): Regime { return regime(v, 1); }
// @ts-ignore: decorator
@inline export function highHalfOf(v: Vcpu): Regime { return regime(v, 2); }
// @ts-ignore: decorator
@inline export function el2Of(v: Vcpu): Regime { return regime(v, 3); }

// @ts-ignore: decorator
@inline export function generationOf(v: Vcpu, vmid: u32, stage2: bool): u32 {
  return load<u32>(changetype<usize>(v) + GENERATIONS + (<usize>(vmid & 15) << 2) + (stage2 ? 64 : 0));
}

export function advanceGeneration(v: Vcpu, vmid: u32, stage2: bool): void {
  const at = changetype<usize>(v) + GENERATIONS + (<usize>(vmid & 15) << 2) + (stage2 ? 64 : 0);
  store<u32>(at, load<u32>(at) + 1);
}

// Freedoms of the architecture taken the other way --------------------------------------------------------------
// @ts-ignore: decorator
@inline export const BASE_KEPT: u32 = 1;
// @ts-ignore: decorator
@inline export const SH_OUTER: u32 = 2;
// @ts-ignore: decorator
@inline export const CONTIGUOUS_CONFLICT: u32 = 4;
// @ts-ignore: decorator
@inline export const WNR_WALK: u32 = 8;
// @ts-ignore: decorator
@inline export const HPFAR_POISON: u32 = 16;
// @ts-ignore: decorator
@inline export const EXEC_NEEDS_R: u32 = 32;
// @ts-ignore: decorator
@inline export const MEMATTR_BITS: u32 = 64;
// @ts-ignore: decorator
@inline export const AF_ON_PERMISSION: u32 = 128;
// @ts-ignore: decorator
@inline export const CAS_FAIL_CLEAN: u32 = 256;
// @ts-ignore: decorator
@inline export const STXR_FAIL_DIRTY: u32 = 512;
// @ts-ignore: decorator
@inline export const NO_ATOMIC_UPDATE: u32 = 1024;
// @ts-ignore: decorator
@inline export const AT_UPDATES: u32 = 2048;
// @ts-ignore: decorator
@inline export const KEEP_ON_FAULT: u32 = 4096;
// @ts-ignore: decorator
@inline export const OWN_STORE_CLEARS: u32 = 8192;
// @ts-ignore: decorator
@inline export const STRICT_MONITOR: u32 = 16384;
// @ts-ignore: decorator
@inline export const CHECKER: u32 = 32768;

// @ts-ignore: decorator
@inline export function has(v: Vcpu, knob: u32): bool { return (v.knobs & knob) != 0; }

// Events of vCPUs -----------------------------------------------------------------------------------------------
// @ts-ignore: decorator
@inline export const WALKS: u32 = 1;
// @ts-ignore: decorator
@inline export const UPDATES: u32 = 2;
// @ts-ignore: decorator
@inline export const TLB: u32 = 4;

// An access: what it needs, and how it is made ------------------------------------------------------------------
// @ts-ignore: decorator
@inline export const READ: u32 = 1;
// @ts-ignore: decorator
@inline export const WRITE: u32 = 2;
// @ts-ignore: decorator
@inline export const FETCH: u32 = 4;
// @ts-ignore: decorator
@inline export const UNPRIVILEGED: u32 = 8;
/** An address translation instruction. */
// @ts-ignore: decorator
@inline export const IS_AT: u32 = 16;
/** Nothing may change: no update, no TLB. */
// @ts-ignore: decorator
@inline export const IS_PROBE: u32 = 32;
/** Not aligned to its size. */
// @ts-ignore: decorator
@inline export const UNALIGNED: u32 = 64;
/** Stage 1 only (AT S1E1R and its like). */
// @ts-ignore: decorator
@inline export const STAGE1_ONLY: u32 = 128;
/** Not for the program: access flags may be set, nothing else happens. */
// @ts-ignore: decorator
@inline export const SPECULATIVE_WALK: u32 = 256;
/** The descriptor fetches of a stage-1 walk, and the write-back of an update there. */
// @ts-ignore: decorator
@inline export const TABLE_WALK: u32 = 512;
/** A write that may turn out not to store (CAS, STXR): the page stays clean. */
// @ts-ignore: decorator
@inline export const STAY_CLEAN: u32 = 1024;
/** AT executed at EL1: a stage-2 fault of its walk is taken to EL2. */
// @ts-ignore: decorator
@inline export const AT_EL1: u32 = 2048;
