/**
 * The engine: one WebAssembly memory with everything in it, and this thread's instance of the core.
 *
 *     const engine = await Engine.create({ maxTablePages: 65_536 });
 *     worker.postMessage(engine.handle);             // there: await Engine.attach(handle)
 *     const s2 = engine.stage2({ ipaBits: 40 });
 */
import type { Core } from "./_abi.ts";
import { Context, disposed, isShared } from "./_context.ts";
import { createContext, newId } from "./_create.ts";
import { type EngineHandle, checkedHandle, join } from "./_join.ts";
import { type Mode, compileCore, loadCoreAsync } from "./_load.ts";
import type { EngineOptions } from "./_engine_options.ts";
import { type EngineTlbiRequest, type TlbiOperation, prepareEngineTlbi } from "./_vcpu_tlbi.ts";
import { Batch } from "./batch.ts";
import { type CacheOptions, TableCache } from "./cache.ts";
import { EventLog } from "./events.ts";
import { type HypOptions, HypStage1 } from "./hyp.ts";
import { MemoryMap } from "./memory_map.ts";
import { integerOption } from "./range.ts";
import { Stage2, type Stage2Handle, type Stage2Options } from "./stage2.ts";
import { Vcpu, type VcpuOptions } from "./vcpu.ts";

export type { EngineOptions } from "./_engine_options.ts";
export type { EngineHandle } from "./_join.ts";
export type { Mode } from "./_load.ts";
export type { GuestRam } from "./_guest_ram.ts";
export type { Region } from "./_region.ts";

/** Memory in use, in table pages of 4 KiB unless it says bytes. */
export interface MemoryUsage {
  /** Table pages in use now, of all objects and caches. */
  readonly used: number;
  /** The most that were in use at a time. */
  readonly peak: number;
  /** How many can be in use at most: {@link EngineOptions.maxTablePages}. */
  readonly capacity: number;
  /** How many may be in use: {@link Engine.tableBudget}. */
  readonly budget: number;
  /** Bytes of the whole WebAssembly memory today. */
  readonly bytes: number;
}

/** A live engine, as one thread sees it. */
export class Engine implements Disposable {
  /** Which memory physical addresses name. */
  readonly memoryMap = new MemoryMap(() => this.context);
  readonly #context: Context;
  readonly #base: number;
  readonly #events: EventLog;
  #open = true;

  private constructor(context: Context, base: number) {
    this.#context = context;
    this.#base = base;
    this.#events = new EventLog(context);
  }

  /**
   * Makes an engine, in a memory of its own or in an embedder's.
   *
   * @throws Stage2Error `BAD_OPTION`, `BAD_ADDRESS`; `NO_SHARED_MEMORY` if threads are asked for and cannot be had;
   *   `MEMORY_TOO_SMALL` if the region cannot hold it. Whatever the region held before is overwritten.
   */
  static async create(options: EngineOptions = {}): Promise<Engine> {
    const { context, base } = await createContext(options);
    return new Engine(context, base);
  }

  /**
   * Joins an engine that another thread created, from its {@link handle}.
   *
   * @throws Stage2Error `NOT_STAGE2_MEMORY` if there is no engine, `BAD_VERSION` if another version of this library made
   *   it, `TOO_MANY_THREADS` if every thread slot is taken.
   */
  static async attach(handle: EngineHandle): Promise<Engine> {
    const { memory, base } = checkedHandle(handle);
    const module = handle.module ?? (await compileCore(isShared(memory) ? "threads" : "single"));
    const core = await loadCoreAsync(module, memory);
    join(core, base);
    return new Engine(new Context(core, memory, module, handle.id), base);
  }

  /** An engine over an instance that is already attached to the region at `base`. @internal */
  static over(
    core: Core,
    memory: WebAssembly.Memory,
    module: WebAssembly.Module,
    base: number,
  ): Engine {
    return new Engine(new Context(core, memory, module, newId()), base);
  }

  /** For {@link attach} in another thread; structured-cloneable in `threads` mode. */
  get handle(): EngineHandle {
    const { id, memory, module } = this.context;
    return { kind: "stage2-engine", id, memory, module, base: this.#base };
  }

  /** Which build runs. */
  get mode(): Mode {
    return this.context.mode;
  }

  /** The memory that holds everything. */
  get memory(): WebAssembly.Memory {
    return this.context.memory;
  }

  /** Makes a page table for a guest's stage 2, empty. @throws Stage2Error `BAD_OPTION`, `EINVAL`, `ENOMEM`, `EMFILE`. */
  stage2(options: Stage2Options = {}): Stage2 {
    return Stage2.create(this.context, options);
  }

  /**
   * The page table that another thread made, by its {@link Stage2.handle}. Only the thread that made it destroys it.
   * @throws Stage2Error `FOREIGN` if it belongs to another engine, `DISPOSED` if it was disposed.
   */
  attachStage2(handle: Stage2Handle): Stage2 {
    return Stage2.attach(this.context, handle);
  }

  /** Makes a page table for a hypervisor's own stage 1, empty. @throws Stage2Error as {@link stage2}. */
  hyp(options: HypOptions = {}): HypStage1 {
    return HypStage1.create(this.context, options);
  }

  /**
   * Makes a vCPU of this thread that runs a guest with this stage 2: VTCR_EL2, VTTBR_EL2 (its {@link Stage2.vmid}), HCR_EL2
   * (VM, RW, FWB) and the ID registers are as the table needs them; stage 1 is off, it is at EL1. Without a table stage 2 is
   * off too, and the registers are to be set.
   * @throws Stage2Error `BAD_OPTION`; `FOREIGN`, `DISPOSED` for the table; `ENOMEM`, `EMFILE`.
   */
  vcpu(table?: Stage2, options: VcpuOptions = {}): Vcpu {
    return Vcpu.create(this.context, table, options);
  }

  /** Makes room for up to 4,096 addresses and their translations. @throws Stage2Error `BAD_OPTION`, `ENOMEM`. */
  batch(capacity: number): Batch {
    return Batch.create(this.context, capacity);
  }

  /**
   * Invalidates TLB entries of all vCPUs, as software outside every guest does, with the DSB behind it as far as this thread
   * goes: vCPUs of other threads have applied it when they next translate or poll.
   * @throws Stage2Error `BAD_OPTION`: no such instruction, an operand that it needs or does not take. `BAD_ADDRESS`.
   */
  tlbi(operation: TlbiOperation, request: EngineTlbiRequest = {}): void {
    const { context } = this;
    const { op, level, vmid } = prepareEngineTlbi(context, operation, request);
    context.core.engine_tlbi(op, vmid, level);
  }

  /** Makes an empty stock of table pages for operations that may allocate. @throws Stage2Error `BAD_OPTION`, `EMFILE`. */
  cache(options: CacheOptions = {}): TableCache {
    return TableCache.create(this.context, options);
  }

  /** What page tables logged: TLB invalidations, cache maintenance, writes, ... */
  get events(): EventLog {
    this.#live();
    return this.#events;
  }

  /** Memory in use, over all threads. */
  memoryUsage(): MemoryUsage {
    const { core, memory } = this.context;
    return {
      used: core.pool_used(),
      peak: core.pool_peak(),
      capacity: core.pool_capacity(),
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
   * What is in the memory stays for the other threads. A thread that ends without it keeps its slot taken. A second call
   * does nothing.
   */
  dispose(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#context.closeAll();
    this.#context.core.engine_detach();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** @internal */
  get context(): Context {
    this.#live();
    return this.#context;
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

  #live(): void {
    if (!this.#open) throw disposed("engine");
  }
}
