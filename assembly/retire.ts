/**
 * Pages that went out of a tree while others may still be inside: they keep their content, on a list, until a grace period
 * has passed (sync/completion.ts). A list is one word, unit + 1 of its first page; links are in the pages' metadata, so
 * nothing can run out. Who frees takes the whole list: a push cannot meet a page that left and came back (no ABA).
 */
import { header, H_RETIRED, H_RETIRING, thread, T_PAGES } from "./layout";
import * as pool from "./pool";

/** The list for pages whose page table has ended. */
// @ts-ignore: decorator
@inline export function orphans(): usize { return header + H_RETIRED; }

/** Puts pages aside: `pages` of them, contiguous. */
export function retire(list: usize, page: usize, pageShift: u32, pages: u32): void {
  pool.setRetired(page, pageShift, pages);
  atomic.add<u32>(header, pool.retiredUnits(page), H_RETIRING);
  push(list, page, 0);
}

/** Puts a page at the head of a list, with a tag beside its link; how many went before does not matter. */
function push(list: usize, page: usize, tag: u32): void {
  let first = atomic.load<u32>(list);
  while (true) {
    pool.setLink(page, first | tag);
    const found = atomic.cmpxchg<u32>(list, first, pool.linkTo(page));
    if (found == first) return;
    first = found; // lost: another page came first, link to that
  }
}

// Sub-trees: the table at the top, tagged with the level of the entry that pointed at it. Their pages keep their reference
// counts, as a walk that is still inside may get and put.

// @ts-ignore: decorator
@inline const LEVEL_SHIFT: u32 = 24;

// @ts-ignore: decorator
@inline function tagFor(level: i32): u32 { return <u32>(level & 7) << LEVEL_SHIFT; }

/** A link that names a sub-tree, and the level of the entry that points, pointed or will point at it. */
export function treeLink(table: usize, level: i32): u32 { return pool.linkTo(table) | tagFor(level); }

/** Level in such a link. */
export function levelIn(link: u32): i32 { return <i32>(link << (29 - LEVEL_SHIFT)) >> 29; }

/** Puts a sub-tree aside that an entry of `level` pointed at. */
export function detach(list: usize, table: usize, level: i32): void { push(list, table, tagFor(level)); }

/** Level of the entry that pointed at a sub-tree on a list. */
export function levelAbove(table: usize): i32 { return levelIn(pool.linkOf(table)); }

// @ts-ignore: decorator
@inline export function isEmpty(list: usize): bool { return atomic.load<u32>(list) == 0; }

/** All that is on a list, which is empty then. 0: nothing. */
export function takeAll(list: usize): usize {
  return isEmpty(list) ? 0 : pool.pageAt(atomic.xchg<u32>(list, 0));
}

/** The same into this thread's hands: T_PAGES or T_TREES. */
export function takeInto(hand: usize, list: usize): void {
  if (!isEmpty(list)) store<u32>(thread + hand, atomic.xchg<u32>(list, 0));
}

/** What this thread has in its hands, which are empty then. */
export function takeFrom(hand: usize): usize {
  const page = pool.pageAt(load<u32>(thread + hand));
  store<u32>(thread + hand, 0);
  return page;
}

/** Frees the pages that this thread has in its hands (T_PAGES). */
export function freeAll(): void {
  let page = pool.pageAt(load<u32>(thread, T_PAGES));
  while (page) {
    const next = pool.nextPage(page);
    store<u32>(thread, pool.linkTo(next), T_PAGES);
    atomic.sub<u32>(header, pool.retiredUnits(page), H_RETIRING);
    pool.freeRetired(page);
    page = next;
  }
}

/** Puts back what could not be freed yet, pages or sub-trees. */
export function putBack(list: usize, page: usize): void {
  while (page) {
    const next = pool.nextPage(page);
    push(list, page, pool.tagIn(pool.linkOf(page)));
    page = next;
  }
}
