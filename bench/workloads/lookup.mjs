// @ts-check
import { PA_OFFSET, shuffle } from "../bed.mjs";
import { onFreshTable } from "./fresh.mjs";
import { everyPage, mapEveryPage } from "./map.mjs";
import { mapPages } from "./state.mjs";

/** @typedef {import("../bed.mjs").Bed} Bed */

/** Looks up mapped pages, one per call, random order. @param {string} name @param {Bed} bed */
export function lookUp(name, bed) {
  return lookUpIn(name, bed, bed.shuffled, mapPages(bed));
}

/** The same where only the bed's single pages are mapped, in another order. @param {string} name @param {Bed} bed */
export function lookUpScattered(name, bed) {
  return lookUpIn(name, bed, shuffle(bed.shuffled), mapEveryPage(bed));
}

/**
 * @param {string} name
 * @param {Bed} bed
 * @param {Float64Array} pages
 * @param {(s2: import("stage2").Stage2) => void} prepare
 */
function lookUpIn(name, bed, pages, prepare) {
  return onFreshTable(bed, name, {
    unit: "walk",
    operations: pages.length,
    prepare(s2) {
      prepare(s2);
      everyPage(bed)(s2); // also leaves the caches as the yardstick's own check does
    },
    expected: pages.length * PA_OFFSET,
    run({ raw }) {
      let offsets = 0;
      for (let i = 0; i < pages.length; i++) offsets += raw.lookup(pages[i]) - pages[i];
      return offsets;
    },
  });
}
