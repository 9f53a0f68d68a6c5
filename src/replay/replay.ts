/**
 * Replays a recorded trace through the engine and compares everything that both sides know: what every call returns,
 * every visit, store, invalidation, cache maintenance, allocation and reference in order, the computed VTCR, and the
 * whole tree at every dump. What overlapping CPUs or hardware keep from being compared is counted by cause.
 */
import type { Context } from "../_context.ts";
import { Engine } from "../engine.ts";
import { takeAccessFlags } from "./access.ts";
import { type Call, findCalls, inside, isFlush } from "./calls.ts";
import { checkpointName, compareCheckpoint, findDump } from "./checkpoint.ts";
import { type Circumstances, Driver, recordedAnswer, tablesTaken } from "./driver.ts";
import { LOCKED, type Step, replayOrder } from "./order.ts";
import type { Trace } from "./read.ts";
import { RecordedPages, recordedTokens } from "./recorded.ts";
import { type ReplayResult, Tally } from "./result.ts";
import { type Machine, machineOf } from "./settings.ts";
import { type Blur, isOutcome, returnToken } from "./tokens.ts";

/** Follows a replay. */
export interface Observer {
  /** Now and then: after `done` of `total` calls. */
  progress?(done: number, total: number): void;
  /** After every call, with the tables as it left them. */
  after?(call: Call, driver: Driver, context: Context): void;
}

const PROGRESS_EVERY = 256;
const EAGAIN = "-11";
const ENOMEM = "-12";
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
  const engine = await Engine.create({ eventCapacity });
  try {
    return new Replay(engine.context, trace, machine, calls).run(observer);
  } finally {
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
  readonly #driver: Driver;
  readonly #pages: RecordedPages;
  readonly #tally = new Tally();

  constructor(
    readonly context: Context,
    readonly trace: Trace,
    readonly machine: Machine,
    readonly calls: readonly Call[],
  ) {
    this.#driver = new Driver(context, trace, machine);
    this.#pages = new RecordedPages(machine.pageShift);
  }

  run(observer: Observer): ReplayResult {
    const started = performance.now();
    const steps = replayOrder(this.trace, this.calls);
    const checkpoints = checkpointsOf(this.trace);
    steps.forEach((step, index) => {
      while (checkpoints[0] !== undefined && checkpoints[0].line < step.line)
        this.#checkpoint((checkpoints.shift() as Checkpoint).name);
      this.#step(step);
      observer.after?.(step.call, this.#driver, this.context);
      if (index % PROGRESS_EVERY === 0) observer.progress?.(index, steps.length);
    });
    for (const { name } of checkpoints) this.#checkpoint(name);
    this.#end();
    observer.progress?.(steps.length, steps.length);
    const calls = this.calls.filter((call) => !isFlush(call));
    const seconds = (performance.now() - started) / 1000;
    return this.#tally.result(this.trace.name, calls.length, seconds);
  }

  #step(step: Step): void {
    const { call, collision } = step;
    const { op } = call.record;
    const partial = collision?.kind === "partial";
    this.#takeAccessFlags(call);
    const blur = blurOf(step);
    const recorded = recordedTokens(call, this.#pages, this.machine.pageShift, blur);
    const answer = this.#driver.run(call, circumstancesOf(step));
    const ours = this.#driver.events.take({
      tables: tablesTaken(call),
      freeing: op === "s2_destroy" || op === "s2_free_unlinked",
      ends: call.inner.some(({ record }) => record.op.startsWith("v_") && record.ret !== undefined),
      blur,
    });
    this.#driver.keep(call, ours.unlinked);
    recorded.push(returnToken(partial ? ENOMEM : recordedAnswer(call, this.machine)));
    ours.tokens.push(returnToken(answer));
    if (partial) this.#compare(call, recorded.filter(isOutcome), ours.tokens.filter(isOutcome));
    else this.#compare(call, recorded, ours.tokens);
    this.#count(step, answer);
  }

  #takeAccessFlags(call: Call): void {
    if (!this.machine.ha) return;
    const taken = takeAccessFlags(this.context, this.#driver.addresses, call);
    this.#tally.undecide("af-from-visits", taken);
  }

  #compare(call: Call, recorded: readonly string[], ours: readonly string[]): void {
    const { record } = call;
    if (isFlush(call)) this.#tally.flushes++;
    else this.#tally.compared++;
    this.#tally.facts += recorded.length;
    const length = Math.max(recorded.length, ours.length);
    for (let i = 0; i < length; i++) {
      if (recorded[i] === ours[i]) continue;
      const [theirs, mine] = [recorded[i] ?? "nothing more", ours[i] ?? "nothing more"];
      const where = `record ${record.i}, ${record.op}, step ${i + 1}`;
      return this.#tally.differs(`${where}: replayed "${mine}", recorded "${theirs}"`);
    }
  }

  #count({ call, grouped, collision }: Step, answer: string): void {
    const { op, size } = call.record;
    const tally = this.#tally;
    if (isFlush(call)) return;
    tally.kind(op.slice("s2_".length));
    tally.grouped += Number(grouped);
    tally.again += Number(answer === EAGAIN);
    if (op === "s2_map" && answer === "0")
      tally.pages += Number(size) / 2 ** this.machine.pageShift;
    if (collision === undefined) return;
    tally.undecide(collision.kind);
    if (collision.kind === "marker-seen" && readBack(call) !== LOCKED) tally.undecide("read-back");
  }

  #checkpoint(name: string): void {
    const path = findDump(this.trace.path, name);
    if (path === undefined) return this.#tally.undecide("dump-missing");
    const found = compareCheckpoint(this.context, this.#driver, this.machine, path);
    if (found.tables === 0) return this.#tally.undecide("dump-missing");
    this.#tally.checkpoints++;
    this.#tally.entries += found.entries;
    this.#tally.undecide("af-from-dumps", found.accessFlags);
    const [first] = found.differences;
    if (first === undefined) return;
    this.#tally.differs(`dump ${name}: ${first} (${found.differences.length} differences)`);
  }

  /** Every table was destroyed: no page may be left. */
  #end(): void {
    const left = this.context.core.pool_used();
    if (left > 0) this.#tally.differs(`at the end, ${left} table pages of 4 KiB are in use`);
  }
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

/** The value that the last visit of a call read back. */
function readBack(call: Call): string | undefined {
  return call.inner.findLast(({ record }) => record.op.startsWith("v_"))?.record.new;
}

function circumstancesOf({ collision }: Step): Circumstances {
  if (collision === undefined) return {};
  return collision.kind === "partial" ? { pages: collision.tables } : { marker: collision.entry };
}

function blurOf({ call, collision }: Step): Blur | undefined {
  if (collision === undefined || collision.kind === "partial") return undefined;
  const found = collision.kind !== "marker-seen";
  return { entry: collision.entry, found, readBack: found || readBack(call) !== LOCKED };
}
