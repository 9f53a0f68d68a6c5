// @ts-check
/** The memory that the threads share beside the engine: the host's view, the ledger of logs, the barrier. */
import { MOST_THREADS } from "../board.mjs";
import { CHUNKS, PAGES, REGIONS, SINGLES } from "../scene.mjs";
import { KINDS } from "./kinds.mjs";
import { VMS } from "./scene.mjs";
import { VM_VIOLATIONS } from "./violations.mjs";

/** Words of each field, per engine. */
const COMMON = {
  /** Arrived, phase, stop, abort. */
  barrier: 16,
  violations: VM_VIOLATIONS.length,
  /** Single page or chunk behind a page or region, plus one; 0: none. */
  host: PAGES,
  hostChunk: REGIONS,
  /** The last generation given to a page's memory, and the last whose unmap returned. */
  generation: PAGES,
  finished: PAGES,
  /** 1: somebody writes to the page from outside, or takes it away. */
  pinned: PAGES,
  /** By VM: who collects, or changes slots. 0: nobody. */
  collecting: VMS,
  /** By region: home, 1 while its log is on, and a number that is odd while the slot comes, goes or moves. */
  home: REGIONS,
  logging: REGIONS,
  layout: REGIONS,
  /** What a page held when it was copied, and the tag of that memory; UNKNOWN: it has to be in the next log. */
  copy: PAGES,
  copyTag: PAGES,
  /** Tag of memory that was stored to since the copy, and in no log yet; by thread, how often it was settled then. */
  suspect: PAGES,
  suspectSettled: PAGES * MOST_THREADS,
  /** Queues of free memory: next to take, next to give, and the places. */
  singles: 2 + SINGLES,
  chunks: 2 + CHUNKS,
};

/** Words of each field, per thread. */
const PER_THREAD = {
  operations: KINDS.length,
  /** Aborts handled, accesses that missed their slot, copies, suspicions. */
  counts: 4,
  /** Which operation the thread is in. */
  now: 1,
  /** By VM: how often it had nothing on its way into a log. */
  settled: VMS,
};

/** @typedef {keyof typeof COMMON} Field */
/** @typedef {keyof typeof PER_THREAD} Row */

export const COUNT = { HANDLED: 0, MISSED: 1, COPIED: 2, SUSPECTED: 3 };
/** No tag of memory is this. */
export const UNKNOWN = -2;

const LINE = 16;
/** @param {number} words */
const whole = (words) => Math.ceil(words / LINE) * LINE;
/** @param {Record<string, number>} fields */
const total = (fields) => Object.values(fields).reduce((sum, words) => sum + whole(words), 0);

/** One view for each field; those of threads in lists. */
export class VmBoard {
  /** @type {Record<Field, Int32Array>} */
  common;
  /** @type {Record<Row, Int32Array>[]} */
  threads;

  /** @param {SharedArrayBuffer} buffer @param {number} threads */
  constructor(buffer, threads) {
    this.buffer = buffer;
    let at = 0;
    /** @param {Record<string, number>} fields */
    const views = (fields) =>
      Object.fromEntries(
        Object.entries(fields).map(([name, words]) => {
          const view = new Int32Array(buffer, at * 4, words);
          at += whole(words);
          return [name, view];
        }),
      );
    this.common = /** @type {Record<Field, Int32Array>} */ (views(COMMON));
    this.threads = Array.from(
      { length: threads },
      () => /** @type {Record<Row, Int32Array>} */ (views(PER_THREAD)),
    );
  }

  /** @param {number} threads */
  static create(threads) {
    const words = total(COMMON) + threads * total(PER_THREAD);
    return new VmBoard(new SharedArrayBuffer(words * 4), threads);
  }

  /** The sum over all threads of one place of a row. @param {Row} row @param {number} index */
  sum(row, index) {
    return this.threads.reduce((sum, thread) => sum + thread[row][index], 0);
  }

  /** Sums by name: what the threads did, and what was found. */
  result() {
    /** @type {Record<string, number>} */
    const operations = {};
    KINDS.forEach((kind, i) => (operations[`VM: ${kind}`] = this.sum("operations", i)));
    /** @type {Record<string, number>} */
    const violations = {};
    VM_VIOLATIONS.forEach((name, i) => {
      const found = Atomics.load(this.common.violations, i);
      if (found > 0) violations[name] = found;
    });
    return { operations, violations };
  }
}
