// @ts-check
/** The operations, how often each comes in each mode, and how they are drawn: never depending on what came of others. */
import { HOT, REGIONS, firstPage } from "./scene.mjs";

/** @typedef {import("./scene.mjs").Mode} Mode */

/** Weights by kind: logging, dirty, churn, huge. */
// prettier-ignore
const WEIGHTS = /** @type {const} */ ({
  load:             [12, 12, 14, 12],
  store:            [14, 16, 16, 14],
  "store and look": [ 3,  3,  3,  3],
  fetch:            [ 3,  2,  3,  2],
  atomic:           [ 4,  5,  4,  4],
  translate:        [ 4,  4,  4,  2],
  bracket:          [ 4,  4,  5,  4],
  batch:            [ 0,  0,  0,  4],
  age:              [ 8,  8,  5,  2],
  "age range":      [ 3,  3,  2,  2],
  "test young":     [ 2,  2,  1,  1],
  "make young":     [ 2,  2,  1,  1],
  relax:            [ 2,  0,  1,  1],
  "late map":       [ 4,  0,  4,  0],
  "map block":      [ 0,  0,  0,  4],
  split:            [ 0,  0,  0,  2],
  "write-protect":  [ 3,  0,  2,  2],
  collect:          [ 3,  4,  2,  2],
  "hand to hardware": [ 0,  4,  0,  0],
  unmap:            [ 0,  0,  5,  1],
  "unmap range":    [ 0,  0,  2,  1],
  "unmap region":   [ 0,  0,  1,  2],
  "give back":      [ 0,  0,  6,  2],
  flush:            [ 1,  1,  1,  1],
  invalidate:       [ 1,  1,  1,  1],
  look:             [ 2,  2,  2,  2],
  list:             [ 1,  1,  1,  1],
});

/** @typedef {keyof typeof WEIGHTS} Kind */

export const KINDS = /** @type {readonly Kind[]} */ (Object.keys(WEIGHTS));

const COLUMN = { logging: 0, dirty: 1, churn: 2, huge: 3 };

/** A deck per mode: each kind as often as its weight. @param {Mode} mode */
const deck = (mode) => KINDS.flatMap((kind) => Array(WEIGHTS[kind][COLUMN[mode]]).fill(kind));

const DECKS = {
  logging: deck("logging"),
  dirty: deck("dirty"),
  churn: deck("churn"),
  huge: deck("huge"),
};

/**
 * One operation as it was drawn.
 *
 * @typedef {object} Operation
 * @property {Kind} kind
 * @property {Mode} mode of its region
 * @property {number} region
 * @property {number} page the hot page, or the first of a range
 * @property {number} last the last page of a range
 * @property {number} variant 0 to 255: who accesses, which of two ways
 */

/**
 * Draws the next operation: six numbers, whatever it is.
 *
 * @param {(limit: number) => number} random
 * @param {readonly Mode[]} modes
 * @param {import("./scene.mjs").Focus} focus
 * @returns {Operation}
 */
export function draw(random, modes, focus) {
  const region = (focus.first + random(focus.regions)) % REGIONS;
  const mode = modes[region];
  const kinds = DECKS[mode];
  const kind = kinds[random(kinds.length)];
  const hot = random(focus.hot);
  const more = random(focus.hot);
  const first = firstPage(region);
  const last = first + Math.min(HOT - 1, hot + more);
  return { kind, mode, region, page: first + hot, last, variant: random(256) };
}
