// @ts-check

/** @typedef {{ median: number, min: number, max: number }} Summary */

/**
 * @param {readonly number[]} samples
 * @returns {Summary}
 */
export function summarize(samples) {
  const sorted = [...samples].sort((a, b) => a - b);
  if (sorted.length === 0) throw new Error("no samples");
  return {
    median: (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2,
    min: sorted[0],
    max: sorted[sorted.length - 1],
  };
}
