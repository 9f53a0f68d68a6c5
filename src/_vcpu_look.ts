/** What translations tell of themselves beyond an address: probes, and PAR_EL1 of address translation instructions. */
import { ACCESS, STATE } from "./_abi.ts";
import { attrWords } from "./_memory_type.ts";
import type { VcpuCore } from "./_vcpu_core.ts";

/** One stage of a translation. */
export interface ProbedStage {
  /** Level of the leaf, and bytes that it maps. */
  readonly level: number;
  readonly size: number;
}

/** A translation that left no trace. */
export interface Probe {
  readonly pa: number;
  /** Where stage 1 ends: the input of stage 2. */
  readonly ipa: number;
  /** What both stages together allow at this Exception level. */
  readonly allowed: { readonly read: boolean; readonly write: boolean; readonly execute: boolean };
  /** Memory attributes of both stages together: as in MAIR_EL1, in words; shareability as in descriptors (2 outer, 3 inner). */
  readonly attr: number;
  readonly memory: string;
  readonly sh: number;
  /** Undefined: the stage is off. */
  readonly stage1: ProbedStage | undefined;
  readonly stage2: ProbedStage | undefined;
}

/** PAR_EL1 after an address translation instruction (Arm ARM D24.2, PAR_EL1). */
export interface Par {
  /** PAR_EL1.F is 0. */
  readonly ok: boolean;
  /** The whole register. */
  readonly par: bigint;
  /** First address of the 4 KiB page: an IPA after S1 forms where stage 2 is on. */
  readonly pa: number | undefined;
  /** Memory attributes as in MAIR_EL1, shareability as in descriptors. */
  readonly attr: number | undefined;
  readonly sh: number | undefined;
  /** Of a translation that failed: fault status code, stage, whether on a stage-1 descriptor. */
  readonly fst: number | undefined;
  readonly stage: 1 | 2 | undefined;
  readonly s1ptw: boolean | undefined;
}

const STAGE_OFF = 127;
const PAR_PA = 0x000f_ffff_ffff_f000n;
const PAGE_OFFSET = 0xfff;

/** What the last probe found. */
export function probed({ words, registers }: VcpuCore): Probe {
  const described = words[STATE.PROBE_ATTR / 4] as number; // ATTR, SH, levels of stage 1 and 2
  const sized = words[STATE.PROBE_SHIFT1 / 4] as number; // shifts of stage 1 and 2, rights
  const allowed = (sized >>> 16) & 0xff;
  const attr = described & 0xff;
  return {
    pa: Number(registers[STATE.PROBE_PA / 8]),
    ipa: Number(registers[STATE.PROBE_IPA / 8]),
    allowed: {
      read: (allowed & ACCESS.READ) !== 0,
      write: (allowed & ACCESS.WRITE) !== 0,
      execute: (allowed & ACCESS.FETCH) !== 0,
    },
    attr,
    memory: attrWords(attr),
    sh: (described >>> 8) & 3,
    stage1: stage((described << 8) >> 24, sized & 0xff),
    stage2: stage(described >> 24, (sized >>> 8) & 0xff),
  };
}

function stage(level: number, shift: number): ProbedStage | undefined {
  return level === STAGE_OFF ? undefined : { level, size: 2 ** shift };
}

/** PAR_EL1 taken apart. */
export function decodePar(par: bigint): Par {
  const low = Number(par & BigInt(PAGE_OFFSET));
  const ok = (low & 1) === 0;
  return {
    ok,
    par,
    pa: ok ? Number(par & PAR_PA) : undefined,
    attr: ok ? Number(par >> 56n) : undefined,
    sh: ok ? (low >>> 7) & 3 : undefined,
    fst: ok ? undefined : (low >>> 1) & 0x3f,
    stage: ok ? undefined : (low & 0x200) !== 0 ? 2 : 1,
    s1ptw: ok ? undefined : (low & 0x100) !== 0,
  };
}
