/** Erasing records: never needs memory, and gives back the node that two neighbours can do without. */
import { leaf, moveCursor, place } from "./cursor";
import {
  childAt, countOf, endOf, ENTRY, firstOf, highOf, lowOf, moveEntries, nextOf, previousOf, remove, search, setHigh, setNext,
  setPrevious, SPARSE,
} from "./node";
import { descend, dropNode, moveBorder, Tree } from "./tree";

/** Erases the record under the cursor, which then stands before the following one: `next` goes there. */
export function eraseHere(tree: Tree): void {
  const node = leaf;
  remove(node, place);
  moveCursor(node, place - ENTRY);
  tree.records--;
  if (countOf(node) <= SPARSE) shrink(tree, node);
}

/** Joins a leaf that has lost a record to a neighbour, if they are sparse, then the same above them. */
function shrink(tree: Tree, node: usize): void {
  for (let level: u32 = 1; node != tree.root; level++) {
    const previous = previousOf(node);
    const next = nextOf(node);
    let right = node;
    if (!previous || !fit(previous, node)) {
      if (!next || !fit(node, next)) return;
      right = next;
    }
    const from = lowOf(right);
    const to = highOf(right);
    join(tree, previousOf(right), right);
    node = descend(tree, from, level);
    const entry = search(node, from);
    remove(node, entry);
    if (entry == firstOf(node) && countOf(node)) moveBorder(tree, node, level, to); // an empty one is joined, and its border gone
  }
  lower(tree);
}

/** Whether two neighbours become one: of an empty one nothing is left, whatever the other has. */
function fit(left: usize, right: usize): bool {
  const a = countOf(left);
  const b = countOf(right);
  return !a || !b || a + b <= SPARSE;
}

/** Moves all that is in a node, and the cursor, to the one before it. */
function join(tree: Tree, left: usize, right: usize): void {
  if (leaf == right) moveCursor(left, endOf(left) + (place - firstOf(right)));
  if (tree.finger == right) tree.finger = left;
  const next = nextOf(right);
  setNext(left, next);
  if (next) setPrevious(next, left);
  setHigh(left, highOf(right));
  moveEntries(right, firstOf(right), left);
  dropNode(tree, right);
}

/** Takes away a root that has one child, or nothing. */
function lower(tree: Tree): void {
  while (tree.height > 1 && countOf(tree.root) == 1) dropRoot(tree, childAt(firstOf(tree.root)));
  if (countOf(tree.root)) return;
  dropRoot(tree, 0);
  tree.finger = 0;
  moveCursor(0, 0);
}

function dropRoot(tree: Tree, heir: usize): void {
  const root = tree.root;
  tree.root = heir;
  tree.height--;
  dropNode(tree, root);
}
