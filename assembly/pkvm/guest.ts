/**
 * Memory that the host shares with a guest: pages, or one block, at any number of guest addresses. A page counts its leaves; with the
 * last one it is the host's alone again. Everything that changes a guest's table is under its lock, and what changes whose a page is
 * under the host's lock too.
 */
import { isValid, LAST_LEVEL, PROT_RWX } from "../descriptor";
import { E2BIG, EBUSY, EINVAL, ENOENT, ENOMEM, EPERM, ERANGE, ETIMEDOUT } from "../errno";
import * as cache from "../cache";
import { levelShift } from "../geometry";
import { completeTlbi, flushVmid } from "../maintenance";
import { map } from "../visit/map";
import { makeYoung, relaxPermissions, writeProtect } from "../visit/protect";
import { testClearYoung } from "../visit/age";
import { unmap } from "../visit/unmap";
import { Found, levelOf, look, seen } from "../walk";
import { acquire, acquireBoth, release, releaseBoth } from "./locks";
import { HOST_LOCK, Machine, PAGES } from "./machine";
import {
  allHost, fillBlock, findPages, first, hostState, isBlockOf, isFrameRange, last, leaves, OWNED, pageAt, pointAt, RECORD, setHostState, setLeaves, SHARED_BORROWED, SHARED_ONCE,
  SHARED_OWNED, STATE_SHIFT, UNSHARED,
} from "./page";
import { addressOf, stateIn } from "./leaf";
import { HypVcpu, HypVm } from "./vms";

// ---- table pages ---------------------------------------------------------------------------------------------------------

/** Sets `needed` table pages aside for a change: what the VM has spare first, then the vCPU's memcache. */
export function provide(vm: HypVm, vcpu: HypVcpu, needed: u32): i32 {
  if (!needed) return 0;
  return needed > vm.spare + vcpu.pages ? -ENOMEM : cache.topUp(vm.cache, needed);
}

/** Books what a change has done to the number of table pages. */
export function settlePages(vm: HypVm, vcpu: HypVcpu, before: u32): void {
  const used = vm.pgt.tables - before;
  if (!used) return;
  const fromSpare = min(used, vm.spare);
  vm.spare -= fromSpare;
  vcpu.pages -= used - fromSpare;
  atomic.sub<u32>(changetype<usize>(vm), used - fromSpare, offsetof<HypVm>("cached"));
}

/** Unmaps; tables that go are the VM's to use again. */
export function unmapGuest(vm: HypVm, ipa: u64, bytes: u64): void {
  const before = vm.pgt.tables;
  unmap(vm.pgt, ipa, bytes);
  vm.spare += before - vm.pgt.tables;
  completeTlbi(vm.pgt);
}

// ---- arguments -----------------------------------------------------------------------------------------------------------

/** A page, or where there are blocks a block that is aligned. */
function isSize(m: Machine, frames: u64, count: u64): bool {
  return count == 1 || (count == m.blockPages && !m.has(PAGES) && !(frames & (count - 1)));
}

// @ts-ignore: decorator
@inline export function isGuestRange(vm: HypVm, gfn: u64, count: u64): bool { return isFrameRange(vm.machine, gfn, count); }

/** Whether nothing is mapped where `look` was: a table below a block's entry has entries, as an empty one is not kept. */
// @ts-ignore: decorator
@inline function isVacant(found: Found, count: u64): bool { return seen == 0 && (count == 1 || levelOf(found) < LAST_LEVEL); }

// ---- share, unshare --------------------------------------------------------------------------------------------------------

/** The caller has refilled the vCPU's memcache. */
export function shareGuest(m: Machine, vcpu: HypVcpu, pfn: u64, gfn: u64, count: u64, prot: u64): i32 {
  if (prot & ~PROT_RWX || !isFrameRange(m, pfn, count) || !isSize(m, pfn | gfn, count)) return -EINVAL;
  const vm = vcpu.vm;
  const result = acquireBoth(m.word(HOST_LOCK), vm.lock);
  if (result != 0) return result;
  const status = share(m, vm, vcpu, pfn, gfn, count, prot);
  releaseBoth(m.word(HOST_LOCK), vm.lock);
  return status;
}

function share(m: Machine, vm: HypVm, vcpu: HypVcpu, pfn: u64, gfn: u64, count: u64, prot: u64): i32 {
  const pgt = vm.pgt;
  const found = findPages(m, pfn, count);
  if (found != 0) return found;
  if (!isGuestRange(vm, gfn, count)) return -ERANGE;
  const ipa = gfn << m.pageShift;
  const at = look(pgt, ipa);
  if (!isVacant(at, count)) return -EPERM;
  const isFresh = isBlockOf(UNSHARED);
  const refused = isFresh ? 0 : mayShare();
  if (refused != 0) return refused;
  const depth = count == 1 ? LAST_LEVEL : LAST_LEVEL - 1;
  const before = pgt.tables;
  const full = provide(vm, vcpu, <u32>max(depth - levelOf(at), 0));
  if (full != 0) return full;
  if (isFresh) fillBlock(SHARED_ONCE);
  else lend();
  map(pgt, ipa, count << m.pageShift, pfn << m.pageShift, prot | <u64>SHARED_BORROWED << STATE_SHIFT, 0, vm.cache);
  settlePages(vm, vcpu, before);
  return 0;
}

/** One more leaf on each of the pages found. */
function lend(): void {
  for (let page = first; page < last; page += RECORD) {
    setHostState(page, SHARED_OWNED);
    setLeaves(page, leaves(page) + 1);
  }
}

/** One leaf less; with the last one the page is the host's alone. */
function takeBack(): void {
  for (let page = first; page < last; page += RECORD) {
    const left = leaves(page) - 1;
    setLeaves(page, left);
    if (!left) setHostState(page, OWNED);
  }
}

/** The pages found: the host's alone, or shared with guests only, and not too often. */
function mayShare(): i32 {
  let saturated = false;
  for (let page = first; page < last; page += RECORD) {
    const state = hostState(page);
    if (state != OWNED && (state != SHARED_OWNED || !leaves(page))) return -EPERM;
    if (leaves(page) == u32.MAX_VALUE) saturated = true;
  }
  return saturated ? -EBUSY : 0;
}

export function unshareGuest(m: Machine, vm: HypVm, gfn: u64, count: u64): i32 {
  if (!isSize(m, gfn, count)) return -EINVAL;
  if (!isGuestRange(vm, gfn, count)) return -ERANGE;
  const result = acquireBoth(m.word(HOST_LOCK), vm.lock);
  if (result != 0) return result;
  const status = unshare(m, vm, gfn << m.pageShift, count);
  releaseBoth(m.word(HOST_LOCK), vm.lock);
  return status;
}

export function unshare(m: Machine, vm: HypVm, ipa: u64, count: u64): i32 {
  const at = look(vm.pgt, ipa);
  if (!isValid(seen)) return -ENOENT;
  if (<u64>1 << levelShift(m.pageShift, levelOf(at)) != count << m.pageShift) return -E2BIG;
  if (stateIn(seen) != SHARED_BORROWED) return -EPERM;
  pointAt(pageAt(m, addressOf(vm.pgt, seen)), count);
  const isOnce = isBlockOf(SHARED_ONCE);
  if (!isOnce) {
    if (!allHost(SHARED_OWNED)) return -EPERM;
    for (let page = first; page < last; page += RECORD) if (!leaves(page)) return -EINVAL;
  }
  unmapGuest(vm, ipa, count << m.pageShift); // first: no guest stores into a page that is called the host's alone
  if (isOnce) fillBlock(UNSHARED);
  else takeBack();
  return 0;
}

// ---- attributes: no look at whose the page is --------------------------------------------------------------------------------

/** Argument of the three calls on a VM by handle: 0, -EINVAL, -ERANGE. */
function refusedRange(m: Machine, vm: HypVm, gfn: u64, count: u64): i32 {
  return !isSize(m, gfn, count) ? -EINVAL : isGuestRange(vm, gfn, count) ? 0 : -ERANGE;
}

/** No TLBI: the host flushes the VMID by handle. */
export function writeProtectGuest(m: Machine, vm: HypVm, gfn: u64, count: u64): i32 {
  const refused = refusedRange(m, vm, gfn, count);
  if (refused != 0) return refused;
  if (acquire(vm.lock) != 0) return -ETIMEDOUT;
  const result = writeProtect(vm.pgt, gfn << m.pageShift, count << m.pageShift);
  release(vm.lock);
  return result;
}

export function testClearYoungGuest(m: Machine, vm: HypVm, gfn: u64, count: u64, clear: bool): i32 {
  const refused = refusedRange(m, vm, gfn, count);
  if (refused != 0) return refused;
  if (acquire(vm.lock) != 0) return -ETIMEDOUT;
  const result = testClearYoung(vm.pgt, gfn << m.pageShift, count << m.pageShift, clear);
  release(vm.lock);
  return result;
}

export function relaxGuest(m: Machine, vm: HypVm, gfn: u64, prot: u64): i32 {
  if (prot & ~PROT_RWX) return -EINVAL;
  if (!isGuestRange(vm, gfn, 1)) return -ERANGE;
  if (acquire(vm.lock) != 0) return -ETIMEDOUT;
  const result = relaxPermissions(vm.pgt, gfn << m.pageShift, prot);
  completeTlbi(vm.pgt);
  release(vm.lock);
  return result;
}

/** What the library says; the entry from before in result 0. */
export function makeYoungGuest(m: Machine, vm: HypVm, gfn: u64): i32 {
  if (!isGuestRange(vm, gfn, 1)) return -ERANGE;
  if (acquire(vm.lock) != 0) return -ETIMEDOUT;
  const result = makeYoung(vm.pgt, gfn << m.pageShift);
  release(vm.lock);
  return result;
}

export function flushGuest(vm: HypVm): void {
  flushVmid(vm.pgt);
  completeTlbi(vm.pgt);
}
