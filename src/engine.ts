/**
 * The engine: one WebAssembly memory with everything in it, and this thread's instance of the core.
 *
 *     const engine = await Engine.create({ maxTablePages: 65_536 });
 *     worker.postMessage(engine.handle);             // there: await Engine.attach(handle)
 *     const s2 = engine.stage2({ ipaBits: 40 });
 */
import type { Core } from "./_abi.ts";
import { Context, isShared } from "./_context.ts";
import { createContext, newId } from "./_create.ts";
import { EngineBase } from "./_engine_base.ts";
import type { EngineOptions } from "./_engine_options.ts";
import { GuestTable } from "./_guest_table.ts";
import {
  type AttachOptions,
  type EngineHandle,
  checkedAttach,
  checkedHandle,
  join,
} from "./_join.ts";
import { compileCore, loadCoreAsync } from "./_load.ts";
import { outcome } from "./_outcome.ts";
import { type EngineTlbiRequest, type TlbiOperation, prepareEngineTlbi } from "./_vcpu_tlbi.ts";
import { Stage2View } from "./_view.ts";
import { Batch } from "./batch.ts";
import { type CacheOptions, TableCache } from "./cache.ts";
import { Stage2Error } from "./errors.ts";
import { EventLog } from "./events.ts";
import { type HypOptions, HypStage1 } from "./hyp.ts";
import { MemoryMap } from "./memory_map.ts";
import { Pkvm, type PkvmHandle } from "./pkvm/pkvm.ts";
import type { PkvmOptions } from "./pkvm/options.ts";
import { PkvmStage2, type PkvmStage2Handle } from "./pkvm/stage2.ts";
import { type AttachedOptions, Stage2, type Stage2Handle, type Stage2Options } from "./stage2.ts";
import { Vcpu, type VcpuOptions } from "./vcpu.ts";
import { Vm, type VmAttachOptions, type VmHandle, type VmOptions } from "./vm/vm.ts";

export type { MemoryUsage } from "./_engine_base.ts";
export type { EngineOptions } from "./_engine_options.ts";
export type { AttachOptions, EngineHandle } from "./_join.ts";
export type { Mode } from "./_load.ts";
export type { GuestRam } from "./_guest_ram.ts";
export type { Region } from "./_region.ts";

/** A live engine, as one thread sees it. */
export class Engine extends EngineBase {
  /** Which memory physical addresses name. */
  readonly memoryMap = new MemoryMap(() => this.context);
  readonly #base: number;
  readonly #events: EventLog;

  private constructor(context: Context, base: number) {
    super(context);
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
  static async attach(handle: EngineHandle, options: AttachOptions = {}): Promise<Engine> {
    const patience = checkedAttach(options);
    const { memory, base } = checkedHandle(handle);
    const module = handle.module ?? (await compileCore(isShared(memory) ? "threads" : "single"));
    const core = await loadCoreAsync(module, memory);
    join(core, base, memory);
    const context = new Context(core, memory, module, handle.id);
    context.patience = patience;
    return new Engine(context, base);
  }

  /** An engine over an instance that is already attached to the region at `base`; the same `id` for instances of one. @internal */
  static over(
    core: Core,
    memory: WebAssembly.Memory,
    module: WebAssembly.Module,
    base: number,
    id = newId(),
  ): Engine {
    return new Engine(new Context(core, memory, module, id), base);
  }

  /**
   * For {@link attach} in another thread; structured-cloneable in `threads` mode. Reading it makes the engine a shared one, for
   * ever: from now on operations wait for what other threads are in the middle of, where they must.
   */
  get handle(): EngineHandle {
    const { core, id, memory, module } = this.context;
    core.engine_share();
    return { kind: "stage2-engine", id, memory, module, base: this.#base };
  }

  /** Makes a page table for a guest's stage 2, empty. @throws Stage2Error `BAD_OPTION`, `EINVAL`, `ENOMEM`, `EMFILE`. */
  stage2(options: Stage2Options = {}): Stage2 {
    return Stage2.create(this.context, options);
  }

  /**
   * The page table that another thread made, by its {@link Stage2.handle}. The object that made it destroys it, or the one that
   * is attached to `own` it: for when the thread that made it has ended.
   * @throws Stage2Error `FOREIGN` if it belongs to another engine, `DISPOSED` if it was disposed; `BAD_OPTION`, also for a VM's table
   *   ({@link attachVm}) and for those of a pKVM machine ({@link attachPkvm}, {@link attachPkvmStage2}), which others only look at.
   */
  attachStage2(handle: Stage2Handle, options: AttachedOptions = {}): Stage2 {
    return Stage2.attach(this.context, handle, options);
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
  vcpu(table?: GuestTable, options: VcpuOptions = {}): Vcpu {
    if (table instanceof Stage2View && !(table instanceof GuestTable)) {
      throw new Stage2Error(
        "BAD_OPTION",
        "a VM's page table is run by its own vCPUs: vm.createVcpu",
      );
    }
    return Vcpu.create(this.context, table, options);
  }

  /**
   * Makes a VM: page table, memslots, vCPUs, dirty logs.
   * @throws Stage2Error `EINVAL` for a machine type that the host does not have; `BAD_OPTION`, `ENOMEM`, `EMFILE`.
   */
  vm(options: VmOptions = {}): Vm {
    return Vm.create(this.context, options);
  }

  /**
   * The VM that another thread made, by its {@link Vm.handle}, with what this thread asks about memory and devices. The object that made
   * it destroys it, or the one that is attached to `own` it.
   * @throws Stage2Error `FOREIGN` if it belongs to another engine, `DISPOSED` if it was disposed; `BAD_OPTION`.
   */
  attachVm(handle: VmHandle, options: VmAttachOptions = {}): Vm {
    return Vm.attach(this.context, handle, options);
  }

  /**
   * Makes a pKVM machine: physical memory, its host, and a hypervisor that the host's kernel asks by hypercalls.
   * @throws Stage2Error `BAD_OPTION`, `BAD_ADDRESS`, `BAD_SIZE`; `EINVAL`: host pages that are not of one region, an offset above the
   *   first address of memory; `EEXIST`: memory where the engine keeps its page tables ({@link EngineOptions.tablePhysicalBase}, default
   *   1 GiB); `ENOMEM`, `EMFILE`.
   */
  pkvm(options: PkvmOptions): Pkvm {
    return Pkvm.create(this.context, options);
  }

  /**
   * The machine that another thread made, by its {@link Pkvm.handle}: this thread is another CPU of it. The object that made it ends it, or the
   * one that is attached to `own` it.
   * @throws Stage2Error `FOREIGN` if it belongs to another engine, `DISPOSED` if it was disposed; `BAD_OPTION`.
   */
  attachPkvm(handle: PkvmHandle, options: AttachedOptions = {}): Pkvm {
    return Pkvm.attach(this.context, handle, options);
  }

  /**
   * The guest of a pKVM machine that another thread made, by its {@link PkvmStage2.handle}.
   * @throws Stage2Error as {@link attachPkvm}; `BAD_OPTION` also for a table that is no such guest's, or is of another machine.
   */
  attachPkvmStage2(handle: PkvmStage2Handle, options: AttachedOptions = {}): PkvmStage2 {
    return PkvmStage2.attach(this.context, handle, options);
  }

  /** Makes room for up to 4,096 addresses and their translations. @throws Stage2Error `BAD_OPTION`, `ENOMEM`. */
  batch(capacity: number): Batch {
    return Batch.create(this.context, capacity);
  }

  /**
   * Invalidates TLB entries of all vCPUs, as software outside every guest does, with the DSB behind it: when it returns no vCPU
   * of another thread uses what was invalidated.
   * @throws Stage2Error `BAD_OPTION`: no such instruction, an operand that it needs or does not take. `BAD_ADDRESS`. `EDEADLK`
   *   inside a bracket of this thread: {@link Vcpu.tlbi} is for guests. `ETIMEDOUT` as every operation that invalidates.
   */
  tlbi(operation: TlbiOperation, request: EngineTlbiRequest = {}): void {
    const { context } = this;
    const { op, level, vmid } = prepareEngineTlbi(context, operation, request);
    outcome(context, context.core.engine_tlbi(op, vmid, level), "tlbi", { operation, ...request });
  }

  /** Makes an empty stock of table pages for operations that may allocate. @throws Stage2Error `BAD_OPTION`, `EMFILE`. */
  cache(options: CacheOptions = {}): TableCache {
    return TableCache.create(this.context, options);
  }

  /** What page tables logged: TLB invalidations, cache maintenance, writes, ... */
  get events(): EventLog {
    void this.context; // refuses a disposed engine
    return this.#events;
  }
}
