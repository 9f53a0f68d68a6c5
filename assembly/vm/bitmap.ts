/**
 * The dirty bitmap of a memslot: one bit a page, in 64-bit words, and as many words again for the snapshot that is handed out. Bits are
 * set from any thread with an atomic OR, taken with an exchange: each is in exactly one snapshot.
 */
import { shared, UNIT_SHIFT } from "../layout";
import * as pool from "../pool";
import { privatePages, unitsFor } from "../private";
import { orphans, retire } from "../retire";
import { enterWalk, leaveWalk } from "../sync/section";
import { base, bitmap, findSlot, flags, LOG_DIRTY, pages, READONLY, readSlot, R_BITMAP, R_UNITS } from "./slots";
import { Vm } from "./vm";

// @ts-ignore: decorator
@inline export function wordsOf(pages: u64): u64 { return (pages + 63) >> 6; }
// @ts-ignore: decorator
@inline export function bytesOf(pages: u64): usize { return <usize>(wordsOf(pages) << 3); }

/** Units of a bitmap and its snapshot. */
// @ts-ignore: decorator
@inline export function unitsOf(pages: u64): u32 { return unitsFor(wordsOf(pages) << 4); }

/** A bitmap of zeros, or with a one for every page; 0: no memory. */
export function createBitmap(pages: u64, ones: bool): usize {
  const at = privatePages(unitsOf(pages));
  if (!at || !ones) return at;
  memory.fill(at, 0xff, <usize>(pages >> 6) << 3);
  const rest = pages & 63;
  if (rest) store<u64>(at + (<usize>(pages >> 6) << 3), (<u64>1 << rest) - 1);
  return at;
}

/** Gives a bitmap back that the slot set does not name any more: somebody may be about to set a bit in it. */
export function freeBitmap(at: usize, units: u32): void {
  if (!at) return;
  if (shared) retire(orphans(), at, UNIT_SHIFT, units);
  else pool.free(at, UNIT_SHIFT, units);
}

export function freeBitmapOf(record: usize): void {
  const at = <usize>load<u32>(record, R_BITMAP);
  atomic.store<u32>(record, 0, R_BITMAP);
  freeBitmap(at, load<u32>(record, R_UNITS));
}

/** True: the bit is new. Most faults find it clear, most host writes find it set, so it is looked at first. */
export function setBit(at: usize, page: u64): bool {
  const word = at + (<usize>(page >> 6) << 3);
  const bit = <u64>1 << (page & 63);
  if (atomic.load<u64>(word) & bit) return false;
  return (atomic.or<u64>(word, bit) & bit) == 0;
}

// What `openLog` found: the slot's bitmap, and the page in it.
export let logBitmap: usize = 0;
export let logPage: u64 = 0;

/**
 * Looks the log of a guest page up inside a walk section, so that a bitmap that goes meanwhile is still there: 1 the slot logs, 0 not,
 * -ETIMEDOUT. `closeLog` must follow.
 */
export function openLog(vm: Vm, gfn: u64): i32 {
  opened = enterWalk();
  const found = findSlot(vm, gfn);
  return found <= 0 ? found : use(gfn - base);
}

/** The same for a page of a slot, wherever that lies by now: a slot that moves keeps its log, one that is hidden too. */
export function openLogOf(vm: Vm, slot: u32, page: u64): i32 {
  opened = enterWalk();
  const found = readSlot(vm, slot);
  return found <= 0 ? found : use(page);
}

function use(page: u64): i32 {
  logBitmap = bitmap;
  logPage = page;
  return <i32>((flags & LOG_DIRTY) != 0 && page < pages);
}

let opened: bool = false;

export function closeLog(): void {
  if (opened) leaveWalk();
  opened = false;
}

/** Whether faults of this slot map page by page, and only what is written to: it logs, and guests may write to it. */
// @ts-ignore: decorator
@inline export function isLogging(slotFlags: u32): bool { return (slotFlags & (LOG_DIRTY | READONLY)) == LOG_DIRTY; }
