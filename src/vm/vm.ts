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
import { refusal } from "../_outcome.ts";
import { checkPointer, reportedShape } from "../_table.ts";
import { Stage2Error } from "../errors.ts";
import { flagOption } from "../range.ts";
import { type VmAttachOptions, type VmHandle, attachedFacts } from "./_handle.ts";
import { forcesWriteBack } from "./_pe.ts";
import { VmPlace, vmCore } from "./_place.ts";
import type { Caches, VcpuContext } from "./_vcpu_context.ts";
import { VmShown } from "./_vm_shown.ts";
import { type WorkOptions, checkedWork } from "./_work.ts";
import { type VmOptions, checkedVmOptions } from "./options.ts";
import { VmVcpu } from "./vcpu.ts";

export type { VmAttachOptions, VmHandle } from "./_handle.ts";
export type { VmState, VmStatistics } from "./_vm_shown.ts";
export type { VmEventGroup, VmOptions } from "./options.ts";

/** Flag of vm_init. */
const PROTECTED_GUEST = 1n;

interface CacheChange {
  readonly flushes: boolean;
  readonly to: Caches;
}

/** What takes it back if the flush did not come to its end. Another change may have come meanwhile: then the next one flushes. */
function beginChange(context: VcpuContext, { to }: CacheChange): () => void {
  const before = context.caches;
  context.caches = to;
  return () => {
    const now = context.caches;
    context.caches = now === to ? before : { ...now, trapped: true };
  };
}

/**
 * A VM. What several threads do to it at a time is ordered as in KVM: changes of memslots and collections of dirty logs by a
 * slots_lock, everything that changes the page table by its mmu_lock, of which aborts take the read side.
 *
 * All operations throw `DISPOSED` after {@link dispose}, here or by the owner.
 */
export class Vm extends VmShown implements Disposable {
  /** `kvm_arch_init_vm`, `kvm_init_stage2_mmu`. @internal */
  static create(context: Context, options: VmOptions): Vm {
    const settings = checkedVmOptions(options);
    const core = vmCore(context);
    const { pageShift, memory, bus, table } = settings;
    const machine = settings.machine?.pointer(context) ?? 0;
    const firstEvent = (core.events_tail() + core.events_count()) >>> 0;
    const status = core.vm_create(pageShift, settings.hostBits, settings.coreOptions);
    const pointer = checkPointer(status, "vm", options);
    const [mmfr0, mmfr1] = settings.registers;
    context.setArgument(0, mmfr0);
    context.setArgument(1, mmfr1);
    context.setArgument(2, BigInt(machine));
    context.setArgument(3, settings.machine?.isProtected === true ? PROTECTED_GUEST : 0n);
    const result = core.vm_init(pointer, settings.type, table, settings.tableEvents, 0);
    if (result < 0) {
      const error = refusal(context, result, "vm", options);
      core.vm_destroy(pointer);
      throw error;
    }
    const shape = reportedShape(context, { kind: KIND_STAGE2, pageShift, bits: table });
    core.vm_set_events(pointer, settings.events);
    const { options: bits } = settings;
    const facts = { pointer, shape, options: bits, owned: true, memory, bus, firstEvent };
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

  // ---- caches of a guest without FWB ----------------------------------------------------------------------------------

  /**
   * The guest turned MMU and caches of a vCPU on or off (`kvm_toggle_cache`): whether everything was flushed. While its control
   * registers are trapped, every change flushes, and turning them on ends the trapping. Nothing to do with FWB. After an error the
   * flush is still due: the same call makes it.
   * @throws Stage2Error as {@link flushAll}; `FOREIGN` for another VM's vCPU.
   */
  setCaches(vcpu: VmVcpu, on: boolean): boolean {
    return this.#care(vcpu, this.#toggled(vcpu, flagOption("on", on)));
  }

  /** The same in slices. @throws Stage2Error as {@link setCaches}; an aborted signal's reason. */
  async setCachesAsync(vcpu: VmVcpu, on: boolean, options: WorkOptions = {}): Promise<boolean> {
    return this.#careLater(vcpu, this.#toggled(vcpu, flagOption("on", on)), options);
  }

  /**
   * A cache operation by set and way was trapped (`kvm_set_way_flush`): whether everything was flushed. The first one flushes, and begins
   * the trapping of control registers; those that follow do nothing until the caches are on again.
   * @throws Stage2Error as {@link setCaches}
   */
  setWay(vcpu: VmVcpu): boolean {
    return this.#care(vcpu, this.#trapped(vcpu));
  }

  /** The same in slices. @throws Stage2Error as {@link setCaches}; an aborted signal's reason. */
  async setWayAsync(vcpu: VmVcpu, options: WorkOptions = {}): Promise<boolean> {
    return this.#careLater(vcpu, this.#trapped(vcpu), options);
  }

  /** Changes the state of a vCPU's caches, and flushes if that is due; else the flush is still due. */
  #care(vcpu: VmVcpu, change: CacheChange): boolean {
    const undo = beginChange(this.#own(vcpu), change);
    try {
      if (change.flushes) this.flushAll();
    } catch (error) {
      undo();
      throw error;
    }
    return change.flushes;
  }

  async #careLater(vcpu: VmVcpu, change: CacheChange, options: WorkOptions): Promise<boolean> {
    checkedWork(options);
    const undo = beginChange(this.#own(vcpu), change);
    try {
      if (change.flushes) await this.flushAllAsync(options);
    } catch (error) {
      undo();
      throw error;
    }
    return change.flushes;
  }

  #toggled(vcpu: VmVcpu, on: boolean): CacheChange {
    const { caches } = this.#own(vcpu);
    if (this.#forcesWriteBack) return { flushes: false, to: caches };
    const flushes = caches.trapped && caches.on !== on;
    return { flushes, to: { on, trapped: caches.trapped && !on } };
  }

  #trapped(vcpu: VmVcpu): CacheChange {
    const { caches } = this.#own(vcpu);
    if (this.#forcesWriteBack || caches.trapped) return { flushes: false, to: caches };
    return { flushes: true, to: { ...caches, trapped: true } };
  }

  #own(vcpu: VmVcpu): VcpuContext {
    if (!(vcpu instanceof VmVcpu)) {
      throw new Stage2Error("BAD_OPTION", "vcpu must be a vCPU of a VM", { vcpu });
    }
    if (vcpu.vcpu.place === this.place) return vcpu.vcpu;
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
   *   holds a lock, or is inside a bracket: nothing was done.
   */
  release(): void {
    const { place } = this;
    place.done(place.core.vm_teardown(this.pointer), "release");
  }

  /**
   * Frees the VM with everything it has, if this object made it; one that is attached only lets go. vCPUs of this thread are disposed
   * first, unless it is refused; operations in slices end with `DISPOSED`. Those of other threads refuse use from then on: none of them may be
   * running. A second call does nothing.
   * @throws Stage2Error as {@link release}; with `EDEADLK` nothing was done.
   */
  dispose(): void {
    this.place.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
