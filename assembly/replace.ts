/**
 * Break-before-make with what KVM attaches to it: TLB invalidation and the reference of the old entry after the
 * break, the reference of the new one before the make (Arm ARM D8.16.1).
 */
import { isCounted, isTable, isValid, LOCKED } from "./descriptor";
import { BREAK_LOST, WRITES } from "./events";
import * as events from "./events";
import { levelShift } from "./geometry";
import { thisThread, toPhysical } from "./layout";
import { completeTlbi, flushRange, tlbiIpa } from "./maintenance";
import { keepTree } from "./holders";
import { getPage, putPage } from "./table_pages";
import * as slots from "./slot";
import { childOf, SKIP_BBM_TLBI, Walk } from "./walk";

/**
 * Takes `old` out. False: another walker holds the marker or the entry changed; nothing was written. A shared walk
 * then gives up with -EAGAIN, an exclusive one reads again (only hardware can have been there).
 */
export function breakEntry(walk: Walk, slot: usize, old: u64, level: i32): bool {
  if (!slots.tryBreak(slot, old)) {
    if (walk.events & WRITES) {
      events.append(BREAK_LOST, level, thisThread(), 0, toPhysical(slot), slots.read(slot), 0);
    }
    return false;
  }
  walk.wrote(slot, LOCKED, level);
  const pgt = walk.pgt;
  if (isValid(old) && !(walk.flags & SKIP_BBM_TLBI)) {
    if (isTable(old, level)) {
      const size = <u64>1 << levelShift(walk.pageShift, level);
      flushRange(pgt, walk.addr & ~(size - 1), size);
    } else {
      tlbiIpa(pgt, walk.addr, level);
    }
  }
  if (isCounted(old)) putPage(pgt, slot); // before it waits: a marker whose owner has died then holds no reference
  if (isTable(old, level)) keepTree(pgt, childOf(old), level);
  completeTlbi(pgt);
  return true;
}

/** Puts `next` where this walk's marker stands. */
export function makeEntry(walk: Walk, slot: usize, next: u64, level: i32): void {
  if (isCounted(next)) getPage(walk.pgt, slot);
  slots.make(slot, next);
  walk.wrote(slot, next, level);
}

/** A store that changes whether the entry is counted, without break-before-make. */
export function adjustReference(walk: Walk, slot: usize, old: u64, next: u64): void {
  if (isCounted(old) == isCounted(next)) return;
  if (isCounted(next)) getPage(walk.pgt, slot);
  else putPage(walk.pgt, slot);
}

/**
 * Sets an entry to zero in an exclusive walk. The value that went away comes back: hardware may have set the access
 * flag or dirty state since the snapshot, and a lost exchange takes the new value instead.
 */
export function clearEntry(walk: Walk, slot: usize, old: u64, level: i32): u64 {
  while (true) {
    const found = slots.compareExchange(slot, old, 0);
    if (found == old) break;
    old = found; // lost to hardware: same mapping, one flag more
  }
  walk.wrote(slot, 0, level);
  return old;
}
