/** Waiting without blocking: requests of one thread take turns, and look again when a word of the memory changes. */
import { Stage2Error } from "./errors.ts";
import { integerOption, knownOptions } from "./range.ts";

/** How long a request may take. */
export interface LockOptions {
  /** Ends the waiting: the promise is rejected with its reason, and the lock is not taken. */
  signal?: AbortSignal;
  /** Milliseconds to wait at most, 0 to 600,000. Default: {@link Engine.patience}. */
  timeout?: number;
}

/** Between looks, in ms: where the host has no Atomics.waitAsync, and for words whose changes are not told. */
const PAUSE = 4;

/** The end of a request's patience. */
export class Limit {
  readonly timeout: number;
  readonly #signal: AbortSignal | undefined;
  readonly #end: number;

  /** @throws Stage2Error `BAD_OPTION` */
  constructor(options: LockOptions, patience: number) {
    knownOptions("lock", options, ["signal", "timeout"]);
    const { signal, timeout } = options;
    if (signal !== undefined && !(signal instanceof AbortSignal)) {
      throw new Stage2Error("BAD_OPTION", "signal must be an AbortSignal", { signal });
    }
    this.timeout = integerOption("timeout", timeout ?? patience, 0, 600_000);
    this.#signal = signal;
    this.#end = performance.now() + this.timeout;
  }

  /** Milliseconds that are left. */
  get left(): number {
    return Math.max(0, this.#end - performance.now());
  }

  /** Throws the signal's reason if it was aborted. */
  check(): void {
    this.#signal?.throwIfAborted();
  }

  /** Settles when `start`'s callback is called, or after `ms`; rejects when the signal is aborted. `start` returns what ends it. */
  pause(ms: number, start: (wake: () => void) => void): Promise<void> {
    const signal = this.#signal;
    return new Promise((resolve, reject) => {
      const finish = (end: () => void): void => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", abort);
        end();
      };
      const abort = (): void => finish(() => reject(signal?.reason));
      const timer = setTimeout(() => finish(resolve), ms);
      signal?.addEventListener("abort", abort, { once: true });
      start(() => finish(resolve));
    });
  }
}

/** Requests of one thread for one engine: one at a time, in the order in which they were made. */
export class Turns {
  readonly #waiting: (() => void)[] = [];
  #taken = false;

  /** Whether the turn came before the limit. {@link leave} must follow if it did. */
  async enter(limit: Limit): Promise<boolean> {
    limit.check();
    if (!this.#taken) {
      this.#taken = true;
      return true;
    }
    let mine = false;
    let turn = (): void => {};
    try {
      await limit.pause(limit.left, (wake) => {
        turn = () => {
          mine = true;
          wake();
        };
        this.#waiting.push(turn);
      });
      return mine;
    } catch (error) {
      if (mine) this.leave(); // aborted, and the turn came before that was heard: the next one has it
      throw error;
    } finally {
      const at = this.#waiting.indexOf(turn);
      if (at >= 0) this.#waiting.splice(at, 1);
    }
  }

  leave(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#taken = false;
    else next();
  }
}

/** ECMA-262 2024, `Atomics.waitAsync`: not in every host. */
type WaitAsync = (
  words: Int32Array,
  index: number,
  value: number,
  ms: number,
) => { async: true; value: Promise<string> } | { async: false };

/** A 32-bit word of the memory, and what it was. */
export interface Word {
  readonly pointer: number;
  readonly value: number;
}

/** Waits until the word has changed, for a little while at most. */
export function changed(memory: WebAssembly.Memory, word: Word, limit: Limit): Promise<void> {
  const { waitAsync } = Atomics as { waitAsync?: WaitAsync };
  const { buffer } = memory;
  const ms = Math.min(PAUSE, limit.left);
  const shared = typeof SharedArrayBuffer !== "undefined" && buffer instanceof SharedArrayBuffer;
  if (waitAsync === undefined || !shared) return limit.pause(ms, () => {});
  const words = new Int32Array(buffer, word.pointer, 1);
  // The timer runs beside it: in Node a promise of waitAsync alone does not keep the process alive.
  return limit.pause(ms, (wake) => {
    const wait = waitAsync.call(Atomics, words, 0, word.value | 0, ms);
    if (wait.async) void wait.value.then(wake);
    else wake();
  });
}
