/**
 * Every schedule with at most so many preemptions, that is switches away from an agent that could have gone on, depth
 * first. Few bugs need more than two (Musuvathi and Qadeer: Iterative context bounding, PLDI 2007).
 */
import type { Event } from "./event.ts";
import type { Execution } from "./execution.ts";
import { type Strategy, lowest } from "./strategy.ts";

interface Choice {
  agent: number;
  /** Agents that are left to be tried here. */
  left: number;
  event: Event | undefined;
  /** Preemptions up to here. */
  preemptions: number;
}

export class Bounded implements Strategy {
  readonly #bound: number;
  readonly #choices: Choice[] = [];
  #begun = false;
  #preemptions = 0;
  #last = -1;

  constructor(bound: number) {
    this.#bound = bound;
  }

  next(): boolean {
    if (!this.#begun) {
      this.#begun = true;
      return true;
    }
    for (let last = this.#choices.at(-1); last !== undefined; last = this.#choices.at(-1)) {
      if (last.left !== 0) {
        last.agent = lowest(last.left);
        last.left &= ~(1 << last.agent);
        return true;
      }
      this.#choices.pop();
    }
    return false;
  }

  prefix(): readonly Event[] {
    const known = this.#choices.slice(0, -1);
    const last = known.at(-1);
    this.#last = last?.agent ?? -1;
    this.#preemptions = last?.preemptions ?? 0;
    return known.map((choice) => choice.event as Event);
  }

  choose({ enabled, events }: Execution): number {
    const known = this.#choices[events.length];
    const choice = known ?? this.#choiceOf(enabled);
    if (known === undefined) this.#choices.push(choice);
    if (choice.agent !== this.#last && this.#couldGoOn(enabled)) this.#preemptions++;
    choice.preemptions = this.#preemptions;
    return choice.agent;
  }

  stepped({ events }: Execution, event: Event): void {
    (this.#choices[events.length - 1] as Choice).event = event;
    this.#last = event.agent;
  }

  #choiceOf(enabled: number): Choice {
    const goesOn = this.#couldGoOn(enabled);
    const agent = goesOn ? this.#last : lowest(enabled);
    const may = !goesOn || this.#preemptions < this.#bound;
    const left = may ? enabled & ~(1 << agent) : 0;
    return { agent, left, event: undefined, preemptions: this.#preemptions };
  }

  #couldGoOn(enabled: number): boolean {
    return this.#last >= 0 && (enabled & (1 << this.#last)) !== 0;
  }
}
