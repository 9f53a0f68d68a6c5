// @ts-check
/** Where all threads meet. Nobody waits there for ever: who does not come is named. */

const ARRIVED = 0;
const PHASE = 1;
const STOP = 2;
const ABORT = 3;
const SLICE_MS = 100;

/** Another thread gave up: there is nothing to go on with. */
export class Aborted extends Error {
  /** @override */
  message = "another thread failed";
}

export class Barrier {
  #words;
  #threads;
  #patience;

  /** @param {{ common: { barrier: Int32Array }, threads: readonly unknown[] }} board @param {number} patience ms */
  constructor(board, patience) {
    this.#words = board.common.barrier;
    this.#threads = board.threads.length;
    this.#patience = patience;
  }

  /**
   * Waits for all the others.
   *
   * @param {() => string} whoIsLate
   * @throws {Aborted}
   */
  meet(whoIsLate) {
    const words = this.#words;
    const phase = Atomics.load(words, PHASE);
    if (Atomics.add(words, ARRIVED, 1) === this.#threads - 1) {
      Atomics.store(words, ARRIVED, 0);
      Atomics.add(words, PHASE, 1);
      Atomics.notify(words, PHASE);
    }
    for (let waited = 0; Atomics.load(words, PHASE) === phase; waited += SLICE_MS) {
      if (Atomics.load(words, ABORT) !== 0) throw new Aborted();
      if (waited > this.#patience) throw new Error(`waited in vain for ${whoIsLate()}`);
      Atomics.wait(words, PHASE, phase, SLICE_MS);
    }
    if (Atomics.load(words, ABORT) !== 0) throw new Aborted();
  }

  abort() {
    Atomics.store(this.#words, ABORT, 1);
    Atomics.notify(this.#words, PHASE);
  }

  /** Said by the leader at a quiet point: the next round does not come. */
  stop() {
    Atomics.store(this.#words, STOP, 1);
  }

  get stopped() {
    return Atomics.load(this.#words, STOP) !== 0;
  }
}
