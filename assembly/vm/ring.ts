/**
 * The dirty ring of a vCPU context: entries that its thread pushes, the VMM harvests, and a reset protects anew.
 *
 *   entry: +0 flags (1 dirty, 2 harvested)   +4 slot   +8 page in it          reset <= harvested <= pushed <= reset + entries
 *
 * The entry is complete before its flag is set; who sees the flag sees the entry. Whoever resets clears the flag before it counts.
 */
import { Context, PUSHED, RESET } from "./context";

// @ts-ignore: decorator
@inline const DIRTY: u32 = 1;
// @ts-ignore: decorator
@inline const HARVESTED: u32 = 2;
/** Entries kept back for what is still dirtied after the ring is said to be full. */
// @ts-ignore: decorator
@inline const RESERVED: u32 = 64;
// @ts-ignore: decorator
@inline const ENTRY_SHIFT: usize = 4;

// @ts-ignore: decorator
@inline export function pushedOf(c: Context): u32 { return atomic.load<u32>(c.word(PUSHED)); }
// @ts-ignore: decorator
@inline export function resetOf(c: Context): u32 { return atomic.load<u32>(c.word(RESET)); }
// @ts-ignore: decorator
@inline export function softLimit(c: Context): u32 { return c.entries - RESERVED; }

export function isSoftFull(c: Context): bool { return c.ring != 0 && pushedOf(c) - resetOf(c) >= softLimit(c); }

// @ts-ignore: decorator
@inline function entryAt(c: Context, index: u32): usize { return c.ring + (<usize>(index & (c.entries - 1)) << ENTRY_SHIFT); }

/** By the thread of the context. False: there is no room at all. */
export function push(c: Context, slot: u32, page: u64): bool {
  const index = pushedOf(c);
  if (index - resetOf(c) >= c.entries) return false;
  const entry = entryAt(c, index);
  store<u32>(entry, slot, 4);
  store<u64>(entry, page, 8);
  atomic.store<u32>(c.word(PUSHED), index + 1); // first: who sees the flag may reset the entry at once
  atomic.store<u32>(entry, DIRTY);
  return true;
}

// The entry that `seeHarvested` found.
export let seenSlot: u32 = 0;
export let seenPage: u64 = 0;

/** Looks at the oldest entry, if the VMM has harvested it. One thread at a time: whoever has the slots_lock. */
export function seeHarvested(c: Context): bool {
  const index = resetOf(c);
  if (!c.ring || index == pushedOf(c)) return false;
  const entry = entryAt(c, index);
  if (!(atomic.load<u32>(entry) & HARVESTED)) return false;
  seenSlot = load<u32>(entry, 4);
  seenPage = load<u64>(entry, 8);
  return true;
}

/** That entry is free again. */
export function takeSeen(c: Context): void {
  const index = resetOf(c);
  atomic.store<u32>(entryAt(c, index), 0);
  atomic.store<u32>(c.word(RESET), index + 1);
}

/** The ring goes: calls of `seeNext` go through what is left in it, harvested or not. */
export function seeNext(c: Context): bool {
  const index = resetOf(c);
  if (!c.ring || index == pushedOf(c)) return false;
  const entry = entryAt(c, index);
  seenSlot = load<u32>(entry, 4);
  seenPage = load<u64>(entry, 8);
  takeSeen(c);
  return true;
}
