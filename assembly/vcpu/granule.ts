/**
 * Versions of memory lines, for the strict exclusive monitor: every store that a vCPU makes advances the version of each
 * 16-byte line it touches, so a store-exclusive sees that somebody stored although the old value is back (no ABA). A
 * granule of an exclusive is one line (the smallest that the architecture has) or a power of two of them.
 *
 * A version is odd while a store is under way, which makes "version unchanged" and the store one step. Lines share 1,024
 * versions: a clash fails a store-exclusive for no reason, as hardware may (Arm ARM B2.12).
 */
import { GRANULES, granules } from "../layout";
import { awaitChange } from "../sync/wait";

// @ts-ignore: decorator
@inline const LINE_SHIFT: u32 = 4;
// @ts-ignore: decorator
@inline const LINE: usize = 16;

// @ts-ignore: decorator
@inline function versionOf(pointer: usize): usize {
  return granules + <usize>((<u32>pointer >> LINE_SHIFT) & (GRANULES - 1)) * 4;
}

/** Version now; odd ones are waited out, as their owner only has one store to make. One that stays odd has lost its owner. */
export function lineVersion(pointer: usize): u32 {
  const word = versionOf(pointer);
  while (true) {
    const version = atomic.load<u32>(word);
    if (!(version & 1)) return version;
    // Lost: somebody else ends it first, or its owner did after all.
    if (!awaitChange<u32>(word, version)) atomic.cmpxchg<u32>(word, version, version + 1);
  }
}

/** Sum of the versions of a granule: the same again if nobody has stored to any of its lines, as they only grow. */
export function granuleVersion(pointer: usize, ergShift: u32): u32 {
  const bytes = <usize>1 << ergShift;
  const first = pointer & ~(bytes - 1);
  let sum: u32 = 0;
  for (let line = first; line < first + bytes; line += LINE) sum += lineVersion(line);
  return sum;
}

/** Starts a store: the even version that it replaces. */
export function lockLine(pointer: usize): u32 {
  while (true) {
    const version = lineVersion(pointer);
    if (atomic.cmpxchg<u32>(versionOf(pointer), version, version + 1) == version) return version;
    // lost: another vCPU stores to the line first
  }
}

/** Starts a store if nobody has stored since `version` was read. False: somebody has, nothing may be stored. */
export function lockLineAt(pointer: usize, version: u32): bool {
  return atomic.cmpxchg<u32>(versionOf(pointer), version, version + 1) == version;
}

/** Ends a store; `stored`: the line has a new version. */
export function unlockLine(pointer: usize, version: u32, stored: bool): void {
  atomic.store<u32>(versionOf(pointer), stored ? version + 2 : version);
}

// @ts-ignore: decorator
@inline export function sameLine(a: usize, b: usize): bool { return a >> LINE_SHIFT == b >> LINE_SHIFT; }
