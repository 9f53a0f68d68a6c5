/** System registers of a vCPU by name: Arm's, in camel case (Arm ARM D24.2). */
import { STATE } from "./_abi.ts";
import type { VcpuCore } from "./_vcpu_core.ts";
import { Stage2Error } from "./errors.ts";
import { knownOptions } from "./range.ts";

const OFFSETS = {
  hcrEl2: STATE.HCR_EL2,
  vtcrEl2: STATE.VTCR_EL2,
  vttbrEl2: STATE.VTTBR_EL2,
  sctlrEl1: STATE.SCTLR_EL1,
  tcrEl1: STATE.TCR_EL1,
  ttbr0El1: STATE.TTBR0_EL1,
  ttbr1El1: STATE.TTBR1_EL1,
  mairEl1: STATE.MAIR_EL1,
  sctlrEl2: STATE.SCTLR_EL2,
  tcrEl2: STATE.TCR_EL2,
  ttbr0El2: STATE.TTBR0_EL2,
  mairEl2: STATE.MAIR_EL2,
  idAa64mmfr0El1: STATE.ID_AA64MMFR0_EL1,
  idAa64mmfr1El1: STATE.ID_AA64MMFR1_EL1,
  idAa64mmfr2El1: STATE.ID_AA64MMFR2_EL1,
  hdbssbrEl2: STATE.HDBSSBR_EL2,
  hdbssprodEl2: STATE.HDBSSPROD_EL2,
  hacdbsbrEl2: STATE.HACDBSBR_EL2,
  hacdbsconsEl2: STATE.HACDBSCONS_EL2,
  parEl1: STATE.PAR_EL1,
} as const;

type RegisterName = keyof typeof OFFSETS;

/**
 * Registers that decide translations, 64 bits each. Bits that the translation does not look at are kept and mean nothing;
 * combinations that are illegal make walks fault, as on hardware.
 */
export type Registers = Record<RegisterName, bigint>;

const NAMES = Object.keys(OFFSETS) as RegisterName[];

/** All registers, as they are now. */
export function readRegisters({ registers }: VcpuCore): Registers {
  const entries = NAMES.map((name) => [name, registers[OFFSETS[name] / 8]]);
  return Object.fromEntries(entries) as Registers;
}

/** Checked values, as the names of a subset. @throws Stage2Error `BAD_OPTION` for other names and other values. */
export function checkedRegisters(values: Partial<Registers>): Partial<Registers> {
  knownOptions("register", values, NAMES);
  for (const [name, value] of Object.entries(values)) {
    if (typeof value === "bigint" && value >= 0n && value < 2n ** 64n) continue;
    throw new Stage2Error("BAD_OPTION", `${name} must be a bigint of 64 bits`, { [name]: value });
  }
  return values;
}

/** Writes checked values; `configure` follows. */
export function writeRegisters({ registers }: VcpuCore, values: Partial<Registers>): void {
  for (const name of NAMES) {
    const value = values[name];
    if (value !== undefined) registers[OFFSETS[name] / 8] = value;
  }
}
