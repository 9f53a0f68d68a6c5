/**
 * In which order the calls of a trace are replayed.
 *
 * Only calls that hold the lock shared overlap. A call is *open* from its line to the last line of any CPU that began
 * before it returned; calls of one table whose open spans touch form a group. A call alone is replayed at its line, as
 * one step. Those of a group are replayed beside each other, a step for every access to an entry, in the order in which
 * the recorded CPUs made them (schedule.ts).
 */
import { accessesOf } from "./accesses.ts";
import { type Call, isShared } from "./calls.ts";
import type { Trace } from "./read.ts";
import { type Turn, findSchedule } from "./schedule.ts";
import { machineOf } from "./settings.ts";
import { Threads } from "./threads.ts";

/** What is done next: a whole call, or one turn of a call that others overlap. */
export interface Step {
  readonly call: Call;
  /** The line that it comes behind. */
  readonly line: number;
  /** Whether the call is one of a group. */
  readonly grouped: boolean;
  readonly turn?: Turn;
  /** No order of the group leads to this turn as it was recorded: it and what follows come in the order of their lines. */
  readonly stuck?: boolean;
}

/** The steps of a replay. */
export function replayOrder(trace: Trace, calls: readonly Call[]): Step[] {
  const threads = new Threads(trace);
  const { ha } = machineOf(trace);
  const steps = [...groups(threads, calls)].flatMap((group) =>
    group.length > 1 ? groupSteps(group, threads, ha) : group.map((call) => whole(call, false)),
  );
  return steps.sort((a, b) => a.line - b.line);
}

function whole(call: Call, grouped: boolean): Step {
  return { call, line: call.line, grouped };
}

/** Calls that may have met, together; every other call alone. */
function* groups(threads: Threads, calls: readonly Call[]): Generator<Call[]> {
  const open = new Map<Call["table"], { group: Call[]; end: number }>();
  for (const call of calls) {
    if (!isShared(call)) {
      yield [call];
      continue;
    }
    const end = Math.max(call.lastLine, threads.lastBefore(Number(call.record.t2)));
    const current = open.get(call.table);
    if (current !== undefined && call.line <= current.end) {
      current.group.push(call);
      current.end = Math.max(current.end, end);
    } else {
      if (current !== undefined) yield current.group;
      open.set(call.table, { group: [call], end });
    }
  }
  for (const { group } of open.values()) yield group;
}

function groupSteps(group: readonly Call[], threads: Threads, hardware: boolean): Step[] {
  const steps: Step[] = [];
  const turns = new Map<number | Call, Turn[]>();
  for (const call of group) {
    const accesses = accessesOf(call, threads);
    if (accesses.length === 0) steps.push(whole(call, true));
    const thread = threads.of(call.line) ?? call;
    const own = turns.get(thread) ?? [];
    const last = accesses.at(-1);
    own.push(...accesses.map((access) => ({ call, access, last: access === last })));
    turns.set(thread, own);
  }
  const schedule = findSchedule([...turns.values()], hardware);
  let line = 0;
  for (const turn of schedule.turns) {
    line = Math.max(line, turn.access.after);
    const stuck = turn === schedule.stuck;
    steps.push({ call: turn.call, line, grouped: true, turn, ...(stuck ? { stuck } : {}) });
  }
  return steps;
}
