// @ts-check
/**
 * Where everything is. Two page tables, each with six regions of 2 MiB, each with sixteen hot pages that guests use:
 *
 *     page number   0 ............ 15  16 ............ 31  ...  95  |  96 ... 191
 *                   region 0           region 1                     |  regions 6 to 11
 *                   table 0                                         |  table 1
 *
 * The first eight hot pages of a region are neighbours, so that their entries share a cache line; the others are spread.
 */
export const PAGE = 4096;
export const BLOCK = 2 ** 21;

export const TABLES = 2;
export const REGIONS_PER_TABLE = 6;
export const REGIONS = TABLES * REGIONS_PER_TABLE;
export const HOT = 16;
export const PAGES = REGIONS * HOT;

const IPA = 0x4000_0000;
const NEIGHBOURS = 8;
const SPREAD = 32;

/** Guest memory: chunks of 2 MiB, then single pages. More of both than can be in use, so that the freed ones rest. */
export const CHUNKS = 40;
export const SINGLES = 1024;
export const RAM = { pa: 0x8_0000_0000, size: CHUNKS * BLOCK + SINGLES * PAGE };

/** @param {number} page */
export const regionOf = (page) => Math.floor(page / HOT);
/** @param {number} region */
export const tableOf = (region) => Math.floor(region / REGIONS_PER_TABLE);
/** @param {number} region */
export const firstPage = (region) => region * HOT;
/** @param {number} region */
export const regionIpa = (region) => IPA + (region % REGIONS_PER_TABLE) * BLOCK;

/** Byte offset of a hot page in its region. @param {number} page */
export function offsetIn(page) {
  const hot = page % HOT;
  return (hot < NEIGHBOURS ? hot : hot * SPREAD) * PAGE;
}

/** @param {number} page */
export const pageIpa = (page) => regionIpa(regionOf(page)) + offsetIn(page);

/** The hot pages of a region from one to another, as page numbers. @param {number} first @param {number} last */
export const between = (first, last) =>
  Array.from({ length: last - first + 1 }, (_, i) => first + i);

/** The range of addresses from one hot page to another, both in it. @param {number} first @param {number} last */
export function rangeOf(first, last) {
  const ipa = pageIpa(first);
  return { ipa, size: pageIpa(last) + PAGE - ipa };
}

/** @param {number} chunk */
export const chunkPa = (chunk) => RAM.pa + chunk * BLOCK;
/** @param {number} single */
export const singlePa = (single) => RAM.pa + CHUNKS * BLOCK + single * PAGE;

/**
 * What regions are for. A region keeps its mode for a round; all threads compute the same ones.
 *
 *     logging   pages; faults, aging, write-protection and dirty collection; nothing is ever unmapped
 *     dirty     pages whose dirty state hardware manages (DBM), collected from the entries
 *     churn     pages; unmapped, given back and mapped again
 *     huge      blocks and tables in turns: splits, blocks over tables, unmaps
 *
 * @typedef {"logging" | "dirty" | "churn" | "huge"} Mode
 */

/** @type {readonly Mode[]} */
const DEAL = ["logging", "logging", "dirty", "churn", "churn", "huge"];

/** The mode of every region in a round. @param {number} seed @param {number} round @returns {Mode[]} */
export function modesOf(seed, round) {
  return Array.from({ length: REGIONS }, (_, region) => {
    const turn = region + tableOf(region) + (round >>> 2) + (seed % DEAL.length);
    return DEAL[turn % DEAL.length];
  });
}

/**
 * How much of the scene a round plays on: the less, the more threads meet.
 *
 * @typedef {object} Focus
 * @property {number} first region
 * @property {number} regions how many, from there on
 * @property {number} hot pages of each
 */

/** @type {readonly [regions: number, hot: number][]} */
const FOCUS = [
  [REGIONS, HOT],
  [1, 2],
  [3, 4],
  [1, 1],
  [2, HOT],
];

/** @param {number} seed @param {number} round @returns {Focus} */
export function focusOf(seed, round) {
  const [regions, hot] = FOCUS[round % FOCUS.length];
  return { first: (seed + round * 5) % REGIONS, regions, hot };
}
