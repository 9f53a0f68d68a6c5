/**
 * The exclusive monitor of one thread, by value: load-exclusive notes address and value, store-exclusive succeeds if
 * the entry still holds that value. It can fail for no reason, as hardware may (Arm ARM B2.12): a knob makes it do so.
 * A value that changed and was put back goes unseen; for entries whose next value is a pure function of the last
 * one that is sound.
 */
import { thread, T_FAILURES, T_MONITOR, T_MONITOR_VALUE, T_RANDOM, T_SPURIOUS } from "./layout";
import * as slots from "./slot";

export function setSpurious(oneIn: u32, seed: u32): void {
  store<u32>(thread, oneIn, T_SPURIOUS);
  store<u32>(thread, seed | 1, T_RANDOM);
}

export function takeFailures(): u32 {
  const failures = load<u32>(thread, T_FAILURES);
  store<u32>(thread, 0, T_FAILURES);
  return failures;
}

export function loadExclusive(slot: usize): u64 {
  const value = slots.read(slot);
  store<u32>(thread, <u32>slot, T_MONITOR);
  store<u64>(thread, value, T_MONITOR_VALUE);
  return value;
}

/** Leaves the monitor open. False: nothing was written. */
export function storeExclusive(slot: usize, next: u64): bool {
  const watched = load<u32>(thread, T_MONITOR) == <u32>slot;
  store<u32>(thread, 0, T_MONITOR);
  const value = load<u64>(thread, T_MONITOR_VALUE);
  // Lost: somebody stored to the entry since the load-exclusive; the loop loads it again.
  const done = watched && !spurious() && slots.compareExchange(slot, value, next) == value;
  if (!done) store<u32>(thread, load<u32>(thread, T_FAILURES) + 1, T_FAILURES);
  return done;
}

function spurious(): bool {
  const oneIn = load<u32>(thread, T_SPURIOUS);
  if (oneIn == 0) return false;
  let x = load<u32>(thread, T_RANDOM); // xorshift32
  x ^= x << 13;
  x ^= x >> 17;
  x ^= x << 5;
  store<u32>(thread, x, T_RANDOM);
  return x % oneIn == 0;
}
