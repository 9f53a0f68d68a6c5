/** From registers to what walks need; done after every change of a register or setting. */
import { delta, H_UNITS, header, poolPhys, UNIT_SHIFT } from "../layout";
import { poolBytes } from "../memory";
import * as fault from "./fault";
import { configureEl1, configureEl2, configureStage2, DS, HAFT, physicalBits } from "./regime";
import {
  BASE_KEPT, CHECKER, CONTIGUOUS_CONFLICT, Derived, derived, el2Of, EXEC_NEEDS_R, generationOf, has, highHalfOf, lowHalfOf, NAMES,
  stage2Of, Vcpu,
} from "./state";
import { ENTRY_BYTES, generationIn } from "./tlb";

// HCR_EL2, SCTLR_EL1, TCR_EL1, VTCR_EL2, PSTATE.
// @ts-ignore: decorator
@inline export const VM: u64 = 1 << 0;
// @ts-ignore: decorator
@inline export const DC: u64 = 1 << 12;
// @ts-ignore: decorator
@inline const M: u64 = 1 << 0;
// @ts-ignore: decorator
@inline const A1: u64 = 1 << 22;
// @ts-ignore: decorator
@inline const AS: u64 = 1 << 36;
// @ts-ignore: decorator
@inline const VS: u64 = 1 << 19;
// @ts-ignore: decorator
@inline const PAN: u64 = 1 << 22;

// Tag of a context beside generation, VMID (31:16) and ASID (15:0).
// @ts-ignore: decorator
@inline const WITH_PAN: u64 = <u64>1 << 32;
// @ts-ignore: decorator
@inline const WITH_STAGE1: u64 = <u64>1 << 33;
// @ts-ignore: decorator
@inline const WITH_STAGE2: u64 = <u64>1 << 34;
// @ts-ignore: decorator
@inline const GLOBAL: u64 = <u64>1 << 63;

export function vmidOf(v: Vcpu): u32 { return <u32>(v.vttbr >> 48) & (v.vtcr & VS ? 0xffff : 0xff); }

export function asidOf(v: Vcpu): u32 {
  const ttbr = v.tcr1 & A1 ? v.ttbr1 : v.ttbr0;
  return <u32>(ttbr >> 48) & (v.tcr1 & AS ? 0xffff : 0xff);
}

export function configure(v: Vcpu): void {
  const d = derived(v);
  const keep = has(v, BASE_KEPT);
  const el = <u32>(v.pstate >> 2) & 0b11;
  configureStage2(stage2Of(v), v.vtcr, v.vttbr, v.hcr, v.mmfr0, v.mmfr1, v.mmfr2, keep);
  configureEl1(lowHalfOf(v), false, v.tcr1, v.ttbr0, v.sctlr1, v.mmfr0, v.mmfr1, v.mmfr2, keep);
  configureEl1(highHalfOf(v), true, v.tcr1, v.ttbr1, v.sctlr1, v.mmfr0, v.mmfr1, v.mmfr2, keep);
  configureEl2(el2Of(v), v.tcr2, v.ttbrEl2, v.sctlr2, v.mmfr0, v.mmfr1, v.mmfr2, keep);
  d.el2 = el >= 2;
  d.el0 = el == 0;
  d.pan = (v.pstate & PAN) != 0;
  d.stage1On = (v.sctlr1 & M) != 0 && !(v.hcr & DC);
  d.stage2On = (v.hcr & (VM | DC)) != 0;
  d.attentive = has(v, CHECKER) || v.speculate != 0;
  d.direct = d.hasTlb && !d.attentive && !d.el2;
  d.needFactor = d.el0 ? 8 : 1;
  if (d.seed != v.seed || !d.random) {
    d.seed = v.seed;
    d.random = v.seed * 0x9e37_79b9 | 1; // neighbouring seeds go far apart
  }
  d.page2 = stage2Of(v).pageShift;
  let fragment = d.stage2On ? d.page2 : 16;
  if (d.stage1On) fragment = min(fragment, min(lowHalfOf(v).pageShift, highHalfOf(v).pageShift));
  d.fragment = fragment;
  d.pageMask = ~((<u64>1 << fragment) - 1);
  d.toSet = fragment - d.setShift; // a set has at most 256 bytes, a page at least 4096
  retag(v);
  setQuick(v, d);
}

/** The tags of this context, after the context or a generation changed. */
export function retag(v: Vcpu): void {
  const d = derived(v);
  const vmid = vmidOf(v);
  let context = <u64>vmid << 16 | generationIn(generationOf(v, vmid, false));
  if (d.pan) context |= WITH_PAN;
  if (d.stage1On) context |= WITH_STAGE1;
  if (d.stage2On) context |= WITH_STAGE2;
  d.context = context | (d.stage1On ? asidOf(v) : 0);
  d.global = context | GLOBAL;
  if (d.hasTlb) {
    d.name = nameOf(v, d, d.context);
    d.globalName = nameOf(v, d, d.global);
    if (d.globalName < d.name) d.name = nameOf(v, d, d.context); // names started anew between the two
  }
  d.context2 = <u64>vmid | generationIn(generationOf(v, vmid, true));
}

// @ts-ignore: decorator
@inline const NAMED_CONTEXTS: usize = 8;
// @ts-ignore: decorator
@inline const LAST_NAME: u32 = 4095;
/** What tags of stage-2 entries have in place of a name. */
// @ts-ignore: decorator
@inline const STAGE2_NAME: u32 = 1;

/**
 * A short name for a context, so that one comparison of a tag settles page and context. Recent contexts keep theirs; when
 * names run out, the combined entries go and names start anew.
 */
function nameOf(v: Vcpu, d: Derived, context: u64): u64 {
  const names = changetype<usize>(v) + NAMES;
  for (let i: usize = 0; i < NAMED_CONTEXTS; i++) {
    const at = names + (i << 4);
    if (load<u64>(at) == context && load<u64>(at, 8) != 0) return load<u64>(at, 8);
  }
  if (d.lastName == LAST_NAME) {
    memory.fill(d.combined, 0, <usize>(d.sets * d.ways) * ENTRY_BYTES);
    memory.fill(names, 0, NAMED_CONTEXTS << 4);
    d.lastName = STAGE2_NAME;
  }
  d.lastName = max(d.lastName, STAGE2_NAME) + 1;
  const name = d.lastName;
  const at = names + ((<usize>name & (NAMED_CONTEXTS - 1)) << 4);
  store<u64>(at, context);
  store<u64>(at, name, 8);
  return name;
}

/**
 * The straight descent serves KVM's usual shape (4 KiB pages, start level 1, 48-bit descriptors) of a guest with stage 1
 * off, where nobody asks for single steps. Whatever is unusual about an access then sends that access to the walk.
 */
function setQuick(v: Vcpu, d: Derived): void {
  const r = stage2Of(v);
  const capacity = <u64>load<u32>(header, H_UNITS) << UNIT_SHIFT;
  const rootBytes = <u64>8 << (r.iaBits - r.rootShift);
  // The root and all tables lie in the pool, and the pool below the output size.
  const inPool = r.base - poolPhys < poolBytes() && r.base - poolPhys + rootBytes <= poolBytes();
  d.quick = !d.el2 && !d.stage1On && (v.hcr & (VM | DC)) == VM && !d.hasTlb && !d.attentive &&
    !(v.knobs & (CONTIGUOUS_CONFLICT | BASE_KEPT | EXEC_NEEDS_R)) && r.refusal == fault.NONE && r.pageShift == 12 &&
    r.startLevel == 1 && !r.has(DS | HAFT) && inPool && poolPhys + capacity <= r.paLimit &&
    r.iaBits <= physicalBits(<u32>v.mmfr0 & 0b1111);
  d.root = d.quick ? <usize>(r.base + delta) : 0;
}
