/** kvm_arch_mmu_enable_log_dirty_pt_masked: the pages of one word of a dirty log are write-protected, from the first to the last. */
import { ETIMEDOUT } from "../errno";
import { WRITE_SIDE } from "../operation";
import { splitPieces } from "./eager_split";
import { lockTable, NO_TABLE, unlockTable } from "./locks";
import { applyLocked, WRPROTECT } from "./range";
import { INITIALLY_SET, Vm } from "./vm";

/** More pieces than a word of pages can meet. */
// @ts-ignore: decorator
@inline const ALL: u32 = 66;

/** Each word is split behind its protection, as nothing was split when logging began. */
// @ts-ignore: decorator
@inline export function splitsWords(vm: Vm): bool { return vm.has(INITIALLY_SET) && vm.chunk != 0; }

// @ts-ignore: decorator
@inline function startOf(vm: Vm, gfn: u64, mask: u64): u64 { return (gfn + ctz<u64>(mask)) << vm.pageShift; }
// @ts-ignore: decorator
@inline function sizeOf(vm: Vm, mask: u64): u64 { return (64 - clz<u64>(mask) - ctz<u64>(mask)) << vm.pageShift; }

/** Under the write side. `mask`: which of the 64 pages from `gfn` on. 0; -ETIMEDOUT: it is done, but late. */
export function protectPages(vm: Vm, gfn: u64, mask: u64): i32 {
  return <i32>min<i64>(applyLocked(vm, WRPROTECT, startOf(vm, gfn, mask), sizeOf(vm, mask), ALL), 0);
}

/** The lock is free: splitting takes it piece by piece. Best effort. */
export function splitPages(vm: Vm, gfn: u64, mask: u64): void {
  splitPieces(vm, startOf(vm, gfn, mask), sizeOf(vm, mask), u32.MAX_VALUE, true);
}

/** A page that could not be logged is not writable. 0, or why that could not be done either. */
export function takeBack(vm: Vm, gfn: u64): i32 {
  const result = lockTable(vm, WRITE_SIDE);
  if (result != 0) return result == NO_TABLE ? 0 : result;
  const status = protectPages(vm, gfn, 1);
  unlockTable(WRITE_SIDE);
  return status == -ETIMEDOUT ? 0 : status;
}
