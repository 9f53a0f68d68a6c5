/**
 * What a recorded host was: the settings that make a page table of ours behave as its tables did.
 *
 * Nearly everything stands in the header's registers. Traces without registers name a CPU model that is known here.
 * Range invalidation is in no recorded register; Armv8.4 made it mandatory together with FWB, and no model that was
 * recorded has one without the other.
 */
import { OPTION } from "../_abi.ts";
import { levelShift } from "../decode.ts";
import { inputError } from "../input.ts";
import type { Trace } from "./read.ts";
import type { TraceHeader } from "./record.ts";

/** Features of the host. */
export interface Machine {
  readonly pageShift: number;
  /** ID_AA64MMFR0_EL1 and ID_AA64MMFR1_EL1. */
  readonly mmfr0: bigint;
  readonly mmfr1: bigint;
  /** OPTION bits. */
  readonly options: number;
  /** The hardware sets access flags. */
  readonly ha: boolean;
  /** The host ran at EL2, where its TLB invalidations could be recorded. */
  readonly tlbiRecorded: boolean;
  /** VTCR_EL2 as recorded, if it was. */
  readonly vtcr?: bigint;
}

/** The registers that matter, for a model whose registers were not recorded. */
interface Model {
  readonly mmfr0: bigint;
  readonly mmfr1: bigint;
  readonly mmfr2: bigint;
  readonly vhe: boolean;
  readonly lpa2: boolean;
}

// MMFR0: physical address size in 3:0. MMFR1: hardware access flag in 3:0. MMFR2: FWB in 43:40.
const MODELS: Readonly<Record<string, Model>> = {
  "max": { mmfr0: 6n, mmfr1: 2n, mmfr2: 1n << 40n, vhe: true, lpa2: true },
  "neoverse-n1": { mmfr0: 5n, mmfr1: 2n, mmfr2: 0n, vhe: true, lpa2: false },
  "cortex-a76": { mmfr0: 2n, mmfr1: 2n, mmfr2: 0n, vhe: true, lpa2: false },
  "cortex-a72": { mmfr0: 4n, mmfr1: 0n, mmfr2: 0n, vhe: false, lpa2: false },
  "cortex-a57": { mmfr0: 4n, mmfr1: 0n, mmfr2: 0n, vhe: false, lpa2: false },
  "a64fx": { mmfr0: 5n, mmfr1: 0n, mmfr2: 0n, vhe: true, lpa2: false },
  "cortex-a53": { mmfr0: 2n, mmfr1: 0n, mmfr2: 0n, vhe: false, lpa2: false },
}; // prettier-ignore

const HCR_E2H = 1n << 34n;
const VTCR_DS = 1n << 32n;

/** The machine that a trace was recorded on. */
export function machineOf({ path, header }: Trace): Machine {
  const model = header.registers.size > 0 ? fromRegisters(header) : fromName(path, header);
  const fwb = ((model.mmfr2 >> 40n) & 0xfn) !== 0n;
  const ha = (model.mmfr1 & 0xfn) !== 0n;
  const vtcr = header.registers.get("VTCR_EL2");
  return {
    pageShift: header.pageShift,
    mmfr0: model.mmfr0,
    mmfr1: model.mmfr1,
    options:
      OPTION.PA52 |
      (fwb ? OPTION.FWB | OPTION.TLBI_RANGE : 0) |
      (model.lpa2 ? OPTION.LPA2 : 0) |
      OPTION.KEEP_UNLINKED,
    ha,
    tlbiRecorded: model.vhe,
    ...(vtcr === undefined ? {} : { vtcr }),
  };
}

function fromRegisters({ registers }: TraceHeader): Model {
  const read = (name: string): bigint => registers.get(name) ?? 0n;
  return {
    mmfr0: read("ID_AA64MMFR0_EL1"),
    mmfr1: read("ID_AA64MMFR1_EL1"),
    mmfr2: read("ID_AA64MMFR2_EL1"),
    vhe: (read("HCR_EL2") & HCR_E2H) !== 0n,
    lpa2: (read("VTCR_EL2") & VTCR_DS) !== 0n,
  };
}

function fromName(path: string, { cpuModel }: TraceHeader): Model {
  const model = MODELS[cpuModel.split(/[, ]/)[0] as string];
  if (model === undefined)
    throw inputError(path, `no registers, and the CPU model "${cpuModel}" is not known`);
  return cpuModel.includes("kvm-arm.mode=") ? { ...model, vhe: false } : model;
}

/** Input size of the table with a root of this many bytes: a trace can hold tables of several sizes. */
export function iaBitsOf({ path, header }: Trace, rootBytes: number): number {
  const { pageShift } = header;
  const shape = header.shapes.find(({ iaBits, startLevel }) => {
    const entries = 2 ** (iaBits - levelShift(pageShift, startLevel));
    return Math.max(entries * 8, 2 ** pageShift) === rootBytes;
  });
  if (shape === undefined) throw inputError(path, `no page table has a root of ${rootBytes} bytes`);
  return shape.iaBits;
}
