/**
 * Finds the calls of a trace: every `s2_*` record that lies inside no other, with all that happened in it. Lines of
 * two CPUs interleave, so what belongs together is told by `up` alone.
 *
 * A `tlb_flush_range` outside every call (dirty logging makes them) is a call as well; what it sends follows it.
 */
import { inputError } from "../input.ts";
import type { Trace } from "./read.ts";
import type { TraceRecord } from "./record.ts";

/** A record and those directly inside it, in the order of execution. */
export interface Node {
  readonly record: TraceRecord;
  readonly line: number;
  readonly inner: Node[];
}

/** A page table of the recorded host: from one `s2_init` of its number to the `s2_destroy`. */
export interface RecordedTable {
  /** The record that allocated the root. */
  readonly root: TraceRecord;
}

/** One call of the page-table library. */
export interface Call extends Node {
  /** Absent for `s2_free_unlinked`: its table is found by the address. */
  readonly table?: RecordedTable;
  /** Line of the last record inside it. */
  lastLine: number;
}

/** Calls of the faults of vCPUs: they hold the lock shared, so those of two CPUs can overlap. */
const SHARED = new Set(["s2_map", "s2_relax_perms", "s2_mkyoung"]);

/** A flush, and what nothing but a flush sends. */
const FLUSHES = new Set(["tlb_flush_range", "tlbi_range"]);

/** Whether this is a flush by itself, which changes no table and is not counted as a call. */
export function isFlush(call: Call): boolean {
  return FLUSHES.has(call.record.op);
}

export function isShared(call: Call): boolean {
  return SHARED.has(call.record.op);
}

/** The calls of a trace, in line order. */
export function findCalls(trace: Trace): Call[] {
  const calls: Call[] = [];
  const nodes = new Map<number, { node: Node; call: Call }>();
  const flushes = new OpenFlushes();
  trace.records.forEach((record, line) => {
    const outer = record.up === undefined ? flushes.of(record) : nodes.get(record.up);
    const node: Node = { record, line, inner: [] };
    if (startsCall(record, outer !== undefined)) {
      const call: Call = { ...node, lastLine: line };
      calls.push(call);
      nodes.set(record.i, { node: call, call });
      flushes.open(call);
    } else if (outer !== undefined) {
      outer.node.inner.push(node);
      outer.call.lastLine = line;
      nodes.set(record.i, { node, call: outer.call });
    }
  });
  return assignTables(trace, calls);
}

/** Flushes outside calls, by thread. What one sends comes right behind it, but not inside it. */
class OpenFlushes {
  readonly #calls = new Map<number | undefined, Call>();

  open(call: Call): void {
    if (call.record.op === "tlb_flush_range") this.#calls.set(call.record.pid, call);
  }

  /** The flush that sent this; any other record of the thread ends its flush, and so does a TLBI of the whole VMID. */
  of({ op, pid, mmu }: TraceRecord): { node: Node; call: Call } | undefined {
    const call = this.#calls.get(pid);
    if (op !== "tlbi_range") this.#calls.delete(pid);
    const sent = (op === "tlbi_range" || op === "tlbi_vmid") && call?.record.mmu === mmu;
    return sent ? { node: call, call } : undefined;
  }
}

/** A deferred free runs wherever a grace period ended: inside another call it only interrupted that. */
function startsCall({ op }: TraceRecord, inside: boolean): boolean {
  return op === "s2_free_unlinked" || ((op.startsWith("s2_") || FLUSHES.has(op)) && !inside);
}

/** Table numbers are used again after `s2_destroy`: this tells the tables apart. */
function assignTables(trace: Trace, calls: Call[]): Call[] {
  const live = new Map<number | string, RecordedTable>();
  return calls.map((call) => {
    const { op, pgt, mmu, i } = call.record;
    if (op === "s2_free_unlinked") return call;
    if (op === "s2_init") addTable({ root: rootOf(trace, call) }, live, call.record);
    const name = isFlush(call) ? mmu : pgt;
    const table = live.get(name);
    if (table === undefined)
      throw inputError(
        trace.path,
        `record ${i}: ${op} of page table ${name}, which does not exist`,
      );
    if (op === "s2_destroy") live.delete(pgt);
    return { ...call, table };
  });
}

function addTable(
  table: RecordedTable,
  live: Map<number | string, RecordedTable>,
  { pgt, mmu }: TraceRecord,
): void {
  live.set(pgt, table);
  live.set(mmu, table);
}

function rootOf(trace: Trace, call: Call): TraceRecord {
  const root = call.inner.find(({ record }) => record.op === "pgd_alloc");
  if (root === undefined)
    throw inputError(trace.path, `record ${call.record.i}: s2_init without pgd_alloc`);
  return root.record;
}

/** The nodes below this one, outermost first, in the order of execution. */
export function* inside(node: Node): Generator<Node> {
  for (const inner of node.inner) {
    yield inner;
    yield* inside(inner);
  }
}

/** Whether the record is a visit of the walker. */
export function isVisit({ record }: Node): boolean {
  return record.op.startsWith("v_");
}
