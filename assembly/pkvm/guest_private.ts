/**
 * Memory of protected guests: the host gives it away, page by page, and the guest lends back what it wants the host to see. The host can
 * take a page back by force: it finds zeros, and the guest finds out.
 */
import { isValid, LAST_LEVEL, PROT_RWX } from "../descriptor";
import { E2BIG, EAGAIN, EFAULT, EHWPOISON, EINVAL, ENOENT, ENOMEM, EPERM, ERANGE, ETIMEDOUT } from "../errno";
import { cleanDataCache, completeTlbi } from "../maintenance";
import { pointerTo } from "../memory";
import { annotate, map } from "../visit/map";
import { levelOf, look, seen } from "../walk";
import { isGuestRange, provide, settlePages, unmapGuest } from "./guest";
import { entryAt, gfnIn, giveToHost, GUEST, guestAnnotation, indexIn, lendToHost, ownerIn, reserve, setEntry } from "./host";
import { addressOf, POISON, stateIn } from "./leaf";
import { acquire, acquireBoth, release, releaseBoth } from "./locks";
import { HOST_LOCK, Machine, NOMAP, VM_TABLE_LOCK } from "./machine";
import {
  findPages, first, hostState, isFrameRange, NOPAGE, OWNED, pageAt, regionOf, setHostState, SHARED_BORROWED, SHARED_OWNED, STATE_SHIFT,
} from "./page";
import { find, HANDLE_OFFSET, HypVcpu, HypVm } from "./vms";

/** The caller has refilled the vCPU's memcache. */
export function donateGuest(m: Machine, vcpu: HypVcpu, pfn: u64, gfn: u64): i32 {
  if (!isFrameRange(m, pfn, 1)) return -EINVAL;
  const vm = vcpu.vm;
  if (!isGuestRange(vm, gfn, 1)) return -ERANGE;
  const result = acquireBoth(m.word(HOST_LOCK), vm.lock);
  if (result != 0) return result;
  const status = donate(m, vm, vcpu, pfn, gfn);
  releaseBoth(m.word(HOST_LOCK), vm.lock);
  return status;
}

function donate(m: Machine, vm: HypVm, vcpu: HypVcpu, pfn: u64, gfn: u64): i32 {
  const found = findPages(m, pfn, 1);
  if (found != 0) return found;
  const pgt = vm.pgt;
  const at = look(pgt, gfn << m.pageShift);
  if (hostState(first) != OWNED || seen != 0) return -EPERM;
  if (vcpu.pages < m.minPages) return -ENOMEM;
  const before = pgt.tables;
  const full = provide(vm, vcpu, <u32>(LAST_LEVEL - levelOf(at)));
  if (full != 0) return full;
  const pa = pfn << m.pageShift;
  if (reserve(m, m.pageSize, 0) != 0) return -ENOMEM;
  setEntry(m, pa, m.pageSize, guestAnnotation(vm.index, gfn));
  setHostState(first, NOPAGE);
  map(pgt, gfn << m.pageShift, m.pageSize, pa, PROT_RWX, 0, vm.cache);
  settlePages(vm, vcpu, before);
  return 0;
}

// ---- the guest lends a page to the host, and takes it back ------------------------------------------------------------------

/** Whether a gfn has a page: -EHWPOISON, -ENOENT, -E2BIG as the entry says. */
function refusedLeaf(vm: HypVm, ipa: u64): i32 {
  const at = look(vm.pgt, ipa);
  if (seen == POISON) return -EHWPOISON;
  if (!isValid(seen)) return -ENOENT;
  return levelOf(at) == LAST_LEVEL ? 0 : -E2BIG;
}

/** `lends`: guest_share_host, else guest_unshare_host. */
export function lendHost(m: Machine, vm: HypVm, gfn: u64, lends: bool): i32 {
  if (!isGuestRange(vm, gfn, 1)) return -ERANGE;
  const result = acquireBoth(m.word(HOST_LOCK), vm.lock);
  if (result != 0) return result;
  const status = lend(m, vm, gfn, lends);
  releaseBoth(m.word(HOST_LOCK), vm.lock);
  return status;
}

function lend(m: Machine, vm: HypVm, gfn: u64, lends: bool): i32 {
  const ipa = gfn << m.pageShift;
  const refused = refusedLeaf(vm, ipa);
  if (refused != 0) return refused;
  const pa = addressOf(vm.pgt, seen);
  const page = pageAt(m, pa);
  if (stateIn(seen) != (lends ? OWNED : SHARED_OWNED) || hostState(page) != (lends ? NOPAGE : SHARED_BORROWED)) return -EPERM;
  if (reserve(m, m.pageSize, 0) != 0) return -ENOMEM;
  if (lends) lendToHost(m, pa, SHARED_BORROWED);
  else setEntry(m, pa, m.pageSize, guestAnnotation(vm.index, gfn));
  setHostState(page, lends ? SHARED_BORROWED : NOPAGE);
  // The leaf differs in software bits only: one store, nothing that a TLB has becomes wrong.
  map(vm.pgt, ipa, m.pageSize, pa, PROT_RWX | <u64>(lends ? SHARED_OWNED : OWNED) << STATE_SHIFT, 0, vm.cache);
  return 0;
}

// ---- back to the host --------------------------------------------------------------------------------------------------------

/** Memory in this engine comes in multiples of so many bytes. */
// @ts-ignore: decorator
@inline const PIECE: u64 = 4096;

/** What the guest had in a page is gone before the host sees it, also from caches (as far as its memory is in this engine). */
function wipe(m: Machine, pa: u64): void {
  for (let end = pa + m.pageSize, piece = pa; piece < end; piece += PIECE) {
    const at = pointerTo(piece);
    if (at) memory.fill(at, 0, <usize>PIECE);
  }
  cleanDataCache(m.hostTable, pa, m.pageSize);
}

/** While the VM ends: the page at a gfn; one that was taken by force is the host's already. */
export function reclaimPage(m: Machine, vm: HypVm, gfn: u64): i32 {
  if (!isGuestRange(vm, gfn, 1)) return -ERANGE;
  const result = acquireBoth(m.word(HOST_LOCK), vm.lock);
  if (result != 0) return result;
  const status = reclaim(m, vm, gfn << m.pageShift);
  releaseBoth(m.word(HOST_LOCK), vm.lock);
  return status;
}

export function reclaim(m: Machine, vm: HypVm, ipa: u64): i32 {
  const refused = refusedLeaf(vm, ipa);
  if (refused != 0) return refused == -EHWPOISON ? 0 : refused;
  const pa = addressOf(vm.pgt, seen);
  const state = stateIn(seen);
  if (state != OWNED && state != SHARED_OWNED) return -EPERM;
  unmapGuest(vm, ipa, m.pageSize);
  if (state == OWNED) wipe(m, pa);
  setHostState(pageAt(m, pa), OWNED);
  giveToHost(m, pa, m.pageSize);
  return 0;
}

/** Whether the page that a protected guest had at a gfn was taken by force: it will never have one there again. */
export function isPoisoned(m: Machine, vm: HypVm, gfn: u64): bool {
  if (!vm.isProtected || acquire(vm.lock) != 0) return false;
  look(vm.pgt, gfn << m.pageShift);
  const is = seen == POISON;
  release(vm.lock);
  return is;
}

/** The page goes from whatever guest has it, which finds poison in its place. */
export function forceReclaim(m: Machine, pfn: u64): i32 {
  if (!isFrameRange(m, pfn, 1)) return -EINVAL;
  if (acquire(m.word(VM_TABLE_LOCK)) != 0) return -ETIMEDOUT;
  let result = acquire(m.word(HOST_LOCK));
  if (result == 0) {
    result = takeByForce(m, pfn << m.pageShift);
    release(m.word(HOST_LOCK));
  }
  release(m.word(VM_TABLE_LOCK));
  return result;
}

function takeByForce(m: Machine, pa: u64): i32 {
  const region = regionOf(m, pa);
  if (!region) return -EFAULT;
  if (region.flags & NOMAP) return -EPERM;
  const entry = entryAt(m, pa);
  if (!entry || isValid(entry)) return -EAGAIN;
  if (ownerIn(entry) != GUEST) return -EPERM;
  const vm = find(m, HANDLE_OFFSET + indexIn(entry));
  if (!vm) return -EAGAIN;
  if (acquire(vm.lock) != 0) return -ETIMEDOUT;
  const result = poison(m, vm, gfnIn(entry) << m.pageShift, pa);
  release(vm.lock);
  return result;
}

function poison(m: Machine, vm: HypVm, ipa: u64, pa: u64): i32 {
  look(vm.pgt, ipa);
  if (!isValid(seen) || stateIn(seen) != OWNED || addressOf(vm.pgt, seen) != pa) return -EPERM;
  annotate(vm.pgt, ipa, m.pageSize, POISON, vm.cache);
  completeTlbi(vm.pgt);
  wipe(m, pa);
  setHostState(pageAt(m, pa), OWNED);
  giveToHost(m, pa, m.pageSize);
  return 0;
}
