/**
 * Inserting records. What belongs at the end of a full leaf goes into the next one, if there is room. Else a full node is split: in the
 * middle, but where records arrive in order (at an end of the node or amid it) just there, so that what they leave behind is full.
 */
import { gfn as foundGfn, leaf, locate, moveCursor, place, settle, valueOf } from "./cursor";
import {
  CAPACITY, countOf, END, endOf, ENTRY, firstOf, highOf, indexOf, keyAt, lowOf, makeNode, middleOf, moveEntries, nextOf, previousOf, put,
  search, setHigh, SPARSE,
} from "./node";
import { descend, moveBorder, takeNode, Tree } from "./tree";

/**
 * Inserts a record of 2^order pages; `gfn` is a multiple of that. `reserve` has gone before. False: it overlaps another, and the
 * records are as they were.
 */
export function insert(tree: Tree, gfn: u64, pfn: u64, order: u32): bool {
  if (!tree.root) plant(tree);
  else locate(tree, gfn);
  const node = leaf;
  const at = place;
  if (tree.records && settle(gfn) && foundGfn < gfn + (<u64>1 << order)) return false;
  const value = valueOf(pfn, order);
  if (countOf(node) < CAPACITY) put(node, at, gfn, value);
  else if (!spill(tree, node, at, gfn, value)) split(tree, node, at, gfn, value);
  moveCursor(node, at); // where to look first for what is next
  tree.run = at + ENTRY;
  tree.records++;
  return true;
}

/** The first leaf. */
function plant(tree: Tree): void {
  const node = takeNode(tree);
  makeNode(node, 0, 0, 0, END);
  tree.root = node;
  tree.height = 1;
  moveCursor(node, firstOf(node));
}

/** Puts a record that belongs at the end of a full leaf into the next one, if that has room. */
function spill(tree: Tree, node: usize, at: usize, key: u64, value: u64): bool {
  const next = nextOf(node);
  if (at != endOf(node) || !next || countOf(next) == CAPACITY) return false;
  moveBorder(tree, next, 0, key);
  put(next, firstOf(next), key, value);
  return true;
}

/** Puts an entry before the one at `at` of a full leaf, and the node that this makes into the one above, which may be full too. */
function split(tree: Tree, node: usize, at: usize, key: u64, value: u64): void {
  for (let level: u32 = 1; ; level++) {
    const right = takeNode(tree);
    const border = splitNode(node, right, cutOf(node, at, tree.run), at, key, value);
    if (level == tree.height) return raise(tree, node, right);
    key = border;
    value = <u64>right;
    node = descend(tree, key, level);
    at = search(node, key) + ENTRY;
    if (countOf(node) < CAPACITY) return put(node, at, key, value);
  }
}

/** Where to split for an entry before `at`: there, unless that would make sparse neighbours. */
function cutOf(node: usize, at: usize, run: usize): usize {
  const index = indexOf(node, at);
  if (index % CAPACITY && at != run && at + ENTRY != run) return middleOf(node);
  const left = index == CAPACITY ? index : index + 1;
  const previous = previousOf(node);
  const next = nextOf(node);
  const isSparse = (previous && left + countOf(previous) <= SPARSE) || (next && CAPACITY + 1 - left + countOf(next) <= SPARSE);
  return isSparse ? middleOf(node) : at;
}

/** Moves what lies from `cut` on to `right`, and puts the entry before what was at `at`. The key that separates the two. */
function splitNode(node: usize, right: usize, cut: usize, at: usize, key: u64, value: u64): u64 {
  const isLast = cut == endOf(node);
  const border = isLast ? key : keyAt(cut);
  makeNode(right, node, nextOf(node), border, highOf(node));
  setHigh(node, border);
  moveEntries(node, cut, right);
  if (at > cut || isLast) put(right, firstOf(right) + (at - cut), key, value);
  else put(node, at, key, value);
  return border;
}

/** A root above two nodes. */
function raise(tree: Tree, left: usize, right: usize): void {
  const root = takeNode(tree);
  makeNode(root, 0, 0, 0, END);
  put(root, firstOf(root), 0, <u64>left);
  put(root, endOf(root), lowOf(right), <u64>right);
  tree.root = root;
  tree.height++;
}
