/**
 * The exclusive monitor of a vCPU (Arm ARM B2.12).
 *
 * Fast: the store-exclusive compares by value. A location that was changed and changed back goes unseen (ABA).
 * Strict: it compares the version of the granule, which every store by a vCPU and every hardware update of a descriptor
 * advances. Sees every such store, whatever its value.
 */
import { granuleVersion, lineVersion, lockLineAt, sameLine, unlockLine } from "./granule";
import { Derived, derived, has, STRICT_MONITOR, Vcpu } from "./state";

// @ts-ignore: decorator
@inline function read(pointer: usize, size: u32): u64 {
  if (size == 8) return atomic.load<u64>(pointer);
  if (size == 4) return atomic.load<u32>(pointer);
  return size == 2 ? atomic.load<u16>(pointer) : atomic.load<u8>(pointer);
}

/** Load-exclusive: what is there, watched from now on. */
export function watch(v: Vcpu, va: u64, pointer: usize, size: u32): u64 {
  const d = derived(v);
  d.monitorVa = va;
  d.monitor = pointer;
  d.monitorBytes = size;
  if (has(v, STRICT_MONITOR)) { // before the value: never newer
    d.monitorVersion = lineVersion(pointer);
    d.monitorSum = granuleVersion(pointer, v.ergShift);
  }
  d.monitorLow = read(pointer, size);
  return d.monitorLow;
}

export function open(v: Vcpu): void { derived(v).monitor = 0; }

/** Whether a store to `pointer` falls into the watched granule. */
export function watches(v: Vcpu, pointer: usize): bool {
  const watched = derived(v).monitor;
  return watched != 0 && watched >> v.ergShift == pointer >> v.ergShift;
}

/**
 * This vCPU's own plain store is no reason to fail: what it stored belongs to the value to be found, and the lines it
 * touched have new versions. Stores of others stay as visible as they were.
 */
export function follow(v: Vcpu, pointer: usize, size: u32, value: u64): void {
  const d = derived(v);
  for (let i: u32 = 0; i < size; i++) {
    const at = pointer + i - d.monitor;
    if (at >= d.monitorBytes) continue;
    const shift = <u64>at << 3;
    d.monitorLow = (d.monitorLow & ~(<u64>0xff << shift)) | (value >> (<u64>i << 3) & 0xff) << shift;
  }
  if (!has(v, STRICT_MONITOR)) return;
  const last = pointer + size - 1;
  const both = !sameLine(pointer, last);
  if (watches(v, pointer)) d.monitorSum += 2;
  if (both && watches(v, last)) d.monitorSum += 2;
  if (sameLine(pointer, d.monitor) || (both && sameLine(last, d.monitor))) d.monitorVersion += 2;
}

/** Whether the last load-exclusive was of this address and size, and the store-exclusive does not fail for no reason. */
export function isClaimed(v: Vcpu, va: u64, size: u32): bool {
  const d = derived(v);
  return d.monitor != 0 && d.monitorVa == va && d.monitorBytes == size && !fails(v, d);
}

/** The store-exclusive itself. False: nothing was stored. */
export function storeIfWatched(v: Vcpu, pointer: usize, size: u32, value: u64): bool {
  const d = derived(v);
  if (d.monitor != pointer) return false; // the address is mapped elsewhere by now
  const expected = d.monitorLow;
  if (has(v, STRICT_MONITOR)) {
    // Lost: a vCPU or a hardware update stored to the granule since.
    if (granuleVersion(pointer, v.ergShift) != d.monitorSum || !lockLineAt(pointer, d.monitorVersion)) return false;
    const stored = exchange(pointer, size, expected, value);
    unlockLine(pointer, d.monitorVersion, stored);
    return stored;
  }
  return exchange(pointer, size, expected, value); // lost: the value is another one now
}

function exchange(pointer: usize, size: u32, old: u64, next: u64): bool {
  if (size == 8) return atomic.cmpxchg<u64>(pointer, old, next) == old;
  if (size == 4) return atomic.cmpxchg<u32>(pointer, <u32>old, <u32>next) == <u32>old;
  if (size == 2) return atomic.cmpxchg<u16>(pointer, <u16>old, <u16>next) == <u16>old;
  return atomic.cmpxchg<u8>(pointer, <u8>old, <u8>next) == <u8>old;
}

/** A failure for no reason, once in so many. */
function fails(v: Vcpu, d: Derived): bool {
  if (!v.spurious) return false;
  let x = d.random; // xorshift32
  x ^= x << 13;
  x ^= x >> 17;
  x ^= x << 5;
  d.random = x;
  return x % v.spurious == 0;
}
