// @ts-check
/** States that workloads start from and end in. */
import assert from "node:assert/strict";
import { Prot } from "stage2";
import { GIB, PA_OFFSET, PAGE } from "../bed.mjs";

/**
 * @typedef {import("../bed.mjs").Bed} Bed
 * @typedef {import("stage2").Stage2} Stage2
 */

/**
 * Maps the whole bed with page leaves, readable, writable and executable.
 *
 * @param {Bed} bed
 * @returns {(s2: Stage2) => void}
 */
export function mapPages({ ipa, size }) {
  return (s2) => s2.map({ ipa, size, pa: ipa + PA_OFFSET, prot: Prot.RWX, forcePages: true });
}

/**
 * Ages the whole bed.
 *
 * @param {Bed} bed
 * @param {Stage2} s2
 */
export function makeOld({ ipa, size }, s2) {
  assert.equal(s2.testClearYoung({ ipa, size }), true);
}

/**
 * Asserts that the bed is one uniform range, mapped as every workload maps it.
 *
 * @param {Bed} bed
 * @param {{ prot?: number, accessed?: boolean }} [expected]
 * @returns {(s2: Stage2) => void}
 */
export function uniform({ ipa, size }, { prot = Prot.RWX, accessed = true } = {}) {
  const range = { ipa, size, level: 3, entries: size / PAGE, prot, accessed, pa: ipa + PA_OFFSET };
  if (size > GIB) return counted(size, accessed);
  return (s2) => {
    assert.deepEqual(Array.from(s2.ranges()), [{ kind: "leaf", ...range, contiguous: true }]);
  };
}

/**
 * The same by counts alone: listing millions of leaves takes longer than what is measured.
 *
 * @param {number} size
 * @param {boolean} accessed
 * @returns {(s2: Stage2) => void}
 */
function counted(size, accessed) {
  const pages = size / PAGE;
  return (s2) => {
    const { leafCount, mappedBytes, accessed: young } = s2.counters();
    assert.deepEqual([leafCount, mappedBytes, young], [pages, size, accessed ? pages : 0]);
  };
}

/**
 * Asserts that nothing is mapped and that every table but the root is gone.
 *
 * @param {Stage2} s2
 */
export function empty(s2) {
  assert.equal(s2.entries().next().done, true);
}
