/**
 * Who a page of memory is whose: eight bytes a page (struct hyp_page).
 *
 *   0            2            3           4
 *  +------------+------------+-----------+-------------------------+
 *  | references | host state | hyp state | guest leaves that map it|   hyp state XOR NOPAGE, so that zero is a page of the host
 *  +------------+------------+-----------+-------------------------+
 *
 * The host's lock guards the host state and the count, the hypervisor's lock the rest. A page that the hypervisor has admitted for a VM
 * has a link to the next one in place of the count. Of a page that is the host's alone the count is 0.
 */
import { EINVAL, EPERM } from "../errno";
import { Machine, NOMAP, Region, regionAt } from "./machine";

// @ts-ignore: decorator
@inline export const OWNED: u32 = 0;
// @ts-ignore: decorator
@inline export const SHARED_OWNED: u32 = 1;
// @ts-ignore: decorator
@inline export const SHARED_BORROWED: u32 = 2;
// @ts-ignore: decorator
@inline export const NOPAGE: u32 = 3;
/** Where a valid leaf of a guest, or of what the host has borrowed, says the same. */
// @ts-ignore: decorator
@inline export const STATE_SHIFT: u64 = 55;

// @ts-ignore: decorator
@inline export const RECORD_SHIFT: u32 = 3;
// @ts-ignore: decorator
@inline export const RECORD: usize = 1 << RECORD_SHIFT;
// @ts-ignore: decorator
@inline export const MAX_REFERENCES: u32 = 0xffff;

// @ts-ignore: decorator
@inline export function hostState(page: usize): u32 { return load<u8>(page, 2); }
// @ts-ignore: decorator
@inline export function setHostState(page: usize, state: u32): void { store<u8>(page, <u8>state, 2); }
// @ts-ignore: decorator
@inline export function hypState(page: usize): u32 { return load<u8>(page, 3) ^ NOPAGE; }
// @ts-ignore: decorator
@inline export function setHypState(page: usize, state: u32): void { store<u8>(page, <u8>(state ^ NOPAGE), 3); }
// @ts-ignore: decorator
@inline export function references(page: usize): u32 { return load<u16>(page); }
// @ts-ignore: decorator
@inline export function setReferences(page: usize, count: u32): void { store<u16>(page, <u16>count); }
// @ts-ignore: decorator
@inline export function leaves(page: usize): u32 { return load<u32>(page, 4); }
// @ts-ignore: decorator
@inline export function setLeaves(page: usize, count: u32): void { store<u32>(page, count, 4); }

// The stretch of the address space around the last address that was looked up: a region, or the gap between two.
export let spanBase: u64 = 0;
export let spanEnd: u64 = 0;

/** The region of an address; null: none, and then the span is the gap. */
export function regionOf(m: Machine, pa: u64): Region | null {
  spanBase = 0;
  spanEnd = m.paLimit;
  for (let i: u32 = 0; i < m.regions; i++) {
    const region = regionAt(m, i);
    if (pa < region.base) {
      spanEnd = region.base;
      return null;
    }
    spanBase = region.end;
    if (pa >= region.end) continue;
    spanBase = region.base;
    spanEnd = region.end;
    return region;
  }
  return null;
}

/** Record of the page at this address, which lies in this region. */
// @ts-ignore: decorator
@inline export function pageIn(m: Machine, region: Region, pa: u64): usize {
  return region.records + (<usize>((pa - region.base) >> m.pageShift) << RECORD_SHIFT);
}

/** Record of a page that is known to be memory. */
export function pageAt(m: Machine, pa: u64): usize {
  const region = regionOf(m, pa);
  return region ? pageIn(m, region, pa) : 0;
}

/** The page frame of a record. */
export function frameOf(m: Machine, page: usize): u64 {
  let i: u32 = 0;
  while (page - regionAt(m, i).records >= <usize>regionAt(m, i).units << 12) i++;
  return (regionAt(m, i).base >> m.pageShift) + ((page - regionAt(m, i).records) >> RECORD_SHIFT);
}

/** Whether pages exist as far as addresses go. */
// @ts-ignore: decorator
@inline export function isFrameRange(m: Machine, pfn: u64, count: u64): bool {
  const frames = m.paLimit >> m.pageShift;
  return count != 0 && pfn < frames && count <= frames - pfn;
}

/** Records of the pages that the last `findPages` found. */
export let first: usize = 0;
export let last: usize = 0;

/** 0: all of them are memory of one region that anybody may have. -EINVAL: not in the address space, or beyond a region; -EPERM: no memory. */
export function findPages(m: Machine, pfn: u64, count: u64): i32 {
  if (!isFrameRange(m, pfn, count)) return -EINVAL;
  const pa = pfn << m.pageShift;
  const bytes = count << m.pageShift;
  const region = regionOf(m, pa);
  if (bytes > spanEnd - pa) return -EINVAL;
  if (!region || region.flags & NOMAP) return -EPERM;
  pointAt(pageIn(m, region, pa), count);
  return 0;
}

/** The pages of a leaf, which are memory. */
export function pointAt(page: usize, count: u64): void {
  first = page;
  last = page + (<usize>count << RECORD_SHIFT);
}

/** Whether the host's state of all pages found is this one. */
export function allHost(state: u32): bool {
  for (let page = first; page < last; page += RECORD) if (hostState(page) != state) return false;
  return true;
}

export function allHyp(state: u32): bool {
  for (let page = first; page < last; page += RECORD) if (hypState(page) != state) return false;
  return true;
}

// A block at once, two records a step: the usual case is that nobody but the host, or one guest, has any of its pages.

/** Record of a page that nobody has but the host. */
// @ts-ignore: decorator
@inline export const UNSHARED: u64 = 0;
/** Record of a page that one leaf of one guest maps. */
// @ts-ignore: decorator
@inline export const SHARED_ONCE: u64 = <u64>SHARED_OWNED << 16 | <u64>1 << 32;

/** Whether the records of a block found are all this one. A single page is never worth it. */
export function isBlockOf(record: u64): bool {
  if (last - first < 2 * RECORD) return false;
  const all = i64x2.splat(record);
  let difference = i64x2.splat(0);
  for (let pair = first; pair < last; pair += 2 * RECORD) difference = v128.or(difference, v128.xor(v128.load(pair), all));
  return !v128.any_true(difference);
}

export function fillBlock(record: u64): void {
  const all = i64x2.splat(record);
  for (let pair = first; pair < last; pair += 2 * RECORD) v128.store(pair, all);
}

export function setAllHost(state: u32): void {
  for (let page = first; page < last; page += RECORD) setHostState(page, state);
}

export function setAllHyp(state: u32): void {
  for (let page = first; page < last; page += RECORD) setHypState(page, state);
}
