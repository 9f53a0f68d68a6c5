/** Replays one script on one machine: steps in order, results compared, the first difference remembered. */
import { type Difference, compare } from "./compare.ts";
import { dumpTable, writeVisits } from "./dump.ts";
import { EventLog, MASKS, type TraceLevel } from "./events.ts";
import { Race } from "./foreign.ts";
import { Lines } from "./lines.ts";
import type { Machine } from "./machine.ts";
import { operationOf, pureOf } from "./operations.ts";
import { type DumpMemory, RowRecorder, type RowSink, RowWriter } from "./rows.ts";
import { type Table, destroyTable, dropTable, makeTable, uncountedRoots } from "./table.ts";
import type { Result, Step } from "./vectors.ts";

/** With the events that the script records, or without any, so that the fast paths run. */
export type Mode = "traced" | "untraced";

/** What the runs of a script share. */
export interface Surroundings {
  /** The build for foreign stores in the middle of an operation. */
  readonly instrumented: () => WebAssembly.Module;
  readonly dumps: DumpMemory;
}

const LONGEST_EVENTS = 40;
const LONGEST_DUMP = 1_000_000;

export class Script {
  readonly #machine: Machine;
  readonly #mode: Mode;
  readonly #instrumented: () => WebAssembly.Module;
  readonly #dumps: DumpMemory;
  readonly #log: EventLog;
  readonly #lines = new Lines();
  readonly #rows = new RowRecorder(new RowWriter(this.#lines));
  #table: Table | undefined;
  #race: Race | undefined;
  #pageShift = 12;
  #trace: TraceLevel = 1;
  #longestEvents = LONGEST_EVENTS;

  constructor(machine: Machine, mode: Mode, { instrumented, dumps }: Surroundings) {
    this.#machine = machine;
    this.#mode = mode;
    this.#instrumented = instrumented;
    this.#dumps = dumps;
    this.#log = new EventLog(machine);
  }

  /** Runs one step, the `index`-th, and answers how its result differs from the recorded one. */
  play(step: Step, index: number): Difference | undefined {
    const before = this.#pages();
    const outcome = this.#run(step, index);
    const pages = this.#pages() - before;
    const events = this.#takeEvents();
    const dump = step.int("h") ? this.#dump(step, index) : {};
    const actual = { ...outcome, ...events, ...dump };
    return compare(step.expected, actual, { events: this.#mode === "traced", pages });
  }

  /** Gives back what the script left behind. */
  end(): void {
    if (this.#table !== undefined) dropTable(this.#machine, this.#table);
    this.#table = undefined;
    this.#log.clear();
  }

  #run(step: Step, index: number): Result {
    if (step.name === "init") return this.#init(step);
    const pure = pureOf(step);
    if (pure !== undefined) return pure(this.#machine, this.#pageShift, step);
    if (step.name === "dump") return { ret: 0, ...this.#dump(step, index) };
    if (this.#table === undefined) return this.#withoutTable(step);
    if (step.name === "race") return this.#arm(this.#table, step);
    const run = (): Result => this.#operate(this.#table as Table, step);
    return this.#race === undefined ? run() : this.#runRaced(this.#race, run);
  }

  #operate(table: Table, step: Step): Result {
    switch (step.name) {
      case "destroy":
        return table.destroyed ? { live: 0, pgd_extra: 0 } : destroyTable(this.#machine, table);
      case "walk":
        return this.#walk(table, step);
      default:
        return operationOf(step)(this.#machine, table, step);
    }
  }

  #init(step: Step): Result {
    if (this.#table !== undefined) dropTable(this.#machine, this.#table);
    this.#log.clear();
    this.#pageShift = step.int("page_shift");
    this.#trace = step.int("trace") as TraceLevel;
    this.#longestEvents = step.int("evcap", LONGEST_EVENTS);
    const { table, result } = makeTable(this.#machine, step, this.#mask());
    this.#table = table;
    return result;
  }

  /** After an init that failed there is nothing to work on, but destroying nothing is allowed. */
  #withoutTable(step: Step): Result {
    if (step.name === "destroy") return { live: 0, pgd_extra: 0 };
    throw new Error(`${step.name} without a table`);
  }

  #arm(table: Table, step: Step): Result {
    this.#race = new Race(this.#machine, table, step, this.#instrumented());
    return { ret: 0 };
  }

  /** The foreign store waits for an event, so events are on for this one operation. */
  #runRaced(race: Race, run: () => Result): Result {
    const { pointer } = this.#table as Table;
    const { core } = this.#machine.home;
    core.pgt_set_events(pointer, MASKS[this.#trace]);
    const result = race.run(this.#log, run);
    core.pgt_set_events(pointer, this.#mask());
    if (race.done) this.#race = undefined;
    return result;
  }

  #walk(table: Table, step: Step): Result {
    const machine = this.#machine;
    const lines = this.#lines;
    lines.restart(step.expected["v"] !== undefined);
    machine.seat.give(step.u64("ia"), step.u64("size"));
    const [flags, stopAt, stopRet] = [step.int("flags"), step.int("stop_at"), step.int("stop_ret")];
    const ret = writeVisits(
      machine,
      (skip) => machine.core.s2_walk_u64(table.pointer, flags, skip, stopAt, stopRet),
      lines,
    );
    const listed = lines.count <= this.#longestEvents && step.expected["v"] !== undefined;
    const digest = { ret, vn: lines.count, vh: lines.digest() };
    return listed ? { ...digest, v: lines.list() } : digest;
  }

  #dump(step: Step, index: number): Result {
    const list = (sink: RowSink): void => {
      if (this.#table !== undefined) dumpTable(this.#machine, this.#table, sink);
    };
    const known = this.#dumps.recall(index, list);
    if (known !== undefined) return known;
    const lines = this.#lines;
    const keep = step.expected["dump"] !== undefined;
    lines.restart(keep);
    this.#rows.restart();
    list(this.#rows);
    const digest = { dn: lines.count, dh: lines.digest() };
    const listed = keep && lines.count <= step.int("max", LONGEST_DUMP);
    const result = listed ? { ...digest, dump: lines.list() } : digest;
    this.#dumps.remember(index, this.#rows.words, result);
    return result;
  }

  #takeEvents(): Result {
    if (this.#mode === "traced") return this.#log.take(this.#trace, this.#longestEvents);
    this.#log.clear();
    return {};
  }

  #mask(): number {
    return this.#mode === "traced" ? MASKS[this.#trace] : 0;
  }

  /** Pages that the allocator counts one by one. */
  #pages(): number {
    return this.#machine.pagesUsed(this.#pageShift) - uncountedRoots(this.#table);
  }
}
