/** kvm_pgtable_stage2_test_clear_young. May race with itself and with vCPUs; each access is reported once. */
import { AF, isValid } from "../descriptor";
import { scratch, S_VISITOR } from "../layout";
import { Pgt } from "../pgt";
import { anyWith, clearBits } from "../run";
import { before, changeSingle, isSingle } from "../single";
import * as slots from "../slot";
import { LEAF, walk, Walk } from "../walk";

/** Stops a walk that only asks, once the answer is known. */
// @ts-ignore: decorator
@inline const FOUND: i32 = 1;

@unmanaged
@final
class AgeVisitor extends Walk {
  clear: bool;
  young: bool;

  // @ts-ignore: decorator
  @inline get runs(): bool { return true; }

  run(slot: usize, stop: usize): i32 {
    if (this.clear) {
      if (clearBits(slot, stop, AF)) this.young = true;
      return 0;
    }
    if (!anyWith(slot, stop, AF)) return 0;
    this.young = true;
    return FOUND;
  }

  pre(slot: usize, old: u64, level: i32): i32 { return 0; }

  leaf(slot: usize, old: u64, level: i32): i32 {
    // Never a blind AND: bit 10 of an invalid entry is the locked marker, not an access flag.
    while (isValid(old) && old & AF) {
      if (!this.clear || this.exchange(slot, old, old & ~AF, level)) {
        this.young = true; // our clear, our report: exactly once
        break;
      }
      old = slots.read(slot); // lost to hardware or another ager: decide anew on what is there now
    }
    return 0;
  }

  post(slot: usize, old: u64, level: i32): i32 { return 0; }
}

/** 1 if any leaf of the range was young, 0 if not, -ERANGE, -EINVAL. */
export function testClearYoung(pgt: Pgt, ia: u64, size: u64, clear: bool): i32 {
  if (isSingle(pgt, size) && changeSingle(pgt, ia, 0, clear ? AF : 0) == 0) return <i32>((before & AF) != 0);
  const visitor = changetype<AgeVisitor>(scratch + S_VISITOR);
  visitor.clear = clear;
  visitor.young = false;
  const result = walk<AgeVisitor>(visitor, pgt, ia, size, LEAF);
  return result < 0 ? result : <i32>visitor.young;
}
