/**
 * Versions of memory granules, for the strict exclusive monitor: every store that a vCPU makes advances the version of
 * its granule, so a store-exclusive sees that somebody stored although the old value is back (no ABA).
 *
 * A version is odd while a store is under way, which makes "version unchanged" and the store one step. Granules share
 * 1,024 versions: a clash fails a store-exclusive for no reason, as hardware may (Arm ARM B2.12).
 */
import { GRANULES, granules } from "../layout";

// @ts-ignore: decorator
@inline function versionOf(pointer: usize, ergShift: u32): usize {
  return granules + <usize>((<u32>pointer >> ergShift) & (GRANULES - 1)) * 4;
}

/** Version now; odd ones are waited out, as their owner only has one store to make. */
export function granuleVersion(pointer: usize, ergShift: u32): u32 {
  const word = versionOf(pointer, ergShift);
  while (true) {
    const version = atomic.load<u32>(word);
    if (!(version & 1)) return version;
  }
}

/** Starts a store: the even version that it replaces. */
export function lockGranule(pointer: usize, ergShift: u32): u32 {
  while (true) {
    const version = granuleVersion(pointer, ergShift);
    if (atomic.cmpxchg<u32>(versionOf(pointer, ergShift), version, version + 1) == version) return version;
    // lost: another vCPU stores to the granule first
  }
}

/** Starts a store if nobody has stored since `version` was read. False: somebody has, nothing may be stored. */
export function lockGranuleAt(pointer: usize, ergShift: u32, version: u32): bool {
  return atomic.cmpxchg<u32>(versionOf(pointer, ergShift), version, version + 1) == version;
}

/** Ends a store; `stored`: the granule has a new version. */
export function unlockGranule(pointer: usize, ergShift: u32, version: u32, stored: bool): void {
  atomic.store<u32>(versionOf(pointer, ergShift), stored ? version + 2 : version);
}
