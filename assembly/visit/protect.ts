/** Attribute changes of leaves: write-protect, relax permissions, make young. Blocks change as a whole. */
import { AF, DBM, isExecutable, isValid, outputAddress, PROT_R, PROT_W, PROT_X, S2AP_W, SW } from "../descriptor";
import { EAGAIN, EINVAL } from "../errno";
import { LEVEL_UNKNOWN } from "../events";
import { levelShift } from "../geometry";
import { scratch, setResult, S_VISITOR } from "../layout";
import { dsbIshst, invalidateInstructionCache, tlbiIpaLocal } from "../maintenance";
import { NVHE, Pgt, WATCHED } from "../pgt";
import { before, changeSingle, isSingle } from "../single";
import * as slots from "../slot";
import { clearBits } from "../run";
import { find, HANDLE_FAULT, LEAF, levelOf, SHARED, walk, Walk } from "../walk";

@unmanaged
@final
class AttributeVisitor extends Walk {
  set: u64;
  clear: u64;
  /** The leaf visited last, as it was, and its level. */
  old: u64;
  level: i32;

  // @ts-ignore: decorator
  @inline get runs(): bool { return true; }

  /** Write-protect, the only change of ranges: SIMD finds the leaves that have what is to be cleared. */
  run(slot: usize, stop: usize): i32 {
    clearBits(slot, stop, this.clear);
    return 0;
  }

  pre(slot: usize, old: u64, level: i32): i32 { return 0; }

  leaf(slot: usize, old: u64, level: i32): i32 {
    while (true) {
      if (!isValid(old)) return -EAGAIN;
      this.old = old;
      this.level = level;
      const next = (old & ~this.clear) | this.set;
      if (next == old) return 0;
      if (isExecutable(next) && !isExecutable(old)) {
        const pa = outputAddress(next, this.pageShift, this.pgt.lpa2);
        invalidateInstructionCache(this.pgt, pa, <u64>1 << levelShift(this.pageShift, level));
      }
      if (this.exchange(slot, old, next, level)) return 0;
      if (this.shared) return -EAGAIN; // lost to another walker or to hardware: the guest retries the access
      old = slots.read(slot); // lost to hardware under the exclusive lock: same leaf, one flag more
    }
  }

  post(slot: usize, old: u64, level: i32): i32 { return 0; }
}

/** The entry that a walk of `change` visited last. */
// @ts-ignore: decorator
@inline function visited(): AttributeVisitor { return changetype<AttributeVisitor>(scratch + S_VISITOR); }

function change(pgt: Pgt, ia: u64, size: u64, set: u64, clear: u64, flags: u32): i32 {
  const visitor = visited();
  visitor.set = set;
  visitor.clear = clear;
  visitor.old = 0;
  visitor.level = LEVEL_UNKNOWN;
  return walk<AttributeVisitor>(visitor, pgt, ia, size, flags | LEAF);
}

/** kvm_pgtable_stage2_wrprotect. TLB invalidation is the caller's duty. */
export function writeProtect(pgt: Pgt, ia: u64, size: u64): i32 {
  return change(pgt, ia, size, 0, S2AP_W, 0);
}

/** kvm_pgtable_stage2_relax_perms: only ever adds permissions. */
export function relaxPermissions(pgt: Pgt, ia: u64, prot: u64): i32 {
  if (prot & SW) return -EINVAL;
  const set = (prot & PROT_R) << 4 | (prot & PROT_W) << 6 | (prot & DBM); // to S2AP, as in stage2Attributes
  const clear = (prot & PROT_X) << 54; // to XN
  if (isSingle(pgt, 1) && !pgt.has(NVHE) && changeSingle(pgt, ia, set, clear) == 0) {
    if (pgt.events & WATCHED) tlbiIpaLocal(pgt, ia, levelOf(find(pgt, ia)));
    return 0;
  }
  const result = change(pgt, ia, 1, set, clear, SHARED | HANDLE_FAULT);
  if (result == 0 || result == -EAGAIN) {
    tlbiIpaLocal(pgt, ia, result == 0 ? visited().level : LEVEL_UNKNOWN);
  }
  return result;
}

/** kvm_pgtable_stage2_mkyoung: the entry from before in result 0; 1 if there was a leaf. */
export function makeYoung(pgt: Pgt, ia: u64): i32 {
  if (isSingle(pgt, 1) && !pgt.has(NVHE) && changeSingle(pgt, ia, AF, 0) == 0) {
    setResult(0, before);
    return 1;
  }
  const result = change(pgt, ia, 1, AF, 0, SHARED | HANDLE_FAULT);
  if (result != 0) {
    setResult(0, 0);
    return result;
  }
  dsbIshst(pgt);
  const old = visited().old;
  setResult(0, old);
  return old != 0 ? 1 : 0;
}
