// @ts-check
import assert from "node:assert/strict";
import { Access } from "stage2";
import { N, PA_OFFSET, shuffle } from "../bed.mjs";
import { everyPage, mapEveryPage } from "./map.mjs";
import { makeOld, mapPages, uniform } from "./state.mjs";
import { hitTlb, onFreshVcpu, walked } from "./vcpu.mjs";

/**
 * @typedef {import("../bed.mjs").Bed} Bed
 * @typedef {import("stage2").Batch} Batch
 * @typedef {import("stage2").Stage2} Stage2
 * @typedef {import("stage2").Vcpu} Vcpu
 */

/** Addresses of a batch: as many as one can hold. */
const BATCH = 4096;
/** Pages of a hot set: half of what the default TLB holds, two in each of its sets. */
const HOT_PAGES = 1024;
/** A 40-bit stage 2 with 4 KiB pages starts at level 1. */
const STAGE2_READS = { stage2: [0, 1, 1, 1] };

/** Translates mapped pages in batches, random order. @param {string} name @param {Bed} bed */
export function translateBatches(name, bed) {
  return translateIn(name, bed, bed.shuffled, mapPages(bed));
}

/** The same where only the bed's single pages are mapped, in another order. @param {string} name @param {Bed} bed */
export function translateBatchesScattered(name, bed) {
  return translateIn(name, bed, shuffle(bed.shuffled), mapEveryPage(bed));
}

/**
 * @param {string} name
 * @param {Bed} bed
 * @param {Float64Array} pages
 * @param {(s2: Stage2) => void} map
 */
function translateIn(name, bed, pages, map) {
  /** @type {Batch[]} */
  let batches = [];
  return onFreshVcpu(bed, name, {
    operations: pages.length,
    vcpu: { tlb: false },
    map: inCaches(bed, map),
    prepare() {
      batches = toBatches(bed, pages);
    },
    expected: 0,
    run(vcpu) {
      let failed = 0;
      for (const batch of batches) failed += vcpu.translateMany(batch, Access.Read);
      return failed;
    },
    verify(statistics) {
      walked(pages.length, STAGE2_READS)(statistics);
      for (const batch of batches) verifyBatch(batch);
    },
  });
}

/**
 * Batches with these addresses, and nothing in their results.
 *
 * @param {Bed} bed
 * @param {Float64Array} pages
 */
function toBatches({ engine }, pages) {
  return Array.from({ length: Math.ceil(pages.length / BATCH) }, (_, i) => {
    const part = pages.subarray(i * BATCH, (i + 1) * BATCH);
    const batch = engine.batch(part.length);
    batch.addresses.set(part);
    batch.results.fill(0);
    return batch;
  });
}

/** Asserts that each address has its own result, and gives the batch back. @param {Batch} batch */
function verifyBatch(batch) {
  const { addresses, results } = batch;
  for (let i = 0; i < batch.capacity; i++) assert.equal(results[i], addresses[i] + PA_OFFSET);
  batch.dispose();
}

/**
 * Translates pages one per call in random order, where each address has to wait for the translation before.
 *
 * @param {string} name
 * @param {Bed} bed
 */
export function translateChain(name, bed) {
  const { shuffled } = bed;
  return onFreshVcpu(bed, name, {
    operations: shuffled.length,
    vcpu: { tlb: false },
    map: inCaches(bed, mapPages(bed)),
    expected: shuffled.length * PA_OFFSET,
    run(vcpu) {
      let offsets = 0;
      let pa = 0;
      for (let i = 0; i < shuffled.length; i++) {
        const va = shuffled[i] + (pa - pa); // 0, but only known when pa is
        pa = /** @type {number} */ (vcpu.translate(va, Access.Read));
        offsets += pa - va;
      }
      return offsets;
    },
    verify: walked(shuffled.length, STAGE2_READS),
  });
}

/** Translates pages that are in the TLB, one per call, random order. @param {string} name @param {Bed} bed */
export function translateHot(name, bed) {
  const hot = hotPages(bed);
  return onFreshVcpu(bed, name, {
    unit: "hit",
    operations: hot.length,
    vcpu: {},
    map: mapPages(bed),
    prepare: (vcpu) => translateEach(vcpu, hot),
    expected: hot.length * PA_OFFSET,
    run: (vcpu) => translateEach(vcpu, hot),
    verify: hitTlb(hot.length),
  });
}

/** Uses every page once after all were aged, random order: each walk sets an access flag. @param {string} name @param {Bed} bed */
export function accessFlagStorm(name, bed) {
  const { shuffled } = bed;
  return onFreshVcpu(bed, name, {
    unit: "access",
    operations: shuffled.length,
    vcpu: { tlb: false },
    map(s2) {
      mapPages(bed)(s2);
      makeOld(bed, s2);
    },
    expected: shuffled.length * PA_OFFSET,
    run: (vcpu) => translateEach(vcpu, shuffled),
    verify({ accessFlagUpdates }, s2) {
      assert.equal(accessFlagUpdates.stage2, shuffled.length);
      uniform(bed)(s2);
    },
  });
}

/**
 * As many addresses as other workloads use, of few pages: each as often, in random order.
 *
 * @param {Bed} bed
 */
export function hotPages({ sequential }) {
  return shuffle(Float64Array.from({ length: N }, (_, i) => sequential[i % HOT_PAGES]));
}

/**
 * Translates each, for reading. The sum of what was added to them, NaN if one faults.
 *
 * @param {Vcpu} vcpu
 * @param {Float64Array} pages
 */
export function translateEach(vcpu, pages) {
  let offsets = 0;
  for (let i = 0; i < pages.length; i++) {
    const va = pages[i];
    offsets += /** @type {number} */ (vcpu.translate(va, Access.Read)) - va;
  }
  return offsets;
}

/**
 * Maps, and leaves the caches as the yardstick's own check does.
 *
 * @param {Bed} bed
 * @param {(s2: Stage2) => void} map
 * @returns {(s2: Stage2) => void}
 */
function inCaches(bed, map) {
  return (s2) => {
    map(s2);
    everyPage(bed)(s2);
  };
}
