/**
 * ESR_ELx in plain fields and plain words (Arm ARM D24.2, ESR_EL2): the exception class, and for aborts what the fault
 * was. Other classes keep their ISS as a number: what is in it has nothing to do with translation.
 */
import { type FaultType, faultStatus, faultWords } from "./_fault_status.ts";
import { Stage2Error } from "./errors.ts";

export type { FaultType } from "./_fault_status.ts";

/** The load or store that a data abort to EL2 tells of (ISS[24] = 1): enough to emulate it. */
export interface AccessSyndrome {
  /** Bytes (SAS). */
  readonly size: 1 | 2 | 4 | 8;
  /** The load extends the sign (SSE). */
  readonly signExtend: boolean;
  /** Number of the register (SRT); 31 is XZR. */
  readonly register: number;
  /** The register is 64 bits wide (SF). */
  readonly sixtyFour: boolean;
  /** Load-acquire or store-release (AR). */
  readonly acquireRelease: boolean;
}

/** What an abort's ISS says. */
export interface AbortSyndrome {
  readonly kind: "data" | "instruction";
  /** Taken from a lower Exception level, not from the same. */
  readonly lower: boolean;
  /** Fault status code, ISS[5:0]. */
  readonly fsc: number;
  /** What the code means; undefined for codes that no translation here ends with. */
  readonly type: FaultType | undefined;
  readonly level: number | undefined;
  /** On the stage-2 translation of a stage-1 descriptor's address. */
  readonly s1ptw: boolean;
  /** WnR: of data aborts. An atomic that could not even read counts as a read. */
  readonly write: boolean;
  /** A cache maintenance or address translation instruction. */
  readonly cacheMaintenance: boolean;
  /** FAR is not valid (FnV). */
  readonly farInvalid: boolean;
  /** ISS2.HDBSSF: the dirty-state tracking structure is full, or could not be written. */
  readonly hdbssFull: boolean;
  /** ISS2.DirtyBit: hardware dirty state would let this access through. */
  readonly dirtyBit: boolean;
  /** The access, where ISV is set. */
  readonly access: AccessSyndrome | undefined;
}

/** A decoded ESR. */
export interface Syndrome {
  /** Exception class, ESR[31:26]. */
  readonly ec: number;
  /** The class in words. */
  readonly class: string;
  /** A 32-bit instruction, or one without a length (IL). */
  readonly il: boolean;
  /** ESR[24:0] and ESR[55:32]. */
  readonly iss: number;
  readonly iss2: number;
  /** For classes 0x20, 0x21, 0x24, 0x25. */
  readonly abort: AbortSyndrome | undefined;
}

const CLASSES: Readonly<Record<number, string>> = {
  0x00: "unknown reason",
  0x01: "WFI or WFE",
  0x07: "SVE, SIMD or floating point",
  0x0e: "illegal execution state",
  0x15: "SVC in AArch64",
  0x16: "HVC in AArch64",
  0x17: "SMC in AArch64",
  0x18: "MSR, MRS or system instruction",
  0x20: "instruction abort from a lower level",
  0x21: "instruction abort from the same level",
  0x22: "PC alignment fault",
  0x24: "data abort from a lower level",
  0x25: "data abort from the same level",
  0x26: "SP alignment fault",
  0x2f: "SError",
  0x3c: "BRK in AArch64",
};

const SIZES = [1, 2, 4, 8] as const;

/** Bit `at` of a number. */
function bit(value: number, at: number): boolean {
  return ((value >>> at) & 1) === 1;
}

/** ESR in plain fields. @throws Stage2Error `BAD_OPTION` if it is no bigint of 64 bits. */
export function decodeSyndrome(esr: bigint): Syndrome {
  if (typeof esr !== "bigint" || esr < 0n || esr >= 2n ** 64n) {
    throw new Stage2Error("BAD_OPTION", "a syndrome is a bigint of 64 bits", { esr });
  }
  const ec = Number((esr >> 26n) & 0x3fn);
  const iss = Number(esr & 0x1ff_ffffn);
  const iss2 = Number((esr >> 32n) & 0xff_ffffn);
  const isAbort = ec === 0x20 || ec === 0x21 || ec === 0x24 || ec === 0x25;
  return {
    ec,
    class: CLASSES[ec] ?? `exception class 0x${ec.toString(16)}`,
    il: ((esr >> 25n) & 1n) === 1n,
    iss,
    iss2,
    abort: isAbort ? abortSyndrome(ec, iss, iss2) : undefined,
  };
}

function abortSyndrome(ec: number, iss: number, iss2: number): AbortSyndrome {
  const data = ec >= 0x24;
  const fsc = iss & 0x3f;
  const status = faultStatus(fsc);
  return {
    kind: data ? "data" : "instruction",
    lower: (ec & 1) === 0,
    fsc,
    type: status?.type,
    level: status?.level,
    s1ptw: bit(iss, 7),
    write: data && bit(iss, 6),
    cacheMaintenance: data && bit(iss, 8),
    farInvalid: bit(iss, 10),
    hdbssFull: data && bit(iss2, 11),
    dirtyBit: data && bit(iss2, 5),
    access: data && bit(iss, 24) ? accessSyndrome(iss) : undefined,
  };
}

function accessSyndrome(iss: number): AccessSyndrome {
  return {
    size: SIZES[(iss >>> 22) & 3] as 1 | 2 | 4 | 8,
    signExtend: bit(iss, 21),
    register: (iss >>> 16) & 0x1f,
    sixtyFour: bit(iss, 15),
    acquireRelease: bit(iss, 14),
  };
}

/** ESR in one line of plain words. @throws Stage2Error as {@link decodeSyndrome}. */
export function describeSyndrome(esr: bigint): string {
  const { class: what, iss, abort } = decodeSyndrome(esr);
  if (abort === undefined) return `${what} (ISS 0x${iss.toString(16)})`;
  return `${what}: ${abortWords(abort)}`;
}

function abortWords(abort: AbortSyndrome): string {
  const { type, level, fsc, access } = abort;
  const fault = type === undefined ? `status 0x${fsc.toString(16)}` : faultWords(type);
  const parts = [level === undefined ? fault : `${fault}, level ${level}`];
  if (abort.s1ptw) parts.push("on a stage-1 descriptor");
  if (abort.kind === "data") parts.push(abort.write ? "write" : "read");
  if (abort.cacheMaintenance) parts.push("cache maintenance or address translation instruction");
  if (abort.hdbssFull) parts.push("dirty-state buffer full or not writable");
  if (abort.dirtyBit) parts.push("dirty state would allow it");
  if (abort.farInvalid) parts.push("FAR not valid");
  if (access !== undefined) parts.push(accessWords(access));
  return parts.join(", ");
}

function accessWords({ size, signExtend, register, sixtyFour, acquireRelease }: AccessSyndrome) {
  const name = `${sixtyFour ? "X" : "W"}${register === 31 ? "ZR" : register}`;
  const sign = signExtend ? " sign-extended" : "";
  const order = acquireRelease ? ", acquire-release" : "";
  return `${size} bytes${sign}, ${name}${order}`;
}
