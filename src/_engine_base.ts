/** An engine as one thread has it: memory, threads, how it waits for them, its end. */
import type { Core } from "./_abi.ts";
import { type Context, disposed } from "./_context.ts";
import type { Mode } from "./_load.ts";
import { outcome, refuseLocked } from "./_outcome.ts";
import { checkedPatience } from "./_patience.ts";
import { integerOption } from "./range.ts";
import { type ReclaimedThread, type ThreadInfo, listThreads, reclaimThread } from "./threads.ts";

/** Memory in use, in table pages of 4 KiB unless it says bytes. */
export interface MemoryUsage {
  /** Table pages in use now, of all objects and caches. */
  readonly used: number;
  /** The most that were in use at a time. */
  readonly peak: number;
  /** How many can be in use at most: {@link EngineOptions.maxTablePages}. */
  readonly capacity: number;
  /** Of those in use, the ones that are in no table any more, and wait until no thread walks them: {@link Engine.quiesce}. */
  readonly waiting: number;
  /** How many may be in use: {@link Engine.tableBudget}. */
  readonly budget: number;
  /** Bytes of the whole WebAssembly memory today. */
  readonly bytes: number;
}

/** The part of {@link Engine} that makes no objects. */
export class EngineBase implements Disposable {
  readonly #context: Context;
  #open = true;

  /** @internal */
  constructor(context: Context) {
    this.#context = context;
  }

  /** Which build runs. */
  get mode(): Mode {
    return this.context.mode;
  }

  /** The memory that holds everything. */
  get memory(): WebAssembly.Memory {
    return this.context.memory;
  }

  /** Memory in use, over all threads. */
  memoryUsage(): MemoryUsage {
    const { core, memory } = this.context;
    return {
      used: core.pool_used(),
      peak: core.pool_peak(),
      capacity: core.pool_capacity(),
      waiting: core.engine_waiting(),
      budget: core.pool_budget(),
      bytes: memory.buffer.byteLength,
    };
  }

  /** Table pages (4 KiB) that may be in use; allocations beyond fail with ENOMEM. 0 to the capacity. */
  get tableBudget(): number {
    return this.core.pool_budget();
  }

  set tableBudget(pages: number) {
    const { core } = this.context;
    core.pool_set_budget(integerOption("tableBudget", pages, 0, core.pool_capacity()));
  }

  /** Number of this thread's slot. */
  get thread(): number {
    return this.core.thread_number();
  }

  /** Milliseconds that this thread waits for another before it throws `ETIMEDOUT`: 10 to 600,000. */
  get patience(): number {
    return this.context.patience;
  }

  set patience(ms: number) {
    this.context.patience = checkedPatience(ms);
  }

  /** The threads that are attached, and what each is in the middle of. */
  threads(): ThreadInfo[] {
    return listThreads(this.context);
  }

  /**
   * Releases everything of a thread that has ended without {@link dispose}: its sections, its lock, its vCPUs, caches and
   * batches, its slot. Until then others wait for it in vain. Only after the worker's `exit` event: a thread that still runs
   * would go on in what others take for free. What it was in the middle of is the result; if that was a lock or a walk section,
   * a range may be half changed and hold entries that are {@link Locked}: unmap it. Page tables stay:
   * {@link attachStage2} with `own` takes over those that it made.
   * @throws Stage2Error `BAD_OPTION` for this thread, or a slot that is free.
   */
  reclaimThread(thread: number): ReclaimedThread {
    return reclaimThread(this.context, thread);
  }

  /**
   * Frees the table pages that went out of tables while other threads might have been walking them. Operations do it by
   * themselves; what is left is what they had no time for: {@link MemoryUsage.waiting}.
   * @throws Stage2Error `ETIMEDOUT` names the thread that does not end its walk; `EDEADLK` if this thread holds a
   *   lock, or is inside a bracket.
   */
  quiesce(): void {
    const { context } = this;
    outcome(context, context.core.engine_quiesce(), "quiesce");
  }

  /**
   * Makes about one store-exclusive in `oneIn` (2 or more) of this thread fail for no reason, as hardware may; 0 stops
   * that. Operations with exclusives retry until they have stored: were it every one, they would never end. The same
   * `seed` fails the same ones.
   */
  setSpuriousFailures(oneIn: number, seed = 1): void {
    const { core } = this.context;
    core.monitor_set_spurious(
      oneIn === 0 ? 0 : integerOption("oneIn", oneIn, 2, 2 ** 31 - 1),
      integerOption("seed", seed, 0, 2 ** 31 - 1),
    );
  }

  /** Store-exclusives of this thread that failed since the last call. */
  exclusiveFailures(): number {
    return this.core.monitor_failures();
  }

  /**
   * Leaves the engine: this thread's slot is free for another, and every object made or attached here refuses use.
   * What is in the memory stays for the other threads. A thread that ends without it keeps its slot taken, until another
   * calls {@link reclaimThread}. A second call does nothing.
   * @throws Stage2Error `EDEADLK` while this thread holds a lock, or waits for one; nothing has changed then.
   */
  dispose(): void {
    if (!this.#open) return;
    refuseLocked(this.#context, "Engine.dispose");
    this.#open = false;
    this.#context.closeAll();
    this.#context.core.engine_detach();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** @internal */
  get context(): Context {
    if (this.#open) return this.#context;
    throw disposed("engine");
  }

  /** The instance of the core. @internal */
  get core(): Core {
    return this.context.core;
  }

  /** Views over the whole memory as it is now; take them anew after anything that may have grown it. @internal */
  get u8(): Uint8Array {
    return this.context.u8;
  }

  /** @internal */
  get u32(): Uint32Array {
    return this.context.u32;
  }

  /** @internal */
  get u64(): BigUint64Array {
    return this.context.u64;
  }
}
