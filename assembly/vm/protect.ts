/** kvm_arch_mmu_enable_log_dirty_pt_masked: the pages of one word of a dirty log are write-protected, from the first to the last. */
import { WRITE_SIDE } from "../operation";
import { splitPieces } from "./eager_split";
import { holdsTable, lockTable, NO_TABLE, unlockTable } from "./locks";
import { applyLocked, WRPROTECT } from "./range";
import { INITIALLY_SET, Vm } from "./vm";

/** More pieces than a word of pages can meet. */
// @ts-ignore: decorator
@inline const ALL: u32 = 66;

/** Each word is split behind its protection, as nothing was split when logging began. */
// @ts-ignore: decorator
@inline export function splitsWords(vm: Vm): bool { return vm.has(INITIALLY_SET); }

/** `mask`: which of the 64 pages from `gfn` on. 0, -errno; a VM without a page table has nothing to protect. */
export function protectPages(vm: Vm, gfn: u64, mask: u64): i32 {
  const ipa = (gfn + ctz<u64>(mask)) << vm.pageShift;
  const size = (64 - clz<u64>(mask) - ctz<u64>(mask)) << vm.pageShift;
  if (holdsTable(vm)) return <i32>min<i64>(applyLocked(vm, WRPROTECT, ipa, size, ALL), 0);
  const result = lockTable(vm, WRITE_SIDE);
  if (result != 0) return result == NO_TABLE ? 0 : result;
  const done = applyLocked(vm, WRPROTECT, ipa, size, ALL);
  unlockTable(WRITE_SIDE);
  if (done < 0 || !splitsWords(vm)) return <i32>min<i64>(done, 0);
  return <i32>min<i64>(splitPieces(vm, ipa, size, u32.MAX_VALUE, true), 0);
}
