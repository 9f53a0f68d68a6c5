/**
 * Locks in shared words, held for moments: nothing that waits for somebody, and no callback, runs under one.
 *
 * A word is 0, or (thread + 1) << 1 of the holder, with bit 0 if somebody may sleep on it.
 */
import { ETIMEDOUT, Stage2Error } from "../../errors.ts";

const SLEEPERS = 1;
/** Looks before a thread sleeps: what copying a page takes. */
const SPINS = 500;

/** Who waits, and how. */
export interface Waiter {
  /** Number of the thread in its engine. */
  readonly thread: number;
  /** Milliseconds before it gives up. */
  readonly patience: number;
  /** Whether it may sleep. */
  readonly blocks: boolean;
}

export class Locks {
  readonly #words: Int32Array;
  readonly #waiter: Waiter;
  readonly #own: number;

  constructor(words: Int32Array, waiter: Waiter) {
    this.#words = words;
    this.#waiter = waiter;
    this.#own = (waiter.thread + 1) << 1;
  }

  /** Runs `action` under the lock. @throws Stage2Error `ETIMEDOUT` names the thread that has it; nothing was done. */
  hold<T>(index: number, action: () => T): T {
    // Losing means that another thread has it: slow() waits for that one.
    if (Atomics.compareExchange(this.#words, index, 0, this.#own) !== 0) this.#slow(index);
    try {
      return action();
    } finally {
      if ((Atomics.exchange(this.#words, index, 0) & SLEEPERS) !== 0) {
        Atomics.notify(this.#words, index, 1);
      }
    }
  }

  /** Number of the thread that has the lock; -1: nobody. */
  holder(index: number): number {
    return (Atomics.load(this.#words, index) >> 1) - 1;
  }

  /** Releases a lock of a thread that has ended. */
  release(index: number): void {
    Atomics.store(this.#words, index, 0);
    Atomics.notify(this.#words, index);
  }

  #slow(index: number): void {
    const words = this.#words;
    const { patience, blocks } = this.#waiter;
    const end = performance.now() + patience;
    for (let looks = 0; ; looks++) {
      const holder = Atomics.load(words, index);
      if (holder === 0) {
        // With the bit: others may sleep, and only one of them was woken. Losing means that a third came in: look again.
        if (Atomics.compareExchange(words, index, 0, this.#own | SLEEPERS) === 0) return;
        continue;
      }
      if (looks < SPINS) continue;
      const left = end - performance.now();
      if (left <= 0) throw late((holder >> 1) - 1);
      if (!blocks) continue;
      const sleeping = holder | SLEEPERS;
      // Losing means that the holder left, or another sleeper was faster: look again.
      const found = Atomics.compareExchange(words, index, holder, sleeping);
      if (found === holder || found === sleeping) Atomics.wait(words, index, sleeping, left);
    }
  }
}

function late(thread: number): Stage2Error {
  const message = `thread ${thread} does not go on with a change of the guest memory`;
  return new Stage2Error("ETIMEDOUT", message, { thread, waitingFor: "guest memory" }, ETIMEDOUT);
}
