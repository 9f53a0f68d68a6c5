/** A CPU (PE) as a VM's vCPU needs it: stage 2 on, with the VM's page table. */
import { OPTION } from "../_abi.ts";
import { Stage2Error } from "../errors.ts";
import { Vcpu, type VcpuOptions } from "../vcpu.ts";
import type { VmPlace } from "./_place.ts";

const HCR_VM = 1n;
const HCR_RW = 1n << 31n;
const HCR_FWB = 1n << 46n;
const PARANGE = 0xfn;
/** ID_AA64MMFR1_EL1.HAFDBS, and its value of a CPU with FEAT_HDBSS. */
const HAFDBS = 0xfn;
const HAS_HDBSS = 4n;

/** Whether the CPU records pages that it makes dirty. */
export function hasHdbss(pe: Vcpu): boolean {
  return (pe.registers.idAa64mmfr1El1 & HAFDBS) >= HAS_HDBSS;
}

/** HCR_EL2 and VTCR_EL2 of a VM (Arm ARM D24.2), beside what the PE has otherwise. */
export interface GuestControls {
  readonly hcr: bigint;
  readonly vtcr: bigint;
}

/** Whether memory is write-back whatever the guest says (FEAT_S2FWB): its caches need no care. `bits`: OPTION bits. */
export function forcesWriteBack(bits: number): boolean {
  return (bits & (OPTION.FWB | OPTION.NOFWB)) === OPTION.FWB;
}

/** Hardware dirty state comes with a buffer that records it, and goes with it: the core's to turn on. */
export function guestControls({ shape }: VmPlace): GuestControls {
  const forced = forcesWriteBack(shape.bits);
  return {
    hcr: HCR_VM | HCR_RW | (forced ? HCR_FWB : 0n),
    vtcr: shape.vtcr,
  };
}

/** A CPU with the output size of the VM's machine. Its stage 2 is off until a vCPU of a VM is loaded. */
export function createPe(place: VmPlace, options: VcpuOptions): Vcpu {
  const { registers = {}, ...rest } = options;
  const pe = Vcpu.create(place.context, undefined, rest);
  try {
    const { idAa64mmfr0El1 } = pe.registers;
    const parange = (place.shape.vtcr >> 16n) & 7n;
    pe.setRegisters({ idAa64mmfr0El1: (idAa64mmfr0El1 & ~PARANGE) | parange, ...registers });
  } catch (error) {
    pe.dispose();
    throw error;
  }
  return pe;
}

/** Turns the guest's stage 2 on. Its TLB keeps what it holds, tagged with other VMIDs. */
export function enterGuest(pe: Vcpu, { hcr, vtcr }: GuestControls): void {
  const { hcrEl2, vtcrEl2 } = pe.registers;
  const wanted = (hcrEl2 & ~HCR_FWB) | hcr;
  if (hcrEl2 !== wanted || vtcrEl2 !== vtcr) pe.setRegisters({ hcrEl2: wanted, vtcrEl2: vtcr });
}

/** A PE of the same engine and thread. @throws Stage2Error `BAD_OPTION`, `FOREIGN`, `DISPOSED` */
export function checkedPe(place: VmPlace, pe: unknown): Vcpu {
  if (!(pe instanceof Vcpu)) {
    throw new Stage2Error("BAD_OPTION", "cpu must be a Vcpu of the engine", { cpu: pe });
  }
  if (pe.cpu.context !== place.context) {
    throw new Stage2Error("FOREIGN", "the vCPU belongs to another engine");
  }
  void pe.cpu.pointer; // refuses one that was disposed
  return pe;
}
