/**
 * Sorts the records of a trace into what happened above the page-table library.
 *
 * Guest aborts and age queries have their calls inside (`up`). Everything else is told by the thread and the order: the
 * calls of a notifier, a slot change or a dirty log follow it on its thread, with whatever `up` these share.
 */
import { type Call, findCalls } from "../calls.ts";
import type { Trace } from "../read.ts";
import type { TraceRecord } from "../record.ts";
import { Threads } from "../threads.ts";
import { Fields } from "./fields.ts";
import { LogCollector } from "./collect_logs.ts";
import { MemoryCollector } from "./collect_memory.ts";
import { SlotCollector } from "./collect_slots.ts";
import type { Abort, Happening, History, LibraryCall, Machine } from "./model.ts";

/** Calls that a fault makes, by the abort that they lie in. */
const FAULT_CALLS = new Set(["s2_map", "s2_relax_perms", "s2_mkyoung"]);
/** Calls on ranges, by the thread that makes them. */
const RANGE_CALLS = new Set(["s2_unmap", "s2_wrprotect", "s2_split", "s2_flush"]);

/** What the parts of the collector share. */
export interface Collecting {
  readonly fields: Fields;
  readonly threads: Threads;
  /** Adds something that happened. */
  add(happening: Happening): void;
  /** The time of a line, or of the next one that has any. */
  timeAt(line: number): number;
  /** The abort with this record number. */
  abort(record: number | undefined): Abort | undefined;
  /** The next range calls of the thread go there. */
  follow(thread: number, calls: LibraryCall[] | undefined): void;
  /** Tells of something begun that has no end. */
  broken(sentence: string): void;
}

/** Everything that happened, in the order of the lines. */
export function collectHistory(trace: Trace): History {
  return new Collector(trace).history();
}

class Collector implements Collecting {
  readonly fields: Fields;
  readonly threads: Threads;
  readonly #trace: Trace;
  readonly #calls: ReadonlyMap<number, Call>;
  readonly #happenings: Happening[] = [];
  readonly #stray: LibraryCall[] = [];
  readonly #broken: string[] = [];
  readonly #aborts = new Map<number, Abort>();
  /** Numbers of library calls, and of the records inside them. */
  readonly #inner = new Set<number>();
  /** The abort that each thread is in. */
  readonly #open = new Map<number, Abort>();
  /** Where the range calls of each thread belong. */
  readonly #following = new Map<number, LibraryCall[]>();
  readonly #slots: SlotCollector;
  readonly #logs: LogCollector;
  readonly #memory: MemoryCollector;
  /** What the last `vm_new` asked for. */
  #asked: number | undefined;

  constructor(trace: Trace) {
    this.#trace = trace;
    this.fields = new Fields(trace);
    this.threads = new Threads(trace);
    this.#calls = new Map(findCalls(trace).map((call) => [call.line, call]));
    this.#slots = new SlotCollector(this);
    this.#logs = new LogCollector(this);
    this.#memory = new MemoryCollector(this);
  }

  history(): History {
    this.#trace.records.forEach((record, line) => this.#record(record, line));
    for (const part of [this.#slots, this.#logs, this.#memory]) part.finish();
    this.#happenings.sort((a, b) => a.line - b.line);
    return { happenings: this.#happenings, stray: this.#stray, broken: this.#broken };
  }

  add(happening: Happening): void {
    this.#happenings.push(happening);
  }

  timeAt(line: number): number {
    const { records } = this.#trace;
    let at = line;
    while (at < records.length && records[at]?.t === undefined) at++;
    return at < records.length ? Number(records[at]?.t) : Infinity;
  }

  abort(record: number | undefined): Abort | undefined {
    return record === undefined ? undefined : this.#aborts.get(record);
  }

  follow(thread: number, calls: LibraryCall[] | undefined): void {
    if (calls === undefined) this.#following.delete(thread);
    else this.#following.set(thread, calls);
  }

  broken(sentence: string): void {
    this.#broken.push(sentence);
  }

  #record(record: TraceRecord, line: number): void {
    if (this.#inCall(record)) return;
    const thread = this.threads.of(line) ?? -1;
    this.#leaveAbort(record, line, thread);
    const call = this.#calls.get(line);
    if (call !== undefined) return this.#call(call, thread);
    if (record.op === "abort") return this.#abort(record, line, thread);
    if (this.#inAbort(record)) return;
    if (record.op === "mark") this.#mark(record, line, thread);
    this.#slots.take(record, line, thread);
    this.#logs.take(record, line, thread);
    this.#memory.take(record, line, thread);
  }

  /** What happened inside a library call is compared a level below. */
  #inCall({ i, up }: TraceRecord): boolean {
    if (up === undefined || !this.#inner.has(up)) return false;
    this.#inner.add(i);
    return true;
  }

  /** A record outside every other ends the abort that its thread was in. */
  #leaveAbort({ up }: TraceRecord, line: number, thread: number): void {
    const abort = this.#open.get(thread);
    if (abort === undefined || up !== undefined) return;
    abort.end = line;
    this.#open.delete(thread);
  }

  #abort(record: TraceRecord, line: number, thread: number): void {
    const { fields } = this;
    const abort: Abort = {
      ...{ kind: "abort", record, line, thread, calls: [], own: [] },
      vcpu: fields.number(record, "vcpu"),
      answer: fields.number(record, "ret"),
      retries: record.retries ?? 0,
      from: fields.time(record, "t"),
      to: fields.time(record, "t2"),
      fault: this.#faultIn(record, line),
      end: this.#trace.records.length,
    };
    this.#aborts.set(record.i, abort);
    this.#open.set(thread, abort);
    this.follow(thread, undefined);
    this.add(abort);
  }

  /** The fault's own record follows the abort's. */
  #faultIn(abort: TraceRecord, line: number): Abort["fault"] {
    const { records } = this.#trace;
    for (let at = line + 1; at < records.length; at++) {
      const record = records[at] as TraceRecord;
      if (record.op !== "tp_guest_fault" || record.up !== abort.i) continue;
      const [ipa, esr, far] = (["ipa", "esr", "far"] as const).map((name) =>
        this.fields.word(record, name),
      ) as [bigint, bigint, bigint];
      return { ipa: Number(ipa), esr, far };
    }
    return this.fields.number(abort, "tp_guest_fault") as never; // there is none: say so
  }

  /** What an abort's own records say of it; whether it was one. */
  #inAbort(record: TraceRecord): boolean {
    const abort = this.abort(record.up);
    if (abort === undefined) return false;
    const { fields } = this;
    if (record.op === "get_leaf") abort.lookup = fields.number(record, "addr");
    else if (record.op === "tp_mmio") abort.device = this.#device(record);
    else return record.op.startsWith("tp_guest") || record.op === "tp_access_fault";
    return true;
  }

  #device(record: TraceRecord): NonNullable<Abort["device"]> {
    const kind = this.fields.text(record, "kind");
    return {
      address: this.fields.number(record, "ipa"),
      size: this.fields.number(record, "len"),
      write: kind === "write",
      value: this.fields.word(record, "val"),
      satisfied: kind !== "unsatisfied-read",
    };
  }

  #call(call: Call, thread: number): void {
    const { op, i } = call.record;
    this.#inner.add(i);
    if (op === "s2_init") this.#machine(call, thread);
    else if (FAULT_CALLS.has(op)) this.#attach(this.abort(call.record.up)?.calls, call);
    else if (op === "s2_test_clear_young") this.#attach(this.#memory.aging(call.record.up), call);
    else if (RANGE_CALLS.has(op)) this.#attach(this.#following.get(thread), call);
    else if (op === "tlb_flush_range") this.#attach(this.#flushOf(call, thread), call);
    else if (op === "s2_destroy") this.#memory.destroyed(call, thread);
  }

  /** The flush of a dirty log comes after its last word; any other follows what its thread did. */
  #flushOf(call: Call, thread: number): LibraryCall[] | undefined {
    return this.#logs.flushed(call, thread) ? [] : this.#following.get(thread);
  }

  #attach(calls: LibraryCall[] | undefined, call: Call): void {
    (calls ?? this.#stray).push(call);
  }

  #machine(call: Call, thread: number): void {
    const { record, line } = call;
    const machine: Machine = {
      ...{ kind: "machine", record, line, thread },
      rootBytes: Number(call.table?.root.size),
      ipaBits: this.#asked,
      initiallySet: false,
    };
    this.#asked = undefined;
    this.#slots.machine(machine);
    this.add(machine);
  }

  #mark(record: TraceRecord, line: number, thread: number): void {
    const [word, first = "", second = "", , fourth = ""] = record.text.split(" ");
    this.follow(thread, undefined);
    if (word === "vm_new") this.#asked = Number(first.split("=")[1]);
    if (word !== "enable_cap") return;
    const [cap, value, answer] = [Number(first), Number(second), Number(fourth)];
    this.#slots.configured();
    this.add({ kind: "capability", record, line, thread, cap, value, answer });
  }
}
