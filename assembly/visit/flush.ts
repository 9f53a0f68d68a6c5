/** kvm_pgtable_stage2_flush: cleans what the guest may have cached, where forced write-back does not see to it. */
import { isValid, outputAddress } from "../descriptor";
import { levelShift } from "../geometry";
import { scratch, S_VISITOR } from "../layout";
import { cleanDataCache } from "../maintenance";
import { Pgt } from "../pgt";
import { isCacheable } from "../prot";
import { LEAF, walk, Walk } from "../walk";

@unmanaged
@final
class FlushVisitor extends Walk {
  // @ts-ignore: decorator
  @inline get runs(): bool { return true; }

  /** Quiet: nobody is told of the cleaning, and there is no cache to clean. */
  run(slot: usize, stop: usize): i32 { return 0; }

  pre(slot: usize, old: u64, level: i32): i32 { return 0; }

  leaf(slot: usize, old: u64, level: i32): i32 {
    const pgt = this.pgt;
    if (!isValid(old) || !isCacheable(pgt, old)) return 0;
    const pa = outputAddress(old, this.pageShift, pgt.lpa2);
    cleanDataCache(pgt, pa, <u64>1 << levelShift(this.pageShift, level));
    return 0;
  }

  post(slot: usize, old: u64, level: i32): i32 { return 0; }
}

export function flush(pgt: Pgt, ia: u64, size: u64): i32 {
  if (pgt.forcedWriteBack) return 0;
  return walk<FlushVisitor>(changetype<FlushVisitor>(scratch + S_VISITOR), pgt, ia, size, LEAF);
}
