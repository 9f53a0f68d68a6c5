/**
 * The host's stage 2: an identity map that is made as the host touches it, by blocks where it can be. What is not the host's is an
 * annotation that says whose it is. Everything here is under the host's lock.
 *
 *   entry of memory     says
 *   0                   the host's, not touched yet
 *   leaf                the host's, or borrowed from a guest (state in 56:55)
 *   1 << 2              the hypervisor's
 *   3 << 2, gfn << 12   a guest's; index of its VM in 63:56
 */
import * as cache from "../cache";
import { annotation, isValid, PROT_RW, PROT_RWX } from "../descriptor";
import { EAGAIN, EEXIST, EINVAL, ENOMEM, EPERM } from "../errno";
import { leafLevel, levelShift } from "../geometry";
import { setResult, shared } from "../layout";
import { completeTlbi } from "../maintenance";
import { settle } from "../operation";
import { annotate, map } from "../visit/map";
import { unmap } from "../visit/unmap";
import { FORCE_PAGES, levelOf, look, seen } from "../walk";
import { acquire, release } from "./locks";
import { HOST_LOCK, INJECT_HOST_ABORTS, Machine, PROTECTED_GUESTS, regionAt, tablesFor } from "./machine";
import { regionOf, spanBase, spanEnd, STATE_SHIFT } from "./page";

// Owners in annotations.
// @ts-ignore: decorator
@inline export const HYPERVISOR: u32 = 1;
// @ts-ignore: decorator
@inline export const GUEST: u32 = 3;

/** The annotation of a page that was given to a guest. */
// @ts-ignore: decorator
@inline export function guestAnnotation(index: u32, gfn: u64): u64 { return annotation(GUEST) | gfn << 12 | <u64>index << 56; }
// @ts-ignore: decorator
@inline export function ownerIn(entry: u64): u32 { return <u32>(entry >> 2) & 0xff; }
// @ts-ignore: decorator
@inline export function indexIn(entry: u64): u32 { return <u32>(entry >> 56); }
// @ts-ignore: decorator
@inline export function gfnIn(entry: u64): u64 { return entry >> 12 & 0xff_ffff_ffff; }

// ---- table pages: enough of them before anything is changed ----------------------------------------------------------

/** Pages of the cache that one change may leave unused. */
// @ts-ignore: decorator
@inline const SPARE: u32 = 64;

/** Both tables can be changed on so many bytes of memory, page by page, without running out of pages; with the host's lock. */
export function reserve(m: Machine, bytes: u64, hypBytes: u64): i32 {
  return setAside(m, (bytes ? tablesFor(m, bytes) : 0) + (hypBytes ? tablesFor(m, hypBytes) + 2 : 0));
}

/** Without memory, what the host's table has of devices goes: it comes back when it is touched. */
function setAside(m: Machine, pages: u32): i32 {
  if (cache.topUp(m.cache, pages) == 0) return 0;
  forgetDevices(m);
  return cache.topUp(m.cache, pages);
}

/** The same for a map of the host. Its quota has room for all memory, so only devices can use it up. */
function reserveMap(m: Machine, pages: u64, isMemory: bool): i32 {
  if (pages > m.quota) return -ENOMEM;
  if (!isMemory && m.hostTable.tables + <u32>pages > m.quota) {
    forgetDevices(m);
    if (m.hostTable.tables + <u32>pages > m.quota) return -ENOMEM;
  }
  return setAside(m, <u32>pages);
}

/** What a large change did not need goes back. */
export function unreserve(m: Machine): void {
  if (cache.countOf(m.cache) > SPARE) cache.drain(m.cache);
}

/** Everything between regions of memory. */
function forgetDevices(m: Machine): void {
  let from: u64 = 0;
  for (let i: u32 = 0; i < m.regions; i++) {
    const region = regionAt(m, i);
    if (region.base > from) unmap(m.hostTable, from, region.base - from);
    from = region.end;
  }
  if (m.paLimit > from) unmap(m.hostTable, from, m.paLimit - from);
  completeTlbi(m.hostTable);
  if (shared) settle(m.hostTable, false);
}

// ---- changes, with the host's lock and room reserved -------------------------------------------------------------------

/** An annotation in place of whatever is there; 0: the host's again. A block that goes for one page is made anew as it is touched. */
export function setEntry(m: Machine, pa: u64, bytes: u64, entry: u64): void {
  annotate(m.hostTable, pa, bytes, entry, m.cache);
  completeTlbi(m.hostTable);
}

/** Memory comes back to the host: lazily, or mapped at once in the newest generation. */
export function giveToHost(m: Machine, pa: u64, bytes: u64): void {
  if (!m.has(PROTECTED_GUESTS)) return setEntry(m, pa, bytes, 0);
  map(m.hostTable, pa, bytes, pa, PROT_RWX, 0, m.cache);
  completeTlbi(m.hostTable);
}

/** One page with a state of its own: only a table of pages can hold that. */
export function lendToHost(m: Machine, pa: u64, state: u64): void {
  map(m.hostTable, pa, m.pageSize, pa, PROT_RWX | state << STATE_SHIFT, FORCE_PAGES, m.cache);
  completeTlbi(m.hostTable);
}

/** Entry of the host's table that decides an address. */
export function entryAt(m: Machine, pa: u64): u64 {
  look(m.hostTable, pa);
  return seen;
}

// ---- aborts ------------------------------------------------------------------------------------------------------------

// @ts-ignore: decorator
@inline function isThere(m: Machine): i32 { return m.has(PROTECTED_GUESTS) ? -EEXIST : -EAGAIN; }

/**
 * The host has touched what is not mapped. 0, with result 0: whether another CPU had mapped it already; -EPERM: somebody else's, with
 * result 0: whether the host is told by an abort of its own, else this is its end.
 */
export function hostAbort(m: Machine, pa: u64): i32 {
  if (pa >= m.paLimit) return -EINVAL;
  const result = acquire(m.word(HOST_LOCK));
  if (result != 0) return result;
  const status = mapAround(m, pa);
  release(m.word(HOST_LOCK));
  setResult(0, <u64>(status == -EPERM ? m.has(INJECT_HOST_ABORTS) : status != 0));
  return status == isThere(m) ? 0 : status;
}

/** The largest block around an address whose entry is empty, inside its region or gap. */
function mapAround(m: Machine, pa: u64): i32 {
  const found = look(m.hostTable, pa);
  if (isValid(seen)) return isThere(m);
  if (seen) return -EPERM;
  const isMemory = regionOf(m, pa) != null;
  let level = levelOf(found);
  let size: u64 = 0;
  for (; level < 3; level++) {
    if (!leafLevel(m.pageShift, level)) continue;
    size = <u64>1 << levelShift(m.pageShift, level);
    const start = pa & ~(size - 1);
    if (start >= spanBase && size <= spanEnd - start) break;
  }
  if (level == 3) size = m.pageSize;
  const start = pa & ~(size - 1);
  const full = reserveMap(m, m.minPages, isMemory);
  return full != 0 ? full : map(m.hostTable, start, size, start, isMemory ? PROT_RWX : PROT_RW, 0, m.cache);
}

/** host_stage2_idmap: with anything but the usual permissions by pages, as the table is the only place that says so. */
export function mapHost(m: Machine, pa: u64, bytes: u64, prot: u64): i32 {
  if ((pa | bytes) & (m.pageSize - 1) || !bytes || pa >= m.paLimit || bytes > m.paLimit - pa) return -EINVAL;
  let result = acquire(m.word(HOST_LOCK));
  if (result != 0) return result;
  const isMemory = regionOf(m, pa) != null;
  for (let at = pa; at < pa + bytes && result == 0;) {
    const size = <u64>1 << levelShift(m.pageShift, levelOf(look(m.hostTable, at)));
    if (seen) result = isValid(seen) ? isThere(m) : -EPERM;
    at = (at & ~(size - 1)) + size;
  }
  if (result == 0) result = reserveMap(m, tablesFor(m, bytes), isMemory && bytes <= spanEnd - pa);
  const usual = prot == (isMemory ? PROT_RWX : PROT_RW);
  if (result == 0) result = map(m.hostTable, pa, bytes, pa, prot, usual ? 0 : FORCE_PAGES, m.cache);
  unreserve(m);
  release(m.word(HOST_LOCK));
  return result;
}

/** host_stage2_set_owner. */
export function setHostOwner(m: Machine, pa: u64, bytes: u64, owner: u64): i32 {
  if ((pa | bytes) & (m.pageSize - 1) || !bytes || pa >= m.paLimit || bytes > m.paLimit - pa || owner > HYPERVISOR) return -EINVAL;
  if (!regionOf(m, pa) || bytes > spanEnd - pa) return -EPERM;
  let result = acquire(m.word(HOST_LOCK));
  if (result != 0) return result;
  result = reserve(m, bytes, 0);
  if (result == 0) setEntry(m, pa, bytes, annotation(<u32>owner));
  unreserve(m);
  release(m.word(HOST_LOCK));
  return result;
}
