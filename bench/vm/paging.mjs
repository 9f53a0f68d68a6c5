// @ts-check
/**
 * A storm of demand paging: vCPUs in threads of their own write to memory that has never been touched, page by page, in ranges
 * of their own or all in the same; and the host takes it away again.
 */
import assert from "node:assert/strict";
import { BLOCK, GIB, PAGE } from "../bed.mjs";
import { Crew } from "../threads/crew.mjs";
import { Clock } from "./clock.mjs";
import { Guest, HVA, linearBacking } from "./guest.mjs";

/** @typedef {import("./migration.mjs").Scenario} Scenario */
/** @typedef {{ leaf: number, vma?: number, size: number, step: number }} Shape leaf of the host, bytes touched, and at which distance */

const PROGRAM = new URL("worker.mjs", import.meta.url);
const THREADS = [1, 2];

/** @type {Readonly<Record<string, Shape>>} */
const SHAPES = {
  "4KiB": { leaf: PAGE, size: GIB, step: PAGE },
  "2MiB": { leaf: BLOCK, size: 16 * GIB, step: BLOCK },
  "1GiB": { leaf: GIB, vma: GIB, size: 64 * GIB, step: GIB },
};

/** @type {readonly Scenario[]} */
export const PAGINGS = [
  ...Object.entries(SHAPES).map(([leaf, shape]) => {
    const name = `paging-${leaf}`;
    return {
      name,
      measure: (/** @type {import("stage2").Engine} */ engine, /** @type {number} */ reps) =>
        storm(engine, reps, name, shape),
    };
  }),
  ...["disjoint", "overlapping"].flatMap((ranges) =>
    THREADS.map((threads) => {
      const name = `paging-${ranges}-${threads}-threads`;
      return {
        name,
        measure: (/** @type {import("stage2").Engine} */ engine, /** @type {number} */ reps) =>
          stormOfThreads(engine, reps, name, threads, ranges === "overlapping"),
      };
    }),
  ),
];

/** In this thread. @param {import("stage2").Engine} engine @param {number} reps @param {string} name @param {Shape} shape */
function storm(engine, reps, name, { leaf, vma, size, step }) {
  const clock = new Clock();
  const guest = new Guest(engine, size, linearBacking(leaf, vma));
  const faults = size / step;
  for (let rep = -1; rep < reps; rep++) {
    clock.time("fault", "page", faults, () => {
      for (let offset = 0; offset < size; offset += step) guest.writeTo(offset);
    });
    assert.equal(leavesOf(guest), faults, `${name}: leaves`);
    if (step === PAGE) {
      const count = faults / 16;
      clock.time("take away, page by page", "page", count, () => takeAway(guest, count, PAGE));
    }
    clock.time("take away", "page", faults, () =>
      guest.vm.invalidate({ hva: HVA, size }, () => {}),
    );
    assert.equal(leavesOf(guest), 0, `${name}: leaves after all was taken away`);
    clock.endRound(rep >= 0);
  }
  guest.dispose();
  assert.equal(engine.memoryUsage().used, 0, `${name}: pages left`);
  return clock.rows(name);
}

/** @param {Guest} guest */
const leavesOf = ({ vm }) => vm.stage2.counters().leafCount;

/** @param {Guest} guest @param {number} count @param {number} size */
function takeAway({ vm }, count, size) {
  for (let i = 0; i < count; i++) vm.invalidate({ hva: HVA + i * size, size }, () => {});
}

/** In threads. @param {import("stage2").Engine} engine @param {number} reps @param {string} name @param {number} threads @param {boolean} overlapping */
async function stormOfThreads(engine, reps, name, threads, overlapping) {
  const clock = new Clock();
  const crew = new Crew(engine, PROGRAM);
  const guest = new Guest(engine, GIB, linearBacking(PAGE));
  for (let rep = -1; rep < reps; rep++) {
    const jobs = Array.from({ length: threads }, (_, thread) => {
      const share = overlapping ? GIB : GIB / threads;
      const data = { vm: guest.vm.handle, first: overlapping ? 0 : thread * share, size: share };
      return { role: /** @type {const} */ ("page"), data };
    });
    const { done } = await crew.run(jobs);
    clock.add("fault", "page", GIB / PAGE, Math.max(...done.map(({ ns }) => ns)));
    const written = done.reduce((sum, { operations }) => sum + operations, 0);
    assert.equal(written, ((overlapping ? threads : 1) * GIB) / PAGE, `${name}: pages written`);
    assert.equal(leavesOf(guest), GIB / PAGE, `${name}: pages mapped`);
    guest.vm.invalidate({ hva: HVA, size: GIB }, () => {});
    clock.endRound(rep >= 0);
  }
  await crew.dismiss();
  guest.dispose();
  return clock.rows(name);
}
