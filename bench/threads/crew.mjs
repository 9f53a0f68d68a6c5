// @ts-check
/**
 * Threads that do the same job at the same time. They wait for a common start, and their own work alone is timed, by a
 * clock that all threads of the process share.
 */
import { Worker } from "node:worker_threads";

/**
 * A job for each thread: which one (roles.mjs), and what it needs.
 *
 * @typedef {object} Job
 * @property {RoleName} role
 * @property {Partial<import("./roles.mjs").Data> | import("../vm/worker.mjs").Data} data cloned to the thread
 */

/** @typedef {keyof typeof import("./roles.mjs").ROLES | "page"} RoleName those of roles.mjs; of other programs, their own */

/**
 * What a thread says when it is done.
 *
 * @typedef {object} Done
 * @property {number} operations
 * @property {number} ns from the common start to its own end
 * @property {Record<string, number>} [facts] to be checked, or shown
 */

const READY = 0;
const GO = 1;
const STOP = 2;

/** Threads of one engine. */
export class Crew {
  /** @type {Worker[]} */
  #workers = [];
  #engine;
  #program;

  /** @param {import("stage2").Engine} engine @param {URL} [program] what threads run: it serves (serve.mjs) */
  constructor(engine, program = new URL("worker.mjs", import.meta.url)) {
    this.#engine = engine;
    this.#program = program;
  }

  /**
   * Runs jobs side by side; when the timed ones have ended, the others (`until stopped`) are told to.
   *
   * @param {readonly Job[]} jobs
   * @param {readonly Job[]} [beside] not timed: they run as long as the others do
   * @returns {Promise<{ done: Done[], beside: Done[] }>}
   */
  async run(jobs, beside = []) {
    const flags = new Int32Array(new SharedArrayBuffer(12));
    const all = [...jobs, ...beside];
    while (this.#workers.length < all.length) this.#workers.push(this.#hire());
    const ends = all.map((job, i) => this.#order(this.#workers[i], job, flags));
    const timed = Promise.all(ends.slice(0, jobs.length));
    const others = Promise.all(ends.slice(jobs.length));
    await whenReady(flags, all.length);
    Atomics.store(flags, GO, 1);
    Atomics.notify(flags, GO);
    const done = await timed;
    Atomics.store(flags, STOP, 1);
    return { done, beside: await others };
  }

  /**
   * Does something in this thread while others do their jobs.
   *
   * @param {readonly Job[]} jobs
   * @param {() => void} work
   */
  async beside(jobs, work) {
    const flags = new Int32Array(new SharedArrayBuffer(12));
    while (this.#workers.length < jobs.length) this.#workers.push(this.#hire());
    const ends = jobs.map((job, i) => this.#order(this.#workers[i], job, flags));
    await whenReady(flags, jobs.length);
    Atomics.store(flags, GO, 1);
    Atomics.notify(flags, GO);
    try {
      work();
    } finally {
      Atomics.store(flags, STOP, 1);
    }
    await Promise.all(ends);
  }

  /** Lets the threads go; the engine is the caller's. */
  async dismiss() {
    await Promise.all(this.#workers.map((worker) => ended(worker)));
    this.#workers = [];
  }

  #hire() {
    const engine = this.#engine.handle;
    return new Worker(this.#program, { workerData: { engine } });
  }

  /** @param {Worker} worker @param {Job} job @param {Int32Array} flags @returns {Promise<Done>} */
  #order(worker, job, flags) {
    return new Promise((resolve, reject) => {
      worker.once("error", reject);
      worker.once("message", (done) => {
        worker.off("error", reject);
        resolve(done);
      });
      worker.postMessage({ job, flags });
    });
  }
}

/** @param {Worker} worker */
function ended(worker) {
  return new Promise((resolve) => {
    worker.once("exit", resolve);
    worker.postMessage(undefined);
  });
}

/** Without blocking: a thread that could not be made has to be heard of. @param {Int32Array} flags @param {number} count */
async function whenReady(flags, count) {
  while (Atomics.load(flags, READY) < count) await new Promise((resolve) => setTimeout(resolve, 1));
}

/** Operations of all, per second of the slowest. @param {readonly Done[]} done */
export function throughput(done) {
  const operations = done.reduce((sum, one) => sum + one.operations, 0);
  return (operations * 1e9) / Math.max(...done.map(({ ns }) => ns));
}

/** In the thread: ready, and gone at the same time as the others. @param {Int32Array} flags */
export function start(flags) {
  Atomics.add(flags, READY, 1);
  Atomics.wait(flags, GO, 0);
  return process.hrtime.bigint();
}

/** In a thread beside. @param {Int32Array} flags */
export const stopped = (flags) => Atomics.load(flags, STOP) !== 0;
