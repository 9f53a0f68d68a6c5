/**
 * Memory caches (struct kvm_mmu_memory_cache): zeroed pages set aside, so that an operation that must not fail half
 * way for want of memory can be given what it may need before it starts. A cache belongs to one thread at a time.
 */
import { EINVAL, EIO, ENOMEM } from "./errno";
import { TABLES } from "./events";
import * as events from "./events";
import { header, H_OBJECTS, OBJECT_BYTES, objects, thisThread } from "./layout";
import { CACHE, Pgt, releaseSlot, takeSlot } from "./pgt";
import { adoptPage, dropPage, releasePage } from "./table_pages";
import * as pool from "./pool";

/** What an operation may use for new tables: nothing, the pool, or (any other value) a cache. */
// @ts-ignore: decorator
@inline export const NONE: usize = 0;
// @ts-ignore: decorator
@inline export const UNLIMITED: usize = 1;

@unmanaged
@final
class Cache {
  kind: u32;
  pageShift: u32;
  count: u32;
  first: usize;
  /** Slot of the thread that made it; NOBODY of a VM's, which ends with the VM. */
  thread: u32;
  /** The most that `fill` tops it up to, once that is fixed; 0 not yet. */
  capacity: u32;
}

// @ts-ignore: decorator
@inline const NOBODY: u32 = 0xffff_ffff;

export function create(pageShift: u32): usize {
  const slot = takeSlot(CACHE);
  if (!slot) return 0;
  changetype<Cache>(slot).pageShift = pageShift;
  changetype<Cache>(slot).thread = thisThread();
  return slot;
}

export function topUp(slot: usize, pages: u32): i32 {
  const cache = changetype<Cache>(slot);
  if (cache.kind != CACHE) return -EINVAL;
  while (cache.count < pages) {
    const page = pool.allocate(cache.pageShift, 1);
    if (!page) return -ENOMEM;
    push(cache, page);
  }
  return 0;
}

/** A cache that no thread's end takes along. */
export function createLasting(pageShift: u32): usize {
  const slot = create(pageShift);
  if (slot) changetype<Cache>(slot).thread = NOBODY;
  return slot;
}

/**
 * kvm_mmu_topup_memory_cache: at least `least` pages, and if it has to allocate, up to `capacity`, which is fixed by the first call.
 * 0; -EIO: another capacity than before, or none; -ENOMEM: what could be had stays.
 */
export function fill(slot: usize, least: u32, capacity: u32): i32 {
  const cache = changetype<Cache>(slot);
  if (cache.count >= least && cache.capacity) return 0;
  if (!capacity || (cache.capacity && cache.capacity != capacity)) return -EIO;
  cache.capacity = capacity;
  return topUp(slot, capacity) == 0 || cache.count >= least ? 0 : -ENOMEM;
}

/** Gives its pages back; another capacity may follow. */
export function drain(slot: usize): void {
  const cache = changetype<Cache>(slot);
  for (let page = pop(cache); page; page = pop(cache)) pool.freeClean(page, cache.pageShift, 1);
  cache.capacity = 0;
}

// @ts-ignore: decorator
@inline export function countOf(slot: usize): u32 { return changetype<Cache>(slot).count; }

/** Pages that an operation can count on. */
export function available(source: usize): u32 {
  if (source == NONE) return 0;
  return source == UNLIMITED ? u32.MAX_VALUE : countOf(source);
}

function push(cache: Cache, page: usize): void {
  pool.setNextPage(page, cache.first);
  cache.first = page;
  cache.count++;
}

function pop(cache: Cache): usize {
  const page = cache.first;
  if (page) {
    cache.first = pool.nextPage(page);
    cache.count--;
  }
  return page;
}

// @ts-ignore: decorator
@inline function popFor(pgt: Pgt, cache: Cache): usize { return cache.pageShift == pgt.pageShift ? pop(cache) : 0; }

/** Drops a reference of a table page; the last one gives the page to a cache, or to the pool. */
export function giveBack(pgt: Pgt, table: usize, sink: usize): void {
  if (!dropPage(pgt, table)) return;
  if (sink == UNLIMITED) {
    releasePage(pgt, table);
    return;
  }
  memory.fill(table, 0, <usize>1 << pgt.pageShift);
  pool.setReferences(table, 1);
  push(changetype<Cache>(sink), table);
}

export function destroy(slot: usize): void {
  drain(slot);
  releaseSlot(slot);
}

/** The caches of a thread that leaves, or has ended. */
export function destroyAllOf(thread: u32): void {
  const end = objects + <usize>load<u32>(header, H_OBJECTS) * OBJECT_BYTES;
  for (let slot = objects; slot < end; slot += OBJECT_BYTES) {
    if (atomic.load<u32>(slot) == CACHE && changetype<Cache>(slot).thread == thread) destroy(slot);
  }
}

/**
 * A page for a new table of `pgt`, or 0: without a cache silently, from an empty one with a NOMEM event. A cache of
 * another page size has nothing for this table.
 */
export function takePage(pgt: Pgt, source: usize): usize {
  if (source == NONE) return 0;
  const page = source == UNLIMITED ? pool.allocate(pgt.pageShift, 1) : popFor(pgt, changetype<Cache>(source));
  if (page) adoptPage(pgt, page);
  else if (pgt.logs(TABLES)) events.append(events.NOMEM, 0, 0, 0, 0, 0, 0);
  return page;
}
