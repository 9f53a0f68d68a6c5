/**
 * The rows of kvm's page_fault_test: what is logged or read-only, what is dropped before the access, and what the host
 * must count. A row that expects a dirty page expects it of the access alone: what the guest did before is cleared away.
 */
import { MemslotFlag } from "../../../src/index.ts";
import type { OperationName } from "../harness/operations.ts";

const LOG = MemslotFlag.LOG_DIRTY_PAGES;
const RO = MemslotFlag.READONLY;

/** Which pages are dirty after the access: that of T, that of T's descriptor. */
export interface Dirty {
  readonly data: boolean;
  readonly table: boolean;
}

/** What a group of rows has in common. */
export interface Group {
  readonly name: string;
  /** Flags of both slots. */
  readonly flags: number;
  /** The host drops the data page, the tables. */
  readonly holes: "none" | "data" | "both";
  /** Pages that are missing are the hook's to fill. */
  readonly hooked: boolean;
}

export interface Row {
  readonly group: Group;
  readonly operation: OperationName;
  /** The walk of the guest's own tables sets the access flag of T's descriptor. */
  readonly af: boolean;
  /** Missing pages that were told to the hooks: of the tables, of the data. */
  readonly missing: { readonly tables: number; readonly data: number };
  readonly mmio: number;
  readonly failed: number;
  readonly dirty: Dirty | undefined;
}

const GROUPS = {
  A: { name: "access sanity", flags: 0, holes: "none", hooked: false },
  B: { name: "hole", flags: 0, holes: "data", hooked: false },
  C: { name: "missing hook", flags: 0, holes: "both", hooked: true },
  D: { name: "dirty log", flags: LOG, holes: "none", hooked: false },
  E: { name: "missing hook and dirty log", flags: LOG, holes: "both", hooked: true },
  F: { name: "read-only slots", flags: RO, holes: "none", hooked: false },
  G: { name: "read-only slots and dirty log", flags: RO | LOG, holes: "none", hooked: false },
  H: { name: "read-only slots and missing hook", flags: RO, holes: "both", hooked: true },
} as const satisfies Record<string, Group>;

/** One row in short: group, operation, "af", then what is not 0 or clean. */
type Short = readonly [
  group: keyof typeof GROUPS,
  operation: OperationName,
  af: "af" | "",
  expected?: { u?: number; m?: number; f?: number; dirty?: "" | "table" | "data table" },
];

/** U counts the tables' hook first: they are walked before the data is reached. */
// prettier-ignore
const SHORT: readonly Short[] = [
  ["A", "read64", "af"], ["A", "ld_preidx", "af"], ["A", "cas", "af"], ["A", "write64", "af"],
  ["A", "st_preidx", "af"], ["A", "dc_zva", "af"], ["A", "exec", "af"],

  ["B", "read64", ""], ["B", "cas", ""], ["B", "ld_preidx", ""], ["B", "write64", ""],
  ["B", "st_preidx", ""], ["B", "at", ""], ["B", "dc_zva", ""],

  ["C", "read64", "af", { u: 2 }], ["C", "read64", "", { u: 2 }], ["C", "cas", "af", { u: 2 }],
  ["C", "at", "", { u: 1 }], ["C", "ld_preidx", "af", { u: 2 }], ["C", "write64", "af", { u: 2 }],
  ["C", "dc_zva", "af", { u: 2 }], ["C", "st_preidx", "af", { u: 2 }], ["C", "exec", "af", { u: 2 }],

  ["D", "read64", "af", { dirty: "table" }], ["D", "read64", "", { dirty: "" }],
  ["D", "ld_preidx", "af", { dirty: "table" }], ["D", "at", "", { dirty: "" }],
  ["D", "exec", "af", { dirty: "table" }], ["D", "write64", "af", { dirty: "data table" }],
  ["D", "cas", "af", { dirty: "data table" }], ["D", "dc_zva", "af", { dirty: "data table" }],
  ["D", "st_preidx", "af", { dirty: "data table" }],

  ["E", "read64", "af", { u: 2, dirty: "table" }], ["E", "read64", "", { u: 2, dirty: "" }],
  ["E", "ld_preidx", "af", { u: 2, dirty: "table" }], ["E", "at", "af", { u: 1, dirty: "table" }],
  ["E", "exec", "af", { u: 2, dirty: "table" }], ["E", "write64", "af", { u: 2, dirty: "data table" }],
  ["E", "cas", "af", { u: 2, dirty: "data table" }], ["E", "dc_zva", "af", { u: 2, dirty: "data table" }],
  ["E", "st_preidx", "af", { u: 2, dirty: "data table" }],

  ["F", "read64", ""], ["F", "ld_preidx", ""], ["F", "at", ""], ["F", "exec", ""],
  ["F", "write64", "", { m: 1 }], ["F", "dc_zva", "", { f: 1 }], ["F", "cas", "", { f: 1 }],
  ["F", "st_preidx", "", { f: 1 }],

  ["G", "read64", "", { dirty: "" }], ["G", "ld_preidx", "", { dirty: "" }], ["G", "at", "", { dirty: "" }],
  ["G", "exec", "", { dirty: "" }], ["G", "write64", "", { m: 1, dirty: "" }],
  ["G", "dc_zva", "", { f: 1, dirty: "" }], ["G", "cas", "", { f: 1, dirty: "" }],
  ["G", "st_preidx", "", { f: 1, dirty: "" }],

  ["H", "read64", "", { u: 2 }], ["H", "ld_preidx", "", { u: 2 }], ["H", "exec", "", { u: 2 }],
  ["H", "at", "", { u: 1 }], ["H", "write64", "", { u: 2, m: 1 }], ["H", "cas", "", { u: 2, f: 1 }],
  ["H", "dc_zva", "", { u: 1, f: 1 }], ["H", "st_preidx", "", { u: 1, f: 1 }],
];

function row([group, operation, af, expected = {}]: Short): Row {
  const { u = 0, m = 0, f = 0, dirty } = expected;
  return {
    group: GROUPS[group],
    operation,
    af: af === "af",
    missing: { tables: Math.min(u, 1), data: Math.max(u - 1, 0) },
    mmio: m,
    failed: f,
    dirty:
      dirty === undefined
        ? undefined
        : { data: dirty.includes("data"), table: dirty.includes("table") },
  };
}

/** All 65. */
export const ROWS: readonly Row[] = SHORT.map(row);

/** A row of the list. */
export function rowOf(group: keyof typeof GROUPS, operation: OperationName, af: boolean): Row {
  const found = ROWS.find(
    (one) => one.group === GROUPS[group] && one.operation === operation && one.af === af,
  );
  if (found === undefined) throw new Error(`no row ${group} ${operation}`);
  return found;
}

export function titleOf({ group, operation, af }: Row): string {
  return `page_fault_test: ${group.name}: ${operation}${af ? " with access flag" : ""}`;
}
