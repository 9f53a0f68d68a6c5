/** Translations through a guest's stage 2 in the middle of a recorded trace: the trace is replayed, and the table walked. */
import { OPTION } from "../_abi.ts";
import type { Context } from "../_context.ts";
import { inputError } from "../_input.ts";
import type { Descriptor } from "../descriptor.ts";
import type { TableAddresses } from "../replay/addresses.ts";
import { type Call, findCalls } from "../replay/calls.ts";
import type { Driver, ReplayedTable } from "../replay/driver.ts";
import { replayOrder } from "../replay/order.ts";
import type { Trace } from "../replay/read.ts";
import { replayTrace } from "../replay/replay.ts";
import { type Machine, machineOf } from "../replay/settings.ts";
import { Vcpu } from "../vcpu.ts";
import { type AccessName, type StepDocument, type WalkDocument, walk } from "./document.ts";
import { hex } from "./words.ts";

/** What is to be translated, and when. */
export interface TraceRequest {
  /** An intermediate physical address. */
  readonly address: bigint;
  readonly access: AccessName;
  readonly el?: 0 | 1 | 2 | undefined;
  /** Number of a record: the call of it and all before are made. Default: all that do not take a table away. */
  readonly at?: number | undefined;
  /** Recorded address of the root, where there are several tables at that time. */
  readonly table?: number | undefined;
}

const ENDINGS = new Set(["s2_destroy", "s2_free_unlinked"]);
const HCR_VM = 1n;
const HCR_FWB = 1n << 46n;
const MMFR2_FWB = 1n << 40n;

/**
 * Replays all of it, and walks one address on the way.
 *
 * @throws Stage2Error `BAD_INPUT` if no or several tables exist then, or the replay differs from what was recorded, so that
 *   the table is not the one that the host had
 */
export async function walkTrace(trace: Trace, request: TraceRequest): Promise<WalkDocument> {
  const last = lastCall(trace, request.at);
  let document: WalkDocument | undefined;
  const { ok, differences } = await replayTrace(trace, {
    after: ({ record }, driver, context) => {
      if (record !== last.record) return;
      document = walkReplayed(trace, { driver, context, last }, request);
    },
  });
  if (ok && document !== undefined) return document;
  throw inputError(trace.path, `the replay differs: ${differences[0] ?? "the call is not in it"}`);
}

/** The last call in the order of the replay, which is that of the records but where calls overlapped. */
function lastCall(trace: Trace, at: number | undefined): Call {
  const steps = replayOrder(trace, findCalls(trace));
  const last = steps.findLast(({ call: { record } }) =>
    at === undefined ? !ENDINGS.has(record.op) : record.i <= at,
  );
  if (last !== undefined) return last.call;
  throw inputError(trace.path, `no call has been made up to record ${at}`);
}

/** The replay as it stands after a call. */
interface Moment {
  readonly driver: Driver;
  readonly context: Context;
  readonly last: Call;
}

function walkReplayed(
  trace: Trace,
  { driver, context, last }: Moment,
  request: TraceRequest,
): WalkDocument {
  const { record } = last;
  const table = tableOf(trace, driver, request.table);
  const registers = registersOf(machineOf(trace), table);
  const vcpu = Vcpu.create(context, undefined, { tlb: false, registers });
  try {
    vcpu.el = request.el ?? 1;
    const { address, access } = request;
    const document = walk(vcpu, {
      ...{ address, access, source: trace.name, virtual: false },
      machine: `page table ${hex(table.recordedRoot)} after record ${record.i} (${record.op})`,
    });
    takeBack(context, document.steps);
    return { ...document, steps: document.steps.map((step) => asRecorded(step, driver.addresses)) };
  } finally {
    vcpu.dispose();
  }
}

function tableOf(trace: Trace, { tables }: Driver, root: number | undefined): ReplayedTable {
  const alive = [...tables.values()];
  const found = root === undefined ? alive : alive.filter((table) => table.recordedRoot === root);
  const [table, ...others] = found;
  if (table !== undefined && others.length === 0) return table;
  const roots = alive.map(({ recordedRoot }) => hex(recordedRoot)).join(", ");
  if (alive.length === 0) throw inputError(trace.path, "no page table exists at that time");
  const what = root === undefined ? "choose one with --table" : `none of them is ${hex(root)}`;
  throw inputError(trace.path, `page tables at that time: ${roots}; ${what}`);
}

function registersOf({ mmfr0, mmfr1, options }: Machine, { root, vtcr }: ReplayedTable) {
  const fwb = (options & OPTION.FWB) !== 0;
  return {
    ...{ idAa64mmfr0El1: mmfr0, idAa64mmfr1El1: mmfr1 },
    idAa64mmfr2El1: fwb ? MMFR2_FWB : 0n,
    ...{ hcrEl2: HCR_VM | (fwb ? HCR_FWB : 0n), vtcrEl2: vtcr, vttbrEl2: BigInt(root) },
  };
}

/** The replay goes on behind the walk: what hardware updated gets its old value back. */
function takeBack(context: Context, steps: readonly StepDocument[]): void {
  for (const { pa } of steps.filter(({ kind }) => kind === "update")) {
    const first = steps.find((step) => step.pa === pa) as StepDocument;
    Atomics.store(context.u64, context.pointer(pa) / 8, first.value);
  }
}

/** A step with the addresses that the recorded tables had. */
function asRecorded(step: StepDocument, addresses: TableAddresses): StepDocument {
  const { pa, value, level } = step;
  const text = addresses.entry(Number(value >> 32n), Number(value & 0xffff_ffffn), level);
  const recorded = text.startsWith("0x") ? BigInt(text) : value;
  return {
    ...step,
    pa: addresses.recorded(pa) ?? pa,
    value: recorded,
    fields: fieldsAsRecorded(step.fields, recorded, addresses),
  };
}

function fieldsAsRecorded(
  fields: Descriptor,
  value: bigint,
  addresses: TableAddresses,
): Descriptor {
  if (fields.kind !== "table") return fields;
  return { ...fields, value, next: addresses.recorded(fields.next) ?? fields.next };
}
