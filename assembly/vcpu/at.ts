/** Probes, and the address translation instructions with what they leave in PAR_EL1 (Arm ARM D8.2.13, D24.2 PAR_EL1). */
import * as attributes from "./attributes";
import * as cached from "./cached";
import { configure, DC } from "./configure";
import { F_S1PTW } from "./fault";
import * as first from "./stage1";
import * as second from "./stage2";
import { AT_EL1, derived, IS_AT, IS_PROBE, READ, setProbeIpa, STAGE1_ONLY, Vcpu, WRITE } from "./state";
import * as both from "./translate";

// Operations.
// @ts-ignore: decorator
@inline const FIRST_BOTH_STAGES: u32 = 4;
// @ts-ignore: decorator
@inline const FIRST_EL2: u32 = 8;

// PAR_EL1.
// @ts-ignore: decorator
@inline const PAR_F: u64 = 1;
// @ts-ignore: decorator
@inline const PAR_PTW: u64 = 1 << 8;
// @ts-ignore: decorator
@inline const PAR_S: u64 = 1 << 9;
// @ts-ignore: decorator
@inline const PAR_NS: u64 = 1 << 9;
// @ts-ignore: decorator
@inline const PAR_RES1: u64 = 1 << 11;
// @ts-ignore: decorator
@inline const PAR_PA: u64 = 0x000f_ffff_ffff_f000;

/** Describes the translation just made in the probe words: attributes, levels, sizes, rights. */
function describe(v: Vcpu, stage1: bool, stage2: bool): void {
  const d = derived(v);
  let attr = attributes.flatAttributes((v.hcr & DC) != 0);
  let sh: u32 = 0;
  if (stage1) {
    attr = first.attributesOf(v, first.leaf);
    sh = first.shareabilityOf(v, first.leaf);
  }
  if (stage2) attributes.combine(v, attr, sh, second.leaf);
  else attributes.stage1Alone(v, attr, sh);
  v.probePa = both.pa;
  v.probeAttr = <u8>attributes.attributes;
  v.probeSh = <u8>attributes.shareability;
  v.probeLevel1 = <i8>(stage1 ? first.level : 127);
  v.probeShift1 = <u8>(stage1 ? first.shift : 0);
  v.probeLevel2 = <i8>(stage2 ? second.level : 127);
  v.probeShift2 = <u8>(stage2 ? second.shift : 0);
  const rights = (stage1 ? first.allowed : 63) & (stage2 ? cached.allowed : 63);
  v.probeAllowed = <u8>(d.el0 ? rights >> 3 : rights & 7);
  setProbeIpa(v, stage1 ? first.ipa : both.pa);
}

/** A translation without any effect; its result is in the probe words. */
export function probe(v: Vcpu, va: u64, mode: u32): bool {
  const d = derived(v);
  if (!both.resolve(v, va, mode | IS_PROBE)) return false;
  const stage1 = d.el2 ? (v.sctlr2 & 1) != 0 : d.stage1On;
  const stage2 = d.stage2On && !d.el2;
  describe(v, stage1, stage2);
  if (!stage1) setProbeIpa(v, va);
  return true;
}

/** External abort on a walk. */
// @ts-ignore: decorator
@inline function isExternal(v: Vcpu): bool { return v.fsc >= 0x13 && v.fsc <= 0x17; }

/** One AT instruction. False: it was taken to EL2 as a fault and PAR_EL1 is what it was. */
export function addressTranslate(v: Vcpu, op: u32, va: u64): bool {
  const d = derived(v);
  const atEl1 = !d.el2;
  const el2 = op >= FIRST_EL2;
  const stage1Only = op < FIRST_BOTH_STAGES;
  const el0 = !el2 && (op & 2) != 0;
  const access: u32 = op & 1 ? WRITE : READ;
  // The instruction names the regime; PSTATE decides only who takes the fault. PAN plays no part.
  d.el2 = el2;
  d.el0 = el0;
  d.pan = false;
  const mode = access | IS_AT | (stage1Only ? STAGE1_ONLY : 0) | (atEl1 ? AT_EL1 : 0);
  const done = both.resolve(v, va, mode);
  const stage1 = el2 ? (v.sctlr2 & 1) != 0 : d.stage1On;
  if (done) describe(v, stage1, d.stage2On && !el2 && !stage1Only);
  configure(v);
  if (done) {
    v.par = PAR_RES1 | PAR_NS | (both.pa & PAR_PA) | <u64>v.probeSh << 7 | <u64>v.probeAttr << 56;
    return true;
  }
  if (v.faultStage == 2 && atEl1) return false;
  if (isExternal(v)) return false; // an exception whoever executes it, not a result
  v.par = PAR_F | PAR_RES1 | <u64>v.fsc << 1;
  if (v.faultStage == 2) v.par |= PAR_S;
  if (v.faultFlags & F_S1PTW) v.par |= PAR_PTW;
  return true;
}
