/** Table pages of a page table: counted, referenced, given back; logged where the table asks for it. */
import { REFERENCES, TABLES } from "./events";
import * as events from "./events";
import { shared, thisThread, toPhysical } from "./layout";
import { Pgt } from "./pgt";
import * as pool from "./pool";
import { retire } from "./retire";

/** A grace period has passed: what is given back now, nobody is in. */
export let reaping: bool = false;

export function setReaping(on: bool): void { reaping = on; }

// @ts-ignore: decorator
@inline function log(kind: u32, pointer: usize): void { events.append(kind, 0, thisThread(), 0, toPhysical(pointer), 0, 0); }

/** Counts and logs a page that the table has just been given. */
export function adoptPage(pgt: Pgt, page: usize): void {
  pgt.addTables(1);
  if (pgt.logs(TABLES)) log(events.ALLOC, page);
}

/** One more reference on the page of this entry (or on the table page itself, if that is what `slot` is). */
export function getPage(pgt: Pgt, slot: usize): void {
  pool.addReferences(pool.pageOf(slot, pgt.pageShift), 1);
  if (pgt.logs(REFERENCES)) log(events.GET, slot);
}

/** One reference less. True: it was the last one, and the page is the caller's to pass on. */
export function dropPage(pgt: Pgt, slot: usize): bool {
  if (pgt.logs(REFERENCES)) log(events.PUT, slot);
  const page = pool.pageOf(slot, pgt.pageShift);
  if (pool.dropReferences(page, 1) != 0) return false;
  if (pgt.logs(TABLES)) log(events.FREE, page);
  pgt.addTables(-1);
  return true;
}

/** A page that was in the tree: at once where no other thread can be in it, else after a grace period. */
export function releasePage(pgt: Pgt, page: usize): void {
  if (shared && !reaping) retire(pgt.retired, page, pgt.pageShift, 1);
  else pool.free(page, pgt.pageShift, 1);
}

/** One reference less; the last one frees the page, which may still hold entries (a marker at least). */
export function putPage(pgt: Pgt, slot: usize): void {
  if (dropPage(pgt, slot)) releasePage(pgt, pool.pageOf(slot, pgt.pageShift));
}

/** The same for a page that never was in a tree: nobody can be in it. */
export function discardPage(pgt: Pgt, page: usize): void {
  if (dropPage(pgt, page)) pool.free(page, pgt.pageShift, 1);
}
