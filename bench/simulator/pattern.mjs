// @ts-check
/** What programs do to memory, as addresses in a range of pages. */
import { PAGE, generator, shuffle } from "../bed.mjs";

const WORD = 4;
const LINE = 64;
const WORDS_PER_PAGE = PAGE / WORD;

/**
 * Accesses of one word each, and the memory that they are made to.
 *
 * @typedef {object} Pattern
 * @property {Uint32Array} offsets multiples of 4
 * @property {Uint8Array} writes 1: the access stores its own number; 0: it loads
 * @property {number} bytes
 */

/**
 * Words anywhere in pages of which few are used often: the n-th most used one in proportion to 1 / n. Three in ten are
 * stores.
 *
 * @param {number} bytes
 * @param {number} count
 * @returns {Pattern}
 */
export function zipf(bytes, count) {
  const pages = bytes / PAGE;
  const random = generator();
  const place = shuffle(Float64Array.from({ length: pages }, (_, i) => i));
  const offsets = Uint32Array.from({ length: count }, () => {
    const rank = Math.floor(pages ** (random(2 ** 20) / 2 ** 20)) - 1;
    return place[rank] * PAGE + random(WORDS_PER_PAGE) * WORD;
  });
  return {
    offsets,
    writes: Uint8Array.from({ length: count }, () => Number(random(10) < 3)),
    bytes,
  };
}

/**
 * Two arrays are read and a third one written, a cache line on with each step, from their ends again when they are through.
 *
 * @param {number} bytes
 * @param {number} count
 * @returns {Pattern}
 */
export function streams(bytes, count) {
  const lines = Math.floor(bytes / 3 / LINE);
  const offsets = Uint32Array.from(
    { length: count },
    (_, i) => ((i % 3) * lines + (Math.floor(i / 3) % lines)) * LINE,
  );
  return {
    offsets,
    writes: Uint8Array.from({ length: count }, (_, i) => Number(i % 3 === 2)),
    bytes,
  };
}

/**
 * Makes the accesses to plain memory: what a machine has to come to.
 *
 * @param {Pattern} pattern
 * @param {Uint32Array} memory
 * @returns {number} sum of what was loaded
 */
export function replay({ offsets, writes }, memory) {
  let sum = 0;
  for (let i = 0; i < offsets.length; i++) {
    const word = offsets[i] / WORD;
    if (writes[i]) memory[word] = i;
    else sum += memory[word];
  }
  return sum;
}
