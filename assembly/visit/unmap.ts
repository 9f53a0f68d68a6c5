/** kvm_pgtable_stage2_unmap: leaves on the way, emptied tables on the way up. */
import { isCounted, isValid, LAST_LEVEL, outputAddress } from "../descriptor";
import { Pgt, TLBI_BY_RANGE } from "../pgt";
import { putPage } from "../table_pages";
import { LEVEL_UNKNOWN } from "../events";
import { levelShift } from "../geometry";
import { scratch, S_VISITOR } from "../layout";
import { cleanDataCache, flushRange, forgetRange, tlbiIpa } from "../maintenance";
import * as pool from "../pool";
import { isCacheable } from "../prot";
import { clearEntry } from "../replace";
import { isSingle, unmapSingle } from "../single";
import * as slots from "../slot";
import { childOf, HANDLED, LEAF, TABLE_POST, TABLE_PRE, walk, Walk } from "../walk";
import { freeUnlinked } from "./free";

@unmanaged
@final
class UnmapVisitor extends Walk {
  /** Leaf invalidations wait for one range flush at the end. */
  deferred: bool;

  // @ts-ignore: decorator
  @inline get runs(): bool { return true; }

  /** Quiet: every counted entry goes, the page's references in one step. */
  run(slot: usize, stop: usize): i32 {
    const page = pool.pageOf(slot, this.pageShift);
    const first = slot;
    let gone: u32 = 0;
    for (; slot < stop; slot += 8) {
      const old = slots.read(slot);
      if (old == 0) continue;
      if (isCounted(clearEntry(this, slot, old, LAST_LEVEL))) gone++;
    }
    if (!gone) return 0;
    this.forget(<u64>((stop - first) >> 3) << this.pageShift);
    pool.dropReferences(page, gone);
    return 0;
  }

  /** Quiet: a sub-tree that goes as a whole is unlinked first and then cleared, out of everybody's sight. */
  pre(slot: usize, old: u64, level: i32): i32 {
    const size = <u64>1 << levelShift(this.pageShift, level);
    if (this.addr & (size - 1) || this.end - this.addr < size) return 0;
    clearEntry(this, slot, old, level);
    this.forget(size);
    putPage(this.pgt, slot);
    freeUnlinked(this.pgt, childOf(old), level);
    return HANDLED;
  }

  /** Quiet: one invalidation for a whole stretch, unless one for all of it comes at the end. Tables in it go from walk caches. */
  // @ts-ignore: decorator
  @inline private forget(size: u64): void {
    if (!this.deferred) forgetRange(this.pgt, this.addr, size);
  }

  leaf(slot: usize, old: u64, level: i32): i32 {
    if (old == 0) return 0;
    old = clearEntry(this, slot, old, level);
    const pgt = this.pgt;
    if (!isValid(old)) {
      if (isCounted(old)) putPage(pgt, slot); // the locked marker holds no reference
      return 0;
    }
    if (!this.deferred) tlbiIpa(pgt, this.addr, level);
    putPage(pgt, slot);
    if (!pgt.forcedWriteBack && isCacheable(pgt, old)) {
      const pa = outputAddress(old, this.pageShift, pgt.lpa2);
      cleanDataCache(pgt, pa, <u64>1 << levelShift(this.pageShift, level));
    }
    return 0;
  }

  post(slot: usize, old: u64, level: i32): i32 {
    const table = childOf(old);
    if (pool.references(table) != 1) return 0;
    clearEntry(this, slot, old, level);
    tlbiIpa(this.pgt, this.addr, LEVEL_UNKNOWN);
    putPage(this.pgt, slot);
    putPage(this.pgt, table);
    return 0;
  }
}

export function unmap(pgt: Pgt, ia: u64, size: u64): i32 {
  if (isSingle(pgt, size) && unmapSingle(pgt, ia) == 0) return 0;
  const visitor = changetype<UnmapVisitor>(scratch + S_VISITOR);
  visitor.deferred = pgt.forcedWriteBack && pgt.has(TLBI_BY_RANGE);
  const flags = LEAF | TABLE_POST | (pgt.quiet ? TABLE_PRE : 0);
  const result = walk<UnmapVisitor>(visitor, pgt, ia, size, flags);
  if (visitor.deferred) flushRange(pgt, ia, size);
  return result;
}
