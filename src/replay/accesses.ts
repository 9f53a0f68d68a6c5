/**
 * What a recorded call did to live entries, access by access, and between which lines of the trace each happened.
 *
 *   visit     the entry is read, then the line is written (`old`); after the visit it is read back (`new`), and once more
 *             above the last level, to see whether there is a table to go down into
 *   break     the line is written, then the marker is exchanged for `old`; one that meets the marker tries nothing
 *   make      the line is written, then the reference is taken, then the value is stored
 *   v_attr    the line is written, then the new value is exchanged for `old`
 */
import { attributeExchange } from "./attributes.ts";
import type { Call, Node } from "./calls.ts";
import type { TraceRecord } from "./record.ts";
import type { Threads } from "./threads.ts";

/** The value of an entry that somebody else is changing. */
export const LOCKED = "0x400";

/** One access to one entry. It happened behind line `after` and before line `before`. */
export interface Access {
  readonly record: TraceRecord;
  /** Recorded address. */
  readonly entry: string;
  readonly after: number;
  readonly before: number;
  readonly what: Read | Look | Exchange | Store;
}

/** A read of this value. `first`: the one that its visit decides on. */
export interface Read {
  readonly kind: "read";
  readonly value: string;
  readonly first: boolean;
}

/** A read that finds a table, or anything else. */
export interface Look {
  readonly kind: "look";
  readonly table: boolean;
}

export interface Exchange {
  readonly kind: "exchange";
  readonly old: string;
  readonly value: string;
  readonly won: boolean;
}

export interface Store {
  readonly kind: "store";
  readonly value: string;
}

const LAST_LEVEL = 3;

/** The accesses of a call that holds the lock shared, in the order in which it made them. */
export function accessesOf(call: Call, threads: Threads): Access[] {
  return new Accesses(call, threads).of();
}

class Accesses {
  readonly #out: Access[] = [];
  readonly #call: Call;
  readonly #threads: Threads;
  /** Line before which the call had returned. */
  readonly #end: number;

  constructor(call: Call, threads: Threads) {
    this.#call = call;
    this.#threads = threads;
    this.#end = Math.max(call.lastLine + 1, threads.firstAfter(Number(call.record.t2)));
  }

  of(): Access[] {
    const { inner, line } = this.#call;
    let last = line;
    inner.forEach((node, index) => {
      if (node.record.op.startsWith("v_")) this.#visit(node, last, inner[index + 1]);
      last = lastLineOf(node);
    });
    return this.#out;
  }

  #visit(node: Node, previous: number, next: Node | undefined): void {
    const { record, line } = node;
    const { old, level } = record;
    const read = { kind: "read", value: old, first: true } as const;
    this.#out.push({ record, entry: record.pte_pa, after: previous, before: line, what: read });
    this.#changes(node);
    const end = lastLineOf(node);
    if (record.new !== undefined)
      this.#add(record, end, { kind: "read", value: record.new, first: false });
    if (level === LAST_LEVEL || record.ret !== 0) return;
    const table = next !== undefined && next.record.level > level;
    this.#add(record, end, { kind: "look", table });
  }

  #changes(node: Node): void {
    const { record } = node;
    if (record.op === "v_attr") return this.#attribute(node);
    node.inner.forEach((inner, index) => {
      const { op, old, ret } = inner.record;
      if (op === "break_pte" && old !== LOCKED) {
        const exchange = { kind: "exchange", old, value: LOCKED, won: ret === 1 } as const;
        this.#add(inner.record, inner.line, exchange);
      } else if (op === "make_pte") {
        const next = node.inner[index + 1];
        const line = next?.record.op === "get_page" ? next.line : inner.line;
        this.#add(inner.record, line, { kind: "store", value: inner.record.new as string });
      }
    });
  }

  #attribute(node: Node): void {
    const { record } = node;
    const exchange = attributeExchange(node, this.#call.record);
    if (exchange === undefined) return;
    this.#add(record, lastLineOf(node), { kind: "exchange", old: record.old, ...exchange });
  }

  /** An access behind a line that the thread had written before, and ahead of the one that it wrote next. */
  #add(record: TraceRecord, after: number, what: Access["what"]): void {
    const before = Math.min(this.#threads.next(after), this.#end);
    this.#out.push({ record, entry: record.pte_pa, after, before, what });
  }
}

function lastLineOf({ line, inner }: Node): number {
  const last = inner.at(-1);
  return last === undefined ? line : lastLineOf(last);
}
