// @ts-check
/** Repeatable numbers: one stream per seed and thread. */

const GOLDEN = 0x9e37_79b1; // odd, near 2^32 divided by the golden ratio: neighbouring seeds end up far apart
const SKIPPED = 16;

/**
 * Marsaglia's xorshift32, started from seed and stream and run in.
 *
 * @param {number} seed
 * @param {number} stream
 * @returns {(limit: number) => number} an integer in [0, limit)
 */
export function generator(seed, stream) {
  let state = Math.imul(Math.imul(seed, GOLDEN) + stream + 1, GOLDEN) || GOLDEN;
  const random = (/** @type {number} */ limit) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % limit;
  };
  for (let i = 0; i < SKIPPED; i++) random(1);
  return random;
}
