/**
 * Dirty logs that were got or cleared. The VMM marks what it is about to do; where no mark was left, the words that were
 * taken tell: consecutive ones of a slot, up to the flush behind them.
 */
import type { Call } from "../calls.ts";
import type { TraceRecord } from "../record.ts";
import type { Collecting } from "./collect.ts";
import type { DirtyLog, TakenWord } from "./model.ts";

export class LogCollector {
  readonly #to: Collecting;
  /** The log that each thread is taking. */
  readonly #open = new Map<number, DirtyLog>();
  /** Logs that were got, until their pages are counted. */
  readonly #uncounted = new Map<number, DirtyLog>();

  constructor(to: Collecting) {
    this.#to = to;
  }

  take(record: TraceRecord, line: number, thread: number): void {
    if (record.op === "dirty_masked") return this.#word(record, line, thread);
    if (record.op === "split_huge") return; // the step before its calls
    this.#close(line, thread);
    if (record.op === "mark") this.#mark(record, line, thread);
  }

  /** A flush after the last word ends a log. */
  flushed(call: Call, thread: number): boolean {
    const log = this.#open.get(thread);
    if (log === undefined || log.words.length === 0 || log.flush !== undefined) return false;
    log.flush = call;
    this.#to.follow(thread, undefined);
    return true;
  }

  finish(): void {
    for (const { record } of this.#uncounted.values())
      this.#to.broken(`record ${record.i}, ${record.text}: the pages were not counted`);
  }

  #close(line: number, thread: number): void {
    const log = this.#open.get(thread);
    if (log !== undefined) log.end = line;
    this.#open.delete(thread);
  }

  #mark(record: TraceRecord, line: number, thread: number): void {
    const [word, ...rest] = record.text.split(" ");
    const value = new Map(rest.map((part) => part.split("=") as [string, string]));
    const number = (name: string): number => Number(value.get(name));
    const work = { kind: "log", record, line, thread, words: [], end: line + 1 } as const;
    if (word === "get_dirty") {
      const log: DirtyLog = { ...work, words: [], op: "get", slot: number("slot") };
      this.#uncounted.set(thread, log);
      this.#begin(log);
    } else if (word === "clear_dirty") {
      const request = {
        first: number("first"),
        pages: number("n"),
        pattern: BigInt(value.get("pat") ?? 0),
      };
      this.#begin({ ...work, words: [], op: "clear", slot: number("slot"), request });
    } else if (word === "dirty_count") {
      this.#count(record, thread, number("n"));
    }
  }

  #begin(log: DirtyLog): void {
    this.#open.set(log.thread, log);
    this.#to.add(log);
  }

  #count(record: TraceRecord, thread: number, pages: number): void {
    const log = this.#uncounted.get(thread);
    if (log === undefined)
      return this.#to.broken(`record ${record.i}, ${record.text}: no log was got before`);
    log.count = { record, pages };
    this.#uncounted.delete(thread);
  }

  #word(record: TraceRecord, line: number, thread: number): void {
    const { fields } = this.#to;
    const slot = fields.number(record, "slot_id");
    const page = fields.number(record, "off");
    const mask = fields.word(record, "mask");
    const word: TakenWord = { record, line, page, mask, calls: [] };
    const open = this.#open.get(thread);
    const log = open && takes(open, slot, page) ? open : this.#unmarked(record, line, thread, slot);
    log.words.push(word);
    this.#to.follow(thread, word.calls);
  }

  #unmarked(record: TraceRecord, line: number, thread: number, slot: number): DirtyLog {
    this.#close(line, thread);
    const log: DirtyLog = {
      ...{ kind: "log", op: "clear", record, line, thread, slot },
      words: [],
      end: line + 1,
    };
    this.#begin(log);
    return log;
  }
}

/** Words of one slot come in ascending order, and none behind the flush. */
function takes({ slot, words, flush }: DirtyLog, of: number, page: number): boolean {
  const last = words.at(-1);
  return slot === of && flush === undefined && (last === undefined || last.page < page);
}
