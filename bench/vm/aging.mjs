// @ts-check
/**
 * Sweeps of idle-page tracking over a guest in 4 KiB pages, as notifiers ask: the whole range at once, and page by page. What
 * has been made old is touched again in between, by hardware.
 */
import assert from "node:assert/strict";
import { Access } from "stage2";
import { BLOCK, GIB, PAGE, generator } from "../bed.mjs";
import { Clock } from "./clock.mjs";
import { Guest, HVA, IPA, linearBacking, scatteredPages } from "./guest.mjs";

/** @typedef {import("./migration.mjs").Scenario} Scenario */

const SIZES = [1, 4, 16];
/** Pages asked for one at a time. */
const SINGLE_PAGES = GIB / PAGE;
const BATCH = 4096;

/** @type {readonly Scenario[]} */
export const AGINGS = SIZES.map((gib) => {
  const name = `aging-${gib}GiB`;
  return { name, measure: (engine, reps) => age(engine, reps, name, gib * GIB) };
});

/** @param {import("stage2").Engine} engine @param {number} reps @param {string} name @param {number} size */
function age(engine, reps, name, size) {
  const clock = new Clock();
  const guest = inPages(engine, size);
  const toucher = new Toucher(engine, guest);
  const random = generator();
  for (let rep = -1; rep < reps; rep++) {
    sweep(guest, clock, toucher, scatteredPages(size, 1, random));
    clock.endRound(rep >= 0);
  }
  toucher.dispose();
  guest.dispose();
  assert.equal(engine.memoryUsage().used, 0, `${name}: pages left`);
  return clock.rows(name);
}

/** Blocks, split at once when logging starts: faster than a fault for each page. @param {import("stage2").Engine} engine @param {number} size */
function inPages(engine, size) {
  const configure = (/** @type {import("stage2").Vm} */ vm) => void (vm.eagerSplitChunk = BLOCK);
  const guest = new Guest(engine, size, linearBacking(BLOCK), configure);
  guest.populate();
  guest.startLogging();
  return guest;
}

/** @param {Guest} guest @param {Clock} clock @param {Toucher} toucher @param {Float64Array} some 1 % of the pages */
function sweep(guest, clock, toucher, some) {
  const { vm, size } = guest;
  const whole = { hva: HVA, size };
  const pages = size / PAGE;
  toucher.touchAll(clock);
  const all = clock.time("clear, all young", "page", pages, () => vm.clearYoung(whole));
  assert.equal(all, true);
  const none = clock.time("clear, all old", "page", pages, () => vm.clearYoung(whole));
  assert.equal(none, false);
  toucher.touch(some);
  const few = clock.time("clear, 1 % young", "page", pages, () => vm.clearYoung(whole));
  assert.equal(few, true);
  toucher.touch(some);
  const flushed = clock.time("clear and flush, 1 % young", "page", pages, () =>
    vm.clearFlushYoung(whole),
  );
  assert.equal(flushed, true);
  toucher.touchAll();
  const count = Math.min(pages, SINGLE_PAGES);
  const reported = clock.time("clear, page by page", "page", count, () => onePageEach(vm, count));
  assert.equal(reported, count, "pages reported young");
}

/** @param {import("stage2").Vm} vm @param {number} count */
function onePageEach(vm, count) {
  let young = 0;
  for (let i = 0; i < count; i++) {
    if (vm.clearYoung({ hva: HVA + i * PAGE, size: PAGE })) young++;
  }
  return young;
}

/** The guest's CPU reads, several pages at a time; no TLB, so that hardware sets every flag again. */
class Toucher {
  #guest;
  #batch;

  /** @param {import("stage2").Engine} engine @param {Guest} guest */
  constructor(engine, guest) {
    this.#guest = guest;
    this.#batch = engine.batch(BATCH);
  }

  /** @param {Clock} [clock] */
  touchAll(clock) {
    const pages = this.#guest.size / PAGE;
    const all = () => {
      for (let first = 0; first < pages; first += BATCH) this.#read((i) => first + i, BATCH);
    };
    if (clock) clock.time("touch", "page", pages, all);
    else all();
  }

  /** @param {Float64Array} pages */
  touch(pages) {
    for (let first = 0; first < pages.length; first += BATCH) {
      this.#read((i) => pages[first + i], Math.min(BATCH, pages.length - first));
    }
  }

  /** @param {(i: number) => number} pageAt @param {number} count */
  #read(pageAt, count) {
    const { addresses } = this.#batch;
    for (let i = 0; i < count; i++) addresses[i] = IPA + pageAt(i) * PAGE;
    const failed = this.#guest.vcpu.cpu.translateMany(this.#batch, Access.Read, count);
    if (failed !== 0) throw new Error(`${failed} pages are not mapped`);
  }

  dispose() {
    this.#batch.dispose();
  }
}
