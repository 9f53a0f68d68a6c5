/**
 * KVM_RESET_DIRTY_RINGS: entries that the VMM has harvested are free again, and their pages protected. Neighbours in one slot go together,
 * in a window of 64 pages.
 */
import { EINVAL, ETIMEDOUT } from "../errno";
import { setResult } from "../layout";
import { WRITE_SIDE } from "../operation";
import { setBit } from "./bitmap";
import { contextAt, contextOf } from "./context";
import { lockSlots, lockTable, NO_TABLE, unlockSlots, unlockTable } from "./locks";
import { protectPages, splitsWords } from "./protect";
import { flushAllTlb } from "./range";
import { takeHarvested, takenPage, takenSlot } from "./ring";
import { base, bitmap, MAX_SLOTS, pages, readSlot } from "./slots";
import { MAX_CONTEXTS, RING, Vm } from "./vm";

// The window: pages of one slot from `from` on, those in `mask`.
let windowSlot: u32 = 0;
let windowFrom: u64 = 0;
let windowMask: u64 = 0;

/** Up to `limit` entries: how many. 1 in result 0: there may be more. */
export function resetRings(vm: Vm, limit: u32): i32 {
  if (!vm.has(RING) || !limit) return -EINVAL;
  const refused = lockSlots(vm);
  if (refused != 0) return refused;
  // Without the lock no entry is taken: what is freed must be protected. Splits let go of it, window by window.
  const holds = splitsWords(vm) ? NO_TABLE : lockTable(vm, WRITE_SIDE);
  if (holds < 0) {
    unlockSlots(vm);
    return holds;
  }
  let total: u32 = 0;
  let status: i32 = 0;
  windowMask = 0;
  for (let id: u32 = 0; id < MAX_CONTEXTS && total < limit && status == 0; id++) {
    const context = contextOf(vm, id);
    if (!context) continue;
    while (total < limit && status == 0 && takeHarvested(contextAt(context))) {
      total++;
      status = include(vm);
    }
    if (status == 0) status = protectWindow(vm);
  }
  if (holds == 0) unlockTable(WRITE_SIDE);
  const late = total ? flushAllTlb(vm) : 0;
  unlockSlots(vm);
  setResult(0, <u64>(total == limit));
  return status != 0 ? status : late != 0 ? late : <i32>total;
}

/** Adds the entry just taken to the window, or protects the window and begins a new one. */
function include(vm: Vm): i32 {
  if (windowMask && takenSlot == windowSlot) {
    const ahead = <i64>(takenPage - windowFrom);
    if (ahead >= 0 && ahead < 64) {
      windowMask |= <u64>1 << ahead;
      return 0;
    }
    if (ahead < 0 && ahead > -64 && <u64>clz<u64>(windowMask) >= <u64>-ahead) {
      windowFrom = takenPage;
      windowMask = windowMask << -ahead | 1;
      return 0;
    }
  }
  const status = protectWindow(vm);
  windowSlot = takenSlot;
  windowFrom = takenPage;
  windowMask = 1;
  return status;
}

/** A slot that is gone, or does not reach that far any more, has nothing to protect. */
function protectWindow(vm: Vm): i32 {
  const mask = windowMask;
  windowMask = 0;
  if (!mask || windowSlot >= MAX_SLOTS) return 0;
  const found = readSlot(vm, windowSlot);
  if (found <= 0) return found;
  const last = windowFrom + 63 - clz<u64>(mask);
  if (last >= pages) return 0;
  const at = bitmap;
  const status = protectPages(vm, base + windowFrom, mask);
  if (status < 0 && status != -ETIMEDOUT && at) remember(at, windowFrom, mask);
  return status;
}

/** Pages that could not be protected are dirty still. */
function remember(at: usize, from: u64, mask: u64): void {
  for (; mask; mask &= mask - 1) setBit(at, from + ctz<u64>(mask));
}
