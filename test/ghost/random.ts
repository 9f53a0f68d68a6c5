/** Numbers from a seed (xorshift32), and choices by them. */

const GOLDEN = 0x9e37_79b1;
const SKIPPED = 8;

export class Chance {
  #state: number;

  constructor(seed: number, stream = 0) {
    this.#state = Math.imul(Math.imul(seed + 1, GOLDEN) + stream + 1, GOLDEN) || GOLDEN;
    for (let i = 0; i < SKIPPED; i++) this.below(1);
  }

  /** 0 to `limit` - 1. */
  below(limit: number): number {
    this.#state ^= this.#state << 13;
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    return (this.#state >>> 0) % limit;
  }

  /** Once in so many times. */
  once(times: number): boolean {
    return this.below(times) === 0;
  }

  of<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)] as T;
  }

  /** Any 64-bit word. */
  word(): bigint {
    return (BigInt(this.below(2 ** 32 - 1)) << 32n) | BigInt(this.below(2 ** 32 - 1));
  }
}
