// @ts-check
/** The memory that the threads share beside the engine: the barrier, what was done, what was found. */
import { KINDS } from "./kinds.mjs";
import { PKVM_VIOLATIONS } from "./violations.mjs";

/** Counts of a thread. */
export const COUNT = { MAPPED: 0, AGAIN: 1, REFUSED: 2, CALLS: 3, ACCEPTED: 4 };
const COUNTS = 5;
const BARRIER = 16;
const LINE = 16;

/** @param {number} words */
const whole = (words) => Math.ceil(words / LINE) * LINE;
const COMMON_WORDS = whole(BARRIER) + whole(PKVM_VIOLATIONS.length);
const THREAD_WORDS = whole(KINDS.length) + whole(COUNTS) + whole(1);

export class PkvmBoard {
  /** @param {SharedArrayBuffer} buffer @param {number} threads */
  constructor(buffer, threads) {
    this.buffer = buffer;
    let at = 0;
    const view = (/** @type {number} */ words) => {
      const array = new Int32Array(buffer, at * 4, words);
      at += whole(words);
      return array;
    };
    this.common = { barrier: view(BARRIER), violations: view(PKVM_VIOLATIONS.length) };
    this.threads = Array.from({ length: threads }, () => ({
      operations: view(KINDS.length),
      counts: view(COUNTS),
      /** Which operation the thread is in. */
      now: view(1),
    }));
  }

  /** @param {number} threads */
  static create(threads) {
    const words = COMMON_WORDS + threads * THREAD_WORDS;
    return new PkvmBoard(new SharedArrayBuffer(words * 4), threads);
  }

  /** @param {import("./violations.mjs").PkvmViolation} name */
  count(name) {
    Atomics.add(this.common.violations, PKVM_VIOLATIONS.indexOf(name), 1);
  }

  /** The sum over all threads of one place of a row. @param {"operations" | "counts"} row @param {number} index */
  sum(row, index) {
    return this.threads.reduce((sum, thread) => sum + thread[row][index], 0);
  }

  /** Sums by name: what the threads did, and what was found. */
  result() {
    /** @type {Record<string, number>} */
    const operations = {};
    KINDS.forEach((kind, i) => (operations[`pKVM: ${kind}`] = this.sum("operations", i)));
    /** @type {Record<string, number>} */
    const violations = {};
    PKVM_VIOLATIONS.forEach((name, i) => {
      const found = Atomics.load(this.common.violations, i);
      if (found > 0) violations[name] = found;
    });
    return { operations, violations };
  }
}
