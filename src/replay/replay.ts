/**
 * Replays a recorded trace through the engine and compares everything that both sides know: what every call returns,
 * every visit, store, invalidation, cache maintenance, allocation and reference in order, the computed VTCR, and the
 * whole tree at every dump. Calls that overlapped are made by agents beside each other, in the recorded order of their
 * accesses. What hardware keeps from being compared is counted by cause.
 */
import type { Context } from "../_context.ts";
import { Engine } from "../engine.ts";
import { takeAccessFlags } from "./access.ts";
import { type Call, findCalls, inside, isFlush, isVisit } from "./calls.ts";
import { checkpointName, compareCheckpoint, findDump } from "./checkpoint.ts";
import { Driver, type Outcome, recordedAnswer, tablesTaken } from "./driver.ts";
import type { Expectations } from "./observed.ts";
import { type Step, replayOrder } from "./order.ts";
import { Overlap } from "./overlap.ts";
import { type FreedPages, freedPages } from "./pages.ts";
import type { Trace } from "./read.ts";
import type { TraceRecord } from "./record.ts";
import { recordedTokens } from "./recorded.ts";
import { type ReplayResult, Tally } from "./result.ts";
import type { Turn } from "./schedule.ts";
import { type Machine, machineOf } from "./settings.ts";
import { returnToken } from "./tokens.ts";

/** Follows a replay. */
export interface Observer {
  /** Now and then: after `done` of `total` calls. */
  progress?(done: number, total: number): void;
  /** After every call, with the tables as it left them; after calls that overlapped, once all of them have ended. */
  after?(call: Call, driver: Driver, context: Context): void;
}

const PROGRESS_EVERY = 256;
const EAGAIN = "-11";
const MAX_EVENTS = 2 ** 22;

/**
 * Replays a trace on an engine of its own.
 *
 * @throws Stage2Error  `BAD_INPUT` if the trace contradicts itself, or a dump beside it cannot be read
 */
export async function replayTrace(trace: Trace, observer: Observer = {}): Promise<ReplayResult> {
  const calls = findCalls(trace);
  const machine = machineOf(trace);
  const eventCapacity = Math.min(MAX_EVENTS, longestLog(calls, machine.pageShift));
  const engine = await Engine.create({ eventCapacity, mode: "threads" });
  const replay = new Replay(engine, trace, machine, calls);
  try {
    return replay.run(observer);
  } finally {
    replay.end();
    engine.dispose();
  }
}

/** Room for the longest call: what it recorded, and every empty entry of every table on its way. */
function longestLog(calls: readonly Call[], pageShift: number): number {
  let longest = 0;
  let tables = 16;
  for (const call of calls) {
    longest = Math.max(longest, [...inside(call)].length);
    tables += tablesTaken(call).length;
  }
  return 4 * longest + 2 * tables * 2 ** (pageShift - 3);
}

class Replay {
  readonly #context: Context;
  readonly #driver: Driver;
  readonly #overlap: Overlap;
  readonly #freed: FreedPages;
  readonly #tally = new Tally();
  /** Steps that wait until no call is on its way. */
  #waiting: Step[] = [];
  /** Calls that have ended, and of which the observer was not told yet. */
  #ended: Call[] = [];

  constructor(
    engine: Engine,
    readonly trace: Trace,
    readonly machine: Machine,
    readonly calls: readonly Call[],
  ) {
    this.#context = engine.context;
    this.#driver = new Driver(this.#context, trace, machine);
    this.#overlap = new Overlap(engine, this.#driver);
    this.#freed = freedPages(calls, machine.pageShift);
  }

  run(observer: Observer): ReplayResult {
    const started = performance.now();
    const steps = replayOrder(this.trace, this.calls);
    const checkpoints = checkpointsOf(this.trace);
    steps.forEach((step, index) => {
      while (checkpoints[0] !== undefined && checkpoints[0].line < step.line)
        this.#checkpoint((checkpoints.shift() as Checkpoint).name);
      this.#take(step);
      if (this.#overlap.quiet) this.#tell(observer);
      if (index % PROGRESS_EVERY === 0) observer.progress?.(index, steps.length);
    });
    for (const { name } of checkpoints) this.#checkpoint(name);
    this.#compareEnd();
    observer.progress?.(steps.length, steps.length);
    const calls = this.calls.filter((call) => !isFlush(call));
    const seconds = (performance.now() - started) / 1000;
    return this.#tally.result(this.trace.name, calls.length, seconds);
  }

  end(): void {
    this.#overlap.end();
  }

  #take(step: Step): void {
    if (this.#mustWait(step)) this.#waiting.push(step);
    else this.#step(step);
    if (this.#waiting.length > 0 && this.#overlap.quiet)
      for (const waiting of this.#waiting.splice(0)) this.#take(waiting);
  }

  /**
   * A call that frees tables waits until nobody walks any table (as RCU callbacks did), and the agents are in the middle
   * of their walks: it comes behind them, with what follows it on its page table.
   */
  #mustWait({ call, turn }: Step): boolean {
    if (this.#overlap.quiet) return false;
    if (this.#waiting.some((step) => step.call.table === call.table)) return true;
    return turn === undefined && !this.#overlap.isInside(call.table);
  }

  #step(step: Step): void {
    const { call, turn } = step;
    this.#takeAccessFlags(call, turn);
    const outcome =
      turn === undefined
        ? this.#driver.make(call, expectations(call))
        : this.#overlap.turn({ ...step, turn }, () => expectations(call));
    if (outcome === undefined) return;
    this.#compare(call, outcome);
    this.#count(step, outcome.answer);
    this.#ended.push(call);
  }

  #tell(observer: Observer): void {
    for (const call of this.#ended.splice(0)) observer.after?.(call, this.#driver, this.#context);
  }

  /** Those that the call found, or that its next turn finds. */
  #takeAccessFlags(call: Call, turn: Turn | undefined): void {
    if (!this.machine.ha) return;
    const found = turn === undefined ? visitsOf(call) : visitsAt(turn);
    const taken = takeAccessFlags(this.#context, this.#driver.addresses, found);
    this.#tally.undecide("af-from-visits", taken);
  }

  #compare(call: Call, { observation, answer, doubt }: Outcome): void {
    const { record } = call;
    const recorded = recordedTokens(call, this.#freed, this.machine.pageShift);
    recorded.push(returnToken(recordedAnswer(call, this.machine)));
    const ours = [...observation.tokens, returnToken(answer)];
    if (isFlush(call)) this.#tally.flushes++;
    else this.#tally.compared++;
    this.#tally.facts += recorded.length;
    if (doubt !== undefined)
      return this.#tally.differs(`record ${record.i}, ${record.op}: ${doubt}`);
    const length = Math.max(recorded.length, ours.length);
    for (let i = 0; i < length; i++) {
      if (recorded[i] === ours[i]) continue;
      const [theirs, mine] = [recorded[i] ?? "nothing more", ours[i] ?? "nothing more"];
      const where = `record ${record.i}, ${record.op}, step ${i + 1}`;
      return this.#tally.differs(`${where}: replayed "${mine}", recorded "${theirs}"`);
    }
  }

  #count({ call, grouped }: Step, answer: string): void {
    const { op, size } = call.record;
    const tally = this.#tally;
    if (isFlush(call)) return;
    tally.kind(op.slice("s2_".length));
    tally.grouped += Number(grouped);
    tally.again += Number(answer === EAGAIN);
    if (op === "s2_map" && answer === "0")
      tally.pages += Number(size) / 2 ** this.machine.pageShift;
  }

  #checkpoint(name: string): void {
    const path = findDump(this.trace.path, name);
    if (path === undefined) return this.#tally.undecide("dump-missing");
    const found = compareCheckpoint(this.#context, this.#driver, this.machine, path);
    if (found.tables === 0) return this.#tally.undecide("dump-missing");
    this.#tally.checkpoints++;
    this.#tally.entries += found.entries;
    this.#tally.undecide("af-from-dumps", found.accessFlags);
    const [first] = found.differences;
    if (first === undefined) return;
    this.#tally.differs(`dump ${name}: ${first} (${found.differences.length} differences)`);
  }

  /** Every table was destroyed: no page may be left. */
  #compareEnd(): void {
    const left = this.#context.core.pool_used();
    if (left > 0) this.#tally.differs(`at the end, ${left} table pages of 4 KiB are in use`);
  }
}

function expectations(call: Call): Expectations {
  const { op } = call.record;
  return {
    tables: tablesTaken(call),
    freeing: op === "s2_destroy" || op === "s2_free_unlinked",
    ends: call.inner.some(({ record }) => record.op.startsWith("v_") && record.ret !== undefined),
  };
}

function visitsOf(call: Call): TraceRecord[] {
  return [...inside(call)].filter(isVisit).map(({ record }) => record);
}

function visitsAt({ access: { record, what } }: Turn): TraceRecord[] {
  return what.kind === "read" && what.first ? [record] : [];
}

interface Checkpoint {
  readonly line: number;
  readonly name: string;
}

function checkpointsOf(trace: Trace): Checkpoint[] {
  return trace.records.flatMap(({ op, text }, line) => {
    const name = op === "mark" ? checkpointName(text) : undefined;
    return name === undefined ? [] : [{ line, name }];
  });
}
