/**
 * What a recorded trace holds: a header, then one record a line in the order of execution. A record `up` of another
 * happened inside it. Numbers that are addresses or entries are hexadecimal strings.
 */

/** First line of a trace. */
export interface TraceHeader {
  readonly name: string;
  /** QEMU's CPU model with its options ("max,sve=off", "cortex-a72 (kvm-arm.mode=protected)"). */
  readonly cpuModel: string;
  readonly kernel: string;
  readonly pageShift: number;
  /** Input sizes of the page tables in the trace, each with its start level. */
  readonly shapes: readonly { readonly iaBits: number; readonly startLevel: number }[];
  /** System registers of the host, by name. Empty if none were recorded, else those that are not zero. */
  readonly registers: ReadonlyMap<string, bigint>;
}

/**
 * One line. Which fields are there depends on `op`: those that `FIELDS` lists for it, checked when the trace is read.
 * Hexadecimal strings are lower case without leading zeros, so that equal numbers are equal strings.
 */
export interface TraceRecord {
  readonly i: number;
  readonly op: string;
  /** Index of the enclosing record. */
  readonly up?: number;
  /** The thread. Records inside another may leave it out. */
  readonly pid?: number;
  /** Entry and return time in seconds. */
  readonly t?: string;
  readonly t2?: string;
  readonly pgt: number;
  readonly addr: string;
  readonly size: string;
  readonly phys: string;
  readonly prot: string;
  readonly flags: string;
  readonly mkold: number;
  readonly level: number;
  readonly pa: string;
  readonly pte_pa: string;
  readonly old: string;
  readonly visit: string;
  /** Visits: the value read back after it. Stores: the value stored. */
  readonly new?: string;
  readonly ret?: number | string;
  readonly ipa: string;
  readonly start: string;
  readonly pages: string;
  /** Which table's invalidations these are; told by `s2_init`. */
  readonly mmu: string;
  readonly text: string;
  readonly retries?: number;
}

/** How a field is written: hexadecimal string, plain number, return value (either), or a decimal time. */
type Field = "hex" | "number" | "value" | "time" | "string";

const CALL = { pgt: "number" } as const;
const RANGE = { ...CALL, addr: "hex", size: "hex", ret: "value" } as const;
const ENTRY = { pte_pa: "hex", old: "hex", addr: "hex", level: "number" } as const;
const VISIT = { ...ENTRY, visit: "hex" } as const;
const VISIT_WITH_END = { ...VISIT, ret: "value", new: "hex" } as const;
const SHARED = { t: "time", t2: "time" } as const;

/** The fields that the replay relies on. */
export const FIELDS: Readonly<Record<string, Readonly<Record<string, Field>>>> = {
  s2_init: { ...CALL, mmu: "string", ret: "value" },
  s2_map: { ...RANGE, ...SHARED, phys: "hex", prot: "hex", flags: "hex" },
  s2_unmap: RANGE,
  s2_wrprotect: RANGE,
  s2_flush: RANGE,
  s2_split: RANGE,
  s2_test_clear_young: { ...RANGE, mkold: "number" },
  s2_relax_perms: { ...CALL, ...SHARED, addr: "hex", prot: "hex", ret: "value" },
  s2_mkyoung: { ...CALL, ...SHARED, addr: "hex", ret: "value" },
  s2_create_unlinked: { ...CALL, phys: "hex", level: "number", prot: "hex", ret: "value" },
  s2_free_unlinked: { pa: "hex", level: "number" },
  s2_destroy: CALL,
  v_map: VISIT_WITH_END,
  v_unmap: VISIT_WITH_END,
  v_attr: VISIT_WITH_END,
  v_age: VISIT_WITH_END,
  v_split: VISIT_WITH_END,
  v_flush: VISIT,
  v_free: VISIT,
  break_pte: { ...ENTRY, ret: "value" },
  make_pte: { ...ENTRY, new: "hex" },
  set_pte: { ...ENTRY, new: "hex", ret: "value" },
  alloc_table: { pa: "hex" },
  pgd_alloc: { pa: "hex", size: "hex" },
  pgd_free: { pa: "hex", size: "hex" },
  free_table_rcu: { pa: "hex", level: "number" },
  get_page: { pa: "hex" },
  put_page: { pa: "hex" },
  dcache_clean: { pa: "hex", size: "hex" },
  icache_inval: { pa: "hex", size: "hex" },
  tlbi_ipa: { ipa: "hex", level: "number" },
  tlbi_ipa_nsh: { ipa: "hex", level: "number" },
  tlbi_range: { mmu: "string", start: "hex", pages: "hex" },
  tlbi_vmid: { mmu: "string" },
  tlb_flush_range: { mmu: "string", addr: "hex", size: "hex" },
  tp_guest_fault: { ipa: "hex" },
  mark: { text: "string" },
};
