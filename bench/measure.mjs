// @ts-check
import { Bench } from "tinybench";

/**
 * Something to time. `prepare` and `verify` are not timed; each sample is one `run` of `operations` units.
 *
 * @typedef {object} Workload
 * @property {string} name
 * @property {string} unit
 * @property {number} operations
 * @property {() => void} prepare makes the state that `run` starts from
 * @property {() => void} run
 * @property {() => void} verify throws unless `run` did all its work, and gives back what `prepare` took
 */

/** Node compiles a function anew, and better, after some 40,000 calls or loop turns: these make them. */
const WARM_UP_SAMPLES = 4;

/**
 * Takes `reps` samples of every workload, and of the yardstick in between, so that both see the same
 * neighbours on the machine.
 *
 * @param {readonly Workload[]} workloads
 * @param {number} reps
 * @param {{ run(): Map<string, number> } | undefined} yardstick
 * @param {(done: number, total: number) => void} progress
 * @returns {{ ours: Map<string, number[]>, native: Map<string, number[]> | undefined }} ns per unit
 */
export function measure(workloads, reps, yardstick, progress) {
  warmUp(workloads);
  /** @type {Map<string, number[]>} */
  const ours = new Map();
  /** @type {Map<string, number[]>} */
  const native = new Map();
  for (let rep = 0; rep < reps; rep++) {
    progress(rep, reps);
    for (const [name, ns] of yardstick?.run() ?? []) append(native, name, ns);
    for (const [name, ns] of sample(workloads, 1)) append(ours, name, ns);
  }
  progress(reps, reps);
  return { ours, native: yardstick && native };
}

/** @param {readonly Workload[]} workloads */
export function warmUp(workloads) {
  sample(workloads, WARM_UP_SAMPLES);
}

/**
 * One sample of each, or the median of several.
 *
 * @param {readonly Workload[]} workloads
 * @param {number} iterations
 * @returns {Map<string, number>} ns per unit
 */
export function sample(workloads, iterations) {
  const bench = new Bench({ iterations, time: 0, warmup: false, throws: true });
  for (const { name, prepare, run, verify } of workloads) {
    bench.add(name, run, { beforeEach: prepare, afterEach: verify });
  }
  bench.runSync();
  return new Map(
    workloads.map(({ name, operations }, i) => [name, (latency(bench, i) * 1e6) / operations]),
  );
}

/**
 * Median of a task, ms: with one iteration, that iteration.
 *
 * @param {Bench} bench
 * @param {number} index
 */
function latency(bench, index) {
  const result = bench.tasks[index]?.result;
  if (result?.state !== "completed") throw new Error(`no result: ${result?.state}`);
  return result.latency.p50;
}

/**
 * @param {Map<string, number[]>} lists
 * @param {string} name
 * @param {number} value
 */
export function append(lists, name, value) {
  const list = lists.get(name);
  if (list) list.push(value);
  else lists.set(name, [value]);
}
