// @ts-check
/**
 * What it costs to map, unmap, find and go through pages of a guest that has so many mapped: `map` shares a page, `unmap` unshares it. The
 * same on a plain table, in turns. Samples are small and many: the least of them is what the work takes when nothing else ran.
 */
import assert from "node:assert/strict";
import { generator } from "../bed.mjs";
import { Clock } from "../vm/clock.mjs";
import { COUNTS, IPA, ORDERS, PA, PAGE, PROT, bothKinds, machine, offsets } from "./bed.mjs";

/** @typedef {import("./bed.mjs").Engine} Engine */
/** @typedef {import("./bed.mjs").Kind} Kind */
/** @typedef {typeof ORDERS[number]} Order */
/** @typedef {import("../vm/clock.mjs").PhaseRow} PhaseRow */
/** @typedef {{ name: string, measure(engine: Engine, reps: number): PhaseRow[] }} Scenario */

/** Pages of a sample, samples of a round, rounds before the first that counts; pages of a range that is gone through. */
const SAMPLE = 500;
const SAMPLES = 10;
const WARM_UP = 20;
const WINDOW = 64;

/** @typedef {{ name: string, count: number, table: Kind["table"], pages: Float64Array, clock: Clock }} Subject */

/** @type {readonly Scenario[]} */
export const MAPPINGS = ORDERS.map((order) => {
  const name = `mappings-${order}`;
  return { name, measure: (engine, reps) => compare(engine, reps, name, order) };
});

/** All sizes and both kinds in turns: what disturbs one disturbs all. @param {Engine} engine @param {number} reps @param {string} name @param {Order} order */
function compare(engine, reps, name, order) {
  const pkvm = machine(engine);
  const subjects = COUNTS.flatMap((count) => {
    const pages = offsets(count, order);
    return bothKinds(engine, pkvm).map(({ name: kind, table }) => {
      fill(table, pages);
      return { name: `${name}-${count}-${kind}`, count, table, pages, clock: new Clock() };
    });
  });
  const random = generator();
  for (let rep = -WARM_UP; rep < reps * SAMPLES; rep++)
    for (const subject of subjects) sampleOf(subject, random, rep >= 0);
  for (const { table, pages } of subjects) empty(table, pages);
  pkvm.dispose();
  assert.equal(engine.memoryUsage().used, 0, `${name}: pages left`);
  return subjects.flatMap((subject) => subject.clock.rows(subject.name));
}

/**
 * Each phase on pages of its own, neighbours in the order of use: none finds in the cache what another one left there.
 *
 * @param {Subject} subject @param {(limit: number) => number} random @param {boolean} kept
 */
function sampleOf({ count, table, pages, clock }, random, kept) {
  const sample = () => {
    const first = random(count - SAMPLE + 1);
    return pages.subarray(first, first + SAMPLE);
  };
  look(clock, table, sample());
  find(clock, table, sample());
  change(clock, table, sample());
  ranges(clock, table, sample(), count * PAGE);
  clock.endRound(kept);
}

/** @param {Kind["table"]} table @param {Float64Array} pages */
function fill(table, pages) {
  let failed = 0;
  for (const page of pages) failed |= table.raw.map(IPA + page, PAGE, PA + page, PROT);
  assert.equal(failed, 0, "a page was not mapped");
  assertMapped(table, pages.length);
}

/** @param {Kind["table"]} table @param {Float64Array} pages */
function empty(table, pages) {
  assertMapped(table, pages.length);
  assert.equal(table.raw.unmap(IPA, pages.length * PAGE), 0, "unmap");
  assertMapped(table, 0);
  table.dispose();
}

/** @param {Kind["table"]} table @param {number} count */
function assertMapped(table, count) {
  assert.equal(table.counters().leafCount, count, "pages mapped");
  if ("statistics" in table) assert.equal(table.statistics.mappings, count, "pages noted");
}

/** The hardware's way: a walk of the table, whoever keeps it. @param {Clock} clock @param {Kind["table"]} table @param {Float64Array} sample */
function look(clock, { raw }, sample) {
  each(clock, "lookup", sample, (page) => raw.lookup(IPA + page) - PA - page);
}

/**
 * `flush` changes nothing: it costs what it takes to find the page where the kind has it, by a walk of the table or by a search among the
 * host's notes.
 *
 * @param {Clock} clock @param {Kind["table"]} table @param {Float64Array} sample
 */
function find(clock, { raw }, sample) {
  each(clock, "find", sample, (page) => raw.flush(IPA + page, PAGE));
}

/** Pages go, and come again. @param {Clock} clock @param {Kind["table"]} table @param {Float64Array} sample */
function change(clock, { raw }, sample) {
  const any = IPA + sample[sample.length >> 1];
  each(clock, "unmap", sample, (page) => raw.unmap(IPA + page, PAGE));
  assert.equal(raw.lookup(any), -1, "a page that was unmapped");
  each(clock, "map", sample, (page) => raw.map(IPA + page, PAGE, PA + page, PROT));
  assert.notEqual(raw.lookup(any), -1, "a page that was mapped");
}

/** Calls on ranges of some pages, at the places of the sample. @param {Clock} clock @param {Kind["table"]} table @param {Float64Array} sample @param {number} end */
function ranges(clock, { raw }, sample, end) {
  const size = WINDOW * PAGE;
  const starts = sample
    .filter((_, i) => i % WINDOW === 0)
    .map((page) => Math.min(page, end - size));
  /** @param {string} phase @param {(from: number) => number} call */
  const over = (phase, call) => {
    const failed = clock.time(`${phase} 64`, "page", starts.length * WINDOW, () =>
      starts.reduce((bad, from) => bad | call(IPA + from), 0),
    );
    assert.equal(failed, 0, phase);
  };
  over("go through", (from) => raw.flush(from, size));
  over("wrprotect", (from) => raw.wrprotect(from, size));
  over("age", (from) => raw.testClearYoung(from, size, 1) & ~1);
}

/** @param {Clock} clock @param {string} phase @param {Float64Array} pages @param {(page: number) => number} call */
function each(clock, phase, pages, call) {
  let failed = 0;
  clock.time(phase, "page", pages.length, () => {
    for (let i = 0; i < pages.length; i++) failed |= call(pages[i]);
  });
  assert.equal(failed, 0, phase);
}
