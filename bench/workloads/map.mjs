// @ts-check
import assert from "node:assert/strict";
import { Prot, WalkFlag } from "stage2";
import { BLOCK, PA_OFFSET, PAGE } from "../bed.mjs";
import { onFreshTable } from "./fresh.mjs";
import { uniform } from "./state.mjs";

/** @typedef {import("../bed.mjs").Bed} Bed */

/** How a fault handler maps: beside others, and told when to try again. */
const FAULT = WalkFlag.SHARED | WalkFlag.HANDLE_FAULT;

/** One page per call, ascending. @param {string} name @param {Bed} bed */
export function mapEach(name, bed) {
  const { sequential } = bed;
  return onFreshTable(bed, name, {
    operations: sequential.length,
    expected: 0,
    run({ raw }) {
      let errors = 0;
      for (let i = 0; i < sequential.length; i++)
        errors += raw.map(sequential[i], PAGE, sequential[i] + PA_OFFSET, Prot.RWX, FAULT);
      return errors;
    },
    verify: sequential.length * PAGE === bed.size ? uniform(bed) : everyPage(bed),
  });
}

/** One page per call, random order. @param {string} name @param {Bed} bed */
export function mapEachShuffled(name, bed) {
  const { shuffled } = bed;
  return onFreshTable(bed, name, {
    operations: shuffled.length,
    expected: 0,
    run({ raw }) {
      let errors = 0;
      for (let i = 0; i < shuffled.length; i++)
        errors += raw.map(shuffled[i], PAGE, shuffled[i] + PA_OFFSET, Prot.RWX, FAULT);
      return errors;
    },
    verify: everyPage(bed),
  });
}

/** The whole bed in one call, as pages. @param {string} name @param {Bed} bed */
export function mapRange(name, bed) {
  const { ipa, size } = bed;
  return onFreshTable(bed, name, {
    operations: size / PAGE,
    options: { pagesOnly: true },
    expected: 0,
    run: ({ raw }) => raw.map(ipa, size, ipa + PA_OFFSET, Prot.RWX),
    verify: uniform(bed),
  });
}

/**
 * 64 times the bed's size, a call each, as blocks: one call alone takes no longer than reading the clock.
 *
 * @param {string} name
 * @param {Bed} bed
 */
export function mapBlocks(name, bed) {
  const { ipa, size } = bed;
  const calls = 64;
  return onFreshTable(bed, name, {
    unit: "block",
    operations: (calls * size) / BLOCK,
    expected: 0,
    run({ raw }) {
      let errors = 0;
      for (let at = ipa; at < ipa + calls * size; at += size) {
        // One block off the IPA, so that no larger leaf fits.
        errors += raw.map(at, size, at + PA_OFFSET + BLOCK, Prot.RWX);
      }
      return errors;
    },
    verify(s2) {
      const pa = ipa + PA_OFFSET + BLOCK;
      const range = { ipa, size: calls * size, pa, level: 2, entries: (calls * size) / BLOCK };
      assert.deepEqual(Array.from(s2.ranges()), [
        { kind: "leaf", ...range, prot: Prot.RWX, accessed: true, contiguous: true },
      ]);
    },
  });
}

/** Maps the bed's single pages. @param {Bed} bed @returns {(s2: import("stage2").Stage2) => void} */
export function mapEveryPage({ shuffled }) {
  return ({ raw }) => {
    for (const ipa of shuffled) assert.equal(raw.map(ipa, PAGE, ipa + PA_OFFSET, Prot.RWX), 0);
  };
}

/** Asserts that the bed's single pages are mapped. @param {Bed} bed @returns {(s2: import("stage2").Stage2) => void} */
export function everyPage({ sequential }) {
  return ({ raw }) => {
    for (const ipa of sequential) assert.equal(raw.lookup(ipa), ipa + PA_OFFSET);
  };
}
