/**
 * mappings_lock: a reader/writer lock around the mappings, for faults that run side by side under the read side of the mmu_lock. A word:
 * the number of readers, or WRITER. The thread slot says which lock it has, should the thread end.
 */
import { ETIMEDOUT } from "../../errno";
import { header, H_SLOTS, shared, thread, threadSlot, T_MAPPINGS } from "../../layout";
import { awaitChange, blame, LATE_WRITER } from "../../sync/wait";

// @ts-ignore: decorator
@inline const WRITER: u32 = 1 << 31;
/** Beside the lock in T_MAPPINGS. */
// @ts-ignore: decorator
@inline const READS: u32 = 1;

function note(lock: usize, side: u32): void { atomic.store<u32>(thread, <u32>lock | side, T_MAPPINGS); }

/** A thread that has this lock. */
function ownerOf(lock: usize): u32 {
  const slots = atomic.load<u32>(header, H_SLOTS);
  let number: u32 = 0;
  while (number < slots && (atomic.load<u32>(threadSlot(number), T_MAPPINGS) & ~READS) != <u32>lock) number++;
  return number;
}

function late(lock: usize): i32 {
  blame(ownerOf(lock), LATE_WRITER);
  return -ETIMEDOUT;
}

export function lockRead(lock: usize): i32 {
  if (!shared) return 0;
  let value = atomic.load<u32>(lock);
  while (true) {
    if (value & WRITER) {
      if (!awaitChange<u32>(lock, value)) return late(lock);
      value = atomic.load<u32>(lock);
      continue;
    }
    const found = atomic.cmpxchg<u32>(lock, value, value + 1);
    if (found == value) break;
    value = found; // lost to another reader, or to a writer
  }
  note(lock, READS);
  return 0;
}

export function lockWrite(lock: usize): i32 {
  if (!shared) return 0;
  while (true) {
    const found = atomic.cmpxchg<u32>(lock, 0, WRITER);
    if (found == 0) break;
    if (!awaitChange<u32>(lock, found)) return late(lock); // lost: readers are inside, or another writer is
  }
  note(lock, 0);
  return 0;
}

export function unlock(lock: usize): void {
  if (shared) leave(thread);
}

/** What a thread has, which may have ended. */
export function leave(slot: usize): void {
  const held = load<u32>(slot, T_MAPPINGS);
  if (!held) return;
  const lock = <usize>(held & ~READS);
  atomic.store<u32>(slot, 0, T_MAPPINGS);
  if (held & READS) atomic.sub<u32>(lock, 1);
  else atomic.store<u32>(lock, 0);
  atomic.notify(lock, -1);
}
