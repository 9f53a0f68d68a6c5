// @ts-check
import { Prot } from "stage2";
import { PAGE } from "../bed.mjs";
import { onFreshTable } from "./fresh.mjs";
import { mapPages, uniform } from "./state.mjs";

/** @typedef {import("../bed.mjs").Bed} Bed */

/** Write-protects the whole bed in one call. @param {string} name @param {Bed} bed */
export function writeProtect(name, bed) {
  const { ipa, size } = bed;
  return onFreshTable(bed, name, {
    operations: size / PAGE,
    prepare: mapPages(bed),
    expected: 0,
    run: ({ raw }) => raw.wrprotect(ipa, size),
    verify: uniform(bed, { prot: Prot.RX }),
  });
}

/** Makes write-protected pages writable again, one per call, random order. @param {string} name @param {Bed} bed */
export function relaxPermissions(name, bed) {
  const { ipa, size, shuffled } = bed;
  return onFreshTable(bed, name, {
    operations: shuffled.length,
    prepare(s2) {
      mapPages(bed)(s2);
      s2.wrprotect({ ipa, size });
    },
    expected: 0,
    run({ raw }) {
      let errors = 0;
      for (let i = 0; i < shuffled.length; i++) errors += raw.relaxPerms(shuffled[i], Prot.W);
      return errors;
    },
    verify: uniform(bed),
  });
}
