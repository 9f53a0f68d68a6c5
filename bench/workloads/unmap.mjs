// @ts-check
import { PAGE } from "../bed.mjs";
import { onFreshTable } from "./fresh.mjs";
import { empty, mapPages } from "./state.mjs";

/** @typedef {import("../bed.mjs").Bed} Bed */

/**
 * Unmaps the whole bed in one call.
 *
 * @param {string} name
 * @param {Bed} bed
 * @param {import("stage2").Stage2Options} [options]
 */
export function unmapRange(name, bed, options = {}) {
  const { ipa, size } = bed;
  return onFreshTable(bed, name, {
    operations: size / PAGE,
    options,
    prepare: mapPages(bed),
    expected: 0,
    run: ({ raw }) => raw.unmap(ipa, size),
    verify: empty,
  });
}

/** Unmaps the bed, one page per call, ascending. @param {string} name @param {Bed} bed */
export function unmapEach(name, bed) {
  const { sequential } = bed;
  return onFreshTable(bed, name, {
    operations: sequential.length,
    prepare: mapPages(bed),
    expected: 0,
    run({ raw }) {
      let errors = 0;
      for (let i = 0; i < sequential.length; i++) errors += raw.unmap(sequential[i], PAGE);
      return errors;
    },
    verify: empty,
  });
}
