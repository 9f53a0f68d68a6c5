/**
 * Operations in steps, written once: a generator that pauses after each call of the core. Run at once it is the synchronous
 * variant; run in slices of the thread's time it is the asynchronous one, which can be aborted between steps and waits without
 * blocking for what is taken. However it ends, its `finally` puts things in order.
 */
import { disposed } from "../_context.ts";
import { Limit, type Word, changed } from "../_turns.ts";
import { EBUSY, Stage2Error } from "../errors.ts";
import { knownOptions } from "../range.ts";
import { nextSlice, sliceIsOver } from "./_idle.ts";
import type { Part, VmPlace } from "./_place.ts";
import { waited, withHint } from "./_refusals.ts";

/** How far an operation has come. */
export interface Progress {
  readonly phase: WorkPhase;
  /** Bytes of this phase that are done, of how many. */
  readonly done: number;
  readonly size: number;
}

/** What an operation is doing: one call may have several phases. */
export type WorkPhase =
  "unmap" | "protect" | "split" | "flush" | "ioremap" | "collect" | "clear" | "reset";

/** How an asynchronous operation runs. */
export interface WorkOptions {
  /** Ends it between two steps: the promise is rejected with its reason. What was done stays, unless it says otherwise. */
  signal?: AbortSignal;
  /** Told after each step, at once. What it throws ends the operation like a signal. */
  onProgress?: (progress: Progress) => void;
}

/** Where a generator pauses: after a step, or because something it needs is taken. */
export type Pause = Progress | Busy | typeof FIRM;
export type Work<T> = Generator<Pause, T, void>;

/** From here on the operation cannot be aborted any more. */
export const FIRM = Symbol("firm");

/** A call that changed nothing because something is taken, and may be made again. */
export class Busy {
  readonly error: Stage2Error;
  readonly operation: string;
  /** What is worth waiting on; undefined where the core does not say. */
  readonly word: Word | undefined;

  constructor(error: Stage2Error, operation: string, word: Word | undefined) {
    this.error = error;
    this.operation = operation;
    this.word = word;
  }
}

/** Runs it to its end. Something taken is an error; but what has to be finished, or put in order, goes on trying. */
export function atOnce<T>(place: VmPlace, work: Work<T>): T {
  let step = work.next();
  let isFirm = false;
  let end = Infinity;
  while (step.done !== true) {
    const pause = step.value;
    if (pause === FIRM) isFirm = true;
    if (!(pause instanceof Busy)) {
      step = work.next();
      continue;
    }
    if (end === Infinity) end = performance.now() + place.context.patience;
    const again = isFirm && performance.now() < end;
    isFirm = true;
    step = again ? work.next() : work.throw(pause.error);
  }
  return step.value;
}

/**
 * Makes a call of the core until what it needs is free: its result, which is no -EBUSY. `prepare` fills in the arguments before
 * each try. `also` is a refusal that time may end as well;
 * `explain` says more than a refusal does.
 */
export function* tried(
  place: VmPlace,
  operation: string,
  call: () => number,
  also = 0,
  explain = withHint,
): Work<number> {
  while (true) {
    place.clearResult();
    const status = call();
    if (status !== -EBUSY && (also === 0 || status !== also)) return status;
    const word = { pointer: place.context.resultNumber(0), value: place.context.resultNumber(1) };
    const error = explain(place.refusal(status, operation), operation);
    yield new Busy(error, operation, place.isWord(word.pointer) ? word : undefined);
  }
}

/** Runs it in slices. */
export function inSlices<T>(place: VmPlace, work: Work<T>, options: WorkOptions = {}): Promise<T> {
  return new Run(place, work, options).finish();
}

/**
 * Makes one call until what it needs is free, without blocking: its result, which is no -EBUSY. For work that is no longer than a
 * call; the call takes its results over itself.
 */
export async function untilFree(
  place: VmPlace,
  operation: string,
  signal: AbortSignal | undefined,
  call: () => number,
): Promise<number> {
  const limit = new Limit(signal === undefined ? {} : { signal }, place.context.patience);
  while (true) {
    limit.check();
    const status = place.withoutBlocking(call);
    if (status !== -EBUSY) return status;
    if (limit.left === 0) throw waited(place.refusal(status, operation), place, operation);
    await limit.pause(POLL, () => {});
  }
}

/** Checked options. @throws Stage2Error `BAD_OPTION` */
export function checkedWork(options: WorkOptions): WorkOptions {
  knownOptions("async", options, ["signal", "onProgress"]);
  const { signal, onProgress } = options;
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw new Stage2Error("BAD_OPTION", "signal must be an AbortSignal", { signal });
  }
  if (onProgress !== undefined && typeof onProgress !== "function") {
    throw new Stage2Error("BAD_OPTION", "onProgress must be a function", { onProgress });
  }
  return options;
}

/** One operation that is under way. */
class Run<T> implements Part {
  readonly #place: VmPlace;
  readonly #work: Work<T>;
  readonly #options: WorkOptions;
  #isFirm = false;
  #isRunning = false;
  #isClosed = false;
  #busySince: number | undefined;
  /** What ended a firm operation's callback: told when it is complete. */
  #late: { error: unknown } | undefined;

  constructor(place: VmPlace, work: Work<T>, options: WorkOptions) {
    this.#place = place;
    this.#work = work;
    this.#options = checkedWork(options);
  }

  async finish(): Promise<T> {
    this.#place.add(this);
    try {
      const result = await this.#run();
      if (this.#late !== undefined) throw this.#late.error;
      return result;
    } finally {
      this.#place.remove(this);
    }
  }

  /** The VM ends here: so does this. */
  close(): void {
    this.#isClosed = true;
    if (this.#isRunning) return; // called from a callback: the next step finds it
    try {
      this.#step(() => this.#work.throw(disposed("VM")));
    } catch {
      // told to whoever awaits it
    }
  }

  async #run(): Promise<T> {
    let error: unknown;
    let failed = false;
    while (true) {
      if (sliceIsOver()) await nextSlice();
      if (this.#isClosed) throw disposed("VM");
      if (!this.#isFirm && this.#options.signal?.aborted === true) {
        [error, failed] = [this.#options.signal.reason, true];
      }
      if (failed) this.#isFirm = true; // what puts things in order is not aborted too
      const step = failed ? this.#step(() => this.#work.throw(error)) : this.#step();
      if (step.done === true) return step.value;
      failed = false;
      try {
        const waiting = this.#pause(step.value);
        if (waiting !== undefined) await waiting;
      } catch (reason) {
        [error, failed] = [reason, true];
      }
    }
  }

  /** One step, in which the core does not block this thread. */
  #step(go: () => IteratorResult<Pause, T> = () => this.#work.next()): IteratorResult<Pause, T> {
    this.#isRunning = true;
    try {
      return this.#place.withoutBlocking(go);
    } finally {
      this.#isRunning = false;
    }
  }

  /** Returns a promise only where there is something to wait for. */
  #pause(pause: Pause): Promise<void> | undefined {
    if (pause instanceof Busy) return this.#wait(pause);
    this.#busySince = undefined;
    if (pause === FIRM) this.#isFirm = true;
    else this.#report(pause);
    return undefined;
  }

  #report(progress: Progress): void {
    try {
      this.#options.onProgress?.(progress);
    } catch (error) {
      if (!this.#isFirm) throw error;
      this.#late ??= { error };
    }
  }

  /** Waits a little; after the thread's patience the refusal is thrown into the generator. */
  async #wait({ error, operation, word }: Busy): Promise<void> {
    const { context } = this.#place;
    const { signal } = this.#options;
    this.#busySince ??= performance.now();
    if (performance.now() - this.#busySince >= context.patience) {
      throw waited(error, this.#place, operation);
    }
    const heard = signal === undefined || this.#isFirm ? {} : { signal };
    const limit = new Limit(heard, context.patience);
    await (word === undefined ? limit.pause(POLL, () => {}) : changed(context.memory, word, limit));
  }
}

/** Milliseconds between looks at what the core does not name. */
const POLL = 2;
