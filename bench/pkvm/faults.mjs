// @ts-check
/**
 * A guest's faults, from the access that fails to the one that succeeds, on a VM of each kind: the memory that both ask is the same, so is
 * everything between a fault and the page table.
 */
import assert from "node:assert/strict";
import { Clock } from "../vm/clock.mjs";
import { BLOCK, GIB, PAGE, machine } from "./bed.mjs";
import { Guest } from "./guest.mjs";

/** @typedef {import("./mappings.mjs").Scenario} Scenario */
/** @typedef {{ leaf: number, size: number }} Shape leaf of the host, bytes of the guest */

/** @type {Readonly<Record<string, Shape>>} */
const SHAPES = {
  "4KiB": { leaf: PAGE, size: GIB / 64 },
  "2MiB": { leaf: BLOCK, size: GIB / 4 },
};
/** Samples are small and many, as those of mappings. */
const SAMPLES = 10;
const WARM_UP = 10;

/** @type {readonly Scenario[]} */
export const FAULTS = Object.entries(SHAPES).map(([leaf, shape]) => {
  const name = `faults-${leaf}`;
  return { name, measure: (engine, reps) => compare(engine, reps, name, shape) };
});

/** @param {import("stage2").Engine} engine @param {number} reps @param {string} name @param {Shape} shape */
function compare(engine, reps, name, { leaf, size }) {
  const pkvm = machine(engine);
  const kinds = [
    { kind: "plain", guest: new Guest(engine, size, leaf) },
    { kind: "pkvm", guest: new Guest(engine, size, leaf, pkvm) },
  ];
  const clocks = kinds.map(() => new Clock());
  for (let rep = -WARM_UP; rep < reps * SAMPLES; rep++)
    kinds.forEach(({ guest }, i) => {
      const clock = /** @type {Clock} */ (clocks[i]);
      round(clock, guest, leaf);
      clock.endRound(rep >= 0);
    });
  for (const { guest } of kinds) guest.dispose();
  pkvm.dispose();
  assert.equal(engine.memoryUsage().used, 0, `${name}: pages left`);
  return kinds.flatMap(({ kind }, i) => /** @type {Clock} */ (clocks[i]).rows(`${name}-${kind}`));
}

/** The guest touches everything once, in order; then the host takes it all away. @param {Clock} clock @param {Guest} guest @param {number} leaf */
function round(clock, guest, leaf) {
  const faults = guest.size / leaf;
  clock.time("fault", "fault", faults, () => guest.touch(leaf));
  assert.equal(guest.leaves, faults, "leaves");
  clock.time("take away", "leaf", faults, () => guest.takeAway());
  assert.equal(guest.leaves, 0, "leaves after all was taken away");
}
