/**
 * Random schedules from a seed. Turn about: anyone may go on after every step; or an agent goes on until one of a few
 * places chosen beforehand, as bugs that need few switches are found sooner so.
 */
import type { Execution } from "./execution.ts";
import type { Strategy } from "./strategy.ts";

/** Numbers from a seed (mulberry32). */
export class Chance {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** 0 to `limit` - 1. */
  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let x = this.#state;
    x = Math.imul(x ^ (x >>> 15), x | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return Math.floor((((x ^ (x >>> 14)) >>> 0) / 2 ** 32) * limit);
  }

  /** One of the bits, as its number. */
  oneOf(bits: number): number {
    const numbers: number[] = [];
    for (let number = 0; bits >>> number !== 0; number++)
      if ((bits & (1 << number)) !== 0) numbers.push(number);
    return numbers[this.below(numbers.length)] as number;
  }
}

const FIRST_LENGTH = 50;

export class Random implements Strategy {
  readonly #chance: Chance;
  readonly #most: number;
  readonly #switches: number;
  #count = 0;
  #length = FIRST_LENGTH;
  #places: ReadonlySet<number> | undefined;
  #last = -1;

  /** `most`: schedules; `switches`: of those with chosen places, the most. */
  constructor(seed: number, most: number, switches: number) {
    this.#chance = new Chance(seed);
    this.#most = most;
    this.#switches = switches;
  }

  next(): boolean {
    if (this.#count++ >= this.#most) return false;
    this.#last = -1;
    this.#places = this.#count % 2 === 0 ? this.#choosePlaces() : undefined;
    return true;
  }

  choose({ enabled, events }: Execution): number {
    const goesOn = this.#last >= 0 && (enabled & (1 << this.#last)) !== 0;
    const stays = goesOn && this.#places !== undefined && !this.#places.has(events.length);
    if (!stays) this.#last = this.#chance.oneOf(enabled);
    return this.#last;
  }

  ended(execution: Execution): void {
    this.#length = Math.max(1, execution.events.length);
  }

  #choosePlaces(): ReadonlySet<number> {
    const count = 1 + this.#chance.below(this.#switches + 1);
    return new Set(Array.from({ length: count }, () => this.#chance.below(this.#length)));
  }
}
