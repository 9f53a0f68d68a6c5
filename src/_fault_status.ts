/** Fault status codes (Arm ARM D24.2, ESR_EL2, ISS of data and instruction aborts, DFSC and IFSC). */

/** What went wrong. */
export type FaultType =
  /** No valid entry; an illegal table size; an address beyond the input size. */
  | "translation"
  /** A table base, table or output address beyond the physical size. */
  | "addressSize"
  /** The access flag is clear and hardware does not set it. */
  | "accessFlag"
  | "permission"
  /** Nothing answers at the address of a descriptor. */
  | "externalAbortOnWalk"
  /** Nothing answers at the address itself. */
  | "externalAbort"
  /** An unaligned access to Device memory, or an unaligned exclusive or atomic. */
  | "alignment"
  /** Two TLB entries, or members of a contiguous group, disagree. */
  | "tlbConflict"
  /** Hardware had to update a descriptor in memory that has no atomics. */
  | "unsupportedAtomicUpdate"
  /** An exclusive or atomic access to memory that has none. */
  | "unsupportedExclusive";

/** A decoded status code. */
export interface FaultStatus {
  readonly type: FaultType;
  /** Level of the walk, -1 to 3; undefined where the type has none. */
  readonly level: number | undefined;
}

/** Types of the codes 0 to 15: four levels each, from 0 on. */
const LEVELLED: readonly FaultType[] = ["addressSize", "translation", "accessFlag", "permission"];

const OTHERS: Readonly<Record<number, FaultStatus>> = {
  0x10: { type: "externalAbort", level: undefined },
  0x13: { type: "externalAbortOnWalk", level: -1 },
  0x14: { type: "externalAbortOnWalk", level: 0 },
  0x15: { type: "externalAbortOnWalk", level: 1 },
  0x16: { type: "externalAbortOnWalk", level: 2 },
  0x17: { type: "externalAbortOnWalk", level: 3 },
  0x21: { type: "alignment", level: undefined },
  0x29: { type: "addressSize", level: -1 },
  0x2b: { type: "translation", level: -1 },
  0x30: { type: "tlbConflict", level: undefined },
  0x31: { type: "unsupportedAtomicUpdate", level: undefined },
  0x35: { type: "unsupportedExclusive", level: undefined },
};

/** What a 6-bit status code means; undefined if no walk here ends with it. */
export function faultStatus(fsc: number): FaultStatus | undefined {
  const type = LEVELLED[fsc >> 2];
  return type === undefined ? OTHERS[fsc] : { type, level: fsc & 3 };
}

const WORDS: Readonly<Record<FaultType, string>> = {
  translation: "translation fault",
  addressSize: "address size fault",
  accessFlag: "access flag fault",
  permission: "permission fault",
  externalAbortOnWalk: "external abort on a table walk",
  externalAbort: "external abort",
  alignment: "alignment fault",
  tlbConflict: "TLB conflict abort",
  unsupportedAtomicUpdate: "unsupported atomic hardware update",
  unsupportedExclusive: "unsupported exclusive or atomic access",
};

/** The type in plain words. */
export function faultWords(type: FaultType): string {
  return WORDS[type];
}
