/**
 * B1: the access flag against aging. Each 0 -> 1 is one event; each event is in the entry still, or was reported by exactly one
 * call that cleared it.
 */
import { type Litmus, litmus } from "../../../src/explorer/litmus.ts";
import type { Stage2Options, VcpuOptions } from "../../../src/index.ts";
import { flag, raiseFlag } from "./observe.ts";
import {
  A,
  ACCESS,
  type Agents,
  type Answers,
  Bed,
  NO_TLB,
  PAGE,
  VISITING,
  WITH_TLB,
  agent,
  calls,
  flagsSet,
  forbidden,
  isYoung,
  say,
} from "./support.ts";

/**
 * How the aging call goes about it: one page without a walk; a stretch of pages, by vectors; a walk with a visit of each
 * entry.
 */
interface Way {
  readonly suffix: string;
  readonly table: Stage2Options;
  readonly cpu: VcpuOptions;
  /** The range that is aged. The page in question is the first one; the others are no leaves. */
  readonly pages: number;
  readonly mutants: readonly string[];
}

const SINGLE: Way = { suffix: "", table: {}, cpu: NO_TLB, pages: 1, mutants: [] };
const RUN: Way = { suffix: "/run", table: {}, cpu: NO_TLB, pages: 8, mutants: [] };
const WALKED: Way = { suffix: "/walked", table: VISITING, cpu: WITH_TLB, pages: 1, mutants: [] };

/** A page of one CPU, and who ages it: start, books. */
class Page {
  readonly bed: Bed;
  readonly entry: number;
  readonly vcpu: number;
  readonly #way: Way;
  readonly #young: boolean;

  constructor(bed: Bed, way: Way, young: boolean) {
    this.bed = bed;
    this.#way = way;
    this.#young = young;
    this.entry = bed.page(0, { young });
    bed.lab.name(this.entry, 8, "PTE");
    this.vcpu = bed.vcpu("V0", way.cpu);
  }

  /** test_clear_young over the range. */
  age(agents: Agents, name: string): () => number {
    const { core } = agent(agents, name);
    return () => core.s2_test_clear_young(this.bed.pgt, 0, this.#way.pages * PAGE, 1);
  }

  load(agents: Agents): () => number {
    const { core } = agent(agents, "V0");
    return () => core.vcpu_translate(this.vcpu, 0, ACCESS.READ);
  }

  get end(): bigint {
    return this.bed.entry(this.entry);
  }

  /** A sentence if flags set and flags reported do not add up. */
  books(reported: number): readonly [boolean, string] {
    const events = Number(this.#young) + flagsSet(this.bed.lab, this.vcpu);
    const balance = events === reported + Number(isYoung(this.end));
    return [!balance, `${events} events, ${reported} reported, and the page is ${say(this.end)}`];
  }
}

/** L1: an old page is used and aged. */
function useAndAge(way: Way): Litmus {
  return litmus({
    name: `L1${way.suffix}`,
    title: "an access flag that a walk sets beside aging is in the entry or was reported",
    agents: ["V0", "X"],
    mutants: way.mutants,
    setup: (agents, lab) => new Page(new Bed(agents, lab, way.table), way, false),
    run(page, agents) {
      const answers: Answers = {};
      return {
        programs: {
          V0: calls(answers, { load: page.load(agents) }),
          X: calls(answers, { young: page.age(agents, "X") }),
        },
        forbidden: () =>
          forbidden(
            [answers.load !== A, `V0's load answered ${answers.load}`],
            [answers.young === 0 && !isYoung(page.end), "V0 set the flag, and it is lost"],
            page.books(answers.young as number),
          ),
      };
    },
  });
}

/** L6: a young page, a CPU that has it in no TLB. What V0 has seen old before its load, it leaves young. */
function ageAndUse(way: Way): Litmus {
  return litmus({
    name: `L6${way.suffix}`,
    title: "aging reports a young page, and a walk after the clear sets the flag again",
    agents: ["V0", "X"],
    mutants: way.mutants,
    setup(agents, lab) {
      const page = new Page(new Bed(agents, lab, way.table), way, true);
      return { page, results: agent(agents, "V0").core.args() + 64 };
    },
    run({ page, results }, agents) {
      const answers: Answers = {};
      const { core: v0 } = agent(agents, "V0");
      let seen = 0n;
      function* look() {
        answers.look = yield () => v0.s2_get_leaf(page.bed.pgt, 0);
        seen = page.bed.lab.read64(results);
        answers.load = yield page.load(agents);
      }
      return {
        programs: { V0: look(), X: calls(answers, { young: page.age(agents, "X") }) },
        forbidden: () =>
          forbidden(
            [answers.load !== A, `V0's load answered ${answers.load}`],
            [answers.young !== 1, "the page was young, and aging did not say so"],
            [
              !isYoung(seen) && !isYoung(page.end),
              "V0's walk came after the clear and left no flag",
            ],
            page.books(answers.young as number),
          ),
      };
    },
  });
}

/** L7: the same with a TLB entry. Until an invalidation is complete, no flag is legal; after it, it is not. */
const ageFlushAndUse = litmus({
  name: "L7",
  title:
    "after clear and flush have returned, an access sets the flag again, whatever the TLB held",
  agents: ["V0", "X"],
  mutants: ["flush-forgotten", "invalidations-not-applied"],
  setup(agents, lab) {
    const page = new Page(new Bed(agents, lab), WALKED, true);
    page.load(agents)();
    return page;
  },
  run(page, agents) {
    const answers: Answers = {};
    const { core: x } = agent(agents, "X");
    let told = 0;
    function* use() {
      told = yield* flag(agent(agents, "V0"));
      answers.load = yield page.load(agents);
    }
    return {
      programs: {
        V0: use(),
        X: calls(answers, {
          young: page.age(agents, "X"),
          flush: () => x.s2_tlb_flush_range(page.bed.pgt, 0, PAGE),
          tell: raiseFlag(agent(agents, "X")),
        }),
      },
      forbidden: () =>
        forbidden(
          [answers.load !== A, `V0's load answered ${answers.load}`],
          [answers.young !== 1, "the page was young, and aging did not say so"],
          [answers.flush !== 0, `the flush answered ${answers.flush}`],
          [told === 1 && !isYoung(page.end), "V0 used the page after the flush and left no flag"],
          page.books(answers.young as number),
        ),
    };
  },
});

/** L10: two who age the same young page, with no lock to keep them apart. */
function ageTwice(way: Way): Litmus {
  return litmus({
    name: `L10${way.suffix}`,
    title: "two aging calls beside each other (no lock): one access is reported once",
    agents: ["X0", "X1", "V0"],
    mutants: way.mutants,
    setup: (agents, lab) => new Page(new Bed(agents, lab, way.table), way, true),
    run(page, agents) {
      const answers: Answers = {};
      return {
        programs: {
          X0: calls(answers, { first: page.age(agents, "X0") }),
          X1: calls(answers, { second: page.age(agents, "X1") }),
        },
        forbidden() {
          const { first, second } = answers as { first: number; second: number };
          return forbidden(
            [first === 1 && second === 1, "both report the one access"],
            [first === 0 && second === 0, "neither reports the access"],
            [isYoung(page.end), `the page is ${say(page.end)}`],
            page.books(first + second),
          );
        },
      };
    },
  });
}

export const aging: readonly Litmus[] = [
  useAndAge({ ...SINGLE, mutants: ["aging-by-blind-and-single"] }),
  useAndAge({ ...RUN, mutants: ["aging-by-blind-and-run"] }),
  useAndAge({ ...WALKED, mutants: ["aging-by-blind-and-walked"] }),
  ageAndUse({ ...SINGLE, mutants: ["hardware-keeps-old"] }),
  ageAndUse({ ...RUN, mutants: ["hardware-keeps-old"] }),
  ageAndUse({ ...WALKED, mutants: ["hardware-keeps-old"] }),
  ageFlushAndUse,
  ageTwice({ ...SINGLE, mutants: ["plain-store-single"] }),
  ageTwice({ ...RUN, mutants: ["plain-store-run"] }),
  ageTwice({ ...WALKED, mutants: ["plain-store-walked"] }),
];
