// @ts-check
import { Engine } from "stage2";
import { measure } from "./measure.mjs";
import { toRow } from "./rows.mjs";
import { SCALE, workloadsOf } from "./workloads/index.mjs";

/** Figures of small ranges are of single samples of few operations: more samples for them. */
const FULL_SIZE = 2 ** 30;

/**
 * Each operation from 1 MiB to 64 GiB mapped, grouped by operation.
 *
 * @param {number} reps
 * @param {(done: number, total: number) => void} progress
 * @returns {Promise<import("./rows.mjs").Row[]>}
 */
export async function scalingRows(reps, progress) {
  const engine = await Engine.create();
  const bySize = SCALE.map((size, i) => {
    progress(i, SCALE.length);
    const workloads = workloadsOf(engine, size, sizeName(size));
    const samples = size < FULL_SIZE ? reps * 16 : reps;
    const { ours } = measure(workloads, samples, undefined, () => {});
    return workloads.map((workload) => toRow(workload, ours.get(workload.name) ?? [], undefined));
  });
  progress(SCALE.length, SCALE.length);
  engine.dispose();
  return (
    bySize[0]?.flatMap((_, operation) => bySize.flatMap((rows) => rows[operation] ?? [])) ?? []
  );
}

/** @param {number} bytes */
function sizeName(bytes) {
  return bytes < 2 ** 30 ? `${bytes / 2 ** 20} MiB` : `${bytes / 2 ** 30} GiB`;
}
