/**
 * Thread slots: taken, given back, looked at from outside, and taken from a thread that has ended without giving its slot
 * back. Nothing here can tell that a thread has ended; who waits for it in vain learns its number, and says so.
 */
import {
  HEADER_BYTES, H_SLOTS, H_THREADS, thisThread, thread, threadSlot, THREAD_BYTES, T_BRACKET, T_BLOCKS, T_FAILURES,
  T_CHANGES, T_HARDWARE, T_HELD, T_HOLDS, T_HOLDS_TABLE, T_IN_PROGRESS, T_INVALIDATED, T_INVALIDATES, T_LOADED, T_MAPPINGS, T_MONITOR, T_OWN, T_PAGES, T_TREES, T_MONITOR_VALUE, T_PATIENCE, T_RANDOM, T_SPINS, T_SPURIOUS, T_STATE, T_WALK, header,
} from "../layout";
import { CLAIMS, HOLDS, READS, WAITS, WRITES } from "./lock";

// @ts-ignore: decorator
@inline const FREE: u32 = 0;
// @ts-ignore: decorator
@inline const TAKEN: u32 = 1;
// @ts-ignore: decorator
@inline const RECLAIMED: u32 = 2; // somebody is clearing up
// @ts-ignore: decorator
@inline const SPINS: u32 = 1000;
// @ts-ignore: decorator
@inline const PATIENCE: u32 = 2000;

// What a thread is in the middle of.
// @ts-ignore: decorator
@inline export const IN_HARDWARE: u32 = 1;
// @ts-ignore: decorator
@inline export const IN_WALK: u32 = 2;
// @ts-ignore: decorator
@inline export const HAS_READ: u32 = 4;
// @ts-ignore: decorator
@inline export const HAS_WRITE: u32 = 8;
// @ts-ignore: decorator
@inline export const HAS_CLAIM: u32 = 16;
// @ts-ignore: decorator
@inline export const IN_BRACKET: u32 = 32;
// @ts-ignore: decorator
@inline export const WANTS_READ: u32 = 64;

/** Number of a slot of the region at `base` that is this thread's now, or -1. */
export function takeThread(base: usize): i32 {
  const threads = load<u32>(base, H_THREADS);
  for (let number: u32 = 0; number < threads; number++) {
    const slot = base + HEADER_BYTES + <usize>number * THREAD_BYTES;
    if (atomic.cmpxchg<u32>(slot, FREE, TAKEN, T_STATE) != FREE) continue; // lost: another thread has this slot
    clear(slot);
    raise(base + H_SLOTS, number + 1);
    return <i32>number;
  }
  return -1;
}

/** Nothing of the last owner, but the section counters: somebody may still wait for one of them to change. */
function clear(slot: usize): void {
  store<u32>(slot, 0, T_SPURIOUS);
  store<u32>(slot, 0, T_RANDOM);
  store<u32>(slot, 0, T_FAILURES);
  store<u32>(slot, 0, T_MONITOR);
  store<u64>(slot, 0, T_MONITOR_VALUE);
  atomic.store<u64>(slot, 0, T_BRACKET);
  store<u32>(slot, 0, T_HOLDS);
  store<u32>(slot, 0, T_PAGES);
  store<u32>(slot, 0, T_TREES);
  store<u32>(slot, 0, T_OWN);
  store<u32>(slot, 0, T_HOLDS_TABLE);
  store<u32>(slot, 0, T_INVALIDATES);
  store<u32>(slot, 0, T_CHANGES);
  store<u32>(slot, 0, T_INVALIDATED);
  store<u32>(slot, 0, T_IN_PROGRESS);
  store<u32>(slot, 0, T_LOADED);
  store<u32>(slot, 0, T_HELD);
  store<u32>(slot, 0, T_MAPPINGS);
  store<u32>(slot, SPINS, T_SPINS);
  store<u32>(slot, PATIENCE, T_PATIENCE);
  store<u32>(slot, 1, T_BLOCKS);
}

/** The word is at least `least` from now on. */
function raise(word: usize, least: u32): void {
  let value = atomic.load<u32>(word);
  while (value < least) {
    const found = atomic.cmpxchg<u32>(word, value, least);
    if (found == value) return;
    value = found; // lost to another thread that attaches: perhaps it has said more
  }
}

export function giveThread(slot: usize): void {
  atomic.store<u64>(slot, 0, T_BRACKET);
  atomic.store<u32>(slot, FREE, T_STATE);
}

export function configureThread(blocks: bool, spins: u32, patience: u32): void {
  store<u32>(thread, <u32>blocks, T_BLOCKS);
  store<u32>(thread, spins, T_SPINS);
  store<u32>(thread, patience, T_PATIENCE);
}

// @ts-ignore: decorator
@inline export function isTaken(number: u32): bool {
  return number < load<u32>(header, H_THREADS) && atomic.load<u32>(threadSlot(number), T_STATE) == TAKEN;
}

/** Whether this thread is the one that clears up. Lost: another does, or the slot is free. */
export function beginReclaim(number: u32): bool {
  if (number >= load<u32>(header, H_THREADS) || number == thisThread()) return false;
  return atomic.cmpxchg<u32>(threadSlot(number), TAKEN, RECLAIMED, T_STATE) == TAKEN;
}

/** What a thread is in the middle of. */
export function flagsOf(number: u32): u32 {
  const slot = threadSlot(number);
  const holds = <usize>atomic.load<u32>(slot, T_HOLDS);
  const how = holds & HOLDS;
  const walks = (atomic.load<u32>(slot, T_WALK) & 1) != 0;
  return (atomic.load<u32>(slot, T_HARDWARE) & 1 ? IN_HARDWARE : 0) | (walks ? IN_WALK : 0) | (vcpuOf(number) ? IN_BRACKET : 0) |
    (how == READS && walks ? HAS_READ : 0) | (how == WRITES ? HAS_WRITE : 0) | (how == CLAIMS ? HAS_CLAIM : 0) |
    (holds && how == WAITS ? WANTS_READ : 0);
}

/** Its vCPU inside a bracket, or 0. */
export function vcpuOf(number: u32): u32 { return <u32>(atomic.load<u64>(threadSlot(number), T_BRACKET) >> 32); }

/** The lock that it has or waits for, or 0. */
export function lockOf(number: u32): usize { return <usize>atomic.load<u32>(threadSlot(number), T_HOLDS) & ~HOLDS; }

/** Ends the sections and the bracket of a thread that has ended, and wakes who waits for them. */
export function endSections(number: u32): void {
  const slot = threadSlot(number);
  endSection(slot + T_HARDWARE);
  endSection(slot + T_WALK);
  atomic.store<u64>(slot, 0, T_BRACKET);
  atomic.notify(slot + T_BRACKET, -1);
  atomic.store<u32>(slot, 0, T_HOLDS);
}

function endSection(word: usize): void {
  const counter = atomic.load<u32>(word);
  if (counter & 1) atomic.store<u32>(word, counter + 1);
  atomic.notify(word, -1);
}
