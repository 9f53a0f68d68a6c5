/**
 * Loads, stores, fetches, atomics and exclusives of a guest, on guest memory. An access that crosses a page is translated
 * in both before a byte moves; the first page that fails gives the fault (H-4.21). Little-endian.
 */
import { dataPointer } from "../memory";
import { ALIGNMENT, beginAccess, EXTERNAL, raise } from "./fault";
import { lockLine, sameLine, unlockLine } from "./granule";
import * as monitor from "./monitor";
import {
  CAS_FAIL_CLEAN, derived, has, OWN_STORE_CLEARS, READ, STAY_CLEAN, STRICT_MONITOR, STXR_FAIL_DIRTY, UNALIGNED, Vcpu, WRITE,
} from "./state";
import { translate } from "./translate";

// Operations.
// @ts-ignore: decorator
@inline export const OP_READ: u32 = 1;
// @ts-ignore: decorator
@inline export const OP_WRITE: u32 = 2;
// @ts-ignore: decorator
@inline export const OP_FETCH: u32 = 3;
// @ts-ignore: decorator
@inline export const OP_ADD: u32 = 4;
// @ts-ignore: decorator
@inline export const OP_CLR: u32 = 5;
// @ts-ignore: decorator
@inline export const OP_EOR: u32 = 6;
// @ts-ignore: decorator
@inline export const OP_SET: u32 = 7;
// @ts-ignore: decorator
@inline export const OP_SWP: u32 = 8;
// @ts-ignore: decorator
@inline export const OP_CAS: u32 = 9;
// @ts-ignore: decorator
@inline export const OP_LDXR: u32 = 10;
// @ts-ignore: decorator
@inline export const OP_STXR: u32 = 11;

/** SCTLR_ELx.A: every unaligned access faults. */
// @ts-ignore: decorator
@inline const A: u64 = 1 << 1;

export let physical: u64 = 0;

/** Pointer to `size` bytes at `va` that lie in one page; 0: a fault was recorded. */
function pointerFor(v: Vcpu, va: u64, mode: u32): usize {
  const pa = translate(v, va, mode);
  if (pa < 0) return 0;
  const found = <u64><i64>pa;
  physical = found;
  const pointer = dataPointer(found);
  if (!pointer) noMemory(v, va, mode);
  return pointer;
}

/** Nothing at the physical address: a synchronous external abort, to the level that runs. */
function noMemory(v: Vcpu, va: u64, mode: u32): void {
  beginAccess(va, mode);
  raise(v, EXTERNAL, 0, 1, 0, mode, 0);
}

/** What an access of this size needs beside its rights; or 0 after an alignment fault. */
function modeFor(v: Vcpu, va: u64, size: u32, mode: u32, mustAlign: bool): u32 {
  if ((va & (size - 1)) == 0) return mode;
  if (!mustAlign && !((derived(v).el2 ? v.sctlr2 : v.sctlr1) & A)) return mode | UNALIGNED;
  beginAccess(va, mode);
  raise(v, ALIGNMENT, 0, 1, 0, mode, 0);
  return 0;
}

/** The smallest page, and what segments of the memory map are multiples of: a piece within one has one pointer. */
// @ts-ignore: decorator
@inline const PIECE: u64 = 4096;

function crosses(va: u64, size: u32): bool { return (va & (PIECE - 1)) + size > PIECE; }

/** `size` bytes (1, 2, 4, 8) at a pointer. Aligned ones are single-copy atomic. */
function loadAt(pointer: usize, size: u32): u64 {
  if (size == 4) return pointer & 3 ? load<u32>(pointer) : atomic.load<u32>(pointer);
  if (size == 8) return pointer & 7 ? load<u64>(pointer) : atomic.load<u64>(pointer);
  return size == 1 ? load<u8>(pointer) : load<u16>(pointer);
}

function storeAt(pointer: usize, size: u32, value: u64): void {
  if (size == 4) store<u32>(pointer, <u32>value);
  else if (size == 8) store<u64>(pointer, value);
  else if (size == 1) store<u8>(pointer, <u8>value);
  else store<u16>(pointer, <u16>value);
}

/** A store that other vCPUs' monitors notice, and that leaves this one's own claim alone (or not: a choice). */
function storeFor(v: Vcpu, pointer: usize, size: u32, value: u64): void {
  const last = pointer + size - 1;
  if (!has(v, STRICT_MONITOR)) storeAt(pointer, size, value);
  else {
    const version = lockLine(pointer);
    storeAt(pointer, size, value);
    unlockLine(pointer, version, true);
    if (!sameLine(pointer, last)) unlockLine(last, lockLine(last), true); // what it reaches into has a new version too
  }
  if (!monitor.watches(v, pointer) && !monitor.watches(v, last)) return;
  if (has(v, OWN_STORE_CLEARS)) monitor.open(v);
  else monitor.follow(v, pointer, size, value);
}

// What the last access of this thread read or found: low and high half.
export let low: u64 = 0;
export let high: u64 = 0;

/** Loads into `low` (and `high`, for 16). False: a fault was recorded. */
export function read(v: Vcpu, va: u64, size: u32, access: u32): bool {
  const mode = modeFor(v, va, min(size, 8), access, false);
  if (!mode) return false;
  if (crosses(va, size)) return readPieces(v, va, size, mode);
  const pointer = pointerFor(v, va, mode);
  if (!pointer) return false;
  low = loadAt(pointer, min(size, 8));
  if (size == 16) high = loadAt(pointer + 8, 8);
  return true;
}

export function write(v: Vcpu, va: u64, size: u32, access: u32, value: u64, upper: u64): bool {
  const mode = modeFor(v, va, min(size, 8), access, false);
  if (!mode) return false;
  if (crosses(va, size)) return writePieces(v, va, size, mode, value, upper);
  const pointer = pointerFor(v, va, mode);
  if (!pointer) return false;
  storeFor(v, pointer, min(size, 8), value);
  if (size == 16) storeFor(v, pointer + 8, 8, upper);
  return true;
}

/** First address of the second piece. */
function border(va: u64): u64 { return (va & ~(PIECE - 1)) + PIECE; }

function readPieces(v: Vcpu, va: u64, size: u32, mode: u32): bool {
  const second = border(va);
  const a = pointerFor(v, va, mode);
  if (!a) return false;
  const start = physical;
  const b = pointerFor(v, second, mode);
  if (!b) return false;
  physical = start;
  const split = <u32>(second - va);
  low = 0;
  high = 0;
  for (let i: u32 = 0; i < size; i++) {
    const byte = <u64>load<u8>(i < split ? a + i : b + (i - split));
    if (i < 8) low |= byte << (<u64>i << 3);
    else high |= byte << (<u64>(i - 8) << 3);
  }
  return true;
}

function writePieces(v: Vcpu, va: u64, size: u32, mode: u32, value: u64, upper: u64): bool {
  const second = border(va);
  // A store that faults in one page makes none dirty: both are asked before either is.
  if (!pointerFor(v, va, mode | STAY_CLEAN) || !pointerFor(v, second, mode | STAY_CLEAN)) return false;
  const a = pointerFor(v, va, mode);
  if (!a) return false;
  const start = physical;
  const b = pointerFor(v, second, mode);
  if (!b) return false;
  physical = start;
  const split = <u32>(second - va);
  for (let i: u32 = 0; i < size; i++) {
    const byte = i < 8 ? value >> (<u64>i << 3) : upper >> (<u64>(i - 8) << 3);
    storeFor(v, i < split ? a + i : b + (i - split), 1, byte & 0xff);
  }
  return true;
}

// ---- atomics -----------------------------------------------------------------------------------------------------

function combined(op: u32, old: u64, operand: u64): u64 {
  if (op == OP_ADD) return old + operand;
  if (op == OP_CLR) return old & ~operand;
  if (op == OP_EOR) return old ^ operand;
  return op == OP_SET ? old | operand : operand;
}

function exchange(pointer: usize, size: u32, old: u64, next: u64): u64 {
  if (size == 8) return atomic.cmpxchg<u64>(pointer, old, next);
  if (size == 4) return atomic.cmpxchg<u32>(pointer, <u32>old, <u32>next);
  if (size == 2) return atomic.cmpxchg<u16>(pointer, <u16>old, <u16>next);
  return atomic.cmpxchg<u8>(pointer, <u8>old, <u8>next);
}

// @ts-ignore: decorator
@inline function truncated(value: u64, size: u32): u64 { return size == 8 ? value : value & ((<u64>1 << (size << 3)) - 1); }

/** One atomic read-modify-write; the old value in `low`. */
export function atomicAccess(v: Vcpu, va: u64, op: u32, size: u32, access: u32, operand: u64, expected: u64): bool {
  const mode = modeFor(v, va, size, access | READ | WRITE, true);
  if (!mode) return false;
  // A CAS that does not store may leave the page clean: then whether it stores is known before it is translated as a write.
  if (op == OP_CAS && has(v, CAS_FAIL_CLEAN)) {
    const probe = pointerFor(v, va, mode | STAY_CLEAN);
    if (!probe) return false;
    low = loadAt(probe, size);
    if (low != truncated(expected, size)) return true;
  }
  const pointer = pointerFor(v, va, mode);
  if (!pointer) return false;
  const strict = has(v, STRICT_MONITOR);
  const version = strict ? lockLine(pointer) : 0;
  let old = loadAt(pointer, size);
  let stored = false;
  while (true) {
    if (op == OP_CAS && old != truncated(expected, size)) break;
    const found = exchange(pointer, size, old, truncated(combined(op, old, operand), size));
    if (found == old) {
      stored = true;
      break;
    }
    old = found; // lost to another agent: the operation applies to what is there now
  }
  if (strict) unlockLine(pointer, version, stored);
  if (stored && has(v, OWN_STORE_CLEARS) && monitor.watches(v, pointer)) monitor.open(v);
  low = old;
  return true;
}

// ---- exclusives ----------------------------------------------------------------------------------------------------

export function loadExclusive(v: Vcpu, va: u64, size: u32, access: u32): bool {
  const mode = modeFor(v, va, size, access | READ, true);
  if (!mode) return false;
  const pointer = pointerFor(v, va, mode);
  if (!pointer) return false;
  low = monitor.watch(v, va, pointer, size);
  return true;
}

/** `low` is the status: 0 stored, 1 not. Without a claim on the address the page stays clean (a choice). */
export function storeExclusive(v: Vcpu, va: u64, size: u32, access: u32, value: u64): bool {
  const mode = modeFor(v, va, size, access | WRITE, true);
  if (!mode) return false;
  const claimed = monitor.isClaimed(v, va, size);
  const clean = !claimed && !has(v, STXR_FAIL_DIRTY);
  // The page becomes dirty before the store; an update in the granule itself advances its version, and the store fails.
  const pointer = pointerFor(v, va, clean ? mode | STAY_CLEAN : mode);
  low = pointer && claimed && monitor.storeIfWatched(v, pointer, size, value) ? 0 : 1;
  monitor.open(v);
  return pointer != 0;
}
