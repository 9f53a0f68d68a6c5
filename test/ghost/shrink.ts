/** Fewer calls and smaller words that still come to a difference: what is printed should be read in a minute. */
import { HANDLE_OFFSET, HYPERCALL, MAX_VMS } from "../../src/pkvm/_abi.ts";
import type { Finding, Plan } from "./run.ts";
import { replay } from "./run.ts";
import type { Step } from "./step.ts";

/** Replays that a finding is worth, and calls in all of them. */
const MOST_REPLAYS = 400;
const MOST_CALLS = 60_000;

/** A handle that another one may come to stand before. */
const isHandle = (word: bigint): boolean =>
  word > BigInt(HANDLE_OFFSET) && word < BigInt(HANDLE_OFFSET + MAX_VMS);

type Options = Pick<Plan, "rules" | "plant">;

export async function shrink(finding: Finding, options: Options = {}): Promise<Finding> {
  const search = new Search(finding, options);
  await search.confirm();
  await search.dropCalls();
  await search.dropVms();
  await search.dropCalls();
  await search.simplify();
  return search.best;
}

class Search {
  best: Finding;
  readonly #options: Options;
  #replays = 0;
  #calls = 0;

  constructor(finding: Finding, options: Options) {
    this.best = finding;
    this.#options = options;
  }

  /** A finding that does not come again is left as it is. */
  async confirm(): Promise<void> {
    if (!(await this.#fails(this.best.steps))) this.#replays = MOST_REPLAYS;
  }

  /** Leaves out halves, quarters, … down to single calls (delta debugging). */
  async dropCalls(): Promise<void> {
    let size = Math.ceil(this.best.steps.length / 2);
    while (this.#replays < MOST_REPLAYS && this.#calls <= MOST_CALLS) {
      const dropped = await this.#dropChunks(size);
      if (size === 1 && !dropped) return;
      if (!dropped || size > 1) size = Math.max(1, Math.floor(size / 2));
    }
  }

  async #dropChunks(size: number): Promise<boolean> {
    let dropped = false;
    for (
      let end = this.best.steps.length;
      end > 0;
      end = Math.min(end - size, this.best.steps.length)
    ) {
      const { steps } = this.best;
      const fewer = [...steps.slice(0, Math.max(0, end - size)), ...steps.slice(end)];
      if (fewer.length < steps.length && (await this.#fails(fewer))) dropped = true;
    }
    return dropped;
  }

  /** Leaves out a VM; those that came after it have other handles then. */
  async dropVms(): Promise<void> {
    for (let index = this.best.steps.length - 1; index >= 0; index--) {
      const { steps } = this.best;
      if (steps[index]?.number !== HYPERCALL.INIT_VM) continue;
      const later = steps.slice(index + 1).map((step) => ({
        ...step,
        args: step.args.map((word) => (isHandle(word) ? word - 1n : word)),
      }));
      await this.#fails([...steps.slice(0, index), ...later]);
    }
  }

  /** Zeroes in place of words that do not matter, no list where none is needed, one CPU. */
  async simplify(): Promise<void> {
    for (let index = 0; index < this.best.steps.length; index++) {
      const { cpu, memcache, args } = this.best.steps[index] as Step;
      if (cpu !== 0) await this.#change(index, { cpu: 0 });
      if (memcache !== undefined) await this.#change(index, { memcache: undefined });
      for (let word = 0; word < args.length; word++)
        for (const value of [0n, 1n]) {
          const now = this.best.steps[index]?.args;
          if (now === undefined || (now[word] ?? 0n) <= value) break;
          if (await this.#change(index, { args: now.with(word, value) })) break;
        }
    }
  }

  #change(index: number, to: Partial<Step>): Promise<boolean> {
    const step = this.best.steps[index];
    if (step === undefined) return Promise.resolve(false);
    return this.#fails(this.best.steps.with(index, { ...step, ...to }));
  }

  /** Keeps them, up to the call that shows it, if they do. */
  async #fails(steps: readonly Step[]): Promise<boolean> {
    if (this.#replays++ >= MOST_REPLAYS || this.#calls > MOST_CALLS) return false;
    this.#calls += steps.length;
    const found = await replay(this.best.world, steps, this.#options);
    if (found === undefined) return false;
    const { calls, difference } = found;
    this.best = { world: this.best.world, steps: steps.slice(0, calls), difference };
    return true;
  }
}
