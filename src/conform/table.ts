/** The page table that the steps of a script work on, from its `init` to the next. */
import { OPTION } from "../_abi.ts";
import { type Machine, isErrno } from "./machine.ts";
import type { Result, Step } from "./vectors.ts";

/** A table page tree that hangs in no table yet. */
export interface Unlinked {
  readonly pointer: number;
  /** Level of the entry that could point at it. */
  readonly level: number;
}

export interface Table {
  readonly pointer: number;
  readonly kind: "s2" | "hyp";
  readonly pageShift: number;
  readonly iaBits: number;
  readonly startLevel: number;
  /** Pages of the root: several next to each other at stage 2. */
  readonly rootPages: number;
  /** Pages in use before the table was made. */
  readonly pagesBefore: number;
  /** Whether it has been destroyed; its calls still answer. */
  destroyed: boolean;
  unlinked: Unlinked | undefined;
}

/** Options of the features that an `init` or a pure function names. */
export function featureOptions(step: Step): number {
  let options = 0;
  if (step.int("fwb")) options |= OPTION.FWB;
  if (step.int("lpa2")) options |= OPTION.LPA2;
  if (step.int("pa52")) options |= OPTION.PA52;
  if (step.int("tlbirange")) options |= OPTION.TLBI_RANGE;
  if (step.int("hvhe")) options |= OPTION.HVHE;
  if (step.int("bti")) options |= OPTION.BTI;
  if (step.int("ac03")) options |= OPTION.AC03;
  return options;
}

const S2_NOFWB = 1;
const S2_IDMAP = 2;

function initOptions(step: Step): number {
  let options = featureOptions(step);
  if (step.int("s2flags") & S2_NOFWB) options |= OPTION.NOFWB;
  if (step.int("s2flags") & S2_IDMAP) options |= OPTION.IDMAP;
  if (step.text("ctx") === "nvhe") options |= OPTION.NVHE;
  if (!step.int("dc", 1)) options |= OPTION.NO_DCACHE;
  if (!step.int("ic", 1)) options |= OPTION.NO_ICACHE;
  if (!step.int("page_count", 1)) options |= OPTION.NO_PAGE_COUNT;
  // The recorded library loses a reference when it maps a page over a block: do the same.
  if (step.text("kind") === "hyp") options |= OPTION.PARITY;
  return options;
}

/** Makes the table of an `init`; none if the core refuses. */
export function makeTable(
  machine: Machine,
  step: Step,
  events: number,
): { readonly table: Table | undefined; readonly result: Result } {
  const { core } = machine;
  const kind = step.text("kind") as Table["kind"];
  const pageShift = step.int("page_shift");
  const pagesBefore = machine.pagesUsed(pageShift);
  if (step.int("fail_pgd")) core.pool_set_budget(core.pool_used());
  machine.seat.give(step.u64("mmfr0"), step.u64("mmfr1"));
  const made =
    kind === "s2"
      ? core.s2_init(pageShift, step.int("phys_shift"), initOptions(step), events)
      : core.hyp_init(pageShift, step.int("va_bits"), initOptions(step), events);
  core.pool_set_budget(core.pool_capacity());
  const outputs = initOutputs(machine, kind);
  if (isErrno(made)) return { table: undefined, result: { ret: made, ...outputs } };
  const iaBits = machine.seat.signed(2);
  const startLevel = machine.seat.signed(3);
  const rootPages = Number(machine.seat.result(1)) / 2 ** pageShift;
  return {
    table: {
      ...{ pointer: made, kind, pageShift, iaBits, startLevel, rootPages, pagesBefore },
      ...{ destroyed: false, unlinked: undefined },
    },
    result: { ret: 0, ...outputs, ia_bits: iaBits, start_level: startLevel },
  };
}

function initOutputs(machine: Machine, kind: Table["kind"]): Result {
  if (kind === "hyp") return {};
  return { vtcr: toHex(machine.seat.result(0)), pgd_size: toHex(machine.seat.result(1)) };
}

/** Destroys the table as a step of the script. */
export function destroyTable(machine: Machine, table: Table): Result {
  const extra = machine.core.pgt_destroy(table.pointer);
  table.destroyed = true;
  return { live: machine.pagesUsed(table.pageShift) - table.pagesBefore, pgd_extra: extra };
}

/** Gives everything back that a script leaves behind. */
export function dropTable(machine: Machine, table: Table): void {
  const { unlinked } = table;
  if (unlinked) machine.core.s2_free_unlinked(table.pointer, unlinked.pointer, unlinked.level);
  machine.core.pgt_destroy(table.pointer);
  machine.core.pgt_release(table.pointer);
}

/** Root pages that the allocator does not count one by one. */
export function uncountedRoots(table: Table | undefined): number {
  return table === undefined || table.destroyed || table.kind === "hyp" ? 0 : table.rootPages;
}

export function toHex(value: bigint): string {
  return `0x${value.toString(16)}`;
}
