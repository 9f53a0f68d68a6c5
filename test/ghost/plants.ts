/** Things that are wrong on purpose: the comparison must find each of them. */
import { RULES, type Rules } from "./model/model.ts";
import type { Pair } from "./pair.ts";
import type { Plant } from "./run.ts";

/** When in an episode: something has happened by then, and little enough to be read. */
const WHEN = 20;

/** Changes the words of a page's record in memory, once. */
const onRecord =
  (change: (words: Uint32Array, at: number) => void): Plant =>
  ({ machine }: Pair, index) => {
    if (index === WHEN) change(machine.u32, (machine.records[0] as number) / 4);
  };

interface Planted {
  readonly rules?: Rules;
  readonly plant?: Plant;
}

export const PLANTS = {
  /** A page that has one reference too many. */
  reference: { plant: onRecord((words, at) => (words[at] = (words[at] as number) + 1)) },
  /** A page whose host state is another. */
  state: { plant: onRecord((words, at) => (words[at] = (words[at] as number) ^ (1 << 16))) },
  /** A rule that does not look whether the hypervisor uses the page. */
  row: {
    rules: {
      ...RULES,
      UNSHARE_HYP: (state, call) => {
        const pages = state.memory.range(call.args[0] ?? 0n, 1n);
        const page = typeof pages === "number" ? undefined : pages[0];
        const references = page?.references ?? 0;
        if (page !== undefined) page.references = 0;
        const result = RULES.UNSHARE_HYP(state, call);
        if (page !== undefined) page.references = references;
        return result;
      },
    },
  },
  /** A rule that answers with another errno. */
  errno: {
    rules: {
      ...RULES,
      UNSHARE_GUEST: (state, call) => {
        const result = RULES.UNSHARE_GUEST(state, call);
        return result === -7 ? -1 : result;
      },
    },
  },
} as const satisfies Record<string, Planted>;

export type PlantName = keyof typeof PLANTS;

export const planted = (name: PlantName | undefined): Planted =>
  name === undefined ? {} : PLANTS[name];
