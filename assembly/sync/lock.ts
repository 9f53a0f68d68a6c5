/**
 * mmu_lock: the reader/writer lock of one page table. Readers are striped: a reader is a walk section in its own thread's
 * slot, with the name of the lock beside it, so readers share no line. A writer takes the one word, which keeps new readers
 * out, and waits until those inside have left.
 *
 *   0        4         8
 *  +--------+---------+----------+
 *  | writer | waiting | sleepers |    writer: slot + 1 of who has or claims the write side, or TURN; waiting: readers that
 *  +--------+---------+----------+    found a writer; sleepers: who has to be woken when the first word changes
 *
 * New readers give way to a writer. A writer that leaves hands the word to the readers that wait (TURN), and the last of
 * them frees it for the next writer. Neither side starves.
 */
import { EAGAIN, EBUSY, EDEADLK, EPERM, ETIMEDOUT } from "../errno";
import { header, H_SLOTS, setResult, thisThread, thread, threadSlot, T_BRACKET, T_HOLDS, T_WALK } from "../layout";
import * as section from "./section";
import { awaitChange, blame, LATE_READER, LATE_WRITER, mayBlock, nap, spinWhile } from "./wait";

// @ts-ignore: decorator
@inline const WRITER: usize = 0;
// @ts-ignore: decorator
@inline const WAITING: usize = 4;
// @ts-ignore: decorator
@inline const SLEEPERS: usize = 8;

/** In place of a writer: the readers that waited go first. To a reader it is nobody. */
// @ts-ignore: decorator
@inline const TURN: u32 = 1 << 31;

// Beside the lock in T_HOLDS.
// @ts-ignore: decorator
@inline export const WAITS: usize = 0; // a reader that waits
// @ts-ignore: decorator
@inline export const READS: usize = 1;
// @ts-ignore: decorator
@inline export const WRITES: usize = 2;
// @ts-ignore: decorator
@inline export const CLAIMS: usize = 3;
// @ts-ignore: decorator
@inline export const HOLDS: usize = 3;

/** Naps that a writer gives to readers whose turn it is: one of them may have died. */
// @ts-ignore: decorator
@inline const TURN_NAPS: u32 = 64;

// @ts-ignore: decorator
@inline function held(): usize { return <usize>load<u32>(thread, T_HOLDS); }

// @ts-ignore: decorator
@inline function hold(what: usize): void { store<u32>(thread, <u32>what, T_HOLDS); }

// @ts-ignore: decorator
@inline export function holdsWrite(lock: usize): bool { return held() == (lock | WRITES); }

// @ts-ignore: decorator
@inline export function holdsRead(lock: usize): bool { return held() == (lock | READS); }

// @ts-ignore: decorator
@inline export function holdsNothing(): bool { return held() == 0; }

/** A thread has at most one lock, and none while one of its vCPUs is in the guest: so threads cannot wait in a circle. */
function mustNot(): bool {
  setResult(0, load<u32>(thread, T_BRACKET + 4));
  return held() != 0 || load<u64>(thread, T_BRACKET) != 0;
}

// ---- read side ---------------------------------------------------------------------------------------------------

/** The section first, then the look at the writer; a writer takes its word first, then looks at sections. */
function enterRead(lock: usize): bool {
  hold(lock | READS);
  section.enterRead();
  if (writerOf(lock) == 0) return true;
  endRead(lock); // lost: a writer came first
  return false;
}

/** Slot + 1 of who has or claims the write side, or 0. */
// @ts-ignore: decorator
@inline function writerOf(lock: usize): u32 { return atomic.load<u32>(lock, WRITER) & ~TURN; }

function endRead(lock: usize): void {
  section.leaveWalk();
  hold(0);
  if (writerOf(lock) != 0) atomic.notify(thread + T_WALK, -1);
}

export function tryRead(lock: usize): i32 {
  if (mustNot()) return -EDEADLK;
  return enterRead(lock) ? 0 : tellWord(lock + WRITER, -EBUSY);
}

export function lockRead(lock: usize): i32 {
  if (mustNot()) return -EDEADLK;
  return enterRead(lock) ? 0 : waitToRead(lock);
}

function waitToRead(lock: usize): i32 {
  wantRead(lock);
  let result = 0;
  while (result == 0) {
    const writer = writerOf(lock);
    if (writer != 0) result = awaitWriter(lock, writer);
    if (result == 0 && enterRead(lock)) break;
    hold(result == 0 ? lock | WAITS : 0);
  }
  wantNoMore(lock);
  return result;
}

function wantRead(lock: usize): void {
  atomic.add<u32>(lock, 1, WAITING);
  hold(lock | WAITS);
}

function wantNoMore(lock: usize): void {
  if (atomic.sub<u32>(lock, 1, WAITING) == 1) endTurn(lock);
}

/** No reader waits any more: writers may come. Lost: it was nobody's turn, or somebody else has ended it. */
function endTurn(lock: usize): void {
  if (atomic.cmpxchg<u32>(lock, TURN, 0, WRITER) == TURN) wake(lock);
}

/** Who sleeps is counted, as waking nobody costs too. */
function wake(lock: usize): void {
  if (atomic.load<u32>(lock, SLEEPERS) != 0) atomic.notify(lock + WRITER, -1);
}

/** One step of a thread that may not block: 0 held, -EBUSY: counted as one that waits, call again. */
export function claimRead(lock: usize): i32 {
  const waits = held() == (lock | WAITS);
  if (!waits && mustNot()) return -EDEADLK;
  if (enterRead(lock)) {
    if (waits) wantNoMore(lock);
    return 0;
  }
  if (waits) hold(lock | WAITS);
  else wantRead(lock);
  return tellWord(lock + WRITER, -EBUSY);
}

export function abandonRead(lock: usize): void {
  if (held() != (lock | WAITS)) return;
  hold(0);
  wantNoMore(lock);
}

/** Until `writer` no longer has the write side. */
function awaitWriter(lock: usize, writer: u32): i32 {
  if (spinWhile(lock + WRITER, writer)) return 0;
  if (!mayBlock()) return -EBUSY;
  atomic.add<u32>(lock, 1, SLEEPERS);
  const changed = awaitChange<u32>(lock + WRITER, writer);
  atomic.sub<u32>(lock, 1, SLEEPERS);
  if (changed) return 0;
  blame(writer - 1, LATE_WRITER);
  return -ETIMEDOUT;
}

export function unlockRead(lock: usize): i32 {
  if (!holdsRead(lock)) return -EPERM;
  endRead(lock);
  return 0;
}

// ---- write side --------------------------------------------------------------------------------------------------

/** Takes the word. False: another writer has it, or readers have their turn. */
function claim(lock: usize): bool {
  if (atomic.cmpxchg<u32>(lock, 0, thisThread() + 1, WRITER) != 0) return false; // lost: somebody else goes first
  hold(lock | CLAIMS);
  return true;
}

function abandon(lock: usize): void {
  hold(0);
  passOn(lock);
}

/**
 * The writer has left. A reader that gave up between the look and the store has not seen the turn, so the look is taken once
 * more: either this thread sees that nobody waits, or the reader saw the turn and has ended it.
 */
function passOn(lock: usize): void {
  const readersWait = atomic.load<u32>(lock, WAITING) != 0;
  atomic.store<u32>(lock, readersWait ? TURN : 0, WRITER);
  wake(lock);
  if (readersWait && atomic.load<u32>(lock, WAITING) == 0) endTurn(lock);
}

/** Slot of a reader that is still inside, from `number` on; or the number of slots. */
function readerFrom(lock: usize, number: u32): u32 {
  const slots = atomic.load<u32>(header, H_SLOTS);
  for (; number < slots; number++) {
    const slot = threadSlot(number);
    if (slot == thread || !(atomic.load<u32>(slot, T_WALK) & 1)) continue;
    if (atomic.load<u32>(slot, T_HOLDS) == <u32>(lock | READS)) return number;
  }
  return slots;
}

export function tryWrite(lock: usize): i32 {
  if (mustNot()) return -EDEADLK;
  if (!claim(lock)) return tellWord(lock + WRITER, -EBUSY);
  const reader = readerFrom(lock, 0);
  if (reader < atomic.load<u32>(header, H_SLOTS)) {
    abandon(lock);
    return tellWord(threadSlot(reader) + T_WALK, -EBUSY);
  }
  hold(lock | WRITES);
  return 0;
}

export function lockWrite(lock: usize): i32 {
  if (mustNot()) return -EDEADLK;
  while (!claim(lock)) {
    const writer = atomic.load<u32>(lock, WRITER);
    if (writer == TURN) awaitTurn(lock);
    else if (writer != 0) {
      const result = awaitWriter(lock, writer);
      if (result != 0) return result;
    }
  }
  const result = awaitReaders(lock);
  if (result == 0) hold(lock | WRITES);
  else abandon(lock);
  return result;
}

/** Readers that waited through the last write side go first; not for ever, as one of them may have died. */
function awaitTurn(lock: usize): void {
  if (spinWhile(lock + WRITER, TURN)) return;
  atomic.add<u32>(lock, 1, SLEEPERS);
  let naps = TURN_NAPS;
  for (; naps && atomic.load<u32>(lock, WRITER) == TURN; naps--) nap<u32>(lock + WRITER, TURN);
  atomic.sub<u32>(lock, 1, SLEEPERS);
  if (!naps) endTurn(lock);
}

function awaitReaders(lock: usize): i32 {
  const slots = atomic.load<u32>(header, H_SLOTS);
  for (let number = readerFrom(lock, 0); number < slots; number = readerFrom(lock, number)) {
    const word = threadSlot(number) + T_WALK;
    const counter = atomic.load<u32>(word);
    if (!(counter & 1) || spinWhile(word, counter)) continue;
    if (!mayBlock()) return -EBUSY;
    if (awaitChange<u32>(word, counter)) continue;
    blame(number, LATE_READER);
    return -ETIMEDOUT;
  }
  return 0;
}

/** One step of a thread that may not block: 0 held, -EAGAIN claimed, -EBUSY not yet. What is worth waiting on in the results. */
export function claimWrite(lock: usize): i32 {
  if (held() != (lock | CLAIMS)) {
    if (mustNot()) return -EDEADLK;
    if (!claim(lock)) return tellWord(lock + WRITER, -EBUSY);
  }
  const reader = readerFrom(lock, 0);
  if (reader < atomic.load<u32>(header, H_SLOTS)) return tellWord(threadSlot(reader) + T_WALK, -EAGAIN);
  hold(lock | WRITES);
  return 0;
}

function tellWord(word: usize, status: i32): i32 {
  setResult(0, <u64>word);
  setResult(1, atomic.load<u32>(word));
  return status;
}

export function abandonWrite(lock: usize): void {
  if (held() == (lock | CLAIMS)) abandon(lock);
}

export function unlockWrite(lock: usize): i32 {
  if (!holdsWrite(lock)) return -EPERM;
  abandon(lock);
  return 0;
}

export function describeLock(lock: usize): void {
  setResult(0, writerOf(lock));
  setResult(1, atomic.load<u32>(lock, WAITING));
}

// ---- a thread that has ended -------------------------------------------------------------------------------------

/** Takes the write side from a thread that has ended. False: it did not have it. */
export function takeFromDead(lock: usize, number: u32): bool {
  if (atomic.load<u32>(lock, WRITER) != number + 1) return false;
  passOn(lock);
  return true;
}

/** A reader that had been waiting is not coming. */
export function forgetWaiting(lock: usize): void { wantNoMore(lock); }
