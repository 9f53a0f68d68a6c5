// @ts-check
/** Rows of workloads with several threads, each beside the figure of one thread from the same rounds. */
import os from "node:os";
import { Engine } from "stage2";
import { append } from "../measure.mjs";
import { summarize } from "../statistics.mjs";
import { Crew } from "./crew.mjs";
import { faultStorm, mapStorm, translateWhileAged } from "./workloads.mjs";

/** @typedef {import("./workloads.mjs").Measured} Measured */

/**
 * A line of the result; `opsPerSec` is of all threads together.
 *
 * @typedef {object} ThreadRow
 * @property {string} name
 * @property {number} opsPerSec
 * @property {number} nsPerOp
 * @property {string} unit
 * @property {number} threads
 * @property {number} oneThread operations per second of one, in the same rounds
 * @property {number} speedup
 * @property {string} [note]
 */

/** Threads of the named workloads. */
const NAMED_THREADS = 2;
/** A round takes a second or so. */
const MOST_ROUNDS = 5;

/** @type {Record<string, { measured: Measured, unit: string, beside: number }>} beside: threads that are not counted */
const NAMED = {
  W13: { measured: translateWhileAged, unit: "walk", beside: 1 },
  W14: { measured: faultStorm, unit: "fault", beside: 0 },
  "W14 map": { measured: mapStorm, unit: "map", beside: 0 },
};

/**
 * W13 and W14.
 *
 * @param {(name: string) => boolean} selected
 * @param {number} reps
 * @returns {Promise<ThreadRow[]>}
 */
export async function namedThreadRows(selected, reps) {
  const names = Object.keys(NAMED).filter(selected);
  const rows = [];
  for (const name of names) {
    const { measured, unit, beside } = NAMED[name];
    const counts = [1, NAMED_THREADS];
    const rates = await alternate(measured, counts, Math.min(reps, MOST_ROUNDS));
    rows.push(toRow({ name, unit, beside }, NAMED_THREADS, rates));
  }
  return rows;
}

/** @param {string} only @param {(only: string, name: string) => boolean} selects */
export const hasThreadRows = (only, selects) =>
  Object.keys(NAMED).some((name) => selects(only, name));

/**
 * Rounds with each count of threads by turns, so that all see the same neighbours on the machine.
 *
 * @param {Measured} measured
 * @param {readonly number[]} counts
 * @param {number} rounds
 * @returns {Promise<Map<number, number[]>>} operations per second, by count
 */
export async function alternate(measured, counts, rounds) {
  const engine = await Engine.create({ maxThreads: 16, maxTablePages: 16_384, patience: 20_000 });
  const crew = new Crew(engine);
  /** @type {Map<number, number[]>} */
  const rates = new Map();
  await measured(engine, crew, 1); // compiles, and hires
  for (let round = 0; round < rounds; round++) {
    for (const count of counts) {
      append(
        /** @type {any} */ (rates),
        /** @type {any} */ (count),
        await measured(engine, crew, count),
      );
    }
  }
  await crew.dismiss();
  engine.dispose();
  return rates;
}

/**
 * @param {{ name: string, unit: string, beside: number }} workload
 * @param {number} threads
 * @param {Map<number, number[]>} rates
 * @returns {ThreadRow}
 */
export function toRow({ name, unit, beside }, threads, rates) {
  const best = (/** @type {number} */ count) => summarize(rates.get(count) ?? []).max;
  const [opsPerSec, oneThread] = [best(threads), best(1)];
  const all = threads + beside;
  const cores = os.availableParallelism();
  return {
    name,
    opsPerSec,
    nsPerOp: 1e9 / opsPerSec,
    unit,
    threads,
    oneThread,
    speedup: opsPerSec / oneThread,
    ...(all > cores && { note: `oversubscribed: ${all} threads on ${cores} cores` }),
  };
}

/** @param {readonly ThreadRow[]} rows @param {(lines: string[][]) => string} formatTable */
export function formatThreadRows(rows, formatTable) {
  const millions = (/** @type {number} */ rate) => (rate / 1e6).toPrecision(3);
  return formatTable([
    ["workload", "unit", "threads", "M/s", "one thread M/s", "speed-up", ""],
    ...rows.map(({ name, unit, threads, opsPerSec, oneThread, speedup, note }) => [
      name,
      unit,
      String(threads),
      millions(opsPerSec),
      millions(oneThread),
      `${speedup.toFixed(2)}x`,
      note ?? "",
    ]),
  ]);
}
