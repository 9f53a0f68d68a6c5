/**
 * One schedule: the agents' programs from the start state on, one step of one agent at a time, as somebody outside
 * chooses. A step is the access that the agent is stopped at and all it does before the next.
 */
import type { Coroutine } from "../agents/coroutine.ts";
import { type Stop, WAIT_ANSWER, mayWrite } from "../agents/stop.ts";
import { ACCESS } from "../instrument/step.ts";
import type { Event } from "./event.ts";
import type { Program } from "./litmus.ts";
import { Endless, type Scene } from "./scene.ts";
import { Waiting } from "./waiting.ts";

/** How a schedule can end, besides being left. */
export type Ending = "done" | "deadlock" | "livelock" | "trap" | "invariant";

/** What a schedule runs: a program for each agent that has one, by number. */
export interface Play {
  readonly programs: readonly (Program | undefined)[];
  readonly invariant?: (() => string | undefined) | undefined;
}

const MOST_STEPS = 20_000;

export class Execution {
  readonly scene: Scene;
  readonly events: Event[] = [];
  /** How it ended; undefined while it runs. */
  ending: Ending | undefined;
  /** More about the ending. */
  message = "";
  /** Agents that can go on, as bits. If only a wait that gives up is left: its agent alone. */
  enabled = 0;
  /** Whether `enabled` is an agent that gives up waiting. */
  givesUp = false;
  readonly #play: Play;
  readonly #waiting: Waiting;
  readonly #observed: boolean;
  readonly #old: number[] = [0, 0, 0, 0];
  #live = 0;

  /** Puts the scene back and runs every agent to its first stop. */
  constructor(scene: Scene, play: Play) {
    this.scene = scene;
    this.#play = play;
    this.#waiting = new Waiting(scene.words);
    this.#observed = play.invariant !== undefined;
    for (const [agent, program] of play.programs.entries()) {
      if (program === undefined || this.ending !== undefined) continue;
      this.#live |= 1 << agent;
      this.#advance(agent);
    }
    this.#look();
  }

  /** Where an agent is stopped. */
  stopOf(agent: number): Stop | undefined {
    return this.#coroutine(agent).stop;
  }

  /** Agents that have not ended, as bits. */
  get live(): number {
    return this.#live;
  }

  /** Lets an agent that can go on take its step. */
  step(agent: number): Event {
    const stop = this.stopOf(agent);
    if (stop === undefined || (this.enabled & (1 << agent)) === 0 || this.ending !== undefined)
      throw new Error(`agent ${agent} cannot go on`);
    const event = this.#perform(agent, stop);
    this.scene.work += this.events.length >> 2; // a search compares it with all of them
    this.events.push(event);
    this.#checkInvariant();
    this.#look();
    return event;
  }

  /** Takes steps again that the same programs took before, many at a time where one agent goes on. */
  follow(events: readonly Event[]): void {
    this.scene.work += events.length;
    for (let at = 0; at < events.length;) {
      const { agent, stop } = events[at] as Event;
      let to = at + 1;
      if (waits(stop)) {
        this.#look(); // whether it gives up
        this.#perform(agent, this.stopOf(agent) as Stop);
      } else {
        while (!this.#observed && to < events.length && goesOn(events[to] as Event, agent)) to++;
        this.scene.pass = to - at - 1;
        this.#advance(agent);
      }
      if (this.#observed) this.#checkInvariant();
      if (this.scene.pass !== 0 || this.ending !== undefined)
        throw new Error("the same schedule does not do the same again");
      at = to;
    }
    for (const event of events) this.events.push(event);
    this.#look();
  }

  #perform(agent: number, stop: Stop): Event {
    if (stop.kind === ACCESS.NOTIFY) return this.#notify(agent, stop);
    if (stop.kind !== ACCESS.WAIT) return this.#access(agent, stop);
    if (this.#waiting.isWaiting(agent)) return this.#wake(agent, stop);
    if (!this.#waiting.holds(stop)) return this.#answer(agent, stop, WAIT_ANSWER.NOT_EQUAL, false);
    this.#waiting.enter(agent, stop);
    this.scene.wakes(agent);
    return this.#event(agent, stop, false, true);
  }

  #access(agent: number, stop: Stop): Event {
    const { words } = this.scene;
    const at = stop.address >>> 2;
    const count = Math.min(4, ((stop.address + stop.bytes + 3) >>> 2) - at);
    for (let n = 0; n < count; n++) this.#old[n] = words[at + n] as number;
    const before = [this.#old[0] as number, this.#old[1] as number] as const;
    this.#advance(agent);
    let write = mayWrite(stop.kind);
    if (write && stop.bytes <= 16) {
      write = false;
      for (let n = 0; n < count; n++) if (this.#old[n] !== words[at + n]) write = true;
    }
    return this.#event(agent, stop, write, false, before);
  }

  #notify(agent: number, stop: Stop): Event {
    const woken = this.#waiting.wake(stop.address, stop.count);
    this.#advance(agent, woken);
    return { ...this.#event(agent, stop, false, true), inVain: woken === 0 };
  }

  #wake(agent: number, stop: Stop): Event {
    const timeout = this.givesUp;
    const woken = this.#waiting.wasWoken(agent);
    this.#waiting.leave(agent);
    const differs = woken ? WAIT_ANSWER.WOKEN : WAIT_ANSWER.NOT_EQUAL;
    return this.#answer(agent, stop, timeout ? WAIT_ANSWER.TIMED_OUT : differs, true, timeout);
  }

  #answer(agent: number, stop: Stop, answer: number, queue: boolean, timeout = false): Event {
    this.#advance(agent, answer);
    return this.#event(agent, stop, false, queue, undefined, timeout);
  }

  #event(
    agent: number,
    stop: Stop,
    write: boolean,
    queue: boolean,
    before?: readonly [number, number],
    timeout = false,
  ): Event {
    const { words } = this.scene;
    const start = stop.address;
    const after = [words[start >>> 2] ?? 0, words[(start >>> 2) + 1] ?? 0] as const;
    const data = stop.kind !== ACCESS.NOTIFY;
    const done = this.scene.announced(agent) - (this.#coroutine(agent).busy ? 1 : 0);
    const end = start + stop.bytes;
    return {
      agent,
      stop,
      start,
      end,
      data,
      write,
      queue,
      inVain: false,
      timeout,
      done,
      before: before ?? after,
      after,
    };
  }

  /** Performs what the agent is stopped for, if it is, and all up to the next stop. */
  #advance(agent: number, answer?: number): void {
    this.scene.current = agent;
    try {
      const coroutine = this.#coroutine(agent);
      if (coroutine.busy) coroutine.advance(answer);
      this.#proceed(agent);
    } catch (error) {
      this.#fail(agent, error);
    } finally {
      this.scene.current = -1;
    }
  }

  /** From the end of a call to the next stop: the program says which call is next. */
  #proceed(agent: number): void {
    const coroutine = this.#coroutine(agent);
    const program = this.#play.programs[agent] as Program;
    while (!coroutine.busy) {
      const next = program.next(coroutine.result);
      if (next.done === true) {
        this.#live &= ~(1 << agent);
        return;
      }
      coroutine.start(next.value);
    }
    const { stop } = coroutine;
    if (stop !== undefined && waits(stop)) this.scene.meetsWait(agent, stop);
  }

  #fail(agent: number, error: unknown): void {
    if (error instanceof Endless) this.#end("livelock", error.message);
    else if (error instanceof WebAssembly.RuntimeError)
      this.#end("trap", `${this.scene.names[agent]}: ${error.message}`);
    else throw error;
  }

  #checkInvariant(): void {
    if (this.ending !== undefined) return;
    const broken = this.#observe();
    if (broken !== undefined) this.#end("invariant", broken);
    else if (this.events.length >= MOST_STEPS) this.#end("livelock", `${MOST_STEPS} steps`);
  }

  #observe(): string | undefined {
    if (!this.#observed) return undefined;
    this.scene.observing = true;
    try {
      return this.#play.invariant?.();
    } finally {
      this.scene.observing = false;
    }
  }

  /** Finds out who can go on. */
  #look(): void {
    this.givesUp = false;
    this.enabled = 0;
    if (this.ending !== undefined) return;
    for (let agent = 0; agent < this.#play.programs.length; agent++) {
      const bit = 1 << agent;
      if ((this.#live & bit) !== 0 && this.#waiting.canGoOn(agent)) this.enabled |= bit;
    }
    if (this.enabled !== 0) return;
    if (this.#live === 0) return this.#end("done", "");
    const { impatient } = this.#waiting;
    if (impatient === undefined) return this.#end("deadlock", this.#whoWaits());
    this.givesUp = true;
    this.enabled = 1 << impatient;
  }

  #whoWaits(): string {
    const names = this.scene.names.filter((_, agent) => (this.#live & (1 << agent)) !== 0);
    return `${names.join(" and ")} ${names.length === 1 ? "waits" : "wait"} for ever`;
  }

  #end(ending: Ending, message: string): void {
    this.ending ??= ending;
    if (this.message === "") this.message = message;
  }

  #coroutine(agent: number): Coroutine {
    return this.scene.coroutines[agent] as Coroutine;
  }
}

function waits({ kind }: Stop): boolean {
  return kind === ACCESS.WAIT || kind === ACCESS.NOTIFY;
}

function goesOn({ agent, stop }: Event, same: number): boolean {
  return agent === same && !waits(stop);
}
