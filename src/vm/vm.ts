/**
 * A virtual machine as KVM/arm64's MMU sees it: memslots over an embedder's memory, vCPUs whose aborts it handles, notifiers by which the
 * host takes pages away, dirty logs. Its state is in the engine's memory, so every thread can attach to it.
 *
 *     const vm = engine.vm({ ipaBits: 40, memory });
 *     vm.setMemslot({ slot: 0, ipa: 0x4000_0000, size: 64 << 20, hva: 0x7f00_0000_0000 });
 *     const vcpu = vm.createVcpu();
 *     vcpu.run(() => vcpu.cpu.write32(0x4000_1000, 1));
 */
import { KIND_STAGE2 } from "../_abi.ts";
import type { Context } from "../_context.ts";
import type { Event } from "../_event_record.ts";
import { refusal } from "../_outcome.ts";
import { checkPointer, reportedShape } from "../_table.ts";
import { Stage2View } from "../_view.ts";
import { ENOENT, Stage2Error } from "../errors.ts";
import { type Range, flagOption, integerOption } from "../range.ts";
import { type VmHandle, type VmAttachOptions, attachedFacts } from "./_handle.ts";
import { VmPlace, vmCore } from "./_place.ts";
import { forcesWriteBack } from "./_pe.ts";
import type { VcpuContext } from "./_vcpu_context.ts";
import { VmDirty } from "./_vm_dirty.ts";
import type { WorkOptions } from "./_work.ts";
import { DirtyRing } from "./dirty_ring.ts";
import { eventsOf } from "./event_stream.ts";
import { type SlotStatistics, dumpTable, slotStatistics } from "./look.ts";
import { type VmEventGroup, type VmOptions, checkedVmOptions, vmEventMask } from "./options.ts";
import { type AbortStatistics, sum } from "./statistics.ts";
import { VmVcpu, type VmVcpuOptions } from "./vcpu.ts";

export type { VmAttachOptions, VmHandle } from "./_handle.ts";
export type { VmEventGroup, VmOptions } from "./options.ts";

/** What a VM is in the middle of, and how large it is. */
export interface VmState {
  /** `mmu_invalidate_seq`: invalidations that have ended. */
  readonly seq: number;
  /** `mmu_invalidate_in_progress`: those that have begun, and met a memslot. */
  readonly inProgress: number;
  /** All that have begun. */
  readonly active: number;
  /** Of the set of memslots: it grows with every set; odd while one is published. */
  readonly generation: number;
  readonly slots: number;
  /** Of all slots. */
  readonly pages: number;
}

/** Counts of this thread's vCPUs together, and what the VM has. */
export interface VmStatistics extends AbortStatistics {
  readonly slots: number;
  readonly pages: number;
  /** Table pages of its page table; 0 after {@link Vm.release}. */
  readonly tablePages: number;
}

const MOST = 2 ** 32 - 1;
const MOST_VCPUS = 512;
/** Result word of vm_describe: the VMID in TLBs. */
const VMID = 2;

/**
 * A VM. What several threads do to it at a time is ordered as in KVM: changes of memslots and collections of dirty logs by a
 * slots_lock, everything that changes the page table by its mmu_lock, of which aborts take the read side.
 *
 * All operations throw `DISPOSED` after {@link dispose}, here or by the owner.
 */
export class Vm extends VmDirty implements Disposable {
  readonly #vcpus = new Set<VmVcpu>();
  #view: Stage2View | undefined;

  /** `kvm_arch_init_vm`, `kvm_init_stage2_mmu`. @internal */
  static create(context: Context, options: VmOptions): Vm {
    const settings = checkedVmOptions(options);
    const core = vmCore(context);
    const { pageShift, memory, bus, table } = settings;
    const status = core.vm_create(pageShift, settings.hostBits, settings.options);
    const pointer = checkPointer(status, "vm", options);
    const [mmfr0, mmfr1] = settings.registers;
    context.setArgument(0, mmfr0);
    context.setArgument(1, mmfr1);
    const result = core.vm_init(pointer, settings.type, table, settings.tableEvents, 0);
    if (result < 0) {
      const error = refusal(context, result, "vm", options);
      core.vm_destroy(pointer);
      throw error;
    }
    const shape = reportedShape(context, { kind: KIND_STAGE2, pageShift, bits: table });
    core.vm_set_events(pointer, settings.events);
    const facts = { pointer, shape, options: settings.options, owned: true, memory, bus };
    return new Vm(new VmPlace(context, facts));
  }

  /** @internal */
  static attach(context: Context, handle: VmHandle, options: VmAttachOptions): Vm {
    return new Vm(new VmPlace(context, attachedFacts(context, handle, options)));
  }

  /** For {@link Engine.attachVm} in another thread. It can be posted. */
  get handle(): VmHandle {
    const { context, pointer, generation, shape, options } = this.place;
    return { kind: "stage2-vm", engine: context.id, pointer, generation, shape, options };
  }

  /** Makes a vCPU of this thread. @throws Stage2Error `EEXIST` for an id that is taken, `EINVAL` above 511; `ENOMEM`, `EMFILE`; `BAD_OPTION`, `FOREIGN`. */
  createVcpu(options: VmVcpuOptions = {}): VmVcpu {
    const vcpu = VmVcpu.create(this.place, options);
    this.#vcpus.add(vcpu);
    return vcpu;
  }

  /** vCPUs that were made here and not disposed. */
  get vcpus(): readonly VmVcpu[] {
    for (const vcpu of this.#vcpus) if (!vcpu.isOpen) this.#vcpus.delete(vcpu);
    return [...this.#vcpus];
  }

  /** The dirty rings of all vCPUs, also those of other threads, by id: for a thread that harvests them. */
  dirtyRings(): DirtyRing[] {
    const { core } = this.place;
    const rings: DirtyRing[] = [];
    for (let id = 0; id < MOST_VCPUS; id++) {
      const pointer = core.vm_vcpu_at(this.pointer, id) >>> 0;
      const ring = pointer === 0 ? undefined : DirtyRing.of(this.place, pointer, id);
      if (ring !== undefined) rings.push(ring);
    }
    return rings;
  }

  /** By which number events name this VM. */
  get number(): number {
    return this.place.core.vm_number(this.pointer);
  }

  /** IPA size in bits. */
  get ipaBits(): number {
    return this.place.shape.iaBits;
  }

  /** Bytes of a page. */
  get pageSize(): number {
    return this.place.pageSize;
  }

  /** VMID of its translations in TLBs now; 0 until a vCPU was loaded. */
  get vmid(): number {
    const { context, core } = this.place;
    core.vm_describe(this.pointer);
    return context.resultNumber(VMID);
  }

  /** Whether it can be used: it was disposed neither here nor by its owner. */
  get isOpen(): boolean {
    return this.place.isOpen;
  }

  /** The page table, to look at: nothing there changes it, and {@link Engine.vcpu} refuses it. @throws Stage2Error `DISPOSED` after {@link release} */
  get stage2(): Stage2View {
    void this.pointer;
    this.#view ??= new Stage2View(this.place.table);
    return this.#view;
  }

  get state(): VmState {
    const { context, core } = this.place;
    core.vm_state(this.pointer);
    const [seq, inProgress, active, generation, slots, pages] = [0, 1, 2, 3, 4, 5].map((index) =>
      context.resultNumber(index),
    ) as [number, number, number, number, number, number];
    return { seq, inProgress, active, generation, slots, pages };
  }

  get statistics(): VmStatistics {
    const { slots, pages } = this.state;
    const { table, core } = this.place;
    const tablePages = table.isLive ? core.pgt_pages(table.pointer) : 0;
    return { ...sum(this.vcpus.map((vcpu) => vcpu.statistics)), slots, pages, tablePages };
  }

  /** What of a memslot is mapped. Reads its whole range. @throws Stage2Error `ENOENT` if there is no such slot; `BAD_OPTION`. */
  slotStatistics(slot: number): SlotStatistics {
    const found = this.memslot(integerOption("slot", slot, 0, MOST));
    if (found !== undefined) return slotStatistics(this.place, found);
    throw new Stage2Error("ENOENT", "slotStatistics: no such memslot", { slot }, ENOENT);
  }

  /** The page table (default: all of it) as text, like the kernel's debug file. @throws Stage2Error `BAD_ADDRESS`, `BAD_SIZE` */
  dump(range?: Range): string {
    void this.pointer;
    return dumpTable(this.place, range);
  }

  /**
   * What was logged of this VM, oldest first, until nothing more is there: events of its {@link VmOptions.vmEvents}, and those of its page
   * table ({@link VmOptions.events}) that carry its VMID. It takes the engine's log empty: what is of other VMs waits until they
   * are read, if this thread has read them before; everything else is dropped. {@link Engine.events} has all, in order.
   */
  events(): Generator<Event, void, undefined> {
    void this.pointer;
    return eventsOf(this.place);
  }

  /** Chooses which groups of events it logs from now on. @throws Stage2Error `BAD_OPTION` */
  setVmEvents(groups: readonly VmEventGroup[]): void {
    this.place.core.vm_set_events(this.pointer, vmEventMask(groups));
  }

  // ---- caches of a guest without FWB ----------------------------------------------------------------------------------

  /**
   * The guest turned MMU and caches of a vCPU on or off (`kvm_toggle_cache`): whether everything was flushed. While its control
   * registers are trapped, every change flushes, and turning them on ends the trapping. Nothing to do with FWB.
   * @throws Stage2Error as {@link flushAll}; `FOREIGN` for another VM's vCPU.
   */
  setCaches(vcpu: VmVcpu, on: boolean): boolean {
    const flushes = this.#toggled(vcpu, flagOption("on", on));
    if (flushes) this.flushAll();
    return flushes;
  }

  /** The same in slices. @throws Stage2Error as {@link setCaches}; an aborted signal's reason. */
  async setCachesAsync(vcpu: VmVcpu, on: boolean, options: WorkOptions = {}): Promise<boolean> {
    const flushes = this.#toggled(vcpu, flagOption("on", on));
    if (flushes) await this.flushAllAsync(options);
    return flushes;
  }

  /**
   * A cache operation by set and way was trapped (`kvm_set_way_flush`): whether everything was flushed. The first one flushes, and begins
   * the trapping of control registers; those that follow do nothing until the caches are on again.
   * @throws Stage2Error as {@link setCaches}
   */
  setWay(vcpu: VmVcpu): boolean {
    const flushes = this.#trapped(vcpu);
    if (flushes) this.flushAll();
    return flushes;
  }

  #toggled(vcpu: VmVcpu, on: boolean): boolean {
    const { caches } = this.#own(vcpu);
    if (this.#forcesWriteBack) return false;
    const flushes = caches.trapped && caches.on !== on;
    caches.on = on;
    if (on) caches.trapped = false;
    return flushes;
  }

  #trapped(vcpu: VmVcpu): boolean {
    const { caches } = this.#own(vcpu);
    if (this.#forcesWriteBack || caches.trapped) return false;
    caches.trapped = true;
    return true;
  }

  #own(vcpu: VmVcpu): VcpuContext {
    if (vcpu instanceof VmVcpu && vcpu.vcpu.place === this.place) return vcpu.vcpu;
    throw new Stage2Error("FOREIGN", "the vCPU belongs to another VM");
  }

  get #forcesWriteBack(): boolean {
    return forcesWriteBack(this.place.shape.bits);
  }

  // ---- the end ------------------------------------------------------------------------------------------------------

  /**
   * The address space goes away (`kvm_mmu_notifier_release`): the page table is freed. Memslots stay; operations on ranges find no
   * table, no vCPU can be loaded. A second call does nothing.
   * @throws Stage2Error `ETIMEDOUT`: it is done, but a vCPU of another thread may still use what is freed; `EDEADLK` if this thread
   *   holds a lock, or is inside a bracket.
   */
  release(): void {
    const { place } = this;
    place.done(place.core.vm_teardown(this.pointer), "release");
  }

  /**
   * Frees the VM with everything it has, if this object made it; one that is attached only lets go. vCPUs of this thread are disposed
   * first; operations in slices end with `DISPOSED`. Those of other threads refuse use from then on: none of them may be
   * running. A second call does nothing.
   * @throws Stage2Error as {@link release}
   */
  dispose(): void {
    this.place.dispose();
    this.#vcpus.clear();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** The core's pointer. @internal */
  get pointer(): number {
    return this.place.pointer;
  }
}
