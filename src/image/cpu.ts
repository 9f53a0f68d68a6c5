/**
 * The translation registers of a stopped CPU, as a vCPU takes them: for its guest or host as it ran, for one regime, or
 * for a stage 2 alone.
 */
import { inputError } from "../_input.ts";
import type { Registers } from "../vcpu.ts";
import type { Regime, TableImage } from "./format.ts";

/** What a vCPU needs to translate as the stopped CPU did. */
export interface CpuState {
  readonly registers: Partial<Registers>;
  /** Exception level that accesses are made at, and PSTATE.PAN. */
  readonly el: 0 | 1 | 2;
  readonly pan: boolean;
  /** EL1 stands for EL2: a host that ran there, with the registers of EL1's shape that HCR_EL2.E2H gives EL2. */
  readonly standsForEl2?: true;
  /** CPU, and what of it translates. */
  readonly cpu: number;
  readonly stages: "stage 1" | "stage 2" | "both stages";
}

const SCTLR_M = 1n;
const HCR_VM = 1n;
const HCR_E2H = 1n << 34n;
const HCR_TGE = 1n << 27n;
/** PSTATE as SPSR has it: EL in 3:2, PAN in 22. */
const EL_SHIFT = 2n;
const PAN = 1n << 22n;
const VMID_SHIFT = 48n;

/** The CPU as it was stopped, at EL0 or EL1: both stages, as far as its registers turn them on. */
export function stoppedState(image: TableImage, cpu: number): CpuState {
  const read = registersOf(image, cpu);
  const hcr = read("HCR_EL2");
  const pstate = read("cpsr");
  const stage1 = (read("SCTLR_EL1") & SCTLR_M) !== 0n;
  const stage2 = (hcr & HCR_VM) !== 0n;
  return {
    ...{ cpu, el: ((pstate >> EL_SHIFT) & 3n) === 0n ? 0 : 1, pan: (pstate & PAN) !== 0n },
    stages: stage1 && stage2 ? "both stages" : stage2 ? "stage 2" : "stage 1",
    registers: {
      ...features(read),
      hcrEl2: hcr & ~(HCR_E2H | HCR_TGE), // they move EL2's own translation, not that of EL1 and EL0
      ...{ vtcrEl2: read("VTCR_EL2"), vttbrEl2: read("VTTBR_EL2") },
      ...{ sctlrEl1: read("SCTLR_EL1"), tcrEl1: read("TCR_EL1"), mairEl1: read("MAIR_EL1") },
      ...{ ttbr0El1: read("TTBR0_EL1"), ttbr1El1: read("TTBR1_EL1") },
    },
  };
}

/** The CPU as it was stopped in a guest, over the stage 2 of a regime. */
export function guestState(image: TableImage, cpu: number, { control, root }: Regime): CpuState {
  const state = stoppedState(image, cpu);
  const { hcrEl2 = 0n, vttbrEl2 = 0n } = state.registers;
  const registers = {
    ...state.registers,
    ...{ hcrEl2: hcrEl2 | HCR_VM, vtcrEl2: control },
    vttbrEl2: ((vttbrEl2 >> VMID_SHIFT) << VMID_SHIFT) | BigInt(root),
  };
  return { ...state, registers };
}

/** A stage 2 alone: stage 1 is off, so that virtual addresses are intermediate physical ones. */
export function stage2State(image: TableImage, cpu: number, regime: Regime): CpuState {
  const { registers } = guestState(image, cpu, regime);
  return { cpu, el: 1, pan: false, stages: "stage 2", registers: { ...registers, sctlrEl1: 0n } };
}

/** The registers that a regime of the image was dumped by. */
export function regimeState(image: TableImage, regime: Regime): CpuState {
  if (regime.stage === 2) return stage2State(image, regime.cpu, regime);
  const state = regime.name.includes("_el2")
    ? el2State(image, regime)
    : { ...stoppedState(image, regime.cpu), el: 1 as const, pan: false };
  const { sctlrEl1 = 0n, sctlrEl2 = 0n } = state.registers;
  if (((sctlrEl1 | sctlrEl2) & SCTLR_M) !== 0n) return state;
  throw inputError(image.name, `${regime.name}: stage 1 is off in the registers of the CPU`);
}

/** EL2 has no stage 2. */
function el2State(image: TableImage, regime: Regime): CpuState {
  const read = registersOf(image, regime.cpu);
  const place = { cpu: regime.cpu, pan: false, stages: "stage 1" } as const;
  const [sctlr, tcr, mair] = [read("SCTLR_EL2"), read("TCR_EL2"), read("MAIR_EL2")];
  const [ttbr0, ttbr1] = [read("TTBR0_EL2"), read("TTBR1_EL2")];
  if (regime.name.startsWith("hyp_")) {
    const own = { sctlrEl2: sctlr, tcrEl2: tcr, ttbr0El2: ttbr0, mairEl2: mair };
    return { ...place, el: 2, registers: { ...features(read), hcrEl2: 0n, ...own } };
  }
  const own = { sctlrEl1: sctlr, tcrEl1: tcr, ttbr0El1: ttbr0, ttbr1El1: ttbr1, mairEl1: mair };
  const registers = { ...features(read), hcrEl2: 0n, ...own };
  return { ...place, el: 1, standsForEl2: true, registers };
}

/** The same at another Exception level of the stopped CPU; `undefined` if its regime has no such level. */
export function atLevel(state: CpuState, el: 0 | 1 | 2): CpuState | undefined {
  if (state.el === 2) return el === 2 ? state : undefined;
  const privileged = state.standsForEl2 ? 2 : 1;
  if (el !== 0 && el !== privileged) return undefined;
  return { ...state, el: el === 0 ? 0 : 1 };
}

function features(read: (name: string) => bigint): Partial<Registers> {
  return {
    idAa64mmfr0El1: read("ID_AA64MMFR0_EL1"),
    idAa64mmfr1El1: read("ID_AA64MMFR1_EL1"),
    idAa64mmfr2El1: read("ID_AA64MMFR2_EL1"),
  };
}

/** Registers that are zero were not recorded. */
function registersOf(image: TableImage, cpu: number): (name: string) => bigint {
  const registers = image.cpus[cpu];
  if (registers === undefined) throw inputError(image.name, `has no registers of CPU ${cpu}`);
  return (name) => registers.get(name) ?? 0n;
}
