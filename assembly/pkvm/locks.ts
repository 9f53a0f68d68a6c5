/**
 * The hypervisor's spinlocks, in the order in which they are taken: VM table, host, then hypervisor or guest. Each is a word: thread
 * slot + 1 of its owner, with SLEEPERS beside it when somebody sleeps on it. What they guard is short, so nobody waits long unless the
 * owner has ended in the middle: then patience ends, and the owner is named. An engine of one thread needs none of them.
 */
import { ETIMEDOUT } from "../errno";
import { shared, thisThread } from "../layout";
import { awaitChange, blame, LATE_WRITER, spinWhile } from "../sync/wait";

// @ts-ignore: decorator
@inline const SLEEPERS: u32 = 1 << 31;

/** 0, or -ETIMEDOUT. */
// @ts-ignore: decorator
@inline export function acquire(word: usize): i32 { return shared ? acquireShared(word) : 0; }

function acquireShared(word: usize): i32 {
  let mine = thisThread() + 1;
  while (true) {
    let owner = atomic.cmpxchg<u32>(word, 0, mine);
    if (owner == 0) return 0;
    if (spinWhile(word, owner)) continue; // lost: another thread has it, or had it
    mine |= SLEEPERS; // there may be more than this one
    const asleep = owner | SLEEPERS;
    if (owner != asleep && atomic.cmpxchg<u32>(word, owner, asleep) != owner) continue; // lost: the owner has changed
    if (awaitChange<u32>(word, asleep)) continue;
    blame((owner & ~SLEEPERS) - 1, LATE_WRITER);
    return -ETIMEDOUT;
  }
}

// @ts-ignore: decorator
@inline export function release(word: usize): void {
  if (shared) releaseShared(word);
}

function releaseShared(word: usize): void {
  if (atomic.xchg<u32>(word, 0) & SLEEPERS) atomic.notify(word, -1);
}

/** Both, in this order. */
export function acquireBoth(outer: usize, inner: usize): i32 {
  let result = acquire(outer);
  if (result != 0) return result;
  result = acquire(inner);
  if (result != 0) release(outer);
  return result;
}

export function releaseBoth(outer: usize, inner: usize): void {
  release(inner);
  release(outer);
}

/** Of a thread that has ended. */
export function releaseOf(word: usize, number: u32): void {
  if ((atomic.load<u32>(word) & ~SLEEPERS) == number + 1) releaseShared(word);
}
