/** kvm_pgtable_stage2_map, _relax_perms and _mkyoung by hypercalls, on the vCPU that faults. */
import { PROT_RWX } from "../../descriptor";
import { EAGAIN, EFAULT, EINVAL, ENOMEM, EPERM, ERANGE } from "../../errno";
import { Pgt } from "../../pgt";
import { makeYoungGuest, relaxGuest, shareGuest } from "../guest";
import { donateGuest, isPoisoned } from "../guest_private";
import { EPERM_IS_AGAIN, Machine, MAPPINGS_LOCK, PAGES } from "../machine";
import { insert } from "../mappings/insert";
import { gfn as foundGfn, order as foundOrder, overlaps } from "../mappings/cursor";
import { eraseHere } from "../mappings/erase";
import { reserve } from "../mappings/tree";
import { Memcache, memcacheAt, refill, topUpMemcache } from "../memcache";
import { isFrameRange } from "../page";
import { HypVcpu } from "../vms";
import { lockWrite, unlock } from "./lock";
import { El1, el1Of, loadedHere, loadFor } from "./object";
import { unshare } from "./range";

/** In place of a memcache: the table's own, which is topped up first. */
// @ts-ignore: decorator
@inline const OWN: usize = 1;

/** What no hypercall could do for this request, whatever is mapped. */
function refusedRequest(e: El1, m: Machine, ia: u64, size: u64, pa: u64, prot: u64, cache: Memcache): i32 {
  if (size != m.pageSize) {
    if (m.has(PAGES) || e.vm.isProtected || size != m.blockPages << m.pageShift || (ia | pa) & (size - 1)) return -EINVAL;
  }
  if (prot & ~PROT_RWX || !isFrameRange(m, pa >> m.pageShift, size >> m.pageShift)) return -EINVAL;
  if (!isFrameRange(m, ia >> m.pageShift, size >> m.pageShift)) return -ERANGE;
  return changetype<usize>(cache) && cache.machine != e.machinePointer ? -EINVAL : 0;
}

/** A page, or a block. `vcpu`: which vCPU faults. */
export function mapGuest(pgt: Pgt, ia: u64, size: u64, pa: u64, prot: u64, source: usize, vcpu: u32): i32 {
  const e = el1Of(pgt);
  const m = e.machine;
  const own = source == OWN;
  const cache = memcacheAt(own ? e.memcache : source);
  const refused = refusedRequest(e, m, ia, size, pa, prot, cache);
  if (refused != 0) return refused;
  const locks = m.has(MAPPINGS_LOCK);
  let result = locks ? lockWrite(e.lock) : 0;
  if (result != 0) return result;
  result = own ? topUpMemcache(cache, m.minPages) : 0;
  if (result == 0) result = loadFor(e, vcpu, true);
  if (result == 0) result = mapOn(e, m, loadedHere(), ia >> m.pageShift, size != m.pageSize ? m.pageShift - 3 : 0, pa >> m.pageShift, prot, cache);
  if (locks) unlock(e.lock);
  return result;
}

function mapOn(e: El1, m: Machine, vcpu: HypVcpu, gfn: u64, order: u32, pfn: u64, prot: u64, cache: Memcache): i32 {
  const justPages = m.has(MAPPINGS_LOCK) && m.has(PAGES); // then the hypervisor alone says what is mapped
  const inTheWay = !justPages && overlaps(e.mappings, gfn, <u64>1 << order);
  if (inTheWay && foundOrder == order) return isPoisoned(m, vcpu.vm, gfn) ? -EFAULT : -EAGAIN; // another vCPU was first
  if (!changetype<usize>(cache) || !cache.room || !reserve(e.mappings)) return -ENOMEM;
  let result = refill(m, vcpu, cache.list);
  if (result == 0 && inTheWay) result = makeWay(e, gfn, order);
  if (result == 0) result = give(m, vcpu, gfn, order, pfn, prot);
  return conclude(e, m, result, gfn, order, pfn, cache);
}

function give(m: Machine, vcpu: HypVcpu, gfn: u64, order: u32, pfn: u64, prot: u64): i32 {
  return vcpu.vm.isProtected ? donateGuest(m, vcpu, pfn, gfn) : shareGuest(m, vcpu, pfn, gfn, <u64>1 << order, prot);
}

/** A mapping follows only on success: what failed leaves mappings and memcache as they were. */
function conclude(e: El1, m: Machine, result: i32, gfn: u64, order: u32, pfn: u64, cache: Memcache): i32 {
  if (result == 0) {
    if (!insert(e.mappings, gfn, pfn, order)) e.warn();
    cache.room = false;
    if (e.rowGfn == gfn) e.inRow = 0;
    return 0;
  }
  if (m.has(EPERM_IS_AGAIN)) return result == -EPERM ? again(e, gfn) : result;
  e.warn();
  return result;
}

/** The hypervisor does not say whether another vCPU was first or the page cannot be shared at all: that shows in how often it is tried. */
function again(e: El1, gfn: u64): i32 {
  if (e.rowGfn != gfn) e.inRow = 0;
  e.rowGfn = gfn;
  e.inRow++;
  e.retries++;
  e.longest = max(e.longest, e.inRow);
  return e.limit && e.inRow > e.limit ? -EPERM : -EAGAIN;
}

/** Mappings of another size go. */
function makeWay(e: El1, gfn: u64, order: u32): i32 {
  while (overlaps(e.mappings, gfn, <u64>1 << order)) {
    const result = unshare(e, foundGfn, foundOrder);
    if (result != 0) return result;
    eraseHere(e.mappings);
  }
  return 0;
}

export function relaxOf(pgt: Pgt, ia: u64, prot: u64, vcpu: u32): i32 {
  const e = el1Of(pgt);
  if (e.vm.isProtected) return -EINVAL;
  loadFor(e, vcpu, false); // it is the VM that matters: where another thread has the vCPU, that is left alone
  return relaxGuest(e.machine, e.vm, ia >> e.machine.pageShift, prot);
}

/** What the library says; the entry from before in result 0. */
export function youngOf(pgt: Pgt, ia: u64, vcpu: u32): i32 {
  const e = el1Of(pgt);
  if (e.vm.isProtected) return -EINVAL;
  loadFor(e, vcpu, false);
  const result = makeYoungGuest(e.machine, e.vm, ia >> e.machine.pageShift);
  if (result < 0 && result != -EAGAIN) e.warn();
  return result;
}
