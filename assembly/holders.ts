/**
 * Who still has to do with a page table beside its lock: threads that free what went out of the tree after they have left the
 * lock, and its destroyer. The object is given back by the last of them. Each notes in its thread slot what it has in its
 * hands, so that it can be found should the thread end while it waits (reclaim.ts).
 */
import { header, H_SLOTS, shared, thread, threadSlot, T_GENERATION, T_HOLDS_TABLE, T_OWN, T_TABLE } from "./layout";
import { Pgt } from "./pgt";
import { treeLink } from "./retire";
import { awaitChange, blame, LATE_WALK } from "./sync/wait";

/** Beside the count: the table is destroyed, nobody may begin to hold it. */
// @ts-ignore: decorator
@inline const DYING: u32 = 1 << 31;

/**
 * Holds the object of a table although its lock is left, and notes that in the thread's slot. False: it is being destroyed.
 */
export function hold(pgt: Pgt): bool {
  let holders = atomic.load<u32>(pgt.holders);
  while (!(holders & DYING)) {
    const found = atomic.cmpxchg<u32>(pgt.holders, holders, holders + 1);
    if (found == holders) {
      noteTable(pgt);
      store<u32>(thread, 1, T_HOLDS_TABLE);
      return true;
    }
    holders = found; // lost to another that comes or goes
  }
  return false;
}

function noteTable(pgt: Pgt): void {
  store<u32>(thread, <u32>changetype<usize>(pgt), T_TABLE);
  store<u32>(thread, pgt.generation, T_GENERATION);
}

/** True: the table is destroyed and this was the last that held it, so what is left of it is the caller's to bury. */
export function unhold(pgt: Pgt, slot: usize): bool {
  store<u32>(slot, 0, T_HOLDS_TABLE);
  return dropHold(pgt);
}

// @ts-ignore: decorator
@inline function dropHold(pgt: Pgt): bool { return atomic.sub<u32>(pgt.holders, 1) - 1 == DYING; }

/**
 * Nobody begins to hold the table from now on, and its destroyer holds it until `releaseTable`. False: somebody else does
 * and has not let go of it.
 */
export function holdLast(pgt: Pgt): bool {
  const word = pgt.holders;
  atomic.add<u32>(word, 1);
  for (let holders = atomic.or<u32>(word, DYING) | DYING; holders != (DYING | 1); holders = atomic.load<u32>(pgt.holders)) {
    if (awaitChange<u32>(word, holders)) continue;
    const holder = holderOf(pgt);
    if (atomic.load<u32>(word) == (DYING | 1)) break; // it let go at the last moment, and is not to blame
    blame(holder, LATE_WALK);
    return false;
  }
  return true;
}

/** A thread that holds the table. */
function holderOf(pgt: Pgt): u32 {
  const slots = atomic.load<u32>(header, H_SLOTS);
  let number: u32 = 0;
  for (; number < slots; number++) {
    const slot = threadSlot(number);
    if (load<u32>(slot, T_HOLDS_TABLE) && load<u32>(slot, T_TABLE) == <u32>changetype<usize>(pgt)) break;
  }
  return number;
}

/** Gives the object of a destroyed table up. False: another thread still holds it, and will bury it. */
export function releaseTable(pgt: Pgt): bool {
  const isHeld = (atomic.load<u32>(pgt.holders) & DYING) != 0; // else no other thread was there
  return !isHeld || dropHold(pgt);
}

/** Notes a tree that no entry points at, below an entry of `level`: should this thread end while it waits, it can be found. */
export function keepTree(pgt: Pgt, table: usize, level: i32): void {
  if (!shared) return;
  noteTable(pgt);
  store<u32>(thread, treeLink(table, level), T_OWN);
}

/** The tree is about to be linked, or freed. */
export function forgetTree(): void {
  if (shared) store<u32>(thread, 0, T_OWN);
}
