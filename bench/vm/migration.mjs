// @ts-check
/**
 * Rounds of live migration. The guest's memory is in blocks; logging starts; it writes here and there; what is dirty is
 * collected and protected again; then other pages, now that tables are there; then the same pages as before.
 *
 *     populate   protect   touch   collect (clear)   touch others   collect (clear)   touch the same   collect (clear)
 */
import assert from "node:assert/strict";
import { BLOCK, GIB, PAGE, generator } from "../bed.mjs";
import { Clock } from "./clock.mjs";
import { Guest, linearBacking, scatteredPages } from "./guest.mjs";
import { SOURCES } from "./sources.mjs";

/** @typedef {import("./sources.mjs").Source} Source */

const SIZES = [1, 4, 16];
const PERCENT = [1, 10];
const MAPPINGS = ["blocks", "split"];

/**
 * One scenario: its name, and what it found.
 *
 * @typedef {object} Scenario
 * @property {string} name
 * @property {(engine: import("stage2").Engine, reps: number) => import("./clock.mjs").PhaseRow[] | Promise<import("./clock.mjs").PhaseRow[]>} measure
 */

/** @type {readonly Scenario[]} */
export const MIGRATIONS = SIZES.flatMap((gib) =>
  Object.entries(SOURCES).flatMap(([source, how]) =>
    PERCENT.flatMap((percent) =>
      MAPPINGS.map((mapping) => {
        const name = `migration-${gib}GiB-${source}-${percent}%-${mapping}`;
        const shape = { size: gib * GIB, percent, split: mapping === "split" };
        return { name, measure: (engine, reps) => migrate(engine, reps, name, how, shape) };
      }),
    ),
  ),
);

/**
 * @param {import("stage2").Engine} engine
 * @param {number} reps
 * @param {string} name
 * @param {Source} source
 * @param {{ size: number, percent: number, split: boolean }} shape
 */
function migrate(engine, reps, name, source, shape) {
  const clock = new Clock();
  const random = generator();
  // One round for the compiler; a small guest warms up what a large one runs.
  for (let rep = -1; rep < reps; rep++) {
    const size = rep < 0 ? GIB : shape.size;
    migrateOnce(engine, clock, source, { ...shape, size, kept: rep >= 0 }, random);
    assert.equal(engine.memoryUsage().used, 0, `${name}: pages left`);
  }
  return clock.rows(name);
}

/**
 * @param {import("stage2").Engine} engine
 * @param {Clock} clock
 * @param {Source} source
 * @param {{ size: number, percent: number, split: boolean, kept: boolean }} shape `kept`: what is timed counts
 * @param {(limit: number) => number} random
 */
function migrateOnce(engine, clock, source, { size, percent, split, kept }, random) {
  const configure = (/** @type {import("stage2").Vm} */ vm) => {
    source.configure?.(vm);
    if (split) vm.eagerSplitChunk = BLOCK;
  };
  const guest = new Guest(engine, size, linearBacking(BLOCK), configure, source.cpu);
  const pages = size / PAGE;
  clock.time("populate", "block", size / BLOCK, () => guest.populate());
  clock.time("protect", "page", pages, () => guest.startLogging());
  source.start?.(guest);
  const [first, second] = [1, 2].map(() => scatteredPages(size, percent, random));
  const rounds = { touch: first, "touch others": second, "touch the same": second };
  for (const [phase, touched] of Object.entries(rounds)) {
    const { early, relieved } = touch(guest, clock, phase, source, touched);
    // The write that fills a ring may be in it before it is done, and once more afterwards.
    const again = early + source.collect(guest, clock) - touched.length;
    assert.ok(again >= 0 && again <= relieved, `pages collected: ${again} too many`);
    clock.endRound(kept);
  }
  clock.time("stop logging", "page", pages, () => guest.stopLogging());
  clock.time("tear down", "page", pages, () => guest.dispose());
  clock.endRound(kept);
}

/**
 * Writes to pages, each as often as it takes; a vCPU that can go no further is relieved. Pages collected meanwhile, and how often.
 *
 * @param {Guest} guest
 * @param {Clock} clock
 * @param {string} phase
 * @param {Source} source
 * @param {Float64Array} pages
 */
function touch(guest, clock, phase, source, pages) {
  let early = 0;
  let relieved = 0;
  for (let i = 0; i < pages.length;) {
    const done = i;
    const from = performance.now();
    i = touchSome(guest, pages, i);
    clock.add(phase, "page", i - done, (performance.now() - from) * 1e6);
    if (i === pages.length) break;
    early += source.relieve?.(guest, clock) ?? stuck(pages[i]);
    relieved++;
  }
  return { early, relieved };
}

/** Until one does not succeed: its place, or the end. @param {Guest} guest @param {Float64Array} pages @param {number} from */
function touchSome(guest, pages, from) {
  let i = from;
  while (i < pages.length && guest.tryWriteTo(pages[i] * PAGE)) i++;
  return i;
}

/** @param {number} page @returns {never} */
function stuck(page) {
  throw new Error(`page ${page} cannot be written to`);
}
