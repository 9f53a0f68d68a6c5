/**
 * Guests that take turns in one thread, also in the middle of each other's faults: where a fault asks the backing, other guests
 * may take steps before it goes on. A seed decides, so every order that a run meets can be met again.
 */
import { Chance } from "../../../../src/explorer/random.ts";
import type { Backing, BackingAnswer } from "../../../../src/index.ts";

/** A guest's program: it yields between accesses. */
export type Program = Generator<void, void, undefined>;

export class Turns {
  readonly #chance: Chance;
  /** Of 16 faults, the number in whose middle others go on. */
  readonly #nested: number;
  readonly #idle = new Set<Program>();

  constructor(seed: number, nested = 8) {
    this.#chance = new Chance(seed);
    this.#nested = nested;
  }

  /** Runs programs to their end, a random one going on each time. */
  run(programs: Iterable<Program>): void {
    for (const program of programs) this.#idle.add(program);
    while (this.#step());
  }

  /** What a fault does while it waits for its page. */
  inMidFault(): void {
    while (this.#chance.below(16) < this.#nested && this.#step());
  }

  /** Memory whose answers take time, before the page is looked up and after. */
  slow(memory: Backing): Backing {
    const resolve: Backing["resolve"] = (request) => {
      this.inMidFault();
      const answer = memory.resolve(request) as BackingAnswer;
      this.inMidFault();
      return answer;
    };
    return new Proxy(memory, {
      get(target, name) {
        if (name === "resolve") return resolve;
        const value: unknown = Reflect.get(target, name, target);
        return typeof value === "function" ? (value.bind(target) as unknown) : value;
      },
    });
  }

  /** One step of a program that is not in the middle of one. Whether there was any. */
  #step(): boolean {
    const ready = [...this.#idle];
    if (ready.length === 0) return false;
    const program = ready[this.#chance.below(ready.length)] as Program;
    this.#idle.delete(program);
    if (program.next().done !== true) this.#idle.add(program);
    return true;
  }
}

/** Runs programs one after the other, an access of each at a time, in their order. */
export function inTurn(programs: Iterable<Program>): void {
  let going = [...programs];
  while (going.length > 0) going = going.filter((program) => program.next().done !== true);
}
