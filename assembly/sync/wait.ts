/**
 * Waiting for another thread: it looks for a while, then sleeps in slices, and gives up when its patience ends. Nothing
 * here waits for ever, and who was waited for in vain is known by name.
 *
 * What may wait for what (each only for what stands below it, so no circle can close):
 *
 *   mmu_lock            for the write side, and for the read sides that are open
 *   grace period        for walk and hardware sections          never inside a section of its own
 *   completion (DSB)    for hardware sections and brackets      may be in the middle of a shared walk
 *   hardware section, bracket                                   wait for nothing
 */
import { thread, threadSlot, T_BLOCKS, T_BRACKET, T_PATIENCE, T_SPINS } from "../layout";

/** What was waited for in vain. */
// @ts-ignore: decorator
@inline export const LATE_HARDWARE: u32 = 1;
// @ts-ignore: decorator
@inline export const LATE_BRACKET: u32 = 2;
// @ts-ignore: decorator
@inline export const LATE_WALK: u32 = 3;
// @ts-ignore: decorator
@inline export const LATE_READER: u32 = 4;
// @ts-ignore: decorator
@inline export const LATE_WRITER: u32 = 5;
// @ts-ignore: decorator
@inline export const LATE_INVALIDATION: u32 = 6;

// Who did not answer in this thread's last operation; reason 0: nobody. The first of them, and all of the first 64 threads.
export let lateThread: u32 = 0;
export let lateVcpu: u32 = 0;
export let lateReason: u32 = 0;
export let lateThreads: u64 = 0;

/** A new operation has its patience before it. */
export function beginWaiting(): void {
  lateReason = 0;
  lateThreads = 0;
}

/** Whether this thread was waited for in vain already. Of the 65th and beyond nobody remembers it: they are waited for anew. */
export function wasLate(number: u32): bool { return number < 64 && (lateThreads >> number & 1) != 0; }

// @ts-ignore: decorator
@inline export function isLate(): bool { return lateReason != 0; }

/** Notes who did not answer. The vCPU is the one that is inside its bracket by now, if any. */
export function blame(number: u32, reason: u32): void {
  if (number < 64) lateThreads |= <u64>1 << number;
  if (lateReason) return; // somebody was later
  lateThread = number;
  lateVcpu = <u32>(atomic.load<u64>(threadSlot(number), T_BRACKET) >> 32);
  lateReason = reason;
}

// @ts-ignore: decorator
@inline const FIRST_SLICE: i64 = 20_000; // ns
// @ts-ignore: decorator
@inline const LONGEST_SLICE: i64 = 1_000_000;
// @ts-ignore: decorator
@inline const NS_PER_MS: i64 = 1_000_000;
/** Looks of a thread that may not sleep, about: there is no clock here. */
// @ts-ignore: decorator
@inline const LOOKS_PER_MS: i64 = 100_000;
/** Result of a wait whose word was another already. */
// @ts-ignore: decorator
@inline const NOT_EQUAL: i32 = 1;

/** Patience for one who is late is not begun anew for the next: what is left is enough for whoever does answer. */
// @ts-ignore: decorator
@inline const SHORT_PATIENCE: u32 = 20; // ms

function patienceNow(): i64 {
  const patience = load<u32>(thread, T_PATIENCE);
  return isLate() ? min(patience, SHORT_PATIENCE) : patience;
}

// @ts-ignore: decorator
@inline export function mayBlock(): bool { return load<u32>(thread, T_BLOCKS) != 0; }

/** Looks at the word for as long as this thread looks before it sleeps. False: it is still `value`. */
export function spinWhile(word: usize, value: u32): bool {
  for (let looks = load<u32>(thread, T_SPINS); looks; looks--) {
    if (atomic.load<u32>(word) != value) return true;
  }
  return atomic.load<u32>(word) != value;
}

/** Waits until the word (u32 or u64) is no longer `value`. False: patience has ended. */
export function awaitChange<T>(word: usize, value: T): bool {
  const patience = patienceNow();
  if (!mayBlock()) return look<T>(word, value, patience * LOOKS_PER_MS);
  if (look<T>(word, value, load<u32>(thread, T_SPINS))) return true;
  let slice = FIRST_SLICE;
  for (let slept: i64 = 0; slept < patience * NS_PER_MS; slept += slice) {
    if (sleep<T>(word, value, slice) == NOT_EQUAL || atomic.load<T>(word) != value) return true;
    slice = min(slice << 1, LONGEST_SLICE);
  }
  return false;
}

/** One slice of sleep, for loops that have something to do between. */
export function nap<T>(word: usize, value: T): void {
  if (mayBlock()) sleep<T>(word, value, FIRST_SLICE);
}

/** How many naps make up this thread's patience, about: a sleep takes several times as long as it asks for. */
export function patienceInNaps(): u32 {
  const each = mayBlock() ? FIRST_SLICE * 4 : NS_PER_MS / LOOKS_PER_MS;
  return <u32>min(patienceNow() * NS_PER_MS / each, <i64>i32.MAX_VALUE);
}

function look<T>(word: usize, value: T, looks: i64): bool {
  for (; looks > 0; looks--) {
    if (atomic.load<T>(word) != value) return true;
  }
  return false;
}

/**
 * The wait alone: the baseline compiler of V8 (Node 20) loses what a function has in registers when it waits, so nothing may
 * come after it that needs a local. The call of itself is never made; it keeps the function from being inlined.
 */
function sleep<T>(word: usize, value: T, ns: i64): i32 {
  if (ns < 0) return sleep<T>(word, value, -ns);
  if (sizeof<T>() == 8) return atomic.wait<i64>(word, <i64>value, ns);
  return atomic.wait<i32>(word, <i32>value, ns);
}
