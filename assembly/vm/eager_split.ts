/**
 * Eager page splitting (kvm_mmu_split_huge_pages): blocks of a range become tables of pages before anybody writes to them. Best effort:
 * without memory the rest stays blocks, and faults break them one by one.
 */
import * as cache from "../cache";
import { EAGAIN, EINVAL, EMFILE, ENOMEM, ETIMEDOUT } from "../errno";
import { levelShift } from "../geometry";
import { setResult } from "../layout";
import * as operate from "../operate";
import { WRITE_SIDE } from "../operation";
import { Pgt } from "../pgt";
import { holdsSlots, locked, lockSlots, lockTable, NO_TABLE, unlockSlots, unlockTable } from "./locks";
import * as trace from "./trace";
import { pieceEnd, Vm } from "./vm";

/** Table pages that one piece may need: one a block of level 2, and with 4 KiB pages one a block of level 1. */
export function splitNeeds(vm: Vm, chunk: u64): u32 {
  const ofLevel2 = <u32>ceilShift(chunk, levelShift(vm.pageShift, 2));
  return vm.pageShift == 12 ? ofLevel2 + <u32>ceilShift(chunk, levelShift(vm.pageShift, 1)) : ofLevel2;
}

// @ts-ignore: decorator
@inline function ceilShift(bytes: u64, shift: u64): u64 { return (bytes + ((<u64>1 << shift) - 1)) >> shift; }

/** Leaf sizes of the granule that a chunk may have, as a bitmap: bit n is 2^n bytes. */
export function splitSizes(pageShift: u32): u64 {
  const pages = <u64>1 << pageShift | <u64>1 << levelShift(pageShift, 2);
  return pageShift == 12 ? pages | <u64>1 << levelShift(pageShift, 1) : pages;
}

/** Up to `pieces` pieces: bytes done (without chunk, or memory: all of them), or -errno as rangeStep. */
export function splitPieces(vm: Vm, ipa: u64, size: u64, pieces: u32, resumed: bool): i64 {
  const chunk = vm.chunk;
  if (!chunk) return size;
  const owned = holdsSlots(vm);
  if (!owned) {
    const refused = lockSlots(vm);
    if (refused != 0) return refused;
  }
  const done = split(vm, ipa, size, chunk, pieces, resumed);
  if (!owned) unlockSlots(vm);
  return done;
}

function split(vm: Vm, ipa: u64, size: u64, chunk: u64, pieces: u32, resumed: bool): i64 {
  const end = ipa + size;
  let at = ipa;
  for (; at < end && pieces; pieces--) {
    if (topUp(vm, chunk) != 0) return size;
    const result = lockTable(vm, WRITE_SIDE);
    if (result == NO_TABLE) return resumed || at != ipa ? <i64>size : -EINVAL;
    setResult(0, at - ipa);
    if (result != 0) return result;
    const next = pieceEnd(at, chunk, end);
    const status = operate.split(changetype<Pgt>(locked), at, next - at, vm.splitCache);
    unlockTable(WRITE_SIDE);
    trace.log(vm, trace.SPLIT, -status, trace.NOBODY, at, next - at, 0);
    if (status == -ETIMEDOUT) {
      setResult(0, next - ipa);
      return status;
    }
    if (status != 0) return status == -ENOMEM || status == -EAGAIN ? <i64>size : status;
    at = next;
  }
  return at - ipa;
}

function topUp(vm: Vm, chunk: u64): i32 {
  if (!vm.splitCache) vm.splitCache = cache.createLasting(vm.pageShift);
  if (!vm.splitCache) return -EMFILE;
  const needed = splitNeeds(vm, chunk);
  return cache.fill(vm.splitCache, needed, needed);
}

/** When logging ends, with the VM, and when the chunk changes. */
export function freeSplitCache(vm: Vm): void {
  if (vm.splitCache) cache.destroy(vm.splitCache);
  vm.splitCache = 0;
}
