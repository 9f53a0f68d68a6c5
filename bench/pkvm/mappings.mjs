// @ts-check
/**
 * Pages of one guest, mapped, looked for, gone through and unmapped, one at a time, by the library's calls: `map` shares a page, `unmap`
 * unshares it. The same on a plain table, in turns.
 */
import assert from "node:assert/strict";
import { Clock } from "../vm/clock.mjs";
import { COUNTS, IPA, ORDERS, PA, PAGE, PROT, bothKinds, machine, offsets } from "./bed.mjs";

/** @typedef {import("./bed.mjs").Engine} Engine */
/** @typedef {import("./bed.mjs").Kind} Kind */
/** @typedef {import("../vm/clock.mjs").PhaseRow} PhaseRow */
/** @typedef {{ name: string, measure(engine: Engine, reps: number): PhaseRow[] }} Scenario */

/** Units that a phase has at least in a round, and pages of a range that is gone through. */
const LEAST = 50_000;
const WINDOW = 64;

/** @type {readonly Scenario[]} */
export const MAPPINGS = COUNTS.flatMap((count) =>
  ORDERS.map((order) => {
    const name = `mappings-${count}-${order}`;
    return { name, measure: (engine, reps) => compare(engine, reps, name, count, order) };
  }),
);

/** @param {Engine} engine @param {number} reps @param {string} name @param {number} count @param {typeof ORDERS[number]} order */
function compare(engine, reps, name, count, order) {
  const pkvm = machine(engine);
  const kinds = bothKinds(engine, pkvm);
  const clocks = kinds.map(() => new Clock());
  const pages = offsets(count, order);
  const turns = Math.max(1, Math.ceil(LEAST / count));
  for (let rep = -1; rep < reps; rep++) {
    for (let turn = 0; turn < turns; turn++)
      kinds.forEach((kind, i) => round(/** @type {Clock} */ (clocks[i]), kind, pages));
    for (const clock of clocks) clock.endRound(rep >= 0);
  }
  for (const { table } of kinds) table.dispose();
  pkvm.dispose();
  assert.equal(engine.memoryUsage().used, 0, `${name}: pages left`);
  return kinds.flatMap((kind, i) => /** @type {Clock} */ (clocks[i]).rows(`${name}-${kind.name}`));
}

/** All pages come and go once. @param {Clock} clock @param {Kind} kind @param {Float64Array} pages */
function round(clock, { name, table }, pages) {
  const { raw } = table;
  const { length } = pages;
  let failed = 0;
  clock.time("map", "page", length, () => {
    for (let i = 0; i < length; i++)
      failed |= raw.map(IPA + pages[i], PAGE, PA + pages[i], PROT);
  });
  assert.equal(failed, 0, "a page was not mapped");
  if (table.counters().leafCount !== length) assert.fail("pages are not mapped");
  look(clock, table, pages);
  if (name === "pkvm") find(clock, /** @type {import("stage2").PkvmStage2} */ (table), pages);
  goThrough(clock, table, pages);
  clock.time("unmap", "page", length, () => {
    for (let i = 0; i < length; i++) failed |= raw.unmap(IPA + pages[i], PAGE);
  });
  assert.equal(failed, 0, "a page was not unmapped");
  assert.equal(table.counters().leafCount, 0, "pages are mapped still");
}

/** A walk of the table. @param {Clock} clock @param {Kind["table"]} table @param {Float64Array} pages */
function look(clock, { raw }, pages) {
  let sum = 0;
  clock.time("lookup", "page", pages.length, () => {
    for (let i = 0; i < pages.length; i++) sum += raw.lookup(IPA + pages[i]) - pages[i];
  });
  assert.equal(sum, PA * pages.length, "addresses looked up");
}

/** The host's own record of a page. @param {Clock} clock @param {import("stage2").PkvmStage2} table @param {Float64Array} pages */
function find(clock, table, pages) {
  let sum = 0;
  clock.time("find a mapping", "page", pages.length, () => {
    for (let i = 0; i < pages.length; i++) sum += table.raw.mapping(IPA + pages[i]) - pages[i];
  });
  assert.equal(sum, PA * pages.length, "mappings found");
}

/** Ranges of some pages, at the places that the order says. @param {Clock} clock @param {Kind["table"]} table @param {Float64Array} pages */
function goThrough(clock, { raw }, pages) {
  const size = WINDOW * PAGE;
  const end = pages.length * PAGE - size;
  const count = Math.max(1, Math.floor(pages.length / WINDOW));
  let young = 0;
  clock.time("range of 64", "page", count * WINDOW, () => {
    for (let i = 0; i < count; i++)
      young += raw.testClearYoung(IPA + Math.min(pages[i * WINDOW], end), size, 0);
  });
  assert.equal(young, count, "ranges that are young");
  let failed = 0;
  clock.time("whole range", "page", pages.length, () => {
    failed |= raw.wrprotect(IPA, pages.length * PAGE);
  });
  assert.equal(failed, 0, "wrprotect");
}
