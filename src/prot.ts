/** Protections and walk flags, as the operations take them. */
import { Stage2Error } from "./errors.ts";

/**
 * Protection of a mapping: `enum kvm_pgtable_prot`, with the software bits moved down (bits 55..58 of a descriptor are
 * bits 5..8 here). `DEVICE` excludes `X` and `NORMAL_NC`; `NORMAL_NC` excludes `X` (EINVAL).
 */
export const Prot = {
  /** Executable. */
  X: 1,
  /** Writable. */
  W: 2,
  /** Readable. */
  R: 4,
  RX: 5,
  RW: 6,
  RWX: 7,
  /** Device-nGnRE memory. */
  DEVICE: 8,
  /** Normal non-cacheable memory. */
  NORMAL_NC: 16,
  /** Bits that hardware ignores, for the software's own use. */
  SW0: 32,
  SW1: 64,
  SW2: 128,
  SW3: 256,
} as const;

/** How an operation walks the table: `enum kvm_pgtable_walk_flags`. */
export const WalkFlag = {
  /** Visit entries that are no tables, invalid ones included. */
  LEAF: 1,
  /** Visit tables before what they hold. */
  TABLE_PRE: 2,
  /** Visit tables after what they hold. */
  TABLE_POST: 4,
  /** The walk runs beside others: entries change by compare-exchange, and a lost one is "again". */
  SHARED: 8,
  /** The walk handles a fault: the first "again" ends it and is its result. Without this flag "again" is ignored. */
  HANDLE_FAULT: 16,
  /** No TLB invalidation when a valid entry is broken: the caller sees to it. */
  SKIP_BBM_TLBI: 32,
  /** No cache maintenance for what is mapped. */
  SKIP_CMO: 64,
} as const;

const KNOWN_FLAGS = 127;

/** Checked walk flags. */
export function walkFlags(value: number): number {
  if (typeof value === "number" && (value & KNOWN_FLAGS) === value) return value;
  throw new Stage2Error("BAD_OPTION", "flags has unknown bits", { flags: value });
}
