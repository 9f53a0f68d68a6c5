/**
 * What the EL1 MMU has mapped in a guest: a B+ tree of records, each a page or an aligned block of 2^order of them, in ascending
 * gfn; records never overlap. cursor.ts finds them, insert.ts and erase.ts change them.
 *
 * Neighbours on a level always have more than SPARSE entries between them, however the tree came about. So n records need at most
 * n / 64 + 1 leaves (64 bytes a record; 16 if they came in ascending or descending order, about 23 at random), 1/64 of that above
 * them, and as many spare nodes as the tree was ever high, plus one.
 *
 * Who changes a tree has it for himself; any number of threads may look records up meanwhile nobody does.
 */
import { freePrivate, privatePages } from "../../private";
import { childAt, firstOf, lowOf, nextOf, previousOf, search, setHigh, setKey, setLow, setNext } from "./node";

/** All zero: an empty tree. */
@unmanaged
@final
export class Tree {
  root: usize;
  /** Levels; 0 without a root. */
  height: u32;
  records: u32;
  /** Units of the pool: nodes and spare nodes. */
  pages: u32;
  spares: u32;
  spare: usize;
  /**
   * The leaf that was looked at last, by any thread: always one of the tree (or 0), so a lookup that overwrites what another has
   * just written does no harm.
   */
  finger: usize;
  /** Place behind the record that was inserted last: who goes on there is likely to go on. Only ever compared. */
  run: usize;
}

/** Bytes to keep for a tree: more than it has fields. */
// @ts-ignore: decorator
@inline export const TREE_BYTES: usize = 64;

// @ts-ignore: decorator
@inline export function treeAt(pointer: usize): Tree { return changetype<Tree>(pointer); }

/** The node of a level (leaves: 0) where a key belongs. The tree is not empty. */
export function descend(tree: Tree, key: u64, level: u32): usize {
  let node = tree.root;
  for (let above = tree.height - 1; above > level; above--) node = childAt(search(node, key));
  return node;
}

/** Moves the border between a node and the one before it, and with it those above that run up to where the two meet. */
export function moveBorder(tree: Tree, node: usize, level: u32, to: u64): void {
  const from = lowOf(node);
  let entry: usize;
  do {
    setLow(node, to);
    setHigh(previousOf(node), to);
    node = descend(tree, from, ++level);
    entry = search(node, from);
    setKey(entry, to);
  } while (entry == firstOf(node));
}

// ---- memory -----------------------------------------------------------------------------------------------------------

/**
 * Makes sure that the next `insert` has the memory that it may need. False: the pool has none; the records are as they were (and
 * what could be had is kept for the next attempt).
 */
export function reserve(tree: Tree): bool {
  while (tree.spares <= tree.height) {
    const page = privatePages(1);
    if (!page) return false;
    tree.pages++;
    keep(tree, page);
  }
  return true;
}

function keep(tree: Tree, node: usize): void {
  setNext(node, tree.spare);
  tree.spare = node;
  tree.spares++;
}

/** A node out of the reserve. */
export function takeNode(tree: Tree): usize {
  const node = tree.spare;
  tree.spare = nextOf(node);
  tree.spares--;
  return node;
}

/** Takes a node back: into the reserve if that is not full. */
export function dropNode(tree: Tree, node: usize): void {
  if (tree.spares <= tree.height) return keep(tree, node);
  freePrivate(node, 1);
  tree.pages--;
}

/** Frees all nodes: the tree is empty, and nothing is left to be freed. */
export function clear(tree: Tree): void {
  let node = tree.root;
  for (let level = tree.height; level > 1; level--) {
    const below = childAt(firstOf(node));
    freeNodes(node);
    node = below;
  }
  freeNodes(node);
  freeNodes(tree.spare);
  memory.fill(changetype<usize>(tree), 0, offsetof<Tree>());
}

/** Frees a node and those after it. */
function freeNodes(node: usize): void {
  while (node) {
    const next = nextOf(node);
    freePrivate(node, 1);
    node = next;
  }
}
