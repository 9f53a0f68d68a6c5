/**
 * user_mem_abort, from where the backing has answered: how large the mapping is, what it permits, and the one call of the page-table
 * library. Under the read side, and only if neither an invalidation nor a change of the slot came between question and answer. The page
 * is marked dirty after the lock is dropped, and only if the call went through.
 */
import { fill } from "../cache";
import { DBM, PROT_DEVICE, PROT_NORMAL_NC, PROT_R, PROT_W, PROT_X } from "../descriptor";
import { EAGAIN, EBUSY, EFAULT, EINVAL, ENOMEM, ETIMEDOUT } from "../errno";
import { levelShift } from "../geometry";
import { setResult } from "../layout";
import { ownResult } from "../operation";
import { Pgt } from "../pgt";
import { HANDLE_FAULT, SHARED } from "../walk";
import { INJECT, NO_CALL, POISONED, RESUME } from "./abort";
import { isLogging } from "./bitmap";
import { AGAIN, BLOCKS, CACHE_CAPACITY, Context, count, INJECTED, MAPS, RELAXES, RETRIES } from "./context";
import { markDirtyIn } from "./dirty";
import { EXTERNAL, injectAbort } from "./inject";
import { locked, lockTable, NO_TABLE, unlockTable } from "./locks";
import * as mmu from "./mmu";
import { inProgress, sequenceOf } from "./notifier";
import { EXEC, Pending, pendingOf, PERMISSION, WRITE } from "./pending";
import { takeBack } from "./protect";
import { READONLY, recordOf, R_EDITION, R_PAGES } from "./slots";
import * as trace from "./trace";
import { DIC, HDBSS, MTE, Vm } from "./vm";

// What the backing says.
// @ts-ignore: decorator
@inline const NO_VMA: u32 = 1;
// @ts-ignore: decorator
@inline const ERROR: u32 = 2;
// @ts-ignore: decorator
@inline const POISON: u32 = 4;
// @ts-ignore: decorator
@inline const WRITABLE: u32 = 8;
// @ts-ignore: decorator
@inline const DEVICE: u32 = 16;
// @ts-ignore: decorator
@inline const NORMAL_NC: u32 = 32;
// @ts-ignore: decorator
@inline const NO_MTE: u32 = 64;
// @ts-ignore: decorator
@inline const CHANGED: u32 = 128;

// Library calls.
// @ts-ignore: decorator
@inline const MAP: u64 = 1;
// @ts-ignore: decorator
@inline const RELAX: u64 = 2;

// The mapping that is being decided.
let size: u64 = 0;
let ipa: u64 = 0;
let pa: u64 = 0;
let prot: u64 = 0;
let usedHostSize: bool = false;

export function cancelAbort(c: Context): void { c.busy = 0; }

/** RESUME, INJECT, POISONED, or -errno; what was called, and how it went, in the results. -EBUSY: the lock is not free, call again. */
export function finishAbort(c: Context, facts: u32, vmaShift: u32, hostShift: u32, address: u64): i32 {
  if (!c.busy) return -EINVAL;
  const p = pendingOf(c);
  usedHostSize = false;
  tellNothing();
  const result = answer(c, p, facts, vmaShift, hostShift, address);
  if (result != -EBUSY) c.busy = 0;
  const vm = c.vm;
  if (vm.logs(trace.FAULT)) trace.log(vm, trace.FAULT, <i32>(p.esr & 3), c.id, p.ipa, p.esr, <u64><i64>result);
  return result;
}

function tellNothing(): void {
  setResult(0, NO_CALL);
  for (let word: u32 = 1; word < 8; word++) setResult(word, 0);
}

// @ts-ignore: decorator
@inline function isUnchanged(vm: Vm, p: Pending): bool { return atomic.load<u32>(recordOf(vm, p.slot), R_EDITION) == p.edition; }

/** The guest tries once more. */
function retry(c: Context): i32 {
  count(c, RETRIES);
  setResult(7, 1);
  return RESUME;
}

function answer(c: Context, p: Pending, facts: u32, vmaShift: u32, hostShift: u32, address: u64): i32 {
  const vm = c.vm;
  if (facts & CHANGED || !isUnchanged(vm, p)) return retry(c);
  if (facts & NO_VMA) return -EFAULT;
  const forced = chooseSize(vm, p, vmaShift);
  ipa = size > vm.pageSize ? p.ipa & ~(size - 1) : p.ipa;
  pa = address & ~(size - 1);
  if (facts & POISON) {
    setResult(0, p.slotHva + (((p.ipa >> vm.pageShift) - p.base) << vm.pageShift));
    setResult(1, ctz<u64>(size));
    return POISONED;
  }
  if (facts & ERROR || (p.kind & WRITE && !(facts & WRITABLE))) return -EFAULT;
  if (facts & DEVICE && p.kind & EXEC) {
    count(c, INJECTED);
    injectAbort(p.esr, EXTERNAL, p.far, true, p.fromEl0);
    return INJECT;
  }
  const result = lockTable(vm, vm.faultSide);
  if (result == NO_TABLE) return retry(c);
  if (result != 0) return result;
  const status = install(c, p, facts, hostShift, forced);
  unlockTable(vm.faultSide);
  return conclude(c, p, status);
}

/** By the VMA: a page while the slot logs, a hugetlb page if the slot has it whole. True: nothing larger than pages, whatever the host has. */
function chooseSize(vm: Vm, p: Pending, vmaShift: u32): bool {
  const pmdShift = levelShift(vm.pageShift, 2);
  const pudShift = levelShift(vm.pageShift, 1);
  size = vm.pageSize;
  if (isLogging(p.slotFlags) || vm.maxShift == vm.pageShift) return true;
  if (vmaShift <= vm.pageShift) return false;
  if (vmaShift >= pudShift && vm.maxShift >= pudShift && isEligible(vm, p, <u64>1 << pudShift)) {
    size = <u64>1 << pudShift;
    return false;
  }
  if (vmaShift < pmdShift || !isEligible(vm, p, <u64>1 << pmdShift)) return true;
  size = <u64>1 << pmdShift;
  return false;
}

/** A block can only show what the host has in it: both sides have to be aligned alike, and the block must lie in the slot. */
function isEligible(vm: Vm, p: Pending, block: u64): bool {
  const start = p.base << vm.pageShift;
  if ((start ^ p.slotHva) & (block - 1)) return false;
  const at = (p.slotHva + (p.ipa - start)) & ~(block - 1);
  return at >= p.slotHva && at + block <= p.slotHva + (pagesOf(vm, p) << vm.pageShift);
}

// @ts-ignore: decorator
@inline function pagesOf(vm: Vm, p: Pending): u64 { return atomic.load<u64>(recordOf(vm, p.slot), R_PAGES); }

/** Under the read side. -EAGAIN: the guest tries once more; else what the library says. */
function install(c: Context, p: Pending, facts: u32, hostShift: u32, forced: bool): i32 {
  const vm = c.vm;
  if (inProgress(vm) || sequenceOf(vm) != p.sequence || !isUnchanged(vm, p)) {
    retry(c);
    return -EAGAIN;
  }
  const faultLevel = <i32>(p.esr & 3);
  const granule = p.kind & PERMISSION ? <u64>1 << levelShift(vm.pageShift, faultLevel) : 0;
  if (size == vm.pageSize && !forced && !adjustSize(vm, p, granule, hostShift)) {
    retry(c);
    return -EAGAIN;
  }
  if (pa + size > changetype<Pgt>(locked).paLimit) return -EFAULT; // the table could not hold it
  if (vm.has(MTE) && !(p.kind & PERMISSION) && !(facts & DEVICE) && facts & NO_MTE) return -EFAULT;
  prot = protFor(vm, p, facts);
  return p.kind & PERMISSION && size == granule ? relax(c, p) : map(c, p);
}

/** An existing block stays one; else what the host has as a block becomes one. False: the host has nothing there right now. */
function adjustSize(vm: Vm, p: Pending, granule: u64, hostShift: u32): bool {
  if (granule > size) {
    size = granule;
    return true;
  }
  const pmdShift = levelShift(vm.pageShift, 2);
  const block = <u64>1 << pmdShift;
  if (!isEligible(vm, p, block)) return true;
  usedHostSize = true;
  setResult(5, 1);
  if (hostShift == 0) return false;
  if (hostShift < pmdShift || ((pa ^ ipa) & (block - 1)) >> vm.pageShift) return true; // what lies askew is no block to the guest
  size = block;
  ipa &= ~(block - 1);
  pa &= ~(block - 1);
  return true;
}

function protFor(vm: Vm, p: Pending, facts: u32): u64 {
  const device = (facts & DEVICE) != 0;
  let writable = (facts & WRITABLE) != 0 && !(p.slotFlags & READONLY);
  let result = PROT_R;
  if (!device && isLogging(p.slotFlags)) {
    if (writable && vm.has(HDBSS)) result |= DBM; // hardware may make it writable, and says so
    if (!(p.kind & WRITE)) writable = false;
  }
  if (writable) result |= PROT_W;
  if (p.kind & EXEC) result |= PROT_X;
  if (device) result |= facts & NORMAL_NC ? PROT_NORMAL_NC : PROT_DEVICE;
  else if (vm.has(DIC)) result |= PROT_X;
  return result;
}

function relax(c: Context, p: Pending): i32 {
  const status = mmu.relaxPermissions(c, changetype<Pgt>(locked), ipa, prot);
  trace.log(c.vm, trace.RELAX, -status, c.id, ipa, 0, prot);
  count(c, RELAXES);
  tell(c, RELAX, 0, status);
  return status;
}

function map(c: Context, p: Pending): i32 {
  const vm = c.vm;
  const flags = SHARED | HANDLE_FAULT;
  const status = mmu.map(c, changetype<Pgt>(locked), ipa, size, pa, prot, flags);
  trace.log(vm, trace.MAP, -status, c.id, ipa, size, prot & ~DBM | <u64>flags << 32);
  count(c, MAPS);
  if (status == 0 && size > vm.pageSize) count(c, BLOCKS);
  tell(c, MAP, size, status);
  return status;
}

function tell(c: Context, call: u64, bytes: u64, status: i32): void {
  if (status == -EAGAIN) count(c, AGAIN);
  setResult(0, call);
  setResult(1, ipa);
  setResult(2, bytes);
  setResult(3, prot & ~DBM);
  setResult(4, <u64><i64>status);
}

/** With no lock held. An operation that is complete, but late, has mapped its page all the same. */
function conclude(c: Context, p: Pending, status: i32): i32 {
  const own = status == -ETIMEDOUT ? ownResult : status;
  if (own == 0 && prot & PROT_W) {
    setResult(6, 1);
    const marked = markDirtyIn(c.vm, c, p.slot, (dirtyIpa(p) >> c.vm.pageShift) - p.base);
    if (marked < 0) { // nobody can write to it before it is logged
      takeBack(c.vm, dirtyIpa(p) >> c.vm.pageShift);
      return marked;
    }
  }
  if (status == 0 || status == -EAGAIN) return RESUME;
  if (status != -ENOMEM || c.vm.machine || c.cachedPages >= c.vm.minPages) return status;
  return fill(c.cache, c.vm.minPages, CACHE_CAPACITY) == 0 ? RESUME : status; // it was taken for a fault that needs no table
}

/** The page that faulted; of a hugetlb block its first one. */
// @ts-ignore: decorator
@inline function dirtyIpa(p: Pending): u64 { return usedHostSize ? p.ipa : ipa; }
