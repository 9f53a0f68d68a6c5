/**
 * Nodes of the ordered map from gfn to pfn (tree.ts): one unit each, sorted entries behind a header. A leaf holds records, a
 * node above others holds its children; both look the same.
 *
 *   +0   entries      +4  previous, +8 next node of the same level; in the list of spare nodes, +8 is the next one
 *   +16  low          +24 high: the keys that belong here are low <= key < high, whether they are there or not
 *   +32  entries of 16 bytes, up to 254
 *
 *   record:  +0 gfn                +8 pfn, and in its highest byte log2 of the pages
 *   child:   +0 low of the child   +8 pointer
 *
 * High of a node is low of the next, from 0 to END (which is no gfn). Places in a node are pointers to entries.
 */

// @ts-ignore: decorator
@inline const COUNT: usize = 0;
// @ts-ignore: decorator
@inline const PREVIOUS: usize = 4;
// @ts-ignore: decorator
@inline const NEXT: usize = 8;
// @ts-ignore: decorator
@inline const LOW: usize = 16;
// @ts-ignore: decorator
@inline const HIGH: usize = 24;
// @ts-ignore: decorator
@inline const HEADER: usize = 32;
// @ts-ignore: decorator
@inline const VALUE: usize = 8;
// @ts-ignore: decorator
@inline const ENTRY_SHIFT: usize = 4;
// @ts-ignore: decorator
@inline export const ENTRY: usize = 16;
// @ts-ignore: decorator
@inline export const END: u64 = i64.MAX_VALUE;
// @ts-ignore: decorator
@inline export const CAPACITY: u32 = 254;
/** Neighbours that have no more than this between them become one node. */
// @ts-ignore: decorator
@inline export const SPARSE: u32 = CAPACITY / 2;

// @ts-ignore: decorator
@inline export function countOf(node: usize): u32 { return load<u32>(node, COUNT); }
// @ts-ignore: decorator
@inline function setCount(node: usize, count: u32): void { store<u32>(node, count, COUNT); }
// @ts-ignore: decorator
@inline export function previousOf(node: usize): usize { return <usize>load<u32>(node, PREVIOUS); }
// @ts-ignore: decorator
@inline export function setPrevious(node: usize, previous: usize): void { store<u32>(node, <u32>previous, PREVIOUS); }
// @ts-ignore: decorator
@inline export function nextOf(node: usize): usize { return <usize>load<u32>(node, NEXT); }
// @ts-ignore: decorator
@inline export function setNext(node: usize, next: usize): void { store<u32>(node, <u32>next, NEXT); }
// @ts-ignore: decorator
@inline export function lowOf(node: usize): u64 { return load<u64>(node, LOW); }
// @ts-ignore: decorator
@inline export function setLow(node: usize, low: u64): void { store<u64>(node, low, LOW); }
// @ts-ignore: decorator
@inline export function highOf(node: usize): u64 { return load<u64>(node, HIGH); }
// @ts-ignore: decorator
@inline export function setHigh(node: usize, high: u64): void { store<u64>(node, high, HIGH); }

/** Whether a key belongs in this node. */
// @ts-ignore: decorator
@inline export function covers(node: usize, key: u64): bool { return key - lowOf(node) < highOf(node) - lowOf(node); }

// @ts-ignore: decorator
@inline export function firstOf(node: usize): usize { return node + HEADER; }
// @ts-ignore: decorator
@inline export function bytesOf(node: usize): usize { return <usize>countOf(node) << ENTRY_SHIFT; }
// @ts-ignore: decorator
@inline export function endOf(node: usize): usize { return node + HEADER + bytesOf(node); }
// @ts-ignore: decorator
@inline export function indexOf(node: usize, place: usize): u32 { return <u32>((place - node - HEADER) >> ENTRY_SHIFT); }
// @ts-ignore: decorator
@inline export function middleOf(node: usize): usize { return node + HEADER + (<usize>(CAPACITY / 2) << ENTRY_SHIFT); }
// @ts-ignore: decorator
@inline export function keyAt(place: usize): u64 { return load<u64>(place); }
// @ts-ignore: decorator
@inline export function setKey(place: usize, key: u64): void { store<u64>(place, key); }
// @ts-ignore: decorator
@inline export function valueAt(place: usize): u64 { return load<u64>(place, VALUE); }
// @ts-ignore: decorator
@inline export function childAt(place: usize): usize { return <usize>load<u32>(place, VALUE); }

/** The last entry whose key is not above `key`; the first one if there is none. The node is not empty. */
export function search(node: usize, key: u64): usize { return bisect(firstOf(node), bytesOf(node), key); }

/** The same among some entries: so many bytes, at least one. */
function bisect(place: usize, bytes: usize, key: u64): usize {
  while (bytes > ENTRY) {
    const half = bytes >> 1 & ~(ENTRY - 1);
    place = select<usize>(place + half, place, keyAt(place + half) <= key); // no branch: nobody could predict it
    bytes -= half;
  }
  return place;
}

/** The same if it is among the entries from an offset on (any number) to that + `width`, else 0. */
export function searchNear(node: usize, offset: usize, width: usize, key: u64): usize {
  const bytes = bytesOf(node);
  if (offset >= bytes) return 0;
  const start = firstOf(node) + offset;
  if (keyAt(start) > key || (bytes - offset > width && keyAt(start + width) <= key)) return 0;
  return bisect(start, min(bytes - offset, width), key);
}

/** Offset of the entry that would have a key if those of the node were evenly spread. */
// @ts-ignore: decorator
@inline export function estimate(node: usize, key: u64): usize {
  const low = lowOf(node);
  const share = <f64><i64>(key - low) / <f64><i64>(highOf(node) - low);
  return <usize><i32>(share * <f64><i32>countOf(node)) << ENTRY_SHIFT;
}

/** An empty node for the keys from `low` to `high`, between two of its level. */
export function makeNode(node: usize, previous: usize, next: usize, low: u64, high: u64): void {
  setCount(node, 0);
  setPrevious(node, previous);
  setNext(node, next);
  if (previous) setNext(previous, node);
  if (next) setPrevious(next, node);
  setLow(node, low);
  setHigh(node, high);
}

/** Puts an entry before the one at `place`; the node is not full. */
export function put(node: usize, place: usize, key: u64, value: u64): void {
  const end = endOf(node);
  if (place != end) memory.copy(place + ENTRY, place, end - place);
  setKey(place, key);
  store<u64>(place, value, VALUE);
  setCount(node, countOf(node) + 1);
}

/** Takes the entry at `place` out. */
export function remove(node: usize, place: usize): void {
  const rest = place + ENTRY;
  memory.copy(place, rest, endOf(node) - rest);
  setCount(node, countOf(node) - 1);
}

/** Moves the entries of `node` from `place` on behind those of another, which has room for them. */
export function moveEntries(node: usize, place: usize, other: usize): void {
  const bytes = endOf(node) - place;
  memory.copy(endOf(other), place, bytes);
  setCount(other, countOf(other) + <u32>(bytes >> ENTRY_SHIFT));
  setCount(node, countOf(node) - <u32>(bytes >> ENTRY_SHIFT));
}
