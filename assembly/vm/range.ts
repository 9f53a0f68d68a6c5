/**
 * Operations on ranges of guest addresses, in pieces that end at multiples of the largest block (stage2_apply_range). A step does
 * some pieces under one hold of the write side; between steps the lock is free, and the page table may go.
 */
import { UNLIMITED } from "../cache";
import { PROT_DEVICE, PROT_R, PROT_W } from "../descriptor";
import { EINVAL, EPERM, ETIMEDOUT } from "../errno";
import { setResult } from "../layout";
import * as operate from "../operate";
import { READ_SIDE, WRITE_SIDE } from "../operation";
import { Pgt } from "../pgt";
import { FORCE_PAGES } from "../walk";
import { locked, lockTable, NO_TABLE, unlockTable } from "./locks";
import { splitPieces } from "./eager_split";
import * as mmu from "./mmu";
import * as trace from "./trace";
import { pieceEnd, PROTECTED, Vm } from "./vm";

// @ts-ignore: decorator
@inline export const UNMAP: u32 = 1;
// @ts-ignore: decorator
@inline export const WRPROTECT: u32 = 2;
// @ts-ignore: decorator
@inline export const FLUSH: u32 = 3;
// @ts-ignore: decorator
@inline export const SPLIT: u32 = 4;

/** One piece, under the write side. 0, -errno; -ETIMEDOUT: it is done, but somebody may still use what it took away. */
function apply(vm: Vm, pgt: Pgt, op: u32, ipa: u64, size: u64): i32 {
  if (op == UNMAP) return logged(vm, trace.UNMAP, ipa, size, mmu.unmap(pgt, ipa, size));
  if (op == WRPROTECT) return logged(vm, trace.WRPROTECT, ipa, size, mmu.writeProtect(pgt, ipa, size));
  return logged(vm, trace.FLUSH, ipa, size, mmu.flush(pgt, ipa, size));
}

function logged(vm: Vm, kind: u32, ipa: u64, size: u64, result: i32): i32 {
  trace.log(vm, kind, -result, trace.NOBODY, ipa, size, 0);
  return result;
}

/**
 * Up to `pieces` pieces of [ipa, ipa + size). Bytes done; or -errno, with the bytes done in result 0: the first piece that fails is
 * not among them, but one that only ended late is.
 */
export function rangeStep(vm: Vm, op: u32, ipa: u64, size: u64, pieces: u32, resumed: bool): i64 {
  setResult(0, 0);
  if (!pieces || op < UNMAP || op > SPLIT) return -EINVAL;
  if (op == SPLIT) return splitPieces(vm, ipa, size, pieces, resumed);
  const result = lockTable(vm, WRITE_SIDE);
  if (result == NO_TABLE) return resumed ? <i64>size : -EINVAL;
  if (result != 0) return result;
  const done = applyLocked(vm, op, ipa, size, pieces);
  unlockTable(WRITE_SIDE);
  return done;
}

/** The same by who has the write side already. */
export function applyLocked(vm: Vm, op: u32, ipa: u64, size: u64, pieces: u32): i64 {
  const end = ipa + size;
  let at = ipa;
  for (; at < end && pieces; pieces--) {
    const next = pieceEnd(at, vm.block, end);
    const result = apply(vm, changetype<Pgt>(locked), op, at, next - at);
    if (result == 0) {
      at = next;
      continue;
    }
    setResult(0, (result == -ETIMEDOUT ? next : at) - ipa);
    return result;
  }
  return at - ipa;
}

/** kvm_tlb_flush_vmid_range. Without a page table nothing can be cached. */
export function flushTlb(vm: Vm, ipa: u64, size: u64): i32 {
  const result = lockTable(vm, READ_SIDE);
  if (result != 0) return result == NO_TABLE ? 0 : result;
  const late = mmu.tlbFlushRange(changetype<Pgt>(locked), ipa, size);
  trace.log(vm, trace.FLUSH_TLB, -late, trace.NOBODY, ipa, size, 0);
  unlockTable(READ_SIDE);
  return late;
}

/** kvm_flush_remote_tlbs: everything of the VMID. */
export function flushAllTlb(vm: Vm): i32 {
  const result = lockTable(vm, READ_SIDE);
  if (result != 0) return result == NO_TABLE ? 0 : result;
  const late = operate.tlbFlush(changetype<Pgt>(locked));
  unlockTable(READ_SIDE);
  return late;
}

/**
 * kvm_phys_addr_ioremap: device memory, page by page, the lock free between pages. `done` bytes of the rounded range are there already.
 * Bytes done after this step, or -errno: what lies before stays mapped.
 */
export function ioremapStep(vm: Vm, ipa: u64, pa: u64, size: u64, writable: bool, done: u64, pieces: u32): i64 {
  if (vm.has(PROTECTED)) return -EPERM;
  const page = vm.pageSize;
  const bytes = size + (ipa & (page - 1));
  const start = ipa & ~(page - 1);
  const prot = PROT_DEVICE | PROT_R | (writable ? PROT_W : 0);
  for (; done < bytes && pieces; pieces--) {
    const result = lockTable(vm, WRITE_SIDE);
    if (result != 0) return result == NO_TABLE ? -EINVAL : result;
    const mapped = operate.map(changetype<Pgt>(locked), start + done, page, pa + done, prot, FORCE_PAGES, UNLIMITED);
    trace.log(vm, trace.MAP, -mapped, trace.NOBODY, start + done, page, prot);
    unlockTable(WRITE_SIDE);
    if (mapped != 0) return mapped;
    done += page;
  }
  return min(done, bytes);
}
