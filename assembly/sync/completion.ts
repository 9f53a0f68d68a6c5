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
import { header, H_SLOTS, thread, threadSlot, T_BRACKET, T_HARDWARE, T_SPINS, T_WALK } from "../layout";
import { head } from "../tlbi";
import { awaitChange, blame, isLate, LATE_BRACKET, LATE_HARDWARE, LATE_WALK, nap, patienceInNaps } from "./wait";

/** This thread has invalidated something, and has not waited for the others since. */
export let owed: bool = false;

// @ts-ignore: decorator
@inline export function owe(): void { owed = true; }

export function settleDebt(): void { owed = false; }

/** Whether a vCPU of another thread is inside its bracket. */
export function othersInside(): bool {
  const slots = load<u32>(header, H_SLOTS);
  for (let number: u32 = 0; number < slots; number++) {
    const slot = threadSlot(number);
    if (slot != thread && atomic.load<u64>(slot, T_BRACKET) != 0) return true;
  }
  return false;
}

/**
 * DSB: returns when no vCPU of another thread uses what was invalidated before; or when patience has ended, and
 * somebody is to blame. A second one in the same operation does not wait again for who did not answer.
 */
export function complete(): void {
  owed = false;
  const position = head();
  const slots = load<u32>(header, H_SLOTS);
  for (let number: u32 = 0; number < slots; number++) {
    const slot = threadSlot(number);
    if (slot == thread) continue;
    awaitSection(number, slot + T_HARDWARE, LATE_HARDWARE);
    if (!awaitBracket(slot, position)) blame(number, LATE_BRACKET);
  }
}

function awaitSection(number: u32, word: usize, reason: u32): void {
  const counter = atomic.load<u32>(word);
  if (!(counter & 1) || isLate()) return;
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
    if (!isBehind(bracket, position) || isLate()) return true; // late: somebody is to blame already
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

/** Returns when every section that another thread had open has ended. False: one did not, and its thread is to blame. */
export function grace(): bool {
  const slots = load<u32>(header, H_SLOTS);
  for (let number: u32 = 0; number < slots && !isLate(); number++) {
    const slot = threadSlot(number);
    if (slot == thread) continue;
    awaitSection(number, slot + T_HARDWARE, LATE_HARDWARE);
    awaitSection(number, slot + T_WALK, LATE_WALK);
  }
  return !isLate();
}
