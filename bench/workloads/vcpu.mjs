// @ts-check
import assert from "node:assert/strict";
import { PARANGE_48 } from "../bed.mjs";
import { onFreshTable } from "./fresh.mjs";

/**
 * @typedef {import("stage2").Stage2} Stage2
 * @typedef {import("stage2").Vcpu} Vcpu
 */

/**
 * What a workload does with the vCPU of one sample.
 *
 * @typedef {object} VcpuSteps
 * @property {string} [unit] default "walk"
 * @property {number} operations units in one run
 * @property {import("stage2").VcpuOptions} vcpu
 * @property {(s2: Stage2) => void} map fills the page table, before there is a vCPU
 * @property {(vcpu: Vcpu) => void} [prepare] what it counts in here is dropped
 * @property {(vcpu: Vcpu) => number} run its result has to be `expected`
 * @property {number} expected
 * @property {(statistics: import("stage2").VcpuStatistics, s2: Stage2) => void} verify checks how `run` came to its result
 */

/**
 * A workload whose every sample has a page table and a vCPU of its own. The vCPU is gone before the next sample of anything:
 * page tables that a TLB may hold entries of take longer to edit.
 *
 * @param {import("../bed.mjs").Bed} bed
 * @param {string} name
 * @param {VcpuSteps} steps
 * @returns {import("../measure.mjs").Workload}
 */
export function onFreshVcpu(bed, name, steps) {
  /** @type {Vcpu} */
  let vcpu;
  return onFreshTable(bed, name, {
    unit: steps.unit ?? "walk",
    operations: steps.operations,
    options: { parange: PARANGE_48 },
    prepare(s2) {
      steps.map(s2);
      vcpu = bed.engine.vcpu(s2, steps.vcpu);
      steps.prepare?.(vcpu);
      vcpu.resetStatistics();
    },
    expected: steps.expected,
    run: () => steps.run(vcpu),
    verify(s2) {
      const { statistics } = vcpu;
      assert.equal(statistics.faults, 0, `${name}: faults`);
      steps.verify(statistics, s2);
      vcpu.dispose();
    },
  });
}

/**
 * Asserts that every address was walked, to a page, and that nothing remembered shortened a walk.
 *
 * @param {number} walks
 * @param {{ stage1?: number[], stage2: number[] }} perWalk descriptors fetched by one walk at levels 0 to 3
 * @returns {(statistics: import("stage2").VcpuStatistics) => void}
 */
export function walked(walks, { stage1 = [0, 0, 0, 0], stage2 }) {
  /** @param {number[]} reads @returns {import("stage2").ByLevel} */
  const total = ([l0, l1, l2, l3]) => {
    return { [-1]: 0, 0: l0 * walks, 1: l1 * walks, 2: l2 * walks, 3: l3 * walks };
  };
  const expected = { stage1: total(stage1), stage2: total(stage2) };
  return ({ descriptorReads }) => assert.deepEqual(descriptorReads, expected);
}

/**
 * Asserts that the TLB answered all, and nothing was walked.
 *
 * @param {number} hits
 * @returns {(statistics: import("stage2").VcpuStatistics) => void}
 */
export function hitTlb(hits) {
  return ({ tlb }) => assert.deepEqual([tlb.hits, tlb.misses], [hits, 0]);
}
