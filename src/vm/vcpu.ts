/**
 * A vCPU of a VM (`struct kvm_vcpu`, as far as the MMU knows it): runs on a CPU (PE) of the engine, and has its aborts handled.
 *
 *     const vcpu = vm.createVcpu();
 *     const fault = vcpu.cpu.read32(0x4000_0000);
 *     if (fault instanceof Fault) vcpu.handleAbort(fault); // { reason: "resume", ret: 1 }
 *     const value = vcpu.run(() => vcpu.cpu.read32(0x4000_0000));
 */
import { EEXIST, EINVAL, EIO, Stage2Error } from "../errors.ts";
import { fields, integerOption } from "../range.ts";
import type { Vcpu, VcpuOptions } from "../vcpu.ts";
import type { LibraryCall } from "./_abort.ts";
import { checkedPe, createPe, guestControls, hasHdbss } from "./_pe.ts";
import type { VmPlace } from "./_place.ts";
import { VmVcpuAborts } from "./_vcpu_aborts.ts";
import { VcpuContext, type VcpuLoad } from "./_vcpu_context.ts";
import { DirtyRing } from "./dirty_ring.ts";
import { type AbortStatistics, abortStatistics } from "./statistics.ts";

export type { LibraryCall } from "./_abort.ts";
export type { RunOptions } from "./_attempts.ts";
export type { AsyncOptions } from "./_vcpu_aborts.ts";
export type { VcpuLoad } from "./_vcpu_context.ts";

/**
 * How a vCPU is made: its id, and its CPU or options for one of its own. Hardware dirty state (`hd`) is on while it has a buffer:
 * {@link VmVcpu.setHdbssBuffer}.
 */
export interface VmVcpuOptions extends VcpuOptions {
  /** 0 to 511, each once in a VM. Default: the lowest that is free. */
  id?: number;
  /** A CPU that it shares with other vCPUs, also of other VMs: {@link VmVcpu.load} and {@link VmVcpu.put} say who runs. */
  cpu?: Vcpu;
}

const MOST_ID = 511;
const MOST_PAGES = 2 ** 20;
/** Entries of an HDBSS buffer: 512 << size (Arm ARM D24.2, HDBSSBR_EL2.SZ). */
const SMALLEST_BUFFER = 512;
const MOST_BUFFER = SMALLEST_BUFFER << 9;

/** A vCPU. It belongs to the thread that made it; several threads each run their own. */
export class VmVcpu extends VmVcpuAborts implements Disposable {
  #ring: DirtyRing | undefined;

  /** @internal */
  static create(place: VmPlace, options: VmVcpuOptions): VmVcpu {
    const { id, cpu, ...rest } = fields(options);
    const controls = guestControls(place);
    if (cpu !== undefined && Object.keys(rest).length > 0) {
      throw new Stage2Error("BAD_OPTION", "options of a CPU are for one that is made here", rest);
    }
    if (cpu !== undefined) checkedPe(place, cpu);
    const [pointer, number] = createContext(place, id);
    let pe: Vcpu | undefined;
    try {
      pe = cpu ?? createPe(place, rest);
      const found = { pe, isOwn: cpu === undefined, controls };
      const context = new VcpuContext(place, pointer, number, found);
      if (cpu === undefined) loadFirst(context);
      return new VmVcpu(context);
    } catch (error) {
      if (pe === undefined) place.core.vm_vcpu_destroy(pointer);
      throw error;
    }
  }

  /** Names it within its VM. */
  get id(): number {
    return this.vcpu.id;
  }

  /** The CPU that it is loaded on, or was last: loads and stores, translations, registers. */
  get cpu(): Vcpu {
    return this.vcpu.pe;
  }

  /** Whether it can be used: neither it nor its VM was disposed. */
  get isOpen(): boolean {
    return this.vcpu.livePointer !== 0;
  }

  /** Whether it is loaded. */
  get loaded(): boolean {
    return this.vcpu.isLoaded;
  }

  /** VMID that it was last loaded with; 0 before that. */
  get vmid(): number {
    return this.vcpu.vmid;
  }

  /** General-purpose registers X0 to X30, as {@link MmioExit.complete} needs them; otherwise the embedder's. */
  get x(): BigUint64Array {
    return this.vcpu.x;
  }

  /** Program counter; likewise. */
  get pc(): bigint {
    return this.vcpu.pc;
  }

  set pc(address: bigint) {
    if (typeof address !== "bigint") {
      throw new Stage2Error("BAD_OPTION", "pc must be a bigint", { pc: address });
    }
    this.vcpu.pc = BigInt.asUintN(64, address);
  }

  /**
   * Loads it on a CPU (`kvm_arch_vcpu_load`): stage 2 is on there, with this VM's table and VMID. Default: the CPU that it ran on
   * last. It is put first if it was loaded on another.
   * @throws Stage2Error `EINVAL` if the VM has no page table any more; `FOREIGN`, `BAD_OPTION`, `DISPOSED`; `EDEADLK`,
   *   `ETIMEDOUT` if VMIDs run out.
   */
  load(cpu?: Vcpu): VcpuLoad {
    const { vcpu } = this;
    return vcpu.load(cpu === undefined ? vcpu.pe : checkedPe(vcpu.place, cpu));
  }

  /** Takes it off its CPU (`kvm_arch_vcpu_put`): another may be loaded there. */
  put(): void {
    this.vcpu.put();
  }

  /** What the last abort asked of the page-table library. */
  get lastCall(): LibraryCall {
    return this.vcpu.aborts.lastCall;
  }

  /** Counts since it was made. */
  get statistics(): AbortStatistics {
    const { place, pointer } = this.vcpu;
    return abortStatistics(place, pointer);
  }

  /** Its dirty ring; undefined in a VM without: {@link Vm.enableDirtyRing}. */
  get dirtyRing(): DirtyRing | undefined {
    const { place, pointer, hasRing } = this.vcpu;
    if (!hasRing) return undefined;
    this.#ring ??= DirtyRing.of(place, pointer, this.id);
    return this.#ring;
  }

  /**
   * Fills the memory cache up (`kvm_mmu_topup_memory_cache`): to its capacity, if it has fewer than `min` pages. Aborts do it by
   * themselves, with 40.
   * @throws Stage2Error `EIO` for another capacity than the first; `ENOMEM`, what could be had stays; `BAD_OPTION`.
   */
  topup(min: number, capacity?: number): void {
    const { place, pointer } = this.vcpu;
    const least = integerOption("min", min, 0, MOST_PAGES);
    const most = capacity === undefined ? 0 : integerOption("capacity", capacity, 0, MOST_PAGES);
    if (capacity === 0 && this.cachedPages < least) place.done(-EIO, "topup", { min, capacity });
    place.done(place.core.vm_vcpu_topup(pointer, least, most), "topup", { min, capacity });
  }

  /** Table pages in its memory cache. */
  get cachedPages(): number {
    const { place, pointer } = this.vcpu;
    return place.core.vm_vcpu_cache(pointer);
  }

  /** Gives the pages of its memory cache back; it may have another capacity then. */
  freeCache(): void {
    const { place, pointer } = this.vcpu;
    place.core.vm_vcpu_cache_free(pointer);
  }

  /**
   * Gives the CPU that it is loaded on a buffer in which hardware records the pages it makes dirty (HDBSS): 512 entries or a power
   * of two more, up to 262,144; 0 takes it away.
   * Where the VM has it on ({@link Vm.enableHdbss}), hardware then makes pages of logged slots writable by itself.
   * @throws Stage2Error `EINVAL` for a CPU without (`hafdbs: 4` has it); `ENOMEM`; `BAD_OPTION`.
   */
  setHdbssBuffer(entries: number): void {
    const { place, pointer } = this.vcpu;
    integerOption("entries", entries, 0, MOST_BUFFER);
    const size = entries === 0 ? -1 : Math.log2(entries / SMALLEST_BUFFER);
    if (entries !== 0 && !(Number.isInteger(size) && size >= 0)) {
      throw new Stage2Error("BAD_OPTION", "a buffer has 512 entries, or a power of two more", {
        entries,
      });
    }
    if (entries !== 0 && !hasHdbss(this.cpu)) {
      const message = "setHdbssBuffer: the CPU has no HDBSS: hafdbs must be 4";
      throw new Stage2Error("EINVAL", message, { vcpu: this.id }, EINVAL);
    }
    place.done(place.core.vm_vcpu_hdbss(pointer, size), "setHdbssBuffer", { entries });
  }

  /** Moves what hardware has recorded into the dirty log: how many entries. */
  harvestHdbss(): number {
    const { place, pointer } = this.vcpu;
    return place.done(place.core.vm_vcpu_harvest(pointer), "harvestHdbss");
  }

  /** Gives it back, and its CPU if that is its own. An abort that waits for its page ends with `DISPOSED`. A second call does nothing. */
  dispose(): void {
    this.vcpu.dispose();
  }

  /** The core's pointer. @internal */
  get pointer(): number {
    return this.vcpu.pointer;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** The lowest id that is free, or the one that is asked for. */
function createContext(place: VmPlace, id: number | undefined): [pointer: number, id: number] {
  const first = id === undefined ? 0 : integerOption("id", id, 0, 2 ** 31 - 1);
  const last = id ?? MOST_ID;
  for (let number = first; number <= last; number++) {
    const status = place.core.vm_vcpu_create(place.pointer, number);
    if (status === -EEXIST && number < last) continue;
    const isErrno = status < 0 && status >= -4095;
    if (isErrno) throw place.refusal(status, "createVcpu", { id: number });
    return [status >>> 0, number];
  }
  throw new Stage2Error("EINVAL", "createVcpu: all ids are taken", {}, EINVAL);
}

function loadFirst(context: VcpuContext): void {
  try {
    context.load(context.pe);
  } catch (error) {
    context.dispose();
    throw error;
  }
}
