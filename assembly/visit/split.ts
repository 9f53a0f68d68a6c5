/** Tables built out of sight, and the splitting of blocks with them (eager page splitting). */
import { AF, isValid, LAST_LEVEL, LOCKED, outputAddress, tableEntry } from "../descriptor";
import { EAGAIN, EINVAL, ENOMEM } from "../errno";
import { levelShift } from "../geometry";
import { scratch, S_BUILDER, S_VISITOR, toPhysical } from "../layout";
import { dsbIshst } from "../maintenance";
import { keepTree, forgetTree } from "../holders";
import { Pgt } from "../pgt";
import { discardPage } from "../table_pages";
import { REFUSED, stage2Attributes, stage2Prot } from "../prot";
import { breakEntry, makeEntry } from "../replace";
import * as slots from "../slot";
import * as cache from "../cache";
import { beginUnlinked, LEAF, SKIP_BBM_TLBI, SKIP_CMO, walk, Walk, walkUnlinked } from "../walk";
import { takeBack } from "./free";
import { MapVisitor } from "./map";

/**
 * kvm_pgtable_stage2_create_unlinked: a table that maps what a block of `level` at `pa` maps, by pages or by the
 * largest leaves below. Its pointer, or -errno (as a pointer: above -4096).
 */
export function createUnlinked(pgt: Pgt, pa: u64, level: i32, prot: u64, source: usize, pagesOnly: bool): usize {
  const shift = levelShift(pgt.pageShift, level);
  if (pa & ((<u64>1 << shift) - 1)) return -EINVAL;
  const attributes = stage2Attributes(pgt, prot);
  if (attributes == REFUSED) return -EINVAL;
  const table = cache.takePage(pgt, source);
  if (!table) return -ENOMEM;
  const builder = changetype<MapVisitor>(scratch + S_BUILDER);
  builder.pa = pa;
  builder.attributes = attributes;
  builder.owner = 0;
  builder.cache = source;
  builder.pagesOnly = pagesOnly;
  const result = level < LAST_LEVEL ? build(builder, pgt, table, level + 1) : -EINVAL;
  if (result == 0) return table;
  if (level < LAST_LEVEL) takeBack(pgt, table, level, cache.UNLIMITED);
  else discardPage(pgt, table);
  return result;
}

function build(builder: MapVisitor, pgt: Pgt, table: usize, level: i32): i32 {
  const flags = LEAF | SKIP_BBM_TLBI | SKIP_CMO;
  beginUnlinked(builder, pgt, level, 0, flags);
  if (builder.quiet && builder.fillTable(table, level)) return 0;
  return walkUnlinked<MapVisitor>(builder, pgt, table, level, 0, flags);
}

@unmanaged
@final
class SplitVisitor extends Walk {
  cache: usize;

  // @ts-ignore: decorator
  @inline get runs(): bool { return true; }

  /** Pages are not split. */
  run(slot: usize, stop: usize): i32 { return 0; }

  pre(slot: usize, old: u64, level: i32): i32 { return 0; }

  leaf(slot: usize, old: u64, level: i32): i32 {
    if (level == LAST_LEVEL) return 0;
    while (isValid(old)) {
      const table = this.tableFor(old, level);
      if (table >= <usize>-4095) return <i32>table;
      keepTree(this.pgt, table, level);
      const broken = this.breakBlock(slot, old, level);
      forgetTree();
      if (broken) {
        makeEntry(this, slot, tableEntry(toPhysical(table)), level);
        return 0;
      }
      takeBack(this.pgt, table, level, this.cache); // the next attempt may need the pages
      old = slots.read(slot);
      if (old == LOCKED) return -EAGAIN;
    }
    return 0;
  }

  /**
   * False: this is no longer the block that the table was built for (hardware can have made it dirty). An access flag
   * set meanwhile is no reason to build anew: the leaves of the table have it set.
   */
  private breakBlock(slot: usize, old: u64, level: i32): bool {
    while (!breakEntry(this, slot, old, level)) {
      const found = slots.read(slot);
      if ((found | AF) != (old | AF)) return false;
      old = found; // lost to a hardware access-flag update
    }
    return true;
  }

  post(slot: usize, old: u64, level: i32): i32 { return 0; }

  /** Pages at once if the cache has a page for every table that takes, else one step down. */
  private tableFor(old: u64, level: i32): usize {
    const pgt = this.pgt;
    const pages = cache.available(this.cache);
    const wanted: u32 = level == 2 ? 1 : 1 + (1 << (this.pageShift - 3));
    if (pages == 0) return -ENOMEM;
    const pa = outputAddress(old, this.pageShift, pgt.lpa2);
    return createUnlinked(pgt, pa, level, stage2Prot(old), this.cache, pages >= wanted);
  }
}

/** kvm_pgtable_stage2_split. -ENOMEM part way when the cache runs out: what was split stays split. */
export function split(pgt: Pgt, ia: u64, size: u64, source: usize): i32 {
  const visitor = changetype<SplitVisitor>(scratch + S_VISITOR);
  visitor.cache = source;
  const result = walk<SplitVisitor>(visitor, pgt, ia, size, LEAF);
  dsbIshst(pgt);
  return result;
}
