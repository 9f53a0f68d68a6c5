// @ts-check
/** The operations, how often each comes, and how they are drawn: never depending on what came of others. */
import { HOT, REGIONS, firstPage } from "../scene.mjs";

// prettier-ignore
const WEIGHTS = /** @type {const} */ ({
  // guests
  load:              14,
  store:             30,
  atomic:             5,
  fetch:              2,
  "host write":       3,
  // collectors
  collect:           10,
  harvest:            4,
  // notifiers
  "punch page":       5,
  "punch range":      2,
  unmap:              2,
  age:                3,
  "age and flush":    1,
  "test young":       1,
  // slots
  "log off and on":   2,
  "log off":          1,
  "log on":           3,
  move:               1,
  "delete and create": 1,
  // ranges
  "write-protect":    1,
  split:              1,
  look:               2,
});

/** @typedef {keyof typeof WEIGHTS} Kind */

export const KINDS = /** @type {readonly Kind[]} */ (Object.keys(WEIGHTS));

const DECK = KINDS.flatMap((kind) => Array(WEIGHTS[kind]).fill(kind));

/**
 * One operation as it was drawn.
 *
 * @typedef {object} Operation
 * @property {Kind} kind
 * @property {number} region
 * @property {number} page the hot page, or the first of a range
 * @property {number} last the last page of a range
 * @property {number} variant 0 to 255: which vCPU, which of several ways
 */

/**
 * Draws the next operation: five numbers, whatever it is.
 *
 * @param {(limit: number) => number} random
 * @param {import("../scene.mjs").Focus} focus
 * @returns {Operation}
 */
export function draw(random, focus) {
  const region = (focus.first + random(focus.regions)) % REGIONS;
  const kind = DECK[random(DECK.length)];
  const hot = random(focus.hot);
  const more = random(focus.hot);
  const first = firstPage(region);
  const last = first + Math.min(HOT - 1, hot + more);
  return { kind, region, page: first + hot, last, variant: random(256) };
}
