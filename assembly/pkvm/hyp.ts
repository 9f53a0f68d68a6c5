/**
 * Pages between host and hypervisor: shared, donated, pinned; and the host's pages that the secure world borrows, which only the host's
 * side knows. Every transition checks all of its pages, in the order of the table, before it changes the first one.
 */
import { annotation, PROT_RW } from "../descriptor";
import { EBUSY, EINVAL, EPERM } from "../errno";
import { completeTlbi } from "../maintenance";
import { hypMap, hypUnmap } from "../visit/hyp";
import { giveToHost, HYPERVISOR, reserve, setEntry, unreserve } from "./host";
import { acquire, acquireBoth, release, releaseBoth } from "./locks";
import { FFA_UNCHECKED, HOST_LOCK, HYP_LOCK, Machine, MAP_SHARED_HYP } from "./machine";
import {
  allHost, allHyp, findPages, first, frameOf, last, leaves, MAX_REFERENCES, NOPAGE, OWNED, RECORD, references, setAllHost, setAllHyp, setLeaves, setReferences,
  SHARED_BORROWED, SHARED_OWNED,
} from "./page";

// @ts-ignore: decorator
@inline export function lockBoth(m: Machine): i32 { return acquireBoth(m.word(HOST_LOCK), m.word(HYP_LOCK)); }
// @ts-ignore: decorator
@inline export function unlockBoth(m: Machine): void { releaseBoth(m.word(HOST_LOCK), m.word(HYP_LOCK)); }

/** For whoever has to undo something, and cannot say that he could not: waits again and again, not for ever. */
export function lockBothAtLast(m: Machine): i32 {
  let result = lockBoth(m);
  for (let rounds = ROUNDS; result != 0 && rounds; rounds--) result = lockBoth(m);
  return result;
}

// @ts-ignore: decorator
@inline export const ROUNDS: u32 = 64;

function mapHyp(m: Machine, pfn: u64, count: u64): void {
  const pa = pfn << m.pageShift;
  hypMap(m.hypTable, pa - m.offset, count << m.pageShift, pa, PROT_RW, m.cache);
}

function unmapHyp(m: Machine, pfn: u64, count: u64): void {
  hypUnmap(m.hypTable, (pfn << m.pageShift) - m.offset, count << m.pageShift);
  completeTlbi(m.hypTable);
}

// ---- share -------------------------------------------------------------------------------------------------------------

export function shareHyp(m: Machine, pfn: u64): i32 {
  let result = lockBoth(m);
  if (result != 0) return result;
  result = findPages(m, pfn, 1);
  if (result == 0 && !(allHost(OWNED) && allHyp(NOPAGE))) result = -EPERM;
  if (result == 0 && m.has(MAP_SHARED_HYP)) {
    result = reserve(m, 0, m.pageSize);
    if (result == 0) mapHyp(m, pfn, 1);
  }
  if (result == 0) {
    setAllHost(SHARED_OWNED);
    setAllHyp(SHARED_BORROWED);
  }
  unlockBoth(m);
  return result;
}

export function unshareHyp(m: Machine, pfn: u64): i32 {
  const locked = lockBoth(m);
  if (locked != 0) return locked;
  const result = unshareHypLocked(m, pfn);
  unlockBoth(m);
  return result;
}

export function unshareHypLocked(m: Machine, pfn: u64): i32 {
  let result = findPages(m, pfn, 1);
  if (result == 0 && !(allHost(SHARED_OWNED) && allHyp(SHARED_BORROWED))) result = -EPERM;
  if (result == 0 && references(first)) result = -EBUSY;
  if (result == 0) {
    if (m.has(MAP_SHARED_HYP)) unmapHyp(m, pfn, 1);
    setAllHyp(NOPAGE);
    setAllHost(OWNED);
  }
  return result;
}

/** hyp_pin_shared_mem: all pages, or none. The first pin of a page maps it. */
export function pin(m: Machine, pfn: u64, count: u64): i32 {
  let result = lockBoth(m);
  if (result != 0) return result;
  result = findPages(m, pfn, count);
  if (result == 0 && !(allHost(SHARED_OWNED) && allHyp(SHARED_BORROWED))) result = -EPERM;
  if (result == 0 && any(MAX_REFERENCES)) result = -EBUSY;
  if (result == 0) result = reserve(m, 0, count << m.pageShift);
  if (result == 0) {
    for (let page = first; page < last; page += RECORD, pfn++) {
      const held = references(page);
      if (!held && !m.has(MAP_SHARED_HYP)) mapHyp(m, pfn, 1);
      setReferences(page, held + 1);
    }
  }
  unreserve(m);
  unlockBoth(m);
  return result;
}

/** Whether a page found has so many references. */
function any(count: u32): bool {
  for (let page = first; page < last; page += RECORD) if (references(page) == count) return true;
  return false;
}

/** The last unpin of a page unmaps it. Pages that are not pinned: -EINVAL, and nothing is done. */
export function unpin(m: Machine, pfn: u64, count: u64): i32 {
  const locked = lockBoth(m);
  if (locked != 0) return locked;
  const result = unpinLocked(m, pfn, count);
  unlockBoth(m);
  return result;
}

export function unpinLocked(m: Machine, pfn: u64, count: u64): i32 {
  let result = findPages(m, pfn, count);
  if (result == 0 && (any(0) || !allHyp(SHARED_BORROWED))) result = -EINVAL;
  if (result == 0) {
    for (let page = first; page < last; page += RECORD, pfn++) {
      const held = references(page) - 1;
      setReferences(page, held);
      if (!held && !m.has(MAP_SHARED_HYP)) unmapHyp(m, pfn, 1);
    }
  }
  return result;
}

// ---- donate ------------------------------------------------------------------------------------------------------------

/** With both locks. */
function donate(m: Machine, pfn: u64, count: u64): i32 {
  let result = findPages(m, pfn, count);
  if (result == 0 && !(allHost(OWNED) && allHyp(NOPAGE))) result = -EPERM;
  if (result == 0) result = reserve(m, count << m.pageShift, count << m.pageShift);
  if (result != 0) return result;
  setEntry(m, pfn << m.pageShift, count << m.pageShift, annotation(HYPERVISOR));
  mapHyp(m, pfn, count);
  setAllHost(NOPAGE);
  setAllHyp(OWNED);
  return 0;
}

export function donateHyp(m: Machine, pfn: u64, count: u64): i32 {
  let result = lockBoth(m);
  if (result != 0) return result;
  result = donate(m, pfn, count);
  unreserve(m);
  unlockBoth(m);
  return result;
}

/** A page that is in use by a VM stays: -EBUSY. */
export function hypDonateHost(m: Machine, pfn: u64, count: u64): i32 {
  let result = lockBoth(m);
  if (result != 0) return result;
  result = findPages(m, pfn, count);
  if (result == 0 && !(allHyp(OWNED) && allHost(NOPAGE))) result = -EPERM;
  for (let page = first; page < last && result == 0; page += RECORD) if (references(page)) result = -EBUSY;
  if (result == 0) giveBack(m, pfn, count);
  unlockBoth(m);
  return result;
}

/** Their entries are annotations, so the tables that it needs are there. */
function giveBack(m: Machine, pfn: u64, count: u64): void {
  unmapHyp(m, pfn, count);
  setAllHyp(NOPAGE);
  setAllHost(OWNED);
  giveToHost(m, pfn << m.pageShift, count << m.pageShift);
}

// ---- pages that VMs are made of: donated, and in use until the VM ends ---------------------------------------------------

/** Takes `count` pages from the host and puts them on the list whose first link is at `list`. */
export function admit(m: Machine, list: usize, pfn: u64, count: u64): i32 {
  let result = lockBoth(m);
  if (result != 0) return result;
  result = donate(m, pfn, count);
  if (result == 0) {
    for (let page = first; page < last; page += RECORD) {
      setReferences(page, 1);
      setLeaves(page, load<u32>(list));
      store<u32>(list, <u32>page);
    }
  }
  unreserve(m);
  unlockBoth(m);
  return result;
}

/** Whether the host has a page to itself. */
export function isHosts(m: Machine, pfn: u64): bool { return findPages(m, pfn, 1) == 0 && allHost(OWNED); }

/** With both locks: the first page of a list goes back to the host: its frame. */
export function dismiss(m: Machine, list: usize): u64 {
  const page = <usize>load<u32>(list);
  const pfn = frameOf(m, page);
  store<u32>(list, leaves(page));
  findPages(m, pfn, 1);
  setReferences(page, 0);
  setLeaves(page, 0);
  giveBack(m, pfn, 1);
  return pfn;
}

// ---- the secure world ----------------------------------------------------------------------------------------------------

export function shareFfa(m: Machine, pfn: u64, count: u64): i32 {
  let result = acquire(m.word(HOST_LOCK));
  if (result != 0) return result;
  result = findPages(m, pfn, count);
  if (result == 0 && !allHost(OWNED)) result = -EPERM;
  if (result == 0) setAllHost(SHARED_OWNED);
  release(m.word(HOST_LOCK));
  return result;
}

/** The state alone does not tell what is shared with the secure world from what others have borrowed. */
export function unshareFfa(m: Machine, pfn: u64, count: u64): i32 {
  let result = acquire(m.word(HOST_LOCK));
  if (result != 0) return result;
  result = findPages(m, pfn, count);
  if (result == 0 && !(allHost(SHARED_OWNED) && noLeaves() && (m.has(FFA_UNCHECKED) || allHyp(NOPAGE)))) result = -EPERM;
  if (result == 0) setAllHost(OWNED);
  release(m.word(HOST_LOCK));
  return result;
}

function noLeaves(): bool {
  for (let page = first; page < last; page += RECORD) if (leaves(page)) return false;
  return true;
}
