/**
 * The physical memory map: which pointer a physical address lies at. The table-page pool is the first segment and the
 * fast path; up to seven more come from the embedder: guest RAM, or tables that somebody else built. Where nothing is,
 * an access gets an external abort.
 *
 *   segment: +0 first address   +8 bytes (0: free)   +16 pointer
 */
import { EEXIST, EINVAL, EMFILE } from "./errno";
import { isBuffer, isPrivate } from "./pool";
import { delta, H_COMMITTED, H_MAP, H_UNITS, header, MAP_SEGMENTS, pool, poolPhys, setResult, UNIT_SHIFT } from "./layout";

// @ts-ignore: decorator
@inline const SEGMENT_BYTES: usize = 32;
// @ts-ignore: decorator
@inline const PA_LIMIT: u64 = <u64>1 << 52;

// @ts-ignore: decorator
@inline function segmentAt(index: u32): usize { return header + H_MAP + <usize>index * SEGMENT_BYTES; }

/** Bytes of the pool that exist today. */
// @ts-ignore: decorator
@inline export function poolBytes(): u64 { return <u64>atomic.load<u32>(header, H_COMMITTED) << UNIT_SHIFT; }

/** Pointer to the aligned word of at most 16 bytes at this physical address; 0: no memory there. */
// @ts-ignore: decorator
@inline export function pointerTo(pa: u64): usize {
  return pa - poolPhys < poolBytes() ? <usize>(pa + delta) : pointerBeyondPool(pa);
}

function pointerBeyondPool(pa: u64): usize {
  for (let i: u32 = 0; i < MAP_SEGMENTS; i++) {
    const segment = segmentAt(i);
    const present = atomic.load<u64>(segment, 8); // first: written last, and taken away first
    const offset = pa - load<u64>(segment);
    if (offset < present) return <usize>load<u32>(segment, 16) + <usize>offset;
  }
  return 0;
}

/** The same for a walk: pages of the pool that hold no tables (vCPUs, their TLBs) are no memory to it. */
export function tablePointer(pa: u64): usize {
  const pointer = pointerTo(pa);
  return pointer && pa - poolPhys < poolBytes() && isPrivate(pointer) ? 0 : pointer;
}

/** Physical address of a pointer that the map gave. */
export function physicalOf(pointer: usize): u64 {
  for (let i: u32 = 0; i < MAP_SEGMENTS; i++) {
    const segment = segmentAt(i);
    const present = atomic.load<u64>(segment, 8);
    const offset = <u64>pointer - <u64>load<u32>(segment, 16);
    if (offset < present) return load<u64>(segment) + offset;
  }
  return <u64>pointer - delta;
}

/** Pointer to guest memory: the table pages are no place for a program's loads and stores. */
export function dataPointer(pa: u64): usize { return pointerBeyondPool(pa); }

/** The same for what tracks dirty state: its buffers may lie in the pool too. */
export function bufferPointer(pa: u64): usize {
  if (pa - poolPhys >= poolBytes()) return pointerBeyondPool(pa);
  const pointer = <usize>(pa + delta);
  return isBuffer(pointer) ? pointer : 0;
}

// @ts-ignore: decorator
@inline function overlap(a: u64, aBytes: u64, b: u64, bBytes: u64): bool { return a < b + bBytes && b < a + aBytes; }

// Beside address, bytes and pointer.
// @ts-ignore: decorator
@inline const STATE: usize = 24;
// @ts-ignore: decorator
@inline const FREE: u32 = 0;
// @ts-ignore: decorator
@inline const TAKEN: u32 = 1;

/** Adds a segment. Nothing changes unless the result is 0. */
export function addSegment(pa: u64, pointer: usize, bytes: u64): i32 {
  if ((pa | <u64>pointer | bytes) & 0xfff || !bytes || pa >= PA_LIMIT || bytes > PA_LIMIT - pa) return -EINVAL;
  if (<u64>pointer + bytes > <u64><u32>memory.size() << 16) return -EINVAL;
  const wholePool = <u64>load<u32>(header, H_UNITS) << UNIT_SHIFT;
  if (overlap(<u64>pointer, bytes, <u64>header, <u64>(pool - header) + wholePool)) return -EINVAL;
  if (overlap(pa, bytes, poolPhys, wholePool)) return -EEXIST;
  for (let i: u32 = 0; i < MAP_SEGMENTS; i++) {
    const segment = segmentAt(i);
    const present = atomic.load<u64>(segment, 8);
    if (present && overlap(pa, bytes, load<u64>(segment), present)) return -EEXIST;
  }
  const free = takeSegment();
  if (!free) return -EMFILE;
  store<u64>(free, pa);
  store<u32>(free, <u32>pointer, 16);
  atomic.store<u64>(free, bytes, 8);
  return 0;
}

/** Describes segment `index` (0: the pool) in the results: address, bytes (0: free), pointer. False: there are no more. */
export function describeSegment(index: u32): bool {
  if (index > MAP_SEGMENTS) return false;
  if (index == 0) {
    setResult(0, poolPhys);
    setResult(1, poolBytes());
    setResult(2, pool);
    return true;
  }
  const segment = segmentAt(index - 1);
  setResult(1, atomic.load<u64>(segment, 8));
  setResult(0, load<u64>(segment));
  setResult(2, load<u32>(segment, 16));
  return true;
}

function takeSegment(): usize {
  for (let i: u32 = 0; i < MAP_SEGMENTS; i++) {
    if (atomic.cmpxchg<u32>(segmentAt(i), FREE, TAKEN, STATE) == FREE) return segmentAt(i);
  }
  return 0;
}

/**
 * Takes a segment out of the map: from now on nobody finds it. Who has found it before may still read its fields, so
 * `freeSegment` must not follow before hardware sections have ended. 0: there is none.
 */
export function hideSegment(pa: u64): usize {
  for (let i: u32 = 0; i < MAP_SEGMENTS; i++) {
    const segment = segmentAt(i);
    const present = atomic.load<u64>(segment, 8);
    if (present == 0 || load<u64>(segment) != pa) continue;
    if (atomic.cmpxchg<u64>(segment, present, 0, 8) == present) return segment; // lost: another thread removes it
  }
  return 0;
}

export function freeSegment(segment: usize): void { atomic.store<u32>(segment, FREE, STATE); }
