// @ts-check
import { Engine } from "stage2";
import { GIB, PAGE } from "./bed.mjs";
import { append, sample, warmUp } from "./measure.mjs";
import { toRow } from "./rows.mjs";
import { SCALE, workloadsOf } from "./workloads/index.mjs";

/** Small ranges take a few microseconds: many samples for them, few for those that take a second. */
const PAGES_PER_REP = 2 ** 16;

/**
 * Each operation from 1 MiB to 64 GiB mapped, grouped by operation.
 *
 * @param {number} reps
 * @param {(done: number, total: number) => void} progress
 * @returns {Promise<import("./rows.mjs").Row[]>}
 */
export async function scalingRows(reps, progress) {
  const engine = await Engine.create();
  warmUp(workloadsOf(engine, GIB, "warm-up"));
  const bySize = SCALE.map((size, i) => {
    progress(i, SCALE.length);
    return rowsOf(workloadsOf(engine, size, sizeName(size)), samplesFor(size, reps));
  });
  progress(SCALE.length, SCALE.length);
  engine.dispose();
  return bySize[0].flatMap((_, operation) => bySize.map((rows) => rows[operation]));
}

/**
 * @param {number} size
 * @param {number} reps
 */
function samplesFor(size, reps) {
  return reps * Math.max(1, (PAGES_PER_REP * PAGE) / size);
}

/**
 * @param {readonly import("./measure.mjs").Workload[]} workloads
 * @param {number} samples
 */
function rowsOf(workloads, samples) {
  /** @type {Map<string, number[]>} */
  const lists = new Map();
  for (let i = 0; i < samples; i++) {
    for (const [name, ns] of sample(workloads, 1)) append(lists, name, ns);
  }
  return workloads.map((workload) => toRow(workload, lists.get(workload.name) ?? [], undefined));
}

/** @param {number} bytes */
function sizeName(bytes) {
  return bytes < 2 ** 30 ? `${bytes / 2 ** 20} MiB` : `${bytes / 2 ** 30} GiB`;
}
