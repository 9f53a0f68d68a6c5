/** mark_page_dirty: into the ring of the vCPU that wrote, or the bitmap of the slot. */
import { base, id } from "./slots";
import { closeLog, logBitmap, logPage, openLog, openLogOf, setBit } from "./bitmap";
import { Context, count, DIRTIED } from "./context";
import { push, seenPage, seenSlot, seeNext } from "./ring";
import * as trace from "./trace";
import { RING, Vm } from "./vm";

/**
 * A page was written to, by the vCPU of a context or by nobody in particular (null). 1: it is logged, 0: the slot does not log, or there
 * is none; -ETIMEDOUT. A full ring passes the page on to the backup bitmap.
 */
export function markDirty(vm: Vm, c: Context | null, gfn: u64): i32 {
  return noted(vm, c, openLog(vm, gfn));
}

/** The same for a page of a slot that the writer had found before. */
export function markDirtyIn(vm: Vm, c: Context | null, slot: u32, page: u64): i32 {
  return noted(vm, c, openLogOf(vm, slot, page));
}

/** What is left in the ring of a vCPU that goes: into the bitmaps of its slots, where they have one. */
export function keepRing(vm: Vm, c: Context): void {
  while (seeNext(c)) markDirtyIn(vm, null, seenSlot, seenPage);
}

function noted(vm: Vm, c: Context | null, logs: i32): i32 {
  const result = logs > 0 ? note(vm, c) : logs;
  closeLog();
  return result;
}

function note(vm: Vm, c: Context | null): i32 {
  const pushed = c != null && vm.has(RING) && push(c, id, logPage);
  if (!pushed && !logBitmap) {
    if (c != null) c.overflowed++;
    return 0;
  }
  if (!pushed && !setBit(logBitmap, logPage)) return 1;
  if (c != null) count(c, DIRTIED);
  trace.log(vm, trace.DIRTY, 0, c != null ? c.id : trace.NOBODY, base + logPage, id, 0);
  return 1;
}
