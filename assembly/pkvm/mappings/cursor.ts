/**
 * Lookups, and the cursor of this thread: the record that the last of them found. It is lost when another record is inserted, or
 * when anything is looked up; `eraseHere` (erase.ts) takes out the record under it. So every record of a range, erased or not:
 *
 *   for (let found = seek(tree, start); found && gfn < end; found = next()) if (…) eraseHere(tree);
 */
import { bytesOf, covers, endOf, ENTRY, estimate, firstOf, keyAt, nextOf, previousOf, search, searchNear, valueAt } from "./node";
import { descend, Tree } from "./tree";

// The record under the cursor.
export let gfn: u64 = 0;
export let pfn: u64 = 0;
/** log2 of its pages. */
export let order: u32 = 0;

// Where it is.
export let leaf: usize = 0;
export let place: usize = 0;

// @ts-ignore: decorator
@inline export function moveCursor(node: usize, to: usize): void {
  leaf = node;
  place = to;
}

// @ts-ignore: decorator
@inline const ORDER_SHIFT: u64 = 56;

// @ts-ignore: decorator
@inline export function valueOf(pfn: u64, order: u32): u64 { return pfn | <u64>order << ORDER_SHIFT; }
// @ts-ignore: decorator
@inline function recordEnd(place: usize): u64 { return keyAt(place) + (<u64>1 << (valueAt(place) >> ORDER_SHIFT)); }

/** The first record that ends behind `start`: at it, around it, or above it. False: there is none. */
export function seek(tree: Tree, start: u64): bool {
  if (!tree.root) return false;
  locate(tree, start);
  return settle(start);
}

/** The record after the one under the cursor. False: there is none. */
export function next(): bool {
  place += ENTRY;
  return show();
}

/** Whether a record has a page of the `pages` ones from `start` on; the cursor is at the first. */
// @ts-ignore: decorator
@inline export function overlaps(tree: Tree, start: u64, pages: u64): bool {
  return seek(tree, start) && gfn < start + pages;
}

/** How far an estimate may be off without that it costs much. */
// @ts-ignore: decorator
@inline const GUESS: usize = 16 * ENTRY;

/** Puts the cursor where a key belongs: behind the last record of its leaf that is not above it. The tree is not empty. */
export function locate(tree: Tree, key: u64): void {
  let node = tree.finger;
  if (!node || !covers(node, key)) {
    node = descend(tree, key, 0);
    tree.finger = node;
  }
  const end = endOf(node);
  let near = node == leaf && place - firstOf(node) < bytesOf(node) && keyAt(place) <= key ? place : 0;
  for (let steps = 0; near && steps < 2; steps++) {
    near += ENTRY;
    if (near == end || keyAt(near) > key) return moveCursor(node, near);
  }
  moveCursor(node, find(node, key));
}

/** The place behind the last record of a leaf that is not above the key. */
function find(node: usize, key: u64): usize {
  let found = searchNear(node, max(estimate(node, key), GUESS / 2) - GUESS / 2, GUESS, key);
  if (!found) found = search(node, key);
  return keyAt(found) <= key ? found + ENTRY : found;
}

/** From there to the record before, if that one reaches beyond `start`, else to the one after. */
export function settle(start: u64): bool {
  let node = leaf;
  let before = place;
  if (before == firstOf(node)) {
    node = previousOf(node);
    before = node ? endOf(node) : 0;
  }
  if (before && recordEnd(before - ENTRY) > start) moveCursor(node, before - ENTRY);
  return show();
}

/** Reads the record under the cursor, which may stand behind the last one of a leaf. */
function show(): bool {
  if (!leaf) return false;
  if (place == endOf(leaf)) {
    leaf = nextOf(leaf);
    if (!leaf) return false;
    place = firstOf(leaf);
  }
  const value = valueAt(place);
  gfn = keyAt(place);
  pfn = value & ((<u64>1 << ORDER_SHIFT) - 1);
  order = <u32>(value >> ORDER_SHIFT);
  return true;
}
