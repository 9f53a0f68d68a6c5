// @ts-check
export const PAGE = 4096;
export const BLOCK = 2 ** 21;
export const GIB = 2 ** 30;
/** Pages in the 1 GiB that most workloads use, and calls in those that make one per page. */
export const N = GIB / PAGE;

/** Every address is mapped to itself plus this: sums of differences stay exact in a number. */
export const PA_OFFSET = 2 ** 44;

/** ID_AA64MMFR0_EL1.PARange of 48 bits: a vCPU refuses output addresses beyond what its CPU has. */
export const PARANGE_48 = 5;

/**
 * Guest memory that workloads map: a range, and the pages in it that calls on single pages use.
 *
 * @typedef {object} Bed
 * @property {import("stage2").Engine} engine
 * @property {number} ipa
 * @property {number} size
 * @property {Float64Array} sequential ascending page addresses
 * @property {Float64Array} shuffled the same in random order
 */

/**
 * A range of which at most N pages, evenly spread, are used one by one.
 *
 * @param {import("stage2").Engine} engine
 * @param {number} ipa
 * @param {number} size
 * @returns {Bed}
 */
export function evenBed(engine, ipa, size) {
  const count = Math.min(size / PAGE, N);
  const sequential = Float64Array.from({ length: count }, (_, i) => ipa + i * (size / count));
  return { engine, ipa, size, sequential, shuffled: shuffle(sequential) };
}

/**
 * A range with N single pages in it, each anywhere in its share of the range.
 *
 * @param {import("stage2").Engine} engine
 * @param {number} size
 * @returns {Bed}
 */
export function scatteredBed(engine, size) {
  const share = size / PAGE / N;
  const random = generator();
  const sequential = Float64Array.from({ length: N }, (_, i) => (i * share + random(share)) * PAGE);
  return { engine, ipa: 0, size, sequential, shuffled: shuffle(sequential) };
}

/** @param {Float64Array} values */
export function shuffle(values) {
  const random = generator();
  const result = values.slice();
  for (let i = result.length - 1; i > 0; i--) {
    const j = random(i + 1);
    [result[i], result[j]] = [result[j], result[i]];
  }
  return result;
}

/**
 * Marsaglia's xorshift32: the same order in every run.
 *
 * @param {number} [seed] not 0
 * @returns {(limit: number) => number} an integer in [0, limit)
 */
export function generator(seed = 2463534242) {
  let state = seed;
  return (limit) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % limit;
  };
}
