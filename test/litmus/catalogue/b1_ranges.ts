/** B1: the access flag of entries that many addresses share, and of entries that stand beside others. */
import { type Litmus, litmus } from "../../../src/explorer/litmus.ts";
import type { Stage2Options, VcpuOptions } from "../../../src/index.ts";
import {
  A,
  ACCESS,
  type Answers,
  BLOCK,
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

interface Way {
  readonly suffix: string;
  readonly table: Stage2Options;
  readonly cpu: VcpuOptions;
}

const SHORT: Way = { suffix: "", table: {}, cpu: NO_TLB };
const WALKED: Way = { suffix: "/walked", table: VISITING, cpu: WITH_TLB };

/** L11: two CPUs use different pages of an old block; X asks at one end of it and clears at the other. */
function block({ suffix, table, cpu }: Way, mutants: readonly string[]): Litmus {
  return litmus({
    name: `L11${suffix}`,
    title:
      "a block has one access flag: any part of it answers for the whole, and no event is lost",
    agents: ["V0", "V1", "X"],
    mutants,
    setup(agents, lab) {
      const bed = new Bed(agents, lab, table);
      const entry = bed.block({ young: false });
      lab.name(entry, 8, "BLOCK");
      return { bed, entry, first: bed.vcpu("V0", cpu), second: bed.vcpu("V1", cpu) };
    },
    run({ bed, entry, first, second }, agents) {
      const answers: Answers = {};
      const { core: v0 } = agent(agents, "V0");
      const { core: v1 } = agent(agents, "V1");
      const { core: x } = agent(agents, "X");
      return {
        programs: {
          V0: calls(answers, { low: () => v0.vcpu_translate(first, PAGE, ACCESS.READ) }),
          V1: calls(answers, { high: () => v1.vcpu_translate(second, 9 * PAGE, ACCESS.READ) }),
          X: calls(answers, {
            asked: () => x.s2_test_clear_young(bed.pgt, 0, PAGE, 0),
            young: () => x.s2_test_clear_young(bed.pgt, BLOCK - PAGE, PAGE, 1),
          }),
        },
        forbidden() {
          const end = bed.entry(entry);
          const events = flagsSet(bed.lab, first) + flagsSet(bed.lab, second);
          const young = answers.young as number;
          return forbidden(
            [answers.low !== A + PAGE, `V0's load answered ${answers.low}`],
            [answers.high !== A + 9 * PAGE, `V1's load answered ${answers.high}`],
            [answers.asked === 1 && young === 0, "young at the first page, old at the last"],
            [
              events !== young + Number(isYoung(end)),
              `${events} events, ${young} reported, and the block is ${say(end)}`,
            ],
          );
        },
      };
    },
  });
}

/** Pages of L14: one young in the range, one young beside it. */
const OLD = 0;
const YOUNG = 1;
const USED = 2;
const OUTSIDE = 3;

/** L14: X ages three pages of which the second is young, V0 uses the third. */
function three({ suffix, table, cpu }: Way, mutants: readonly string[]): Litmus {
  return litmus({
    name: `L14${suffix}`,
    title: "aging three pages finds the young one and touches no other flag",
    agents: ["V0", "X"],
    mutants,
    setup(agents, lab) {
      const bed = new Bed(agents, lab, table);
      const entries = [OLD, YOUNG, USED, OUTSIDE].map((n) => {
        const young = n === YOUNG || n === OUTSIDE;
        const entry = bed.page(n, { pa: A + n * PAGE, young });
        lab.name(entry, 8, `PTE ${n}`);
        return entry;
      });
      return { bed, entries, vcpu: bed.vcpu("V0", cpu) };
    },
    run({ bed, entries, vcpu }, agents) {
      const answers: Answers = {};
      const { core: v0 } = agent(agents, "V0");
      const { core: x } = agent(agents, "X");
      return {
        programs: {
          V0: calls(answers, { load: () => v0.vcpu_translate(vcpu, USED * PAGE, ACCESS.READ) }),
          X: calls(answers, { young: () => x.s2_test_clear_young(bed.pgt, 0, 3 * PAGE, 1) }),
        },
        forbidden() {
          const flags = entries.map((entry) => isYoung(bed.entry(entry)));
          return forbidden(
            [answers.load !== A + USED * PAGE, `V0's load answered ${answers.load}`],
            [answers.young !== 1, "one page was young, and aging did not say so"],
            [flags[OLD] === true || flags[YOUNG] === true, "a page of the range is young still"],
            [flags[OUTSIDE] === false, "a page beside the range lost its flag"],
          );
        },
      };
    },
  });
}

export const ranges: readonly Litmus[] = [
  block(SHORT, ["aging-by-blind-and-single"]),
  block(WALKED, ["aging-by-blind-and-walked"]),
  three(SHORT, ["aging-tells-the-last-run", "aging-clears-a-pair"]),
  three(WALKED, ["aging-tells-the-last-walked"]),
];
