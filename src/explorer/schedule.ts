/**
 * A schedule as text: who goes on, and for how many accesses, all of them counted, also those that are nobody else's. It
 * means the same however much the explorer knows about what is shared, as long as the core is the same.
 *
 *   F:12 V0:7 F:3
 */
import type { Event } from "./event.ts";
import type { Execution } from "./execution.ts";
import type { Strategy } from "./strategy.ts";
import { lowest } from "./strategy.ts";

export interface Turn {
  readonly agent: number;
  readonly accesses: number;
}

/** The turns of a schedule that was run. */
export function turnsOf(events: readonly Event[]): Turn[] {
  const turns: { agent: number; accesses: number }[] = [];
  const done: number[] = [];
  for (const event of events) {
    const accesses = event.done - (done[event.agent] ?? 0);
    done[event.agent] = event.done;
    const last = turns.at(-1);
    if (last?.agent === event.agent) last.accesses += accesses;
    else turns.push({ agent: event.agent, accesses });
  }
  return turns;
}

export function printSchedule(turns: readonly Turn[], names: readonly string[]): string {
  return turns.map(({ agent, accesses }) => `${names[agent]}:${accesses}`).join(" ");
}

/** @throws Error that says what is wrong with the text */
export function parseSchedule(text: string, names: readonly string[]): Turn[] {
  return text
    .trim()
    .split(/[\s,]+/)
    .filter((part) => part !== "")
    .map((part) => {
      const [, name, count] = /^(.+):(\d+)$/.exec(part) ?? [];
      const agent = names.indexOf(name ?? "");
      if (agent < 0)
        throw new Error(`"${part}" is no turn: <agent>:<accesses> of ${names.join(", ")}`);
      return { agent, accesses: Number(count) };
    });
}

/** How many times another agent goes on. */
export function switchesIn(events: readonly Event[]): number {
  return events.filter((event, index) => index > 0 && event.agent !== events[index - 1]?.agent)
    .length;
}

/**
 * Follows turns. The scene may know more words that are shared than when they were recorded. A turn of an agent that cannot
 * go on ends; after the last turn everyone goes on to the end, one after the other.
 */
export class Replay implements Strategy {
  readonly #turns: readonly Turn[];
  readonly #done: number[] = [];
  readonly #due: number[] = [];
  #begun = false;
  #turn = -1;

  constructor(turns: readonly Turn[]) {
    this.#turns = turns;
  }

  next(): boolean {
    const first = !this.#begun;
    this.#begun = true;
    return first;
  }

  choose({ enabled }: Execution): number {
    for (; this.#turn < this.#turns.length; this.#nextTurn()) {
      const agent = this.#turns[this.#turn]?.agent;
      if (agent === undefined || (enabled & (1 << agent)) === 0) continue;
      if ((this.#done[agent] ?? 0) < (this.#due[agent] as number)) return agent;
    }
    return lowest(enabled);
  }

  stepped(_: Execution, event: Event): void {
    this.#done[event.agent] = event.done;
  }

  #nextTurn(): void {
    const turn = this.#turns[++this.#turn];
    if (turn !== undefined) this.#due[turn.agent] = (this.#due[turn.agent] ?? 0) + turn.accesses;
  }
}

/** Follows a list of agents, one a step. Who cannot go on is skipped; after the last, everyone goes on to the end. */
export class Guided implements Strategy {
  readonly #agents: readonly number[];
  #begun = false;
  #at = 0;

  constructor(agents: readonly number[]) {
    this.#agents = agents;
  }

  next(): boolean {
    const first = !this.#begun;
    this.#begun = true;
    return first;
  }

  choose({ enabled, events }: Execution): number {
    while (this.#at < this.#agents.length) {
      const agent = this.#agents[this.#at++] as number;
      if ((enabled & (1 << agent)) !== 0) return agent;
    }
    const last = events.at(-1)?.agent;
    return last !== undefined && (enabled & (1 << last)) !== 0 ? last : lowest(enabled);
  }
}
