/** The ordered map alone (AssemblyScript), for its tests: a region of which only the pool is used, and two trees in its first page. */
import * as cursors from "../../../assembly/pkvm/mappings/cursor";
import { eraseHere } from "../../../assembly/pkvm/mappings/erase";
import { insert } from "../../../assembly/pkvm/mappings/insert";
import * as trees from "../../../assembly/pkvm/mappings/tree";
import { enter, H_BUDGET, H_EVENTS, H_GROWABLE, H_OBJECTS, H_THREADS, H_UNITS, H_USED, overhead } from "../../../assembly/layout";
import { allocate } from "../../../assembly/pool";

// @ts-ignore: decorator
@inline const BASE: usize = 65536;

let page: usize = 0;
let tree: usize = 0;

// @ts-ignore: decorator
@inline function here(): trees.Tree { return trees.treeAt(tree); }

/** A pool of `units` units. The address of the trees; 0: the host refuses memory. */
export function start(units: u32): usize {
  store<u32>(BASE, 1, H_THREADS);
  store<u32>(BASE, 1, H_OBJECTS);
  store<u32>(BASE, 16, H_EVENTS);
  store<u32>(BASE, units, H_UNITS);
  store<u32>(BASE, units, H_BUDGET);
  store<u32>(BASE, 1, H_GROWABLE);
  const bytes = <u64>BASE + overhead(units, 1, 1, 16);
  if (memory.grow(<i32>(bytes >> 16) + 1 - memory.size()) < 0) return 0;
  enter(BASE, 0);
  join(allocate(12, 1));
  return page;
}

/** The same region and trees, in another instance, as another thread has it. */
export function join(trees: usize): void {
  enter(BASE, 0);
  page = trees;
  use(0);
}

/** What follows is about this tree: 0 or 1. */
export function use(which: u32): void { tree = page + <usize>which * trees.TREE_BYTES; }

/** How many units may be in use: fewer than there are, or all. */
export function setBudget(units: u32): void { store<u32>(BASE, units, H_BUDGET); }
/** Units in use, that of the trees too. */
export function used(): u32 { return load<u32>(BASE, H_USED); }

export function root(): usize { return here().root; }
export function height(): u32 { return here().height; }
export function records(): u32 { return here().records; }
export function pages(): u32 { return here().pages; }
export function spares(): u32 { return here().spares; }
export function finger(): usize { return here().finger; }

export function reserve(): bool { return trees.reserve(here()); }
export function put(gfn: u64, pfn: u64, order: u32): bool { return insert(here(), gfn, pfn, order); }
export function seek(gfn: u64): bool { return cursors.seek(here(), gfn); }
export function overlaps(gfn: u64, pages: u64): bool { return cursors.overlaps(here(), gfn, pages); }
export function next(): bool { return cursors.next(); }
export function erase(): void { eraseHere(here()); }
export function clear(): void { trees.clear(here()); }

export function gfn(): u64 { return cursors.gfn; }
export function pfn(): u64 { return cursors.pfn; }
export function order(): u32 { return cursors.order; }
