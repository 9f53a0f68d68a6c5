/**
 * Completion of TLB invalidations (DSB), and grace periods: when what was taken away is out of everybody's hands.
 *
 *   initiator                              another thread
 *   take the entry away                    enter: bracket = { vCPU, head of the log }
 *   log the invalidation: head + 1         … apply the log, walk, use the page …
 *   look at sections and brackets   ---->  poll: bracket = { vCPU, head }     exit: bracket = 0
 *
 * A bracket that opens later begins with the new head, and applies it before it translates.
 */
import { header, H_BUDGET, H_RETIRING, H_SLOTS, thread, threadSlot, T_BRACKET, T_HARDWARE, T_SPINS, T_WALK } from "../layout";
import { forgetRecord, head } from "../tlbi";
import { awaitChange, blame, isLate, LATE_BRACKET, LATE_HARDWARE, LATE_WALK, nap, patienceInNaps, spinWhile, wasLate } from "./wait";

/** This thread has invalidated something, and has not waited for the others since. */
export let owed: bool = false;

/** To be called before the invalidation is logged, if it is. */
export function owe(): void {
  owed = true;
  forgetRecord();
}

export function settleDebt(): void { owed = false; }

/** Whether a vCPU of another thread is inside its bracket. */
export function othersInside(): bool {
  const slots = atomic.load<u32>(header, H_SLOTS);
  for (let number: u32 = 0; number < slots; number++) {
    const slot = threadSlot(number);
    if (slot != thread && atomic.load<u64>(slot, T_BRACKET) != 0) return true;
  }
  return false;
}

/**
 * DSB: returns when no vCPU of another thread uses what was invalidated before, but for those that patience has ended
 * for. A second one in the same operation does not wait again for who did not answer.
 */
export function complete(): void {
  owed = false;
  const position = head();
  const slots = atomic.load<u32>(header, H_SLOTS);
  for (let number: u32 = 0; number < slots; number++) {
    const slot = threadSlot(number);
    if (slot == thread) continue;
    awaitSection(number, slot + T_HARDWARE, LATE_HARDWARE);
    if (!wasLate(number) && !awaitBracket(slot, position)) blame(number, LATE_BRACKET);
  }
}

function awaitSection(number: u32, word: usize, reason: u32): void {
  const counter = atomic.load<u32>(word);
  if (!(counter & 1) || wasLate(number)) return;
  if (!awaitChange<u32>(word, counter)) blame(number, reason);
}

// @ts-ignore: decorator
@inline function isBehind(bracket: u64, position: u32): bool { return bracket != 0 && <i32>(position - <u32>bracket) > 0; }

/**
 * While it waits, a vCPU that is inside its own bracket polls: it has asked for the invalidation and holds no address from
 * before. So two vCPUs that invalidate at a time do not wait for each other.
 */
function awaitBracket(slot: usize, position: u32): bool {
  let looks = load<u32>(thread, T_SPINS);
  let naps = patienceInNaps();
  while (true) {
    const bracket = atomic.load<u64>(slot, T_BRACKET);
    if (!isBehind(bracket, position)) return true;
    keepUp();
    if (looks) looks--;
    else if (naps--) nap<u64>(slot + T_BRACKET, bracket);
    else return false;
  }
}

/** Publishes that this thread's vCPU inside its bracket has nothing from before now. */
function keepUp(): void {
  const bracket = load<u64>(thread, T_BRACKET);
  if (bracket == 0) return;
  const now = bracket >> 32 << 32 | <u64>head();
  if (now != bracket) atomic.store<u64>(thread, now, T_BRACKET);
}

/** Returns when every section that another thread had open has ended. False: some did not, and are to blame. */
export function grace(): bool {
  const slots = atomic.load<u32>(header, H_SLOTS);
  for (let number: u32 = 0; number < slots; number++) {
    const slot = threadSlot(number);
    if (slot == thread) continue;
    awaitSection(number, slot + T_HARDWARE, LATE_HARDWARE);
    awaitSection(number, slot + T_WALK, LATE_WALK);
  }
  return !isLate();
}

/** Sleeps that a thread allows others when much waits already. */
// @ts-ignore: decorator
@inline const NAPS: u32 = 16;

/**
 * The same without patience: whether they have ended as soon as this thread has looked; nobody is to blame if not. Where a
 * quarter of all table pages waits, it sleeps a little too: somebody may be in the middle of a long listing.
 */
export function graceAtOnce(): bool {
  const naps = atomic.load<u32>(header, H_RETIRING) > load<u32>(header, H_BUDGET) >> 2 ? NAPS : 0;
  const slots = atomic.load<u32>(header, H_SLOTS);
  for (let number: u32 = 0; number < slots; number++) {
    const slot = threadSlot(number);
    if (slot != thread && (staysOpen(slot + T_HARDWARE, naps) || staysOpen(slot + T_WALK, naps))) return false;
  }
  return true;
}

function staysOpen(word: usize, naps: u32): bool {
  const counter = atomic.load<u32>(word);
  if (!(counter & 1) || spinWhile(word, counter)) return false;
  for (; naps; naps--) {
    nap<u32>(word, counter);
    if (atomic.load<u32>(word) != counter) return false;
  }
  return true;
}
