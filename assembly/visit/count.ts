/** Reference counts of a tree whose entries were filled in from outside (an imported image). */
import { isCounted } from "../descriptor";
import { scratch, S_VISITOR } from "../layout";
import { Pgt } from "../pgt";
import * as pool from "../pool";
import * as slots from "../slot";
import { childOf, LEAF, SILENT, TABLE_PRE, walk, Walk } from "../walk";

@unmanaged
@final
class CountVisitor extends Walk {
  tables: u32;

  // @ts-ignore: decorator
  @inline get runs(): bool { return true; }

  run(slot: usize, stop: usize): i32 {
    pool.addReferences(pool.pageOf(slot, this.pageShift), slots.countReferences(slot, stop));
    return 0;
  }

  pre(slot: usize, old: u64, level: i32): i32 {
    this.tables++;
    pool.setReferences(childOf(old), 1);
    pool.addReferences(pool.pageOf(slot, this.pageShift), 1);
    return 0;
  }

  leaf(slot: usize, old: u64, level: i32): i32 {
    if (isCounted(old)) pool.addReferences(pool.pageOf(slot, this.pageShift), 1);
    return 0;
  }

  post(slot: usize, old: u64, level: i32): i32 { return 0; }
}

/** Sets the count of every table page (1 + counted entries) and the table's page count, which is returned. */
export function recount(pgt: Pgt): u32 {
  const visitor = changetype<CountVisitor>(scratch + S_VISITOR);
  visitor.tables = pgt.rootPages;
  for (let i: u32 = 0; i < pgt.rootPages; i++) pool.setReferences(pgt.root + (<usize>i << pgt.pageShift), 1);
  walk<CountVisitor>(visitor, pgt, 0, <u64>1 << pgt.iaBits, LEAF | TABLE_PRE | SILENT);
  pgt.tables = visitor.tables;
  return visitor.tables;
}
