/** What the host's memory management did to a VM: notifiers, age queries, cache flushes, the end of its address space. */
import type { Call } from "../calls.ts";
import type { TraceRecord } from "../record.ts";
import type { Collecting } from "./collect.ts";
import type { Aging, CacheControl, LibraryCall, Notifier, Release } from "./model.ts";

const AGING = {
  mn_clear_young: "clear",
  mn_clear_flush_young: "clear-flush",
  mn_test_young: "test",
} as const;

const TOGGLED = /\(cache was (on|off), now (on|off)\)/;
const SET_WAY = /\(cache (on|off)\)/;

export class MemoryCollector {
  readonly #to: Collecting;
  /** Notifiers that each thread is in, the last begun at the end. */
  readonly #open = new Map<number, Notifier[]>();
  readonly #agings = new Map<number, Aging>();
  /** Flushes of a thread that the control of its caches will explain. */
  readonly #flushes = new Map<number, { readonly line: number; readonly calls: LibraryCall[] }>();
  readonly #setWays = new Map<number, CacheControl>();
  readonly #releases = new Map<number, Release>();

  constructor(to: Collecting) {
    this.#to = to;
  }

  take(record: TraceRecord, line: number, thread: number): void {
    switch (record.op) {
      case "mn_start":
        return this.#start(record, line, thread);
      case "unmap_gfn":
        return this.#unmap(record, line, thread);
      case "age_gfn":
      case "test_age_gfn":
        return void this.#agings.get(record.up ?? -1)?.pages.push(this.#pages(record));
      case "mn_end":
        return this.#end(record, line, thread);
      case "mn_clear_young":
      case "mn_clear_flush_young":
      case "mn_test_young":
        return this.#age(record, line, thread, AGING[record.op]);
      case "mn_release":
        return this.#release(record, line, thread);
      case "flush_vm":
        return this.#flush(line, thread);
      case "tp_toggle_cache":
        return this.#toggle(record, line, thread);
      case "tp_set_way_flush":
        return this.#setWay(record, line, thread);
    }
  }

  /** Where the calls of an age query go. */
  aging(record: number | undefined): LibraryCall[] | undefined {
    return record === undefined ? undefined : this.#agings.get(record)?.calls;
  }

  /** A page table goes with the address space, on the same thread. */
  destroyed({ record }: Call, thread: number): void {
    if (!this.#releases.delete(thread))
      this.#to.broken(`record ${record.i}, s2_destroy: the address space was not released`);
  }

  finish(): void {
    for (const { record } of [...this.#open.values()].flat())
      this.#to.broken(`record ${record.i}, mn_start: the notifier does not end`);
    for (const { record } of this.#releases.values())
      this.#to.broken(`record ${record.i}, mn_release: the page table was not destroyed`);
    for (const { line } of this.#flushes.values())
      this.#to.broken(`line ${line}, flush_vm: nothing explains it`);
  }

  #start(record: TraceRecord, line: number, thread: number): void {
    const { fields } = this.#to;
    const inside = this.#to.abort(record.up);
    const notifier: Notifier = {
      ...{ kind: "notifier", record, line, thread, inside },
      start: fields.number(record, "start"),
      end: fields.number(record, "end"),
      overlaps: false,
      pages: [],
      calls: [],
      from: { line, time: fields.time(record, "t") },
    };
    inside?.own.push(notifier);
    this.#open.set(thread, [...(this.#open.get(thread) ?? []), notifier]);
    this.#to.follow(thread, notifier.calls);
    this.#to.add(notifier);
  }

  /** Its first unmapping: from here on it keeps faults off. */
  #unmap(record: TraceRecord, line: number, thread: number): void {
    const notifier = this.#open.get(thread)?.at(-1);
    if (notifier === undefined)
      return this.#to.broken(`record ${record.i}, unmap_gfn: no notifier has begun`);
    notifier.pages.push(this.#pages(record));
    if (notifier.overlaps) return;
    notifier.overlaps = true;
    notifier.from = { line, time: this.#to.timeAt(line) };
  }

  #pages(record: TraceRecord): [number, number] {
    const { fields } = this.#to;
    return [fields.number(record, "start"), fields.number(record, "end")];
  }

  #end(record: TraceRecord, line: number, thread: number): void {
    const { fields, threads } = this.#to;
    const open = this.#open.get(thread) ?? [];
    const [start, end] = [fields.number(record, "start"), fields.number(record, "end")];
    const index = open.findLastIndex((other) => other.start === start && other.end === end);
    const [notifier] = index < 0 ? [] : open.splice(index, 1);
    this.#to.follow(thread, undefined);
    if (notifier === undefined)
      return this.#to.broken(`record ${record.i}, mn_end: no notifier of this range has begun`);
    const deadline = threads.next(line);
    notifier.until = { line, deadline, announced: fields.time(record, "t") };
  }

  #age(record: TraceRecord, line: number, thread: number, op: Aging["op"]): void {
    const { fields } = this.#to;
    const start = fields.number(record, "start");
    const aging: Aging = {
      ...{ kind: "aging", record, line, thread, op, start },
      end: op === "test" ? start + 1 : fields.number(record, "end"),
      answer: fields.number(record, "ret"),
      pages: [],
      calls: [],
    };
    this.#agings.set(record.i, aging);
    this.#to.add(aging);
  }

  #release(record: TraceRecord, line: number, thread: number): void {
    const release: Release = { kind: "release", record, line, thread };
    this.#releases.set(thread, release);
    this.#to.add(release);
  }

  /** The flush comes before the toggle is told of, and after an operation by set and way is. */
  #flush(line: number, thread: number): void {
    const calls = this.#setWays.get(thread)?.calls ?? [];
    if (!this.#setWays.delete(thread)) this.#flushes.set(thread, { line, calls });
    this.#to.follow(thread, calls);
  }

  #toggle(record: TraceRecord, line: number, thread: number): void {
    const [, was, now] = TOGGLED.exec(this.#to.fields.text(record, "text")) ?? [];
    if (was === undefined || now === undefined) return this.#unreadable(record);
    const flush = this.#flushes.get(thread);
    this.#flushes.delete(thread);
    this.#to.follow(thread, undefined);
    this.#to.add({
      ...{ kind: "caches", op: "toggle", record, thread },
      line: flush?.line ?? line,
      was: was === "on",
      now: now === "on",
      calls: flush?.calls ?? [],
    });
  }

  #setWay(record: TraceRecord, line: number, thread: number): void {
    const [, state] = SET_WAY.exec(this.#to.fields.text(record, "text")) ?? [];
    if (state === undefined) return this.#unreadable(record);
    const on = state === "on";
    const work = { kind: "caches", op: "set-way", record, line, thread } as const;
    const control: CacheControl = { ...work, was: on, now: on, calls: [] };
    this.#setWays.set(thread, control);
    this.#to.add(control);
  }

  #unreadable({ i, op }: TraceRecord): void {
    this.#to.broken(`record ${i}, ${op}: does not tell the state of the caches`);
  }
}
