/**
 * Range operations by hypercalls, one for each mapping that the range meets. Which those are differs: pages whose gfn lies in the range
 * with its end rounded down, or everything that any byte of the range touches, blocks as a whole.
 */
import { EINVAL } from "../../errno";
import { setResult } from "../../layout";
import { Pgt } from "../../pgt";
import { cleanDataCache } from "../../maintenance";
import { testClearYoungGuest, unshareGuest, writeProtectGuest } from "../guest";
import { reclaimPage } from "../guest_private";
import { ERROR_IS_YOUNG, GFN_ROUNDING, MAPPINGS_LOCK } from "../machine";
import { gfn, next, order, pfn, seek } from "../mappings/cursor";
import { eraseHere } from "../mappings/erase";
import { lockRead, lockWrite, unlock } from "./lock";
import { El1, el1Of } from "./object";

/** First gfn behind the range that this thread goes through. */
let end: u64 = 0;

/** The first mapping of a range. An empty range has none, also inside a block. */
function seekIn(e: El1, ia: u64, size: u64): bool {
  const m = e.machine;
  const start = ia >> m.pageShift;
  end = (m.has(GFN_ROUNDING) ? ia + size : size ? ia + size + m.pageSize - 1 : 0) >> m.pageShift;
  return end > start && seek(e.mappings, start);
}

// @ts-ignore: decorator
@inline function lockFor(e: El1, writes: bool): i32 {
  if (!e.machine.has(MAPPINGS_LOCK)) return 0;
  return writes ? lockWrite(e.lock) : lockRead(e.lock);
}

// @ts-ignore: decorator
@inline function unlockFor(e: El1): void {
  if (e.machine.has(MAPPINGS_LOCK)) unlock(e.lock);
}

/** The first mapping that ends behind an address, in the results; 0: there is none. */
export function describeBehind(pgt: Pgt, ia: u64): i32 {
  const e = el1Of(pgt);
  const locked = lockFor(e, false);
  if (locked != 0) return locked;
  const shift = e.machine.pageShift;
  const found = seek(e.mappings, ia >> shift);
  unlockFor(e);
  setResult(0, gfn << shift);
  setResult(1, pfn << shift);
  setResult(2, e.machine.pageSize << order);
  return <i32>found;
}

/** Takes a mapping from the guest; protected memory comes back empty. */
export function unshare(e: El1, gfn: u64, order: u32): i32 {
  const result = e.vm.isProtected ? reclaimPage(e.machine, e.vm, gfn) : unshareGuest(e.machine, e.vm, gfn, <u64>1 << order);
  if (result != 0) e.warn();
  return result;
}

/** The first failure ends it: that mapping and those behind it stay. */
export function unmapGuest(pgt: Pgt, ia: u64, size: u64): i32 {
  const e = el1Of(pgt);
  let result = lockFor(e, true);
  if (result != 0) return result;
  const tree = e.mappings;
  for (let found = seekIn(e, ia, size); found && gfn < end; found = next()) {
    result = unshare(e, gfn, order);
    if (result != 0) break;
    eraseHere(tree);
  }
  unlockFor(e);
  return result;
}

/** Errors are ignored: what cannot be unshared goes with the VM. */
export function unshareAll(e: El1): void {
  const tree = e.mappings;
  for (let found = seek(tree, 0); found; found = next()) {
    unshare(e, gfn, order);
    eraseHere(tree);
  }
}

export function protectGuest(pgt: Pgt, ia: u64, size: u64): i32 {
  const e = el1Of(pgt);
  let result = lockFor(e, false);
  if (result != 0) return result;
  for (let found = seekIn(e, ia, size); found && gfn < end; found = next()) {
    result = e.vm.isProtected ? -EINVAL : writeProtectGuest(e.machine, e.vm, gfn, <u64>1 << order);
    if (result == 0) continue;
    e.warn();
    break;
  }
  unlockFor(e);
  return result;
}

/** All are asked, also behind the first that is young. */
export function ageGuest(pgt: Pgt, ia: u64, size: u64, clear: bool): i32 {
  const e = el1Of(pgt);
  const locked = lockFor(e, false);
  if (locked != 0) return locked;
  let young = false;
  for (let found = seekIn(e, ia, size); found && gfn < end; found = next()) {
    const result = e.vm.isProtected ? -EINVAL : testClearYoungGuest(e.machine, e.vm, gfn, <u64>1 << order, clear);
    if (result > 0 || (result < 0 && e.machine.has(ERROR_IS_YOUNG))) young = true;
    if (result < 0) e.warn();
  }
  unlockFor(e);
  return <i32>young;
}

/** No hypercall: the host has its own mapping of what it shares. */
export function flushMemory(pgt: Pgt, ia: u64, size: u64): i32 {
  if (pgt.forcedWriteBack) return 0;
  const e = el1Of(pgt);
  const locked = lockFor(e, false);
  if (locked != 0) return locked;
  const shift = e.machine.pageShift;
  for (let found = seekIn(e, ia, size); found && gfn < end; found = next()) {
    cleanDataCache(pgt, pfn << shift, e.machine.pageSize << order);
  }
  unlockFor(e);
  return 0;
}
