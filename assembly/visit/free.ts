/** Taking whole trees down: destroy, and the freeing of unlinked tables. */
import { giveBack, UNLIMITED } from "../cache";
import { isCounted } from "../descriptor";
import { FREE_EXACT, TABLES } from "../events";
import * as events from "../events";
import { scratch, shared, S_REAPER, thisThread, toPhysical } from "../layout";
import { forgetTable } from "../maintenance";
import { HYP, Pgt } from "../pgt";
import { putPage, setReaping } from "../table_pages";
import * as pool from "../pool";
import { levelAbove, retire } from "../retire";
import * as slots from "../slot";
import { childOf, LEAF, TABLE_POST, walk, walkUnlinked, Walk } from "../walk";

@unmanaged
@final
class FreeVisitor extends Walk {
  /** Where the pages go: a cache, or the pool. */
  sink: usize;

  // @ts-ignore: decorator
  @inline get runs(): bool { return true; }

  /** The entries stay as they are: the page is cleared when it is freed. */
  run(slot: usize, stop: usize): i32 {
    pool.dropReferences(pool.pageOf(slot, this.pageShift), slots.countReferences(slot, stop));
    return 0;
  }

  pre(slot: usize, old: u64, level: i32): i32 { return 0; }

  leaf(slot: usize, old: u64, level: i32): i32 {
    if (isCounted(old)) putPage(this.pgt, slot);
    return 0;
  }

  post(slot: usize, old: u64, level: i32): i32 {
    putPage(this.pgt, slot);
    giveBack(this.pgt, childOf(old), this.sink);
    return 0;
  }
}

/** kvm_pgtable_stage2_free_unlinked: the table that an entry of `level` pointed at, and all below it. */
export function freeUnlinked(pgt: Pgt, table: usize, level: i32): void { freeTree(pgt, table, level, UNLIMITED); }

/** A tree that nobody else has ever seen; its pages go back to where they came from. */
export function takeBack(pgt: Pgt, table: usize, level: i32, sink: usize): void {
  setReaping(true);
  freeTree(pgt, table, level, sink);
  setReaping(false);
}

/** Frees sub-trees that waited, the first of them at `table`. `over`: a grace period has passed, nobody is in their pages. */
export function reap(pgt: Pgt, table: usize, over: bool): void {
  setReaping(over);
  while (table) {
    const next = pool.nextPage(table);
    freeTree(pgt, table, levelAbove(table), UNLIMITED);
    table = next;
  }
  setReaping(false);
}

function freeTree(pgt: Pgt, table: usize, level: i32, sink: usize): void {
  const visitor = changetype<FreeVisitor>(scratch + S_REAPER);
  visitor.sink = sink;
  walkUnlinked<FreeVisitor>(visitor, pgt, table, level + 1, 0, LEAF | TABLE_POST);
  giveBack(pgt, table, sink);
}

/** kvm_pgtable_stage2_destroy and _hyp_destroy. Stage 2: sum of (count - 1) over the root pages as they are released. */
export function destroy(pgt: Pgt): i32 {
  if (!pgt.root) return 0;
  const visitor = changetype<FreeVisitor>(scratch + S_REAPER);
  visitor.sink = UNLIMITED;
  walk<FreeVisitor>(visitor, pgt, 0, <u64>1 << pgt.iaBits, LEAF | TABLE_POST);
  const root = pgt.root;
  pgt.root = 0;
  pgt.limit = 0;
  pgt.usualLimit = 0;
  forgetTable(pgt);
  if (pgt.kind == HYP) {
    putPage(pgt, root);
    return 0;
  }
  let extra: i32 = 0;
  for (let i: u32 = 0; i < pgt.rootPages; i++) {
    extra += <i32>pool.references(root + (<usize>i << pgt.pageShift)) - 1;
  }
  if (pgt.logs(TABLES)) events.append(FREE_EXACT, 0, thisThread(), pgt.rootPages, toPhysical(root), 0, 0);
  pgt.addTables(-<i32>pgt.rootPages);
  if (shared) retire(pgt.retired, root, pgt.pageShift, pgt.rootPages);
  else pool.free(root, pgt.pageShift, pgt.rootPages);
  return extra;
}
