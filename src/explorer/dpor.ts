/**
 * Every schedule up to the order of independent steps: dynamic partial-order reduction with source sets and sleep sets
 * (Abdulla, Aronis, Jonsson, Sagonas: Optimal dynamic partial order reduction, POPL 2014, their algorithm 1).
 *
 * Two steps of different agents race if they are dependent and nothing orders them but that one came first. Wherever a
 * race is seen, some agent whose step can begin the reversed order is added to the choices at the earlier of the two. A
 * sleeping agent's step was explored already and nothing that it depends on has happened since.
 *
 * Who waits can be disabled, which the paper leaves out: where the agent that should go first cannot, every agent that can is
 * added. A wait that gives up happens only when nobody else can go on, so it comes after all that was and races with nothing.
 */
import { type Event, dependent } from "./event.ts";
import type { Execution } from "./execution.ts";
import { LEAVE, type Strategy, lowest } from "./strategy.ts";

interface Node {
  readonly enabled: number;
  /** The agent that goes on here. */
  agent: number;
  event: Event | undefined;
  /** For each agent 1 + the index of its last step that happened before this one's end. */
  clock: number[];
  /** By agent: its next step, which needs no exploring from here. */
  readonly sleep: (Event | undefined)[];
  /** Agents to explore from here, and those that have been. */
  backtrack: number;
  done: number;
}

export class Dpor implements Strategy {
  readonly #agents: number;
  readonly #nodes: Node[] = [];
  #begun = false;

  constructor(agents: number) {
    this.#agents = agents;
  }

  next(): boolean {
    if (this.#begun) return this.#backtrack();
    this.#begun = true;
    return true;
  }

  /** All nodes but the last, where another agent goes on this time. */
  prefix(): readonly Event[] {
    return this.#nodes.slice(0, -1).map((node) => node.event as Event);
  }

  choose(execution: Execution): number {
    const depth = execution.events.length;
    const known = this.#nodes[depth];
    if (known !== undefined) return known.agent;
    const parent = this.#nodes[depth - 1];
    const sleep = Array.from({ length: this.#agents }, (_, agent) => stillAsleep(parent, agent));
    const awake = execution.enabled & ~asBits(sleep);
    if (awake === 0) return LEAVE;
    const same = parent !== undefined && (awake & (1 << parent.agent)) !== 0;
    const agent = same ? parent.agent : lowest(awake);
    const { enabled } = execution;
    const choices = { backtrack: 1 << agent, done: 0 };
    this.#nodes.push({ enabled, agent, event: undefined, clock: [], sleep, ...choices });
    return agent;
  }

  stepped(execution: Execution, event: Event): void {
    const index = execution.events.length - 1;
    const node = this.#nodes[index] as Node;
    node.event = event;
    node.clock = this.#follow(index, event);
    node.clock[event.agent] = index + 1;
  }

  /** What an agent that waits for ever would have done races too. */
  ended(execution: Execution): void {
    if (execution.ending !== "deadlock") return;
    for (let agent = 0; agent < this.#agents; agent++) {
      const stop = execution.stopOf(agent);
      if ((execution.live & (1 << agent)) === 0 || stop === undefined) continue;
      const last = execution.events.findLast((event) => event.agent === agent) as Event;
      this.#follow(execution.events.length, { ...last, stop, data: true, queue: true });
    }
  }

  /** The clock of a step that comes at `index`, from all that it depends on; its races are looked into on the way. */
  #follow(index: number, event: Event): number[] {
    if (event.timeout) return this.#everything(index);
    const clock = this.#before(index, event.agent);
    for (let i = index - 1; i >= 0; i--) {
      const { agent, event: earlier, clock: its } = this.#nodes[i] as Node & { event: Event };
      if ((clock[agent] as number) > i || !dependent(earlier, event)) continue;
      this.#race(i, index, event.agent, clock);
      join(clock, its);
    }
    return clock;
  }

  #everything(index: number): number[] {
    const clock = new Array<number>(this.#agents).fill(0);
    for (let i = 0; i < index; i++) join(clock, (this.#nodes[i] as Node).clock);
    return clock;
  }

  #before(index: number, agent: number): number[] {
    for (let i = index - 1; i >= 0; i--) {
      const node = this.#nodes[i] as Node;
      if (node.agent === agent) return [...node.clock];
    }
    return new Array<number>(this.#agents).fill(0);
  }

  /** The step at `i` races with the next one of `agent`, at `index`, whose clock knows all that it depends on after `i`. */
  #race(i: number, index: number, agent: number, clock: readonly number[]): void {
    const node = this.#nodes[i] as Node;
    const first = this.#initials(i, index, agent, clock);
    if ((first & node.backtrack) !== 0) return;
    const possible = first & node.enabled;
    if (possible === 0) node.backtrack |= node.enabled;
    else node.backtrack |= (possible & (1 << agent)) !== 0 ? 1 << agent : possible & -possible;
  }

  /** Agents whose first step, of those after `i` that do not depend on it and then `agent`'s, needs none of the others. */
  #initials(i: number, index: number, agent: number, clock: readonly number[]): number {
    const racing = (this.#nodes[i] as Node).agent;
    const apart: Node[] = [];
    const at: number[] = [];
    let seen = 0;
    let initials = 0;
    for (let k = i + 1; k <= index; k++) {
      const node = this.#nodes[k] as Node;
      const own = k === index;
      const its = own ? clock : node.clock;
      const who = own ? agent : node.agent;
      if (!own && (its[racing] as number) > i) continue;
      const bit = 1 << who;
      const needs = apart.some(
        (other, n) => other.agent !== who && (its[other.agent] as number) > (at[n] as number),
      );
      if ((seen & bit) === 0 && !needs) initials |= bit;
      seen |= bit;
      if (own) break;
      apart.push(node);
      at.push(k);
    }
    return initials;
  }

  /** To the last place where something is left to explore. */
  #backtrack(): boolean {
    for (let node = this.#nodes.at(-1); node !== undefined; node = this.#nodes.at(-1)) {
      node.done |= 1 << node.agent;
      if (node.event !== undefined) node.sleep[node.agent] = node.event;
      node.event = undefined;
      const left = node.backtrack & node.enabled & ~node.done & ~asBits(node.sleep);
      if (left !== 0) {
        node.agent = lowest(left);
        return true;
      }
      this.#nodes.pop();
    }
    return false;
  }
}

function stillAsleep(parent: Node | undefined, agent: number): Event | undefined {
  const asleep = parent?.sleep[agent];
  if (asleep === undefined || parent?.event === undefined) return undefined;
  return dependent(asleep, parent.event) ? undefined : asleep;
}

function asBits(agents: readonly (Event | undefined)[]): number {
  let bits = 0;
  for (let agent = 0; agent < agents.length; agent++)
    if (agents[agent] !== undefined) bits |= 1 << agent;
  return bits;
}

function join(clock: number[], other: readonly number[]): void {
  for (let agent = 0; agent < other.length; agent++)
    if ((other[agent] as number) > (clock[agent] as number)) clock[agent] = other[agent] as number;
}
