/** Makes the recorded calls, one by one, on page tables of our own. */
import { CACHE_UNLIMITED, EVENT_MASK } from "../_abi.ts";
import type { Context } from "../_context.ts";
import { checkPointer } from "../_table.ts";
import { check } from "../errors.ts";
import { inputError } from "../input.ts";
import { TableAddresses, hex } from "./addresses.ts";
import type { Call, RecordedTable } from "./calls.ts";
import { ObservedStream, type Unlinked } from "./observed.ts";
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

const LOCKED = 0x400n;

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

/** Where the world differs while a call runs. */
export interface Circumstances {
  /** Recorded address of an entry that holds the locked marker of another CPU. */
  readonly marker?: string;
  /** The call finds only so many pages for tables. */
  readonly pages?: number;
}

export class Driver {
  readonly addresses: TableAddresses;
  readonly events: ObservedStream;
  /** The tables that exist now. */
  readonly tables = new Map<RecordedTable, ReplayedTable>();
  readonly #context: Context;
  readonly #trace: Trace;
  readonly #machine: Machine;
  readonly #unlinked = new Map<number, ReplayedTable>();

  constructor(context: Context, trace: Trace, machine: Machine) {
    this.#context = context;
    this.#trace = trace;
    this.#machine = machine;
    this.addresses = new TableAddresses(context, machine.pageShift);
    this.events = new ObservedStream(context, this.addresses, machine);
  }

  /** Makes the call. What came back, in the words of {@link recordedAnswer}. */
  run(call: Call, circumstances: Circumstances = {}): string {
    const pointer = circumstances.marker && this.addresses.pointer(Number(circumstances.marker));
    if (!pointer) return this.#call(call, circumstances);
    const before = Atomics.exchange(this.#context.u64, pointer / 8, LOCKED);
    try {
      return this.#call(call, circumstances);
    } finally {
      Atomics.store(this.#context.u64, pointer / 8, before);
    }
  }

  /** Keeps tables that `call` detached until their deferred free. */
  keep(call: Call, unlinked: readonly Unlinked[]): void {
    const table = call.table && this.tables.get(call.table);
    if (table === undefined) return;
    for (const { pa } of unlinked) this.#unlinked.set(pa, table);
    table.waiting += unlinked.length;
  }

  #call(call: Call, circumstances: Circumstances): string {
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
        return this.#edit(call, this.#tableOf(call).pgt, circumstances);
    }
  }

  #tableOf({ table }: Call): ReplayedTable {
    return this.tables.get(table as RecordedTable) as ReplayedTable;
  }

  #edit(call: Call, pgt: number, { pages }: Circumstances): string {
    const { core } = this.#context;
    const { record } = call;
    const [ia, size, prot] = [Number(record.addr), Number(record.size), Number(record.prot)];
    const map = (cache: number): number =>
      core.s2_map(pgt, ia, size, Number(record.phys), prot, Number(record.flags), cache);
    switch (record.op) {
      case "s2_map":
        return `${this.#withPages(pages, map)}`;
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
      case "s2_relax_perms":
        return `${core.s2_relax_perms(pgt, ia, prot)}`;
      case "s2_mkyoung":
        core.s2_mkyoung(pgt, ia);
        return `0x${this.#context.result(0).toString(16)}`;
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
    const table = this.#unlinked.get(pa);
    const pointer = this.addresses.pointer(pa);
    if (table === undefined || pointer === undefined) return `no table was detached at ${hex(pa)}`;
    this.#context.core.s2_free_unlinked(table.pgt, pointer, record.level);
    this.#unlinked.delete(pa);
    table.waiting--;
    this.#release(table);
    return NOTHING;
  }

  /** Runs `call` with a stock of exactly this many pages, or with all that it wants. */
  #withPages(pages: number | undefined, call: (cache: number) => number): number {
    if (pages === undefined) return call(CACHE_UNLIMITED);
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
