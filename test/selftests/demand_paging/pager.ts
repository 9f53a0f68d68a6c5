/**
 * A pager for demand_paging_test in one thread: guests wait in hooks for missing pages, and what they wait for comes when the
 * pager says so, in an order of its own. Guests are asynchronous functions, as those of a browser's main thread would be.
 */
import { Chance } from "../../../src/explorer/random.ts";
import { Fault, type MissingAnswer, type MissingFault, type VmVcpu } from "../../../src/index.ts";
import type { Scene } from "../harness/slot/scene.ts";

/** What every page is filled with. */
export const BYTE = 0xab;
export const WORD = 0xabab_abab_abab_ababn;
const MOST_FAULTS = 1000;

interface Waiting {
  readonly fault: MissingFault;
  readonly go: () => void;
}

export class Pager {
  readonly #chance: Chance;
  readonly #waiting: Waiting[] = [];
  /** How often the hook was asked for each unit, by its first hva. */
  readonly asked = new Map<number, number>();
  /** vCPUs that asked, by how often. */
  readonly askers = new Map<number | undefined, number>();

  constructor(seed: number) {
    this.#chance = new Chance(seed);
  }

  /** The hook: answers later, by `answer`. */
  readonly hook = (answer: (fault: MissingFault) => MissingAnswer) => {
    return async (fault: MissingFault): Promise<MissingAnswer> => {
      this.asked.set(fault.hva, (this.asked.get(fault.hva) ?? 0) + 1);
      this.askers.set(fault.vcpu, (this.askers.get(fault.vcpu) ?? 0) + 1);
      await new Promise<void>((go) => this.#waiting.push({ fault, go }));
      return answer(fault);
    };
  };

  /** Lets guests run, and one who waits go on now and then, until all have ended. `beside`: what the host does meanwhile. */
  async serve(
    guests: readonly Promise<void>[],
    beside: (step: number) => void = () => {},
  ): Promise<void> {
    let going = guests.length;
    let failure: unknown;
    for (const guest of guests) {
      guest.then(
        () => going--,
        (error: unknown) => ((failure ??= error), (going = 0)),
      );
    }
    for (let step = 0; going > 0; step++) {
      await new Promise(setImmediate); // everybody is where it waits for this pager
      beside(step);
      if (this.#waiting.length === 0) continue;
      const [next] = this.#waiting.splice(this.#chance.below(this.#waiting.length), 1);
      next?.go();
    }
    if (failure !== undefined) throw failure;
  }
}

/** Loads 8 bytes of pages [first, end) in order, each `step`-th, so many `times`; throws if one holds anything else. */
export async function guest(
  scene: Scene,
  vcpu: VmVcpu,
  [first, end]: readonly [first: number, end: number],
  { step = 1, times = 1 } = {},
): Promise<void> {
  for (let n = 0; n < times * (end - first); n += step) {
    const page = first + (n % (end - first));
    const value = await loadAsync(vcpu, scene.ipa + page * scene.page + 8 * (page % 512));
    if (value !== WORD) throw new Error(`page ${page} holds ${value.toString(16)}`);
  }
}

async function loadAsync(vcpu: VmVcpu, ipa: number): Promise<bigint> {
  for (let faults = 0; faults < MOST_FAULTS; faults++) {
    const result = vcpu.cpu.read64(ipa);
    if (!(result instanceof Fault)) return result;
    const { reason } = await vcpu.handleAbortAsync(result);
    if (reason !== "resume") throw new Error(`${String(result)}: ${reason}`);
  }
  throw new Error(`the load at ${ipa.toString(16)} does not get on`);
}
