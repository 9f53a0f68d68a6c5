/**
 * Table pages: allocation, reference counts, budget.
 *
 * Free pages are always zero: they are cleared when they are given back, and ready when they are handed out. There is
 * one free list an order (4 KiB << order), each a stack whose head carries a tag that every push and pop advances: a
 * head that was popped and pushed back meanwhile does not compare equal (no ABA). Links live in the metadata, never in
 * the pages. Memory that was never used is taken at the frontier, which grows the memory; only when that ends are
 * larger pages split and free ones merged.
 */
import {
  header, meta, pool, ORDERS, thisThread, UNIT_SHIFT,
  H_BUDGET, H_COALESCE, H_COMMITTED, H_FREE, H_FRONTIER, H_GROWABLE, H_PEAK, H_UNITS, H_USED,
} from "./layout";

// @ts-ignore: decorator
@inline const NONE: i32 = -1;
// @ts-ignore: decorator
@inline const M_REFERENCES: usize = 0;
// @ts-ignore: decorator
@inline const M_LINK: usize = 4; // unit + 1 of the next page in the same list, 0 last
// @ts-ignore: decorator
@inline const GROW_UNITS: u32 = 1024; // 4 MiB at a time
// @ts-ignore: decorator
@inline const MAX_SPINS: i32 = 1 << 24;

/**
 * Neighbours are 64 bytes apart: tables that two threads fill at a time are often neighbours, and would fight for one line.
 * Of each 64 units the lowest digit (in eights) of the number is added to the next one, without carry.
 */
// @ts-ignore: decorator
@inline function metaOf(page: usize): usize {
  const offset = page - pool; // unit << UNIT_SHIFT
  return meta + ((offset >> (UNIT_SHIFT - 3)) ^ (offset >> (UNIT_SHIFT - 6) & 0x1c0));
}

// @ts-ignore: decorator
@inline function metaOfUnit(unit: i32): usize { return metaOf(pool + (<usize>unit << UNIT_SHIFT)); }

// ---- reference counts: 1 + counted entries ------------------------------------------------------------------

// @ts-ignore: decorator
@inline export function references(page: usize): u32 { return atomic.load<u32>(metaOf(page), M_REFERENCES); }

// @ts-ignore: decorator
@inline export function setReferences(page: usize, count: u32): void {
  atomic.store<u32>(metaOf(page), count, M_REFERENCES);
}

// @ts-ignore: decorator
@inline export function addReferences(page: usize, count: u32): void {
  atomic.add<u32>(metaOf(page), count, M_REFERENCES);
}

/** Drops `count` references; how many are left. */
// @ts-ignore: decorator
@inline export function dropReferences(page: usize, count: u32): u32 {
  return atomic.sub<u32>(metaOf(page), count, M_REFERENCES) - count;
}

/** In place of a reference count: a page that is no table, and no memory to hardware walks. */
// @ts-ignore: decorator
@inline const PRIVATE: u32 = 0xffff_fffe;

/** The same, but for what hardware itself writes there: a buffer of dirty-state tracking. */
// @ts-ignore: decorator
@inline const BUFFER: u32 = 0xffff_fffd;

export function setBuffer(page: usize, pages: u32): void {
  for (let i: u32 = 0; i < pages; i++) setReferences(page + (<usize>i << UNIT_SHIFT), BUFFER);
}

export function isBuffer(pointer: usize): bool { return references(pageOf(pointer, UNIT_SHIFT)) == BUFFER; }

export function setPrivate(page: usize, pageShift: u32, pages: u32): void {
  for (let i: u32 = 0; i < pages; i++) setReferences(page + (<usize>i << pageShift), PRIVATE);
}

// @ts-ignore: decorator
@inline export function isPrivate(pointer: usize): bool {
  const mark = references(pageOf(pointer, UNIT_SHIFT));
  return mark == PRIVATE || mark == BUFFER;
}

// ---- pages that wait for a grace period: still what they were, for whoever looks at them ---------------------

/** In place of a reference count: out of every tree; the rest is the page size, as log2 of bytes, and of pages. */
// @ts-ignore: decorator
@inline const RETIRED: u32 = 0xaced_0000;

export function setRetired(page: usize, pageShift: u32, pages: u32): void {
  setReferences(page, RETIRED | pageShift << 8 | ctz<u32>(pages));
}

/** Frees what `setRetired` kept. */
export function freeRetired(page: usize): void {
  const shape = references(page) & 0xffff;
  free(page, shape >> 8, 1 << (shape & 0xff));
}

/** Units of a page that is kept. */
export function retiredUnits(page: usize): u32 {
  const shape = references(page) & 0xffff;
  return <u32>1 << ((shape >> 8) - UNIT_SHIFT + (shape & 0xff));
}

// ---- links, also used by caches -----------------------------------------------------------------------------

/** A link: unit + 1, so that 0 is none; the highest byte is the user's. */
// @ts-ignore: decorator
@inline export function linkTo(page: usize): u32 { return page ? <u32>((page - pool) >> UNIT_SHIFT) + 1 : 0; }

// @ts-ignore: decorator
@inline const UNITS: u32 = 0x00ff_ffff;

// @ts-ignore: decorator
@inline export function tagIn(link: u32): u32 { return link & ~UNITS; }

/** The page that a link names, or 0. */
export function pageAt(link: u32): usize {
  const unit = link & UNITS;
  return unit ? pool + (<usize>(unit - 1) << UNIT_SHIFT) : 0;
}

/** The page after this one in a list, 0 if it is the last. */
export function nextPage(page: usize): usize { return pageAt(linkOf(page)); }

export function linkOf(page: usize): u32 { return load<u32>(metaOf(page), M_LINK); }

export function setNextPage(page: usize, next: usize): void { setLink(page, linkTo(next)); }

export function setLink(page: usize, link: u32): void { store<u32>(metaOf(page), link, M_LINK); }

// ---- free lists -----------------------------------------------------------------------------------------------

// @ts-ignore: decorator
@inline function listOf(order: u32): usize { return header + H_FREE + (<usize>order << 3); }

function push(order: u32, unit: i32): void {
  const list = listOf(order);
  let head = atomic.load<u64>(list);
  while (true) {
    store<u32>(metaOfUnit(unit), <u32>head, M_LINK);
    const next = ((head >> 32) + 1) << 32 | <u64>(unit + 1);
    const found = atomic.cmpxchg<u64>(list, head, next);
    if (found == head) return;
    head = found; // another thread pushed or popped: link to its head instead
  }
}

function pop(order: u32): i32 {
  const list = listOf(order);
  let head = atomic.load<u64>(list);
  while (true) {
    if (<u32>head == 0) return NONE;
    const unit = <i32>(<u32>head - 1);
    const next = ((head >> 32) + 1) << 32 | <u64>load<u32>(metaOfUnit(unit), M_LINK);
    const found = atomic.cmpxchg<u64>(list, head, next);
    if (found == head) return unit;
    head = found; // another thread was faster: the link read above may be stale, look again
  }
}

/** Puts units [from, to) into the free lists, in the largest aligned pages that fit. */
function pushRange(from: i32, to: i32): void {
  while (from < to) {
    let order: u32 = 0;
    while (order + 1 < ORDERS && (from & ((2 << order) - 1)) == 0 && from + (2 << order) <= to) order++;
    push(order, from);
    from += 1 << order;
  }
}

// ---- where pages come from ------------------------------------------------------------------------------------

/** Makes sure that the memory reaches to unit `end`. */
function commit(end: u32): bool {
  const limit = load<u32>(header, H_UNITS);
  if (end > limit) return false;
  let committed = atomic.load<u32>(header, H_COMMITTED);
  while (committed < end) {
    if (!load<u32>(header, H_GROWABLE)) return false;
    let wanted = min(limit, (end + GROW_UNITS - 1) & ~(GROW_UNITS - 1));
    if (!growTo(wanted)) {
      wanted = end; // the host refuses a whole step; what is needed may still fit
      if (!growTo(wanted)) return false;
    }
    const found = atomic.cmpxchg<u32>(header, committed, wanted, H_COMMITTED);
    committed = found == committed ? wanted : found; // lost: another thread grew it too, perhaps further
  }
  return true;
}

function growTo(units: u32): bool {
  const bytes = <u64>pool + (<u64>units << UNIT_SHIFT);
  const wasmPages = <u32>((bytes + 0xffff) >> 16);
  while (true) {
    const present = <u32>memory.size();
    if (present >= wasmPages) return true;
    // A refusal counts only if no other thread has grown the memory meanwhile.
    if (memory.grow(wasmPages - present) < 0 && <u32>memory.size() == present) return false;
  }
}

function takeFrontier(order: u32): i32 {
  const units: u32 = 1 << order;
  while (true) {
    const frontier = atomic.load<u32>(header, H_FRONTIER);
    const unit = (frontier + units - 1) & ~(units - 1);
    if (!commit(unit + units)) return NONE;
    if (atomic.cmpxchg<u32>(header, frontier, unit + units, H_FRONTIER) == frontier) {
      if (!load<u32>(header, H_GROWABLE)) clear(frontier, unit + units - frontier); // an embedder's region need not be zero
      pushRange(frontier, unit);
      return unit;
    } // lost: another thread moved the frontier, start from there
  }
}

function clear(unit: i32, units: u32): void {
  memory.fill(pool + (<usize>unit << UNIT_SHIFT), 0, <usize>units << UNIT_SHIFT);
}

function splitLarger(order: u32): i32 {
  for (let larger = order + 1; larger < ORDERS; larger++) {
    const unit = pop(larger);
    if (unit == NONE) continue;
    pushRange(unit + (1 << order), unit + (1 << larger));
    return unit;
  }
  return NONE;
}

/** Merges free neighbours. Rare: only when an aligned run is wanted and the pool is in pieces. */
function coalesce(): void {
  if (atomic.cmpxchg<u32>(header, 0, thisThread() + 1, H_COALESCE) != 0) return awaitCoalesce(); // another thread is at it
  const free = <u32>0xffff_ffff; // mark in the reference word: a free page has none
  for (let order: u32 = 0; order < ORDERS; order++) {
    for (let unit = pop(order); unit != NONE; unit = pop(order)) {
      for (let i = 0; i < 1 << order; i++) store<u32>(metaOfUnit(unit + i), free, M_REFERENCES);
    }
  }
  const frontier = <i32>atomic.load<u32>(header, H_FRONTIER);
  let from = NONE;
  for (let unit = 0; unit <= frontier; unit++) {
    const isFree = unit < frontier && load<u32>(metaOfUnit(unit), M_REFERENCES) == free;
    if (isFree) {
      store<u32>(metaOfUnit(unit), 0, M_REFERENCES);
      if (from == NONE) from = unit;
    } else if (from != NONE) {
      pushRange(from, unit);
      from = NONE;
    }
  }
  atomic.store<u32>(header, 0, H_COALESCE);
}

/** A thread that has ended was in the middle of merging: the next one finds the marks of what it had taken. */
export function forgetCoalesce(number: u32): void { atomic.cmpxchg<u32>(header, number + 1, 0, H_COALESCE); }

/** Its result serves us too. Bounded, as it may have died: then the allocation fails instead of hanging. */
function awaitCoalesce(): void {
  for (let spins = 0; spins < MAX_SPINS && atomic.load<u32>(header, H_COALESCE); spins++);
}

/** Adds only what fits: another thread never sees units that will be taken back. */
function charge(units: u32): bool {
  let used = atomic.load<u32>(header, H_USED);
  while (true) {
    if (used + units > load<u32>(header, H_BUDGET)) return false;
    const found = atomic.cmpxchg<u32>(header, used, used + units, H_USED);
    if (found == used) break;
    used = found; // lost: another thread charged or returned some
  }
  // A statistic: a lost race costs a few units.
  if (used + units > load<u32>(header, H_PEAK)) store<u32>(header, used + units, H_PEAK);
  return true;
}

// ---- the interface ----------------------------------------------------------------------------------------------

/** `pages` zeroed, contiguous pages aligned to their total size, each with one reference; 0 if there are none. */
export function allocate(pageShift: u32, pages: u32): usize {
  const order = pageShift - UNIT_SHIFT + ctz(pages);
  if (!charge(1 << order)) return 0;
  let unit = pop(order);
  if (unit == NONE) unit = takeFrontier(order);
  if (unit == NONE) unit = splitLarger(order);
  if (unit == NONE) {
    coalesce();
    unit = pop(order);
    if (unit == NONE) unit = splitLarger(order);
  }
  if (unit == NONE) {
    atomic.sub<u32>(header, 1 << order, H_USED);
    return 0;
  }
  const page = pool + (<usize>unit << UNIT_SHIFT);
  for (let i: u32 = 0; i < pages; i++) setReferences(page + (<usize>i << pageShift), 1);
  return page;
}

/** Takes back pages, whatever they hold. */
export function free(page: usize, pageShift: u32, pages: u32): void {
  memory.fill(page, 0, <usize>pages << pageShift);
  freeClean(page, pageShift, pages);
}

/** Takes back pages that were never written. */
export function freeClean(page: usize, pageShift: u32, pages: u32): void {
  const order = pageShift - UNIT_SHIFT + ctz(pages);
  for (let i: u32 = 0; i < pages; i++) setReferences(page + (<usize>i << pageShift), 0);
  push(order, <i32>((page - pool) >> UNIT_SHIFT));
  atomic.sub<u32>(header, 1 << order, H_USED);
}

/** The table page that holds this entry. */
// @ts-ignore: decorator
@inline export function pageOf(slot: usize, pageShift: u32): usize { return slot & ~((<usize>1 << pageShift) - 1); }
