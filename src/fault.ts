/**
 * What an access that failed leaves behind: the exception that a real CPU would take, with its syndrome registers
 * (Arm ARM D24.2: ESR_ELx, FAR_ELx, HPFAR_EL2). A value, not an error: nothing throws it.
 */
import { FAULT_FLAG } from "./_abi.ts";
import { type FaultType, faultStatus, faultWords } from "./_fault_status.ts";
import { type AccessSyndrome, decodeSyndrome } from "./syndrome.ts";
import { Stage2Error } from "./errors.ts";
import { choiceOption, flagOption, integerOption, knownOptions } from "./range.ts";

export type { FaultType } from "./_fault_status.ts";

/** A fault as the core records it: FAULT_FLAG bits, registers. */
export interface FaultRecord {
  readonly fsc: number;
  readonly stage: number;
  readonly flags: number;
  readonly esr: bigint;
  readonly far: bigint;
  readonly hpfar: bigint;
  readonly ipa: bigint;
}

/** The load or store that faulted, as its instruction says. */
export type AccessShape = Pick<AccessSyndrome, "size"> & Partial<AccessSyndrome>;

const SHAPE = ["size", "signExtend", "register", "sixtyFour", "acquireRelease"];
const ISV = 1n << 24n;
const DATA_ABORT = 0x24;

/** A fault: what went wrong, where, and the registers that tell a guest or a hypervisor of it. */
export class Fault {
  readonly type: FaultType;
  /** Fault status code, ESR[5:0]. */
  readonly fsc: number;
  /** Level of the walk that failed, -1 to 3, of the stage in {@link stage}; undefined where the type has none. */
  readonly level: number | undefined;
  /** Stage that failed. */
  readonly stage: 1 | 2;
  /** On the stage-2 translation of a stage-1 descriptor's address. */
  readonly s1ptw: boolean;
  /** WnR: the access was a write. Of an atomic: the read alone would have been allowed. */
  readonly write: boolean;
  /** The access was an instruction fetch. */
  readonly fetch: boolean;
  /** Exception level that the exception is taken to: 1, the guest's own kernel, or 2. */
  readonly el: 1 | 2;
  /**
   * Intermediate physical address that failed, all bits: of the access, or with {@link s1ptw} of the descriptor.
   * Undefined for stage 1, and where HPFAR_EL2 does not hold it (knob `hpfarOnPermission: "poison"`): software that counts
   * on it there is wrong.
   */
  readonly ipa: number | undefined;
  readonly esr: bigint;
  /** Faulting virtual address. */
  readonly far: bigint;
  /** HPFAR_EL2: IPA[51:12] in bits 43:4; 0 for stage 1. */
  readonly hpfar: bigint;
  /** The dirty-state tracking structure is full, or could not be written (ISS2.HDBSSF): HDBSSPROD_EL2 says which. */
  readonly hdbssFull: boolean;
  /** Hardware dirty state would have let the write through (ISS2.DirtyBit). */
  readonly dirtyBit: boolean;
  /** Decided on an entry of the TLB: memory may say otherwise by now. */
  readonly fromTlb: boolean;
  readonly #record: FaultRecord;

  /** @internal */
  constructor(record: FaultRecord) {
    const { fsc, flags, hpfar, ipa } = record;
    const status = faultStatus(fsc);
    if (status === undefined) throw new RangeError(`the core reported the unknown fault ${fsc}`);
    this.#record = record;
    this.type = status.type;
    this.fsc = fsc;
    this.level = status.level;
    this.stage = record.stage === 2 ? 2 : 1;
    this.s1ptw = (flags & FAULT_FLAG.S1PTW) !== 0;
    this.write = (flags & FAULT_FLAG.WRITE) !== 0;
    this.fetch = (flags & FAULT_FLAG.FETCH) !== 0;
    this.el = (flags & FAULT_FLAG.TO_EL2) !== 0 ? 2 : 1;
    const told = this.stage === 2 && (ipa >> 12n) << 4n === hpfar;
    this.ipa = told ? Number(ipa) : undefined;
    this.esr = record.esr;
    this.far = record.far;
    this.hpfar = hpfar;
    this.hdbssFull = (flags & FAULT_FLAG.HDBSSF) !== 0;
    this.dirtyBit = (flags & FAULT_FLAG.DIRTY_BIT) !== 0;
    this.fromTlb = (flags & FAULT_FLAG.FROM_TLB) !== 0;
  }

  /** {@link far}, as {@link VirtualAddress} of 64 bits. */
  get va(): bigint {
    return this.far;
  }

  /**
   * The fault with the instruction described in its ESR (ISV, SAS, SSE, SRT, SF, AR), where the architecture does that:
   * a data abort of stage 2 taken to EL2, not on a stage-1 descriptor, and of no maintenance instruction. Elsewhere the
   * fault itself. For single-register loads and stores without writeback only; atomics, exclusives and pairs have no such
   * description. Registers 0 to 31, where 31 is XZR; default 0.
   * @throws Stage2Error `BAD_OPTION`
   */
  withSyndrome(shape: AccessShape): Fault {
    const bits = syndromeBits(shape);
    const { esr, flags } = this.#record;
    const data = Number((esr >> 26n) & 0x3fn) === DATA_ABORT;
    const excluded = FAULT_FLAG.S1PTW | FAULT_FLAG.CM;
    if (!data || this.stage !== 2 || this.el !== 2 || (flags & excluded) !== 0) return this;
    return new Fault({ ...this.#record, esr: (esr & ~(0x7ffn << 14n)) | bits });
  }

  /** One line of plain words. */
  toString(): string {
    const { level, s1ptw, stage, type, el, ipa } = this;
    const where = level === undefined ? `stage ${stage}` : `stage ${stage} level ${level}`;
    const access = this.fetch ? "fetch" : this.write ? "write" : "read";
    const parts = [`${faultWords(type)}, ${where}, ${access} at VA ${hex(this.far)}`];
    if (ipa !== undefined) parts.push(`IPA ${hex(ipa)}${s1ptw ? " (a stage-1 descriptor)" : ""}`);
    if (this.hdbssFull) parts.push("dirty-state buffer full or not writable");
    if (this.fromTlb) parts.push("decided on a TLB entry");
    const access2 = decodeSyndrome(this.esr).abort?.access;
    if (access2 !== undefined) parts.push(`${access2.size} bytes, register ${access2.register}`);
    return `${parts.join(", ")}; taken to EL${el} (ESR ${hex(this.esr)})`;
  }
}

/** ISS[24:14] for an instruction. */
function syndromeBits(shape: AccessShape): bigint {
  knownOptions("syndrome", shape, SHAPE);
  const size = choiceOption("size", shape.size, [1, 2, 4, 8]);
  const register = integerOption("register", shape.register ?? 0, 0, 31);
  const sign = flagOption("signExtend", shape.signExtend ?? false);
  const wide = flagOption("sixtyFour", shape.sixtyFour ?? size === 8);
  const ordered = flagOption("acquireRelease", shape.acquireRelease ?? false);
  if (size === 8 && (sign || !wide)) {
    throw new Stage2Error("BAD_OPTION", "8 bytes fill a 64-bit register: no sign to extend", shape);
  }
  const low = (register << 16) | (Number(wide) << 15) | (Number(ordered) << 14);
  return ISV | BigInt((Math.log2(size) << 22) | (Number(sign) << 21) | low);
}

function hex(value: number | bigint): string {
  return `0x${value.toString(16)}`;
}
