/**
 * Makes a failing schedule easy to read: as few switches as possible first, then as few steps. First every schedule with
 * fewer preemptions, then smaller changes of the one that is known: a turn goes away, two change places, a turn ends sooner.
 */
import { Bounded } from "./bounded.ts";
import type { Execution } from "./execution.ts";
import { Guided, Replay, type Turn, switchesIn, turnsOf } from "./schedule.ts";
import { type Strategy, drive } from "./strategy.ts";

/** Runs one schedule from the start. */
export type Begin = () => Execution;
/** What is wrong at the end of a schedule. */
export type Judge = (execution: Execution) => string | undefined;

/** A schedule that fails: as the agents that went on, and for a scene that knows more by the time it is run again. */
export interface Failing {
  readonly agents: readonly number[];
  readonly turns: readonly Turn[];
  readonly switches: number;
}

const BOUNDED_RUNS = 4000;
const MOST_BOUND = 2;
const GUIDED_RUNS = 2000;

export function shrink(begin: Begin, judge: Judge, failing: readonly Turn[]): Failing {
  let best = tryOnce(begin, judge, new Replay(failing));
  if (best === undefined) throw new Error("the schedule that is to be shrunk does not fail again");
  best = fewerPreemptions(begin, judge, best);
  let left = GUIDED_RUNS;
  for (let improved = true; improved && left > 0;) {
    improved = false;
    for (const candidate of candidates(best.agents)) {
      if (left-- <= 0) break;
      const found = tryOnce(begin, judge, new Guided(candidate));
      if (found === undefined || !isBetter(found, best)) continue;
      best = found;
      improved = true;
      break;
    }
  }
  return best;
}

function tryOnce(begin: Begin, judge: Judge, strategy: Strategy): Failing | undefined {
  return tryThis(begin(), judge, strategy);
}

function tryThis(execution: Execution, judge: Judge, strategy: Strategy): Failing | undefined {
  if (!drive(execution, strategy) || judge(execution) === undefined) return undefined;
  const { events } = execution;
  const agents = events.map((event) => event.agent);
  return { agents, turns: turnsOf(events), switches: switchesIn(events) };
}

function fewerPreemptions(begin: Begin, judge: Judge, known: Failing): Failing {
  let left = BOUNDED_RUNS;
  for (let bound = 0; bound <= MOST_BOUND && left > 0; bound++) {
    let strategy = new Bounded(bound);
    let words: number | undefined;
    while (left-- > 0 && strategy.next()) {
      const execution = begin();
      const found = tryThis(execution, judge, strategy);
      if (found !== undefined) return isBetter(found, known) ? found : known;
      const { sharedWords } = execution.scene;
      if (words !== undefined && words !== sharedWords) strategy = new Bounded(bound); // steps are others now
      words = sharedWords;
    }
  }
  return known;
}

function isBetter(a: Failing, b: Failing): boolean {
  if (a.switches !== b.switches) return a.switches < b.switches;
  return a.agents.length < b.agents.length;
}

/** Steps of one agent after each other. */
type Run = readonly number[];

function* candidates(agents: readonly number[]): Generator<readonly number[]> {
  const turns = turnsIn(agents);
  for (let i = 0; i < turns.length; i++) {
    const before = turns.slice(0, i);
    const after = turns.slice(i + 1);
    yield [...before, ...after].flat(); // what this turn did happens at the end, or not at all
    const next = turns[i + 1];
    const turn = turns[i] as Run;
    if (next === undefined) continue;
    yield [...before, next, turn, ...turns.slice(i + 2)].flat();
    for (const keep of [turn.length >> 1, turn.length - 1])
      if (keep > 0) yield [...before, turn.slice(0, keep), ...after].flat();
  }
}

function turnsIn(agents: readonly number[]): Run[] {
  const turns: number[][] = [];
  for (const agent of agents) {
    const last = turns.at(-1);
    if (last?.[0] === agent) last.push(agent);
    else turns.push([agent]);
  }
  return turns;
}
