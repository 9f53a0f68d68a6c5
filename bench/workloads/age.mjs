// @ts-check
import assert from "node:assert/strict";
import { PAGE } from "../bed.mjs";
import { onFreshTable } from "./fresh.mjs";
import { makeOld, mapPages, uniform } from "./state.mjs";

/** @typedef {import("../bed.mjs").Bed} Bed */

/**
 * Ages the whole bed in one call, after every `youngEvery`-th page was used (0: none).
 *
 * @param {string} name
 * @param {Bed} bed
 * @param {number} youngEvery
 */
export function ageRange(name, bed, youngEvery) {
  const { ipa, size } = bed;
  return onFreshTable(bed, name, {
    operations: size / PAGE,
    prepare(s2) {
      mapPages(bed)(s2);
      if (youngEvery === 1) return;
      makeOld(bed, s2);
      if (youngEvery === 0) return;
      for (let at = ipa; at < ipa + size; at += youngEvery * PAGE)
        assert.equal(s2.raw.mkyoung(at), 1);
    },
    expected: Number(youngEvery > 0),
    run: ({ raw }) => raw.testClearYoung(ipa, size, 1),
    verify: uniform(bed, { accessed: false }),
  });
}

/** Ages young pages, one per call, ascending. @param {string} name @param {Bed} bed */
export function ageEach(name, bed) {
  const { sequential } = bed;
  return onFreshTable(bed, name, {
    operations: sequential.length,
    prepare: mapPages(bed),
    expected: sequential.length,
    run({ raw }) {
      let young = 0;
      for (let i = 0; i < sequential.length; i++)
        young += raw.testClearYoung(sequential[i], PAGE, 1);
      return young;
    },
    verify: uniform(bed, { accessed: false }),
  });
}

/** Makes old pages young, one per call, random order. @param {string} name @param {Bed} bed */
export function makeYoungEach(name, bed) {
  const { shuffled } = bed;
  return onFreshTable(bed, name, {
    operations: shuffled.length,
    prepare(s2) {
      mapPages(bed)(s2);
      makeOld(bed, s2);
    },
    expected: shuffled.length,
    run({ raw }) {
      let found = 0;
      for (let i = 0; i < shuffled.length; i++) found += raw.mkyoung(shuffled[i]);
      return found;
    },
    verify: uniform(bed),
  });
}
