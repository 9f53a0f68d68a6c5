/**
 * Which references were the last of a table page. The record has no line for a page that is freed: it is when its last
 * reference goes, so they are counted from line to line.
 */
import { type Call, type Node, inside } from "./calls.ts";
import type { TraceRecord } from "./record.ts";

/** By the record of the reference that went: the page that was freed with it. */
export type FreedPages = ReadonlyMap<TraceRecord, string>;

export function freedPages(calls: readonly Call[], pageShift: number): FreedPages {
  const counts = new Counts(2 ** pageShift);
  const nodes = calls.flatMap((call) => [...inside(call)]).sort((a, b) => a.line - b.line);
  for (const node of nodes) counts.follow(node);
  return counts.freed;
}

class Counts {
  readonly freed = new Map<TraceRecord, string>();
  readonly #counts = new Map<number, number>();
  /** Records of tables that never got into a tree. */
  readonly #passing = new Set<TraceRecord>();
  readonly #pageBytes: number;

  constructor(pageBytes: number) {
    this.#pageBytes = pageBytes;
  }

  follow(node: Node): void {
    const { record } = node;
    this.#giveBack(node);
    if (this.#passing.has(record)) return;
    if (record.op === "alloc_table") this.#counts.set(Number(record.pa), 1);
    else if (record.op === "pgd_alloc") this.#addRoot(record);
    else if (record.op === "get_page") this.#change(record, 1);
    else if (record.op === "put_page") this.#change(record, -1);
  }

  /** A visit that loses the entry to another CPU gives its table back, which may be that one's next. */
  #giveBack({ inner }: Node): void {
    const puts = inner.map(({ record }) => record).filter(({ op }) => op === "put_page");
    const given = new Map(puts.map((put) => [put.pa, put]));
    for (const { record } of inner) {
      const put = record.op === "alloc_table" ? given.get(record.pa) : undefined;
      if (put === undefined) continue;
      this.#passing.add(record).add(put);
      this.freed.set(put, record.pa);
    }
  }

  #addRoot({ pa, size }: TraceRecord): void {
    for (let at = 0; at < Number(size); at += this.#pageBytes) this.#counts.set(Number(pa) + at, 1);
  }

  #change(record: TraceRecord, by: number): void {
    const address = Number(record.pa);
    const page = address - (address % this.#pageBytes);
    const count = this.#counts.get(page);
    if (count === undefined) return;
    this.#counts.set(page, count + by);
    if (count + by !== 0) return;
    this.#counts.delete(page);
    this.freed.set(record, `0x${page.toString(16)}`);
  }
}
