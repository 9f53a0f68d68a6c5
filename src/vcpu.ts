/**
 * One CPU as the MMU sees it: registers, TLB, exclusive monitor. It walks page tables as hardware does, sets access flags and
 * dirty state in them, and answers with a physical address or the fault that a real core would raise.
 *
 *     const vcpu = engine.vcpu(s2);
 *     const pa = vcpu.translate(0x4000_1234, Access.Write);
 *     if (pa instanceof Fault) handle(pa.esr, pa.far, pa.hpfar);
 */
import type { Context } from "./_context.ts";
import { GuestTable } from "./_guest_table.ts";
import { refusal } from "./_outcome.ts";
import { checkPointer } from "./_table.ts";
import { boot, firstRegisters } from "./_vcpu_boot.ts";
import { VcpuControl } from "./_vcpu_control.ts";
import { VcpuCore } from "./_vcpu_core.ts";
import { type Probe, probed } from "./_vcpu_look.ts";
import { type VcpuOptions, checkedSettings } from "./_vcpu_options.ts";
import { type Trace, traced } from "./_vcpu_trace.ts";
import { type VirtualAddress, checkedAccess, isAccess } from "./access.ts";
import { Batch } from "./batch.ts";
import { EBUSY, Stage2Error } from "./errors.ts";
import type { Fault } from "./fault.ts";
import { integerOption } from "./range.ts";

export type { AtomicOperation } from "./_vcpu_accesses.ts";
export type { AtOperation } from "./_vcpu_control.ts";
export type { Par, Probe, ProbedStage } from "./_vcpu_look.ts";
export type { TlbShape, VcpuEventGroup, VcpuOptions } from "./_vcpu_options.ts";
export type { Registers } from "./_vcpu_registers.ts";
export type { ByLevel, ByStage, VcpuStatistics } from "./_vcpu_statistics.ts";
export type {
  EngineTlbiRequest,
  TlbiOperation,
  TlbiRequest,
  VcpuTlbiRequest,
} from "./_vcpu_tlbi.ts";
export type { Trace, WalkStep } from "./_vcpu_trace.ts";
export type { AccessOptions, AccessSize, VirtualAddress } from "./access.ts";
export type { Batch } from "./batch.ts";

/**
 * A vCPU. It belongs to the thread that made it; several threads each run their own. Page tables need not be those of this
 * library: any tables in the memory map are walked. A table must live as long as vCPUs walk it.
 */
export class Vcpu extends VcpuControl implements Disposable {
  /** @internal */
  static create(context: Context, table: GuestTable | undefined, options: VcpuOptions): Vcpu {
    const settings = checkedSettings(options);
    if (table !== undefined) checkTable(context, table);
    const first = firstRegisters(table, settings);
    const status = context.core.vcpu_create(settings.sets, settings.ways);
    const cpu = new VcpuCore(context, checkPointer(status, "vcpu", { tlb: options.tlb }));
    boot(cpu, settings, first);
    return new Vcpu(cpu);
  }

  /**
   * The physical address of `va` for one {@link Access}, or the fault. Hardware's updates of descriptors are made as the
   * access would: for Write, the page is dirty. The access itself is the caller's, see {@link enter}.
   * @throws Stage2Error `BAD_ADDRESS`, `BAD_OPTION`, `DISPOSED`
   */
  translate(va: VirtualAddress, access: number): number | Fault {
    if (!isAccess(access) || !Number.isSafeInteger(va)) return this.#translateAny(va, access);
    const { cpu } = this;
    const pa = cpu.core.vcpu_translate(cpu.pointer, va as number, access);
    return pa >= 0 ? pa : cpu.fault();
  }

  /**
   * Translates the first `count` addresses of a batch (default: all), several at a time. How many failed: their results are
   * negative, and say no more than the fault status code.
   * @throws Stage2Error `BAD_OPTION` for a count beyond the batch's capacity; `FOREIGN` for a batch of another engine or
   *   thread; `DISPOSED`
   */
  translateMany(batch: Batch, access: number, count?: number): number {
    if (!(batch instanceof Batch) || batch.context !== this.cpu.context) {
      throw new Stage2Error("FOREIGN", "the batch belongs to another engine");
    }
    const from = batch.pointer;
    const { capacity } = batch;
    const number = count === undefined ? capacity : integerOption("count", count, 0, capacity);
    const to = from + capacity * 8;
    const { pointer } = this.cpu;
    return (
      this.cpu.core.vcpu_translate_many(pointer, from, to, number, checkedAccess(access)) >>> 0
    );
  }

  /**
   * What a translation would give, with no effect at all: nothing is set in descriptors, taken into the TLB or from it,
   * counted or logged. Memory answers, not the TLB.
   * @throws Stage2Error as {@link translate}
   */
  probe(va: VirtualAddress, access: number): Probe | Fault {
    const mode = checkedAccess(access);
    this.cpu.setAddress(va);
    const status = this.cpu.core.vcpu_probe(this.cpu.pointer, mode);
    return status < 0 ? this.cpu.fault() : probed(this.cpu);
  }

  /**
   * Translates, and tells each step: every descriptor fetched and every one updated, of both stages. What the TLB answers
   * fetches none. The vCPU logs nothing else meanwhile; the steps are not left in the log, unless another thread logged
   * into it meanwhile.
   * @throws Stage2Error `EBUSY` while events wait to be drained; `BAD_OPTION` if the engine's log holds fewer than 64; as
   *   {@link translate}
   */
  trace(va: VirtualAddress, access: number): Trace {
    return traced(this.cpu, () => this.translate(va, access));
  }

  /**
   * Opens the bracket in which physical addresses of this vCPU may be used from JavaScript: what {@link translate} gives is
   * good until the next {@link poll} or {@link exit}. Applies what was invalidated before; how many invalidations. Other threads
   * that invalidate wait for the next poll or exit: poll often, and do not sleep inside.
   * @throws Stage2Error `EBUSY` if another vCPU of this thread is inside its bracket; `EDEADLK` while this thread holds an
   *   mmu_lock, or waits for one.
   */
  enter(): number {
    const { cpu } = this;
    const applied = cpu.core.vcpu_enter(cpu.pointer);
    if (applied >= 0) return applied;
    throw refusedEntry(cpu, applied);
  }

  /** Inside the bracket: applies what was invalidated meanwhile, how many. Addresses from before it are not good any more. */
  poll(): number {
    return this.cpu.core.vcpu_poll(this.cpu.pointer) >>> 0;
  }

  /** Closes the bracket. */
  exit(): void {
    this.cpu.core.vcpu_exit(this.cpu.pointer);
  }

  /** Gives its memory back. A second call does nothing. */
  dispose(): void {
    this.cpu.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Addresses of 64 bits; and errors. */
  #translateAny(va: VirtualAddress, access: number): number | Fault {
    const mode = checkedAccess(access);
    this.cpu.setAddress(va);
    const pa = this.cpu.core.vcpu_translate_u64(this.cpu.pointer, mode);
    return pa >= 0 ? pa : this.cpu.fault();
  }
}

function refusedEntry({ context, number }: VcpuCore, status: number): Stage2Error {
  if (status !== -EBUSY) return refusal(context, status, "enter", { vcpu: number });
  const inside = context.resultNumber(0);
  const message = `vCPU ${inside} of this thread is inside its bracket: one at a time`;
  return new Stage2Error("EBUSY", message, { vcpu: number, inside }, EBUSY);
}

function checkTable(context: Context, table: GuestTable): void {
  if (table instanceof GuestTable && table.context === context) return;
  throw new Stage2Error("FOREIGN", "the page table belongs to another engine");
}
