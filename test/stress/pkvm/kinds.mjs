// @ts-check
/** The operations, how often each comes, and how they are drawn: never depending on what came of others. */
import { BLOCKS, GUESTS, HOT, KEPT, hotPage } from "./scene.mjs";

// prettier-ignore
const WEIGHTS = /** @type {const} */ ({
  // guests
  fault:            30,
  map:               8,
  "map block":       4,
  relax:             4,
  "make young":      3,
  // the host's kernel
  "unmap page":     10,
  "unmap range":     4,
  "unmap block":     2,
  age:               4,
  "test young":      2,
  "write-protect":   4,
  flush:             1,
  "flush TLBs":      2,
  look:              2,
  // a host that does not keep to anything
  "lend to hyp":     2,
  "take from hyp":   6,
  pin:               2,
  unpin:             6,
  "give to hyp":     2,
  "get from hyp":    6,
  "lend to FFA":     1,
  "take from FFA":   4,
  "host access":     4,
  "stray hypercall": 8,
  "hostile hypercall": 14,
});

/** @typedef {keyof typeof WEIGHTS} Kind */

export const KINDS = /** @type {readonly Kind[]} */ (Object.keys(WEIGHTS));

const DECK = KINDS.flatMap((kind) => Array(WEIGHTS[kind]).fill(kind));

/**
 * One operation as it was drawn.
 *
 * @typedef {object} Operation
 * @property {Kind} kind
 * @property {number} machine that has guests of the host's kernel
 * @property {number} guest
 * @property {number} page guest page, or the first of a range
 * @property {number} last the last page of a range
 * @property {number} variant 0 to 255: which of several ways
 * @property {number} seed for what is drawn besides
 */

/** How small the ground is in a round: of hot pages so many, in one block or both. @param {number} seed @param {number} round */
export function focusOf(seed, round) {
  const sizes = [1, 2, 4, HOT];
  return { hot: sizes[(seed + round) % sizes.length], blocks: round % 3 === 0 ? BLOCKS : 1 };
}

/** @typedef {ReturnType<typeof focusOf>} Focus */

/** Draws the next operation: eight numbers, whatever it is. @param {(limit: number) => number} random @param {Focus} focus @returns {Operation} */
export function draw(random, focus) {
  const kind = DECK[random(DECK.length)];
  const machine = random(KEPT);
  const guest = random(GUESTS);
  const block = random(focus.blocks);
  const first = random(focus.hot);
  const more = random(HOT);
  const [variant, seed] = [random(256), random(2 ** 30)];
  const page = hotPage(block, first);
  const last = hotPage(block, Math.min(HOT - 1, first + more));
  return { kind, machine, guest, page, last, variant, seed };
}
