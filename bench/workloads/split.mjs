// @ts-check
import { Prot } from "stage2";
import { BLOCK, PA_OFFSET, PAGE } from "../bed.mjs";
import { onFreshTable } from "./fresh.mjs";
import { uniform } from "./state.mjs";

/** Splits the bed's 2 MiB blocks in one call. @param {string} name @param {import("../bed.mjs").Bed} bed */
export function splitBlocks(name, bed) {
  const { ipa, size } = bed;
  return onFreshTable(bed, name, {
    operations: size / PAGE,
    prepare({ raw }) {
      for (let at = ipa; at < ipa + size; at += BLOCK) raw.map(at, BLOCK, at + PA_OFFSET, Prot.RWX);
    },
    expected: 0,
    run: ({ raw }) => raw.split(ipa, size),
    verify: uniform(bed),
  });
}
