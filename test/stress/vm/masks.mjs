// @ts-check
/** Which pages of a manual log are cleared, in which calls. */

/** @typedef {{ firstPage: number, pages: number, bitmap: BigUint64Array }} Part one call's */
/** @typedef {(pages: number, bits: BigUint64Array) => Part[]} Cut */

const WORD = 64;
const ALL = 2n ** 64n - 1n;
const EVERY_OTHER = 0x5555_5555_5555_5555n;

/** @param {BigUint64Array} bits @param {number} first word @param {number} [end] */
const words = (bits, first, end) => bits.slice(first, end);

/** All that the log says, with one call. @type {Cut} */
const whole = (pages, bits) => [{ firstPage: 0, pages, bitmap: words(bits, 0) }];

/** The first word alone, then the rest, which ends in the middle of one. @type {Cut} */
const byWords = (pages, bits) => [
  { firstPage: 0, pages: WORD, bitmap: words(bits, 0, 1) },
  { firstPage: WORD, pages: pages - WORD, bitmap: words(bits, 1) },
];

/** The last word alone; what is before it stays dirty. @type {Cut} */
const lastWord = (pages, bits) => {
  const first = Math.floor((pages - 1) / WORD) * WORD;
  return [{ firstPage: first, pages: pages - first, bitmap: words(bits, first / WORD) }];
};

/** Every other page, dirty or not. @type {Cut} */
const everyOther = (pages, bits) => [
  { firstPage: 0, pages, bitmap: words(bits, 0).fill(EVERY_OTHER) },
];

/** Bits of clean pages, and of none, which have no effect. @type {Cut} */
const everything = (pages, bits) => [{ firstPage: 0, pages, bitmap: words(bits, 0).fill(ALL) }];

/** Nothing at all. @type {Cut} */
const nothing = (pages, bits) => [
  { firstPage: 0, pages: 0, bitmap: words(bits, 0, 0) },
  { firstPage: 0, pages, bitmap: words(bits, 0).fill(0n) },
];

const CUTS = [whole, whole, byWords, lastWord, everyOther, everything, nothing];

export const Masks = {
  /** The calls that clear a log, or some of it: 0 all of it. @param {import("stage2").DirtyLog} log @param {number} variant */
  of: ({ pages, bits }, variant) => CUTS[variant % CUTS.length](pages, bits),

  /** Whether a call clears a page. @param {Part} part @param {number} index of the page in its slot */
  has({ firstPage, pages, bitmap }, index) {
    const at = index - firstPage;
    if (at < 0 || at >= pages) return false;
    return ((bitmap[Math.floor(at / WORD)] >> BigInt(at % WORD)) & 1n) !== 0n;
  },
};
