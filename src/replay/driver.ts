/** Makes the recorded calls, one by one, on page tables of our own. */
import { CACHE_UNLIMITED, type Core, EVENT_MASK } from "../_abi.ts";
import type { Context } from "../_context.ts";
import { checkPointer } from "../_table.ts";
import { check } from "../errors.ts";
import { inputError } from "../input.ts";
import { TableAddresses, hex } from "./addresses.ts";
import { type Call, type RecordedTable, isShared } from "./calls.ts";
import { type Expectations, type Observation, ObservedStream, observe } from "./observed.ts";
import type { Trace } from "./read.ts";
import { type Machine, iaBitsOf } from "./settings.ts";

/** Everything that is compared: all but the barriers, which no host recorded. */
const EVENTS =
  EVENT_MASK.TABLES |
  EVENT_MASK.REFERENCES |
  EVENT_MASK.MAINTENANCE |
  EVENT_MASK.FLUSH_CALLS |
  EVENT_MASK.WRITES |
  EVENT_MASK.VISITS;

/** A page table of ours, for one of the recorded host. */
export interface ReplayedTable {
  readonly pgt: number;
  /** Pool address and size of the root, and the recorded address. */
  readonly root: number;
  readonly rootBytes: number;
  readonly recordedRoot: number;
  readonly startLevel: number;
  readonly iaBits: number;
  readonly vtcr: bigint;
  /** Detached tables that wait for their deferred free. */
  waiting: number;
  destroyed: boolean;
}

/** A call that has ended. */
export interface Outcome {
  readonly observation: Observation;
  /** What it returned, in the words of {@link recordedAnswer}. */
  readonly answer: string;
  /** Why it cannot have been as it was recorded, whatever came out. */
  readonly doubt?: string | undefined;
}

export class Driver {
  readonly addresses: TableAddresses;
  /** The tables that exist now. */
  readonly tables = new Map<RecordedTable, ReplayedTable>();
  readonly #context: Context;
  readonly #trace: Trace;
  readonly #machine: Machine;
  readonly #events: ObservedStream;
  readonly #unlinked = new Map<number, { owner: ReplayedTable; pointer: number }>();

  constructor(context: Context, trace: Trace, machine: Machine) {
    this.#context = context;
    this.#trace = trace;
    this.#machine = machine;
    this.addresses = new TableAddresses(context, machine.pageShift);
    this.#events = new ObservedStream(context, this.addresses, machine);
  }

  /** Makes a call, from its beginning to its end. */
  make(call: Call, expected: Expectations): Outcome {
    const observation = observe(expected);
    const answer = this.#run(call);
    this.take(call, observation);
    return { observation, answer };
  }

  /** Adds what was logged since the last time to what the call did that was running. */
  take(call: Call, observation: Observation): void {
    this.#events.take(observation);
    for (const { pa } of observation.unlinked.splice(0)) this.#keep(call, pa);
  }

  /** A call that holds the lock shared, on any instance of the core. It answers through {@link answer}. */
  shared(call: Call, core: Core): () => number {
    const { pgt } = this.#tableOf(call);
    const { record } = call;
    const [ia, prot] = [Number(record.addr), Number(record.prot)];
    if (record.op === "s2_mkyoung") return () => core.s2_mkyoung(pgt, ia);
    if (record.op === "s2_relax_perms") return () => core.s2_relax_perms(pgt, ia, prot);
    const [size, pa, flags] = [Number(record.size), Number(record.phys), Number(record.flags)];
    return () => core.s2_map(pgt, ia, size, pa, prot, flags, CACHE_UNLIMITED);
  }

  /** What a shared call answered that returned `result` on the instance of this context. */
  answer({ record }: Call, result: number, context: Context): string {
    return record.op === "s2_mkyoung" ? `0x${context.result(0).toString(16)}` : `${result}`;
  }

  #run(call: Call): string {
    switch (call.record.op) {
      case "s2_init":
        return this.#create(call);
      case "s2_destroy":
        return this.#destroy(call);
      case "s2_free_unlinked":
        return this.#freeUnlinked(call);
      case "tlbi_range":
        return NOTHING; // ours come from flushes: one without differs
      default:
        return isShared(call) ? this.#alone(call) : this.#edit(call, this.#tableOf(call).pgt);
    }
  }

  /** Keeps a table that the call detached until its deferred free. */
  #keep({ table }: Call, pa: number): void {
    const owner = table && this.tables.get(table);
    const pointer = this.addresses.pointer(pa); // by the time of the free, the address can be another page's
    if (owner === undefined || pointer === undefined) return;
    this.#unlinked.set(pa, { owner, pointer });
    owner.waiting++;
  }

  #tableOf({ table }: Call): ReplayedTable {
    return this.tables.get(table as RecordedTable) as ReplayedTable;
  }

  #alone(call: Call): string {
    return this.answer(call, this.shared(call, this.#context.core)(), this.#context);
  }

  #edit(call: Call, pgt: number): string {
    const { core } = this.#context;
    const { record } = call;
    const [ia, size] = [Number(record.addr), Number(record.size)];
    switch (record.op) {
      case "s2_split":
        return `${this.#withPages(tablesTaken(call).length, (cache) => core.s2_split(pgt, ia, size, cache))}`;
      case "s2_unmap":
        return `${core.s2_unmap(pgt, ia, size)}`;
      case "s2_wrprotect":
        return `${core.s2_wrprotect(pgt, ia, size)}`;
      case "s2_flush":
        return `${core.s2_flush(pgt, ia, size)}`;
      case "s2_test_clear_young":
        return `${core.s2_test_clear_young(pgt, ia, size, record.mkold)}`;
      case "tlb_flush_range":
        core.s2_tlb_flush_range(pgt, ia, size);
        return NOTHING;
      default:
        throw inputError(this.#trace.path, `record ${record.i}: ${record.op} is no known call`);
    }
  }

  #create({ table, record }: Call): string {
    const { core } = this.#context;
    const { pageShift, options, mmfr0, mmfr1 } = this.#machine;
    const root = (table as RecordedTable).root;
    this.#context.setArgument(0, mmfr0);
    this.#context.setArgument(1, mmfr1);
    const ipaBits = iaBitsOf(this.#trace, Number(root.size));
    const status = core.s2_init(pageShift, ipaBits, options, EVENTS);
    const pgt = checkPointer(status, record.op, { ipaBits });
    const made: ReplayedTable = {
      pgt,
      vtcr: this.#context.result(0),
      rootBytes: this.#context.resultNumber(1),
      iaBits: this.#context.resultNumber(2),
      startLevel: this.#context.resultLevel(3),
      root: this.#context.resultNumber(4),
      recordedRoot: Number(root.pa),
      waiting: 0,
      destroyed: false,
    };
    this.tables.set(table as RecordedTable, made);
    return initAnswer("0", hex(made.rootBytes), this.#machine.vtcr && made.vtcr);
  }

  #destroy(call: Call): string {
    const table = this.#tableOf(call);
    this.#context.core.pgt_destroy(table.pgt);
    this.tables.delete(call.table as RecordedTable);
    table.destroyed = true;
    this.#release(table);
    return NOTHING;
  }

  /** The object goes when the last of its detached tables has gone. */
  #release(table: ReplayedTable): void {
    if (table.destroyed && table.waiting === 0) this.#context.core.pgt_release(table.pgt);
  }

  #freeUnlinked({ record }: Call): string {
    const pa = Number(record.pa);
    const waiting = this.#unlinked.get(pa);
    if (waiting === undefined) return `no table was detached at ${hex(pa)}`;
    const { owner, pointer } = waiting;
    this.#context.core.s2_free_unlinked(owner.pgt, pointer, record.level);
    this.#unlinked.delete(pa);
    owner.waiting--;
    this.#release(owner);
    return NOTHING;
  }

  /** Runs `call` with a stock of exactly this many pages. */
  #withPages(pages: number, call: (cache: number) => number): number {
    const { core } = this.#context;
    const cache = checkPointer(core.cache_create(this.#machine.pageShift), "cache_create", {});
    try {
      check(core.cache_topup(cache, pages), "cache_topup", { pages });
      return call(cache);
    } finally {
      core.cache_destroy(cache);
    }
  }
}

/** What a call that returns nothing returns. */
const NOTHING = "nothing";

/** What the recorded call returned. */
export function recordedAnswer({ record, table }: Call, machine: Machine): string {
  if (record.op === "s2_init")
    return initAnswer(`${record.ret}`, (table as RecordedTable).root.size, machine.vtcr);
  return record.ret === undefined ? NOTHING : `${record.ret}`;
}

function initAnswer(ret: string, rootBytes: string, vtcr: bigint | undefined): string {
  const control = vtcr === undefined ? "" : `, VTCR_EL2 0x${vtcr.toString(16)}`;
  return `${ret}, root of ${rootBytes} bytes${control}`;
}

const ALLOCATIONS = new Set(["alloc_table", "pgd_alloc"]);

/** Addresses of the tables that the recorded call allocated, in order. */
export function tablesTaken(call: Call): string[] {
  const out: string[] = [];
  const visit = (node: Call["inner"][number]): void => {
    if (ALLOCATIONS.has(node.record.op)) out.push(node.record.pa);
    node.inner.forEach(visit);
  };
  call.inner.forEach(visit);
  return out;
}
