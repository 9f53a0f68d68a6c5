/** A vCPU context's place in its VM: its pointer while it is open, the CPU that it runs on, its registers. */
import { disposed } from "../_context.ts";
import { EBUSY, EINVAL, Stage2Error } from "../errors.ts";
import type { Vcpu } from "../vcpu.ts";
import { ABORT_FLAG } from "./_abi.ts";
import { Aborts } from "./_abort.ts";
import { type GuestControls, enterGuest, forcesWriteBack } from "./_pe.ts";
import type { Part, VmPlace } from "./_place.ts";
import type { RegisterFile } from "./mmio.ts";

/** What loading a vCPU on a CPU did (`kvm_arch_vcpu_load`). */
export interface VcpuLoad {
  /** VMID that the guest's TLB entries carry from now on. */
  readonly vmid: number;
  /** It is another one than before. */
  readonly changed: boolean;
  /** The CPU ran another vCPU of this VM last: its EL1 TLB entries were dropped. */
  readonly invalidated: boolean;
  /** VMIDs had run out: a new generation began, all TLBs were emptied. */
  readonly rolledOver: boolean;
}

/** A guest's caches are on; its control registers are trapped to notice a change. */
export interface Caches {
  readonly on: boolean;
  readonly trapped: boolean;
}

/** VTCR_EL2.VS: VMIDs of 16 bits; and the highest of 8. */
const VTCR_VS = 1n << 19n;
const NARROW = 0xff;

export class VcpuContext implements Part, RegisterFile {
  readonly place: VmPlace;
  readonly id: number;
  readonly x = new BigUint64Array(31);
  pc = 0n;
  readonly aborts: Aborts;
  vmid = 0;
  /** The CPU that it is loaded on, or was last. */
  pe: Vcpu;
  isLoaded = false;
  /** What the guest does with its caches. */
  caches: Caches;
  /** It may be kept from running by its dirty ring. Rings are there before vCPUs. */
  readonly hasRing: boolean;
  /** Ends what waits for the backing. */
  interrupt: ((error: Error) => void) | undefined;
  readonly #ownPe: Vcpu | undefined;
  readonly #controls: GuestControls;
  #pointer: number;

  constructor(
    place: VmPlace,
    pointer: number,
    id: number,
    cpu: { readonly pe: Vcpu; readonly isOwn: boolean; readonly controls: GuestControls },
  ) {
    this.place = place;
    this.id = id;
    this.#pointer = pointer;
    this.pe = cpu.pe;
    this.#ownPe = cpu.isOwn ? cpu.pe : undefined;
    this.#controls = cpu.controls;
    this.aborts = new Aborts(place, id, this);
    this.caches = { on: false, trapped: !forcesWriteBack(place.shape.bits) };
    place.core.vm_vcpu_ring(pointer);
    this.hasRing = place.context.resultNumber(0) !== 0;
    place.add(this);
    place.vcpus.add(this);
  }

  /** The core's pointer. @throws Stage2Error `DISPOSED` */
  get pointer(): number {
    if (this.#pointer !== 0 && this.place.isOpen) return this.#pointer;
    throw disposed("vCPU");
  }

  /** The same within one call, at whose start that was asked: only this thread can have ended it since. @throws Stage2Error `DISPOSED` */
  get samePointer(): number {
    if (this.#pointer !== 0 && this.place.isHeld) return this.#pointer;
    throw disposed("vCPU");
  }

  /** The same, 0 after its end. */
  get livePointer(): number {
    return this.place.isOpen ? this.#pointer : 0;
  }

  /** ABORT_FLAG bits of an abort now. */
  get flags(): number {
    const el0 = this.pe.el === 0 ? ABORT_FLAG.EL0 : 0;
    return this.place.isProtected ? el0 | ABORT_FLAG.PROTECTED : el0;
  }

  load(pe: Vcpu): VcpuLoad {
    const { place, pointer } = this;
    const { context, core } = place;
    this.put(); // what its hardware has recorded there is not lost
    enterGuest(pe, this.#controls);
    const status = core.vm_vcpu_load(pointer, pe.cpu.pointer);
    if (status === -EBUSY) throw this.#occupied(pe);
    place.done(status, "load", { vcpu: this.id, cpu: pe.number });
    const [vmid, dropped, rolledOver] = [0, 1, 2].map((index) => context.resultNumber(index));
    if (vmid! > NARROW && (place.shape.vtcr & VTCR_VS) === 0n) {
      core.vm_vcpu_put(pointer);
      const message = "load: a machine with 8-bit VMIDs needs an engine with vmidBits: 8";
      throw new Stage2Error("EINVAL", message, { vmid }, EINVAL);
    }
    // Closed with the engine after this context is: the set of what to close is ordered.
    context.remove(pe.cpu);
    context.add(pe.cpu);
    this.pe = pe;
    this.isLoaded = true;
    this.vmid = vmid!;
    return {
      vmid: this.vmid,
      changed: status === 1,
      invalidated: dropped === 1,
      rolledOver: rolledOver === 1,
    };
  }

  #occupied(pe: Vcpu): Stage2Error {
    const message = "load: another vCPU is loaded on this CPU: put it first";
    return new Stage2Error("EBUSY", message, { vcpu: this.id, cpu: pe.number }, EBUSY);
  }

  put(): void {
    const { place, pointer } = this;
    if (this.isLoaded) place.core.vm_vcpu_put(pointer);
    this.isLoaded = false;
  }

  /** Gives it back. Also when its VM ends, before that. */
  close(): void {
    const pointer = this.livePointer;
    if (pointer !== 0) {
      this.aborts.cancel(pointer);
      this.put();
      this.place.core.vm_vcpu_destroy(pointer);
    }
    this.#pointer = 0;
    this.isLoaded = false;
    this.place.vcpus.delete(this);
    this.#ownPe?.dispose();
    this.interrupt?.(disposed("vCPU"));
  }

  dispose(): void {
    this.close();
    this.place.remove(this);
  }
}
