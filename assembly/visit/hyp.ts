/** Hypervisor stage 1: kvm_pgtable_hyp_map and _hyp_unmap. */
import { addressField, isValid, LAST_LEVEL, leafEntry, SW, tableEntry, isCounted } from "../descriptor";
import { EINVAL, ENOMEM } from "../errno";
import { LEVEL_UNKNOWN } from "../events";
import { leafLevel, levelShift } from "../geometry";
import { scratch, S_VISITOR, toPhysical } from "../layout";
import { dsbIsh, dsbIshst, isb, tlbiVa, tlbiVaLastLevel } from "../maintenance";
import { NO_PAGE_COUNT, PAGES_ONLY, PARITY, Pgt } from "../pgt";
import { getPage, putPage } from "../table_pages";
import * as pool from "../pool";
import { hypAttributes, REFUSED } from "../prot";
import { clearEntry } from "../replace";
import * as slots from "../slot";
import { takePage } from "../cache";
import { childOf, LEAF, TABLE_POST, walk, Walk } from "../walk";

@unmanaged
@final
class HypMapVisitor extends Walk {
  pa: u64;
  attributes: u64;
  cache: usize;

  // @ts-ignore: decorator
  @inline get runs(): bool { return false; }

  run(slot: usize, stop: usize): i32 { return 0; }

  pre(slot: usize, old: u64, level: i32): i32 { return 0; }

  leaf(slot: usize, old: u64, level: i32): i32 {
    if (this.tryLeaf(slot, old, level)) return 0;
    if (level == LAST_LEVEL) return -EINVAL;
    const table = takePage(this.pgt, this.cache);
    if (!table) return -ENOMEM;
    // The reference library counts a table that replaces a block again, and leaks the page at destroy.
    if (!isCounted(old) || this.pgt.has(PARITY)) getPage(this.pgt, slot);
    this.put(slot, old, tableEntry(toPhysical(table)), level);
    return 0;
  }

  post(slot: usize, old: u64, level: i32): i32 { return 0; }

  /** Valid leaves never change but for software bits: hypervisor mappings are private to their owner. */
  private tryLeaf(slot: usize, old: u64, level: i32): bool {
    const pa = this.pa + (this.addr - this.start);
    const size = <u64>1 << levelShift(this.pageShift, level);
    if (!leafLevel(this.pageShift, level) || this.end - this.addr < size) return false;
    if (level < LAST_LEVEL && this.pgt.has(PAGES_ONLY)) return false;
    if (this.addr & (size - 1) || (pa < this.pgt.paLimit && pa & (size - 1))) return false;
    const next = leafEntry(addressField(pa, this.pageShift, this.pgt.lpa2), this.attributes, level);
    if (old == next) return true;
    if (!isValid(old)) getPage(this.pgt, slot);
    else if ((old ^ next) & ~SW) return false;
    this.put(slot, old, next, level);
    return true;
  }

  private put(slot: usize, old: u64, next: u64, level: i32): void {
    while (!this.exchange(slot, old, next, level)) old = slots.read(slot); // lost to hardware: the new entry wins
  }
}

export function hypMap(pgt: Pgt, ia: u64, size: u64, pa: u64, prot: u64, cache: usize): i32 {
  const attributes = hypAttributes(pgt, prot);
  if (attributes == REFUSED) return -EINVAL;
  const visitor = changetype<HypMapVisitor>(scratch + S_VISITOR);
  visitor.pa = pa & ~((<u64>1 << pgt.pageShift) - 1);
  visitor.attributes = attributes;
  visitor.cache = cache;
  const result = walk<HypMapVisitor>(visitor, pgt, ia, size, LEAF);
  dsbIshst(pgt);
  isb(pgt);
  return result;
}

@unmanaged
@final
class HypUnmapVisitor extends Walk {
  unmapped: u64;

  // @ts-ignore: decorator
  @inline get runs(): bool { return false; }

  run(slot: usize, stop: usize): i32 { return 0; }

  pre(slot: usize, old: u64, level: i32): i32 { return 0; }

  /** A hole, or a block that reaches beyond the range, ends the walk. */
  leaf(slot: usize, old: u64, level: i32): i32 {
    const size = <u64>1 << levelShift(this.pageShift, level);
    if (!isValid(old) || this.end - this.addr < size) return -EINVAL;
    const pgt = this.pgt;
    clearEntry(this, slot, old, level);
    dsbIshst(pgt);
    tlbiVaLastLevel(pgt, this.addr, level);
    this.unmapped += size;
    this.complete(slot);
    return 0;
  }

  post(slot: usize, old: u64, level: i32): i32 {
    const pgt = this.pgt;
    const table = childOf(old);
    if (pool.references(table) != 1) return 0;
    clearEntry(this, slot, old, level);
    dsbIshst(pgt);
    tlbiVa(pgt, this.addr, LEVEL_UNKNOWN);
    this.complete(slot);
    putPage(pgt, table);
    return 0;
  }

  private complete(slot: usize): void {
    dsbIsh(this.pgt);
    isb(this.pgt);
    putPage(this.pgt, slot);
  }
}

/** Bytes unmapped. Without a page-count callback the library does nothing. */
export function hypUnmap(pgt: Pgt, ia: u64, size: u64): u64 {
  if (pgt.has(NO_PAGE_COUNT)) return 0;
  const visitor = changetype<HypUnmapVisitor>(scratch + S_VISITOR);
  visitor.unmapped = 0;
  walk<HypUnmapVisitor>(visitor, pgt, ia, size, LEAF | TABLE_POST);
  return visitor.unmapped;
}
