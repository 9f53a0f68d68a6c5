// @ts-check
import assert from "node:assert/strict";

/**
 * What a workload does with the page table of one sample.
 *
 * @typedef {object} Steps
 * @property {string} [unit] default "page"
 * @property {number} operations units in one run
 * @property {import("stage2").Stage2Options} [options]
 * @property {(s2: import("stage2").Stage2) => void} [prepare]
 * @property {(s2: import("stage2").Stage2) => number} run its result has to be `expected`
 * @property {number} expected
 * @property {(s2: import("stage2").Stage2) => void} [verify] checks the state that `run` left
 */

/**
 * A workload whose every sample has a page table of its own, which must leave no table page behind.
 *
 * @param {import("../bed.mjs").Bed} bed
 * @param {string} name
 * @param {Steps} steps
 * @returns {import("../measure.mjs").Workload}
 */
export function onFreshTable({ engine }, name, steps) {
  /** @type {import("stage2").Stage2} */
  let s2;
  let result = NaN;
  return {
    name,
    unit: steps.unit ?? "page",
    operations: steps.operations,
    prepare() {
      s2 = engine.stage2({ ipaBits: 40, ...steps.options });
      steps.prepare?.(s2);
    },
    run() {
      result = steps.run(s2);
    },
    verify() {
      assert.equal(result, steps.expected, `${name}: result`);
      steps.verify?.(s2);
      s2.dispose();
      assert.equal(engine.memoryUsage().used, 0, `${name}: table pages left`);
    },
  };
}
