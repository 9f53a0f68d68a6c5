// @ts-check
/**
 * The memory that the threads share beside the engine: the host's view of each page, the ledgers, the barrier. Every
 * thread writes its own rows of the ledgers; what several write is changed by atomic steps.
 */
import { KINDS } from "./kinds.mjs";
import { CHUNKS, PAGES, REGIONS, SINGLES } from "./scene.mjs";
import { VIOLATIONS } from "./violations.mjs";

/** Words of each field, per engine. */
const COMMON = {
  /** Arrived, phase, stop, abort. */
  barrier: 16,
  violations: VIOLATIONS.length,
  /** Single page or chunk behind a page or region, plus one; 0: none. */
  host: PAGES,
  hostChunk: REGIONS,
  /** The last generation given to a page's memory, and the last whose unmap returned. */
  generation: PAGES,
  finished: PAGES,
  /** The dirty log. */
  dirty: PAGES,
  /** What a page held when it was last known to be clean. */
  sample: PAGES,
  /** Access flag at the last quiet point. */
  young: PAGES,
  /** Queues of free memory: next to take, next to give, and the places. */
  singles: 2 + SINGLES,
  chunks: 2 + CHUNKS,
};

/** Words of each field, per thread: the ledger since the last quiet point, and what is kept for the result. */
const PER_THREAD = {
  /** Times that an entry went from old to young. */
  made: PAGES,
  /** Late maps that may have made a page young which they otherwise left alone: in a table that keeps permissions. */
  maybeMade: PAGES,
  /** Times that this very page was reported young and made old. */
  reported: PAGES,
  /** Reports of a range with the page in it, by page and by region. */
  rangeReported: PAGES,
  regionReported: REGIONS,
  /** Unmaps that covered the page. */
  unmapped: PAGES,
  operations: KINDS.length,
  /** Faults handled, accesses that took more than one, the most that one took. */
  faults: 4,
  /** Which operation the thread is in, and pages in its cache. */
  now: 2,
};

/** @typedef {keyof typeof COMMON} Field */
/** @typedef {keyof typeof PER_THREAD} Row */

const LINE = 16;
/** @param {number} words */
const whole = (words) => Math.ceil(words / LINE) * LINE;
/** @param {Record<string, number>} fields */
const total = (fields) => Object.values(fields).reduce((sum, words) => sum + whole(words), 0);

/** One view for each field; those of threads in lists. */
export class Board {
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
    return new Board(new SharedArrayBuffer(words * 4), threads);
  }

  /** The sum over all threads of one place of a row. @param {Row} row @param {number} index */
  sum(row, index) {
    return this.threads.reduce((sum, thread) => sum + thread[row][index], 0);
  }

  /** Starts the ledgers anew. Quiet points only. */
  clearLedgers() {
    for (const thread of this.threads) {
      for (const row of /** @type {const} */ ([
        "made",
        "maybeMade",
        "reported",
        "rangeReported",
        "regionReported",
        "unmapped",
      ])) {
        thread[row].fill(0);
      }
    }
  }

  /** Sums by name: what the threads did, and what was found. */
  result() {
    /** @type {Record<string, number>} */
    const operations = {};
    KINDS.forEach((kind, i) => (operations[kind] = this.sum("operations", i)));
    /** @type {Record<string, number>} */
    const violations = {};
    VIOLATIONS.forEach((name, i) => {
      const found = Atomics.load(this.common.violations, i);
      if (found > 0) violations[name] = found;
    });
    return { operations, violations };
  }
}

/** Words in a page, by what they hold: whose memory this is; then a word for each thread's stores. */
export const TAG_WORD = 0;
export const FIRST_STORE_WORD = 16;
export const MOST_THREADS = 32;
