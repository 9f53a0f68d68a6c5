/**
 * A call of the core that can be left before an access to the shared memory and taken up again there: several of them
 * run beside each other in one thread, each on an instance and a thread slot of its own.
 *
 *   start(call) ──> stop ──> advance() ──> stop ──> advance() ──> ended, result
 *
 * Which agent goes on, and what waiting means, is not decided here. The frames of a call that was left lie below 64 KiB,
 * where no engine ever is:
 *
 *   8192 * (number + 1)   ┌ pointer to the next frame ┬ end ┬ frames ...
 */
import type { Core } from "../_abi.ts";
import { GLOBAL } from "../instrument/names.ts";
import { ACCESS, ATOMIC } from "../instrument/step.ts";
import { type Stop, WAIT_ANSWER, accessStop, notifyStop, waitStop } from "./stop.ts";

const FRAMES = 8192;
const MOST_AGENTS = 7;
/** What Asyncify says while frames are put back. */
const REWINDING = 2;

/** Called before each access: whether the agent stops there. It always stops to wait and to wake others. */
export type StopsAt = (address: number, bytes: number, kind: number) => boolean;

interface Asyncify {
  asyncify_start_unwind(frames: number): void;
  asyncify_stop_unwind(): void;
  asyncify_start_rewind(frames: number): void;
  asyncify_stop_rewind(): void;
  asyncify_get_state(): number;
}

export interface CoroutineOptions {
  /** The agent build. */
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  /** Which of the places for frames it uses: 0 to 6. */
  readonly number: number;
  /** Default: it stops at every access. */
  readonly stopsAt?: StopsAt;
  /** Further imports of the build. */
  readonly imports?: WebAssembly.ModuleImports;
}

export class Coroutine {
  /** The core's functions. Outside of a call that was started they run through, and may not wait. */
  readonly core: Core;
  readonly #asyncify: Asyncify;
  readonly #globals: readonly WebAssembly.Global[];
  readonly #words: Int32Array;
  readonly #frames: number;
  readonly #stopsAt: StopsAt;
  #call: (() => number | void) | undefined;
  #stop: Stop | undefined;
  #answer = 0;
  #copySource = 0;
  #result = 0;

  constructor(options: CoroutineOptions) {
    const { module, memory, number } = options;
    if (!Number.isInteger(number) || number < 0 || number >= MOST_AGENTS)
      throw new Error(`there is no place for the frames of agent ${number}`);
    this.#frames = FRAMES * (number + 1);
    this.#words = new Int32Array(memory.buffer, this.#frames, 2);
    this.#stopsAt = options.stopsAt ?? (() => true);
    const imports = { memory, ...this.#imports(), ...options.imports };
    const { exports } = new WebAssembly.Instance(module, { env: imports });
    this.core = exports as unknown as Core;
    this.#asyncify = exports as unknown as Asyncify;
    this.#globals = Object.entries(exports)
      .filter(([name]) => name.startsWith(GLOBAL))
      .map(([, global]) => global as WebAssembly.Global);
  }

  /** Where it is stopped; undefined if it is in no call. */
  get stop(): Stop | undefined {
    return this.#stop;
  }

  /** Whether a call was started and has not ended. */
  get busy(): boolean {
    return this.#call !== undefined;
  }

  /** What the last call that ended returned; 0 if it returns nothing. */
  get result(): number {
    return this.#result;
  }

  /**
   * Starts a call, which must be one call of {@link core} with constant arguments: it is entered again after every stop.
   * Runs to its first stop, or to its end. Throws what the call throws; it has ended then.
   */
  start(call: () => number | void): void {
    if (this.#call !== undefined) throw new Error("the agent is in a call already");
    this.#call = call;
    this.#run(call);
  }

  /**
   * Performs what it stopped for and runs to the next stop, or to its end. `answer`: what a wait or a notify returns. It
   * is the host that waits: while an agent waits it is not advanced.
   */
  advance(answer: number = WAIT_ANSWER.WOKEN): void {
    if (this.#call === undefined) throw new Error("the agent is in no call");
    this.#answer = answer;
    this.#stop = undefined;
    this.#asyncify.asyncify_start_rewind(this.#frames);
    this.#run(this.#call);
  }

  /** Forgets the call that it is in; nothing of it happens any more. */
  abandon(): void {
    this.#call = undefined;
    this.#stop = undefined;
    this.#copySource = 0;
  }

  /** The instance's own variables, and back. */
  get variables(): readonly unknown[] {
    return this.#globals.map((global) => global.value as unknown);
  }

  set variables(values: readonly unknown[]) {
    for (const [index, global] of this.#globals.entries()) global.value = values[index];
  }

  #run(call: () => number | void): void {
    let result: number | void;
    try {
      result = call();
    } catch (error) {
      this.abandon();
      throw error;
    }
    if (this.#stop !== undefined) {
      this.#asyncify.asyncify_stop_unwind();
      return;
    }
    this.#result = result ?? 0;
    this.#call = undefined;
  }

  /** Leaves the call: the core unwinds its frames as soon as the import returns. */
  #leave(stop: Stop): number {
    this.#stop = stop;
    this.#words[0] = this.#frames + 8;
    this.#words[1] = this.#frames + FRAMES;
    this.#asyncify.asyncify_start_unwind(this.#frames);
    return 0;
  }

  /** Whether the core has just come back to where it was left. */
  #back(): boolean {
    if (this.#asyncify.asyncify_get_state() !== REWINDING) return false;
    this.#asyncify.asyncify_stop_rewind();
    return true;
  }

  #step(at: number, offset: number, length: number, kind: number): void {
    if (this.#call === undefined) {
      this.#stopsAt((at + offset) >>> 0, length >>> 0, kind);
      return;
    }
    if (this.#back()) return;
    const address = (at + offset) >>> 0;
    const bytes = length >>> 0;
    const stops = this.#stopsAt(address, bytes, kind);
    if (stops) this.#leave(accessStop(address, bytes, kind, this.#copySource));
    this.#copySource = (kind & ~ATOMIC) === ACCESS.COPY_FROM ? address : 0; // the copy itself comes next
  }

  #wait(at: number, bytes: number, expected: bigint, timeout: bigint): number {
    if (this.#call === undefined)
      throw new Error("an agent may wait only in a call that was started");
    if (this.#back()) return this.#answer;
    return this.#leave(waitStop(at >>> 0, bytes, BigInt.asUintN(bytes * 8, expected), timeout));
  }

  #notify(at: number, count: number): number {
    if (this.#call === undefined) return 0;
    if (this.#back()) return this.#answer;
    return this.#leave(notifyStop(at >>> 0, count));
  }

  #imports(): WebAssembly.ModuleImports {
    return {
      step: (at: number, offset: number, length: number, kind: number) =>
        this.#step(at, offset, length, kind),
      wait32: (at: number, expected: number, timeout: bigint) =>
        this.#wait(at, 4, BigInt(expected), timeout),
      wait64: (at: number, expected: bigint, timeout: bigint) =>
        this.#wait(at, 8, expected, timeout),
      notify: (at: number, count: number) => this.#notify(at, count),
    };
  }
}
