/**
 * KVM_RESET_DIRTY_RINGS: entries that the VMM has harvested are free again, and their pages protected. Neighbours in one slot go together,
 * in a window of 64 pages. No entry is taken without the write side, and the TLB is flushed before it is left: where that cannot be,
 * the flush is owed, and the next reset begins with it.
 */
import { EINVAL } from "../errno";
import { setResult } from "../layout";
import * as operate from "../operate";
import { WRITE_SIDE } from "../operation";
import { Pgt } from "../pgt";
import { contextAt, contextOf } from "./context";
import { locked, lockSlots, lockTable, unlockSlots, unlockTable } from "./locks";
import { protectPages, splitPages, splitsWords } from "./protect";
import { seeHarvested, seenPage, seenSlot, takeSeen } from "./ring";
import { base, MAX_SLOTS, pages, readSlot } from "./slots";
import { MAX_CONTEXTS, RING, Vm } from "./vm";

// The window: pages of one slot from `from` on, those in `mask`.
let windowSlot: u32 = 0;
let windowFrom: u64 = 0;
let windowMask: u64 = 0;

/** Up to `limit` entries: how many; or -errno, when none was taken. 1 in result 0: call again. */
export function resetRings(vm: Vm, limit: u32): i32 {
  if (!vm.has(RING) || !limit) return -EINVAL;
  const refused = lockSlots(vm);
  if (refused != 0) return refused;
  locks = lockTable(vm, WRITE_SIDE);
  if (locks < 0) {
    unlockSlots(vm);
    return locks;
  }
  windowMask = 0;
  let total: u32 = 0;
  for (let id: u32 = 0; id < MAX_CONTEXTS && total < limit && locks >= 0; id++) {
    const context = contextOf(vm, id);
    while (context && total < limit && seeHarvested(contextAt(context)) && include(vm)) {
      takeSeen(contextAt(context));
      total++;
    }
    protectWindow(vm);
  }
  if (total) vm.owesFlush = 1;
  const late = settle(vm);
  if (locks == 0) unlockTable(WRITE_SIDE);
  unlockSlots(vm);
  setResult(0, <u64>(total == limit || vm.owesFlush != 0));
  return late != 0 && total == 0 ? late : <i32>total;
}

/** 0: this reset has the write side, NO_TABLE: there is nothing to lock, or why it could not be had again. */
let locks: i32 = 0;

/** The flush that this reset, or one before it, owes. Late: it is done, and somebody may still write unnoticed; owed still. */
function settle(vm: Vm): i32 {
  if (!vm.owesFlush) return 0;
  if (locks < 0) return locks;
  const late = locks == 0 ? operate.tlbFlush(changetype<Pgt>(locked)) : 0;
  if (late == 0) vm.owesFlush = 0;
  return late;
}

/** Adds the entry just seen to the window, or protects the window and begins a new one. False: the lock was lost on the way. */
function include(vm: Vm): bool {
  if (windowMask && seenSlot == windowSlot) {
    const ahead = <i64>(seenPage - windowFrom);
    if (ahead >= 0 && ahead < 64) {
      windowMask |= <u64>1 << ahead;
      return true;
    }
    if (ahead < 0 && ahead > -64 && <u64>clz<u64>(windowMask) >= <u64>-ahead) {
      windowFrom = seenPage;
      windowMask = windowMask << -ahead | 1;
      return true;
    }
  }
  protectWindow(vm);
  if (locks < 0) return false;
  windowSlot = seenSlot;
  windowFrom = seenPage;
  windowMask = 1;
  return true;
}

/** A slot that is gone, or does not reach that far any more, has nothing to protect. */
function protectWindow(vm: Vm): void {
  const mask = windowMask;
  windowMask = 0;
  if (!mask || windowSlot >= MAX_SLOTS || readSlot(vm, windowSlot) <= 0) return;
  if (windowFrom + 63 - clz<u64>(mask) >= pages || locks != 0) return;
  const gfn = base + windowFrom;
  protectPages(vm, gfn, mask);
  if (!splitsWords(vm)) return;
  unlockTable(WRITE_SIDE); // splitting takes it piece by piece
  splitPages(vm, gfn, mask);
  locks = lockTable(vm, WRITE_SIDE);
}
