/** Prot (enum kvm_pgtable_prot) to leaf attributes and back. */
import {
  AF, DBM, GP, PROT_DEVICE, PROT_NORMAL_NC, PROT_R, PROT_W, PROT_X, S1_AP, S1_AP_RO, S1_AP_RO_HVHE, S1_AP_RW, S1_AP_RW_HVHE,
  S1_ATTR_IDX, S1_DEVICE, S2AP_R, S2AP_W, S2_DEVICE, S2_NORMAL, S2_NORMAL_FWB, S2_NORMAL_NC, SH_INNER, SW, VALID, XN, MEM_ATTR,
} from "./descriptor";
import { BTI, HVHE, Pgt } from "./pgt";

/** What no set of attributes can be: the answer for a prot that is refused. */
// @ts-ignore: decorator
@inline export const REFUSED: u64 = u64.MAX_VALUE;

/** Prot as it crosses the ABI in 32 bits: software bits at 8:5 instead of 58:55. */
// @ts-ignore: decorator
@inline export function unpack(prot: i32): u64 { return <u64>(prot & 31) | <u64>(prot >> 5 & 15) << 55; }

/**
 * Attributes of a stage-2 leaf. Refused: DEVICE or NC with X, DEVICE with NC. Permissions have one bit each on both
 * sides, so they move there without a branch: R from 2 to 6, W from 1 to 7, X inverted from 0 to 54.
 */
export function stage2Attributes(pgt: Pgt, prot: u64): u64 {
  const permissions = (prot & PROT_R) << 4 | (prot & PROT_W) << 6 | (~prot & PROT_X) << 54;
  return memoryAttributes(pgt, prot) | permissions | AF | (prot & (SW | DBM));
}

// @ts-ignore: decorator
@inline function memoryAttributes(pgt: Pgt, prot: u64): u64 {
  const shareable: u64 = pgt.lpa2 ? 0 : SH_INNER;
  if (!(prot & (PROT_DEVICE | PROT_NORMAL_NC))) {
    return shareable | (pgt.forcedWriteBack ? S2_NORMAL_FWB : S2_NORMAL);
  }
  if (prot & PROT_X || (prot & PROT_DEVICE && prot & PROT_NORMAL_NC)) return REFUSED;
  return shareable | (prot & PROT_DEVICE ? S2_DEVICE : S2_NORMAL_NC);
}

/** Attributes of a hypervisor stage-1 leaf. Refused: no R, X with W, X with DEVICE. */
export function hypAttributes(pgt: Pgt, prot: u64): u64 {
  const device = (prot & PROT_DEVICE) != 0;
  const hvhe = pgt.has(HVHE);
  if (!(prot & PROT_R)) return REFUSED;
  let attributes: u64 = device ? S1_DEVICE : 0;
  if (prot & PROT_X) {
    if (prot & PROT_W || device) return REFUSED;
    if (pgt.has(BTI)) attributes |= GP;
  } else {
    attributes |= XN;
  }
  if (prot & PROT_W) attributes |= hvhe ? S1_AP_RW_HVHE : S1_AP_RW;
  else attributes |= hvhe ? S1_AP_RO_HVHE : S1_AP_RO;
  if (!pgt.lpa2) attributes |= SH_INNER;
  return attributes | AF | (prot & SW);
}

/** Whether a stage-2 leaf maps normal cacheable memory. */
export function isCacheable(pgt: Pgt, pte: u64): bool {
  return (pte & MEM_ATTR) == (pgt.forcedWriteBack ? S2_NORMAL_FWB : S2_NORMAL);
}

/** kvm_pgtable_stage2_pte_prot: software bits of any entry, permissions of a valid one. */
export function stage2Prot(pte: u64): u64 {
  let prot = pte & SW;
  if (!(pte & VALID)) return prot;
  if (pte & S2AP_R) prot |= PROT_R;
  if (pte & S2AP_W) prot |= PROT_W;
  if (!(pte & XN)) prot |= PROT_X;
  return prot;
}

/** The memory type of a valid leaf as prot: DEVICE, NORMAL_NC, or 0. KVM's own decoding leaves it out. */
export function memoryProt(pte: u64, hyp: bool): u64 {
  if (!(pte & VALID)) return 0;
  if (hyp) return (pte & S1_ATTR_IDX) == S1_DEVICE ? PROT_DEVICE : 0;
  const type = pte & MEM_ATTR;
  return type == S2_DEVICE ? PROT_DEVICE : type == S2_NORMAL_NC ? PROT_NORMAL_NC : 0;
}

/** kvm_pgtable_hyp_pte_prot. */
export function hypProt(pte: u64, hvhe: bool): u64 {
  let prot = pte & SW;
  if (!(pte & VALID)) return prot;
  if (!(pte & XN)) prot |= PROT_X;
  const ap = pte & S1_AP;
  if (ap == (hvhe ? S1_AP_RO_HVHE : S1_AP_RO)) prot |= PROT_R;
  else if (ap == (hvhe ? S1_AP_RW_HVHE : S1_AP_RW)) prot |= PROT_R | PROT_W;
  return prot;
}
