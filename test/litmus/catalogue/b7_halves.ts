/**
 * B7: what WebAssembly adds. An entry is 64 bits, and nobody may see half of one: neither an exchange nor a publication is two
 * steps. The addresses of this file differ in both halves, so a mixture is an address that nobody mapped.
 */
import { WALK } from "../../../src/_abi.ts";
import { type Litmus, litmus } from "../../../src/explorer/litmus.ts";
import { Prot, type Stage2Options, type VcpuOptions } from "../../../src/index.ts";
import { faultOf } from "./observe.ts";
import {
  ACCESS,
  type Answers,
  Bed,
  CACHE_UNLIMITED,
  EAGAIN,
  FAULT,
  LOCKED,
  NO_TLB,
  PAGE,
  VISITING,
  WITH_TLB,
  agent,
  calls,
  forbidden,
  isValid,
  isWritable,
  outputOf,
  say,
} from "./support.ts";

const ONE = 0x8_0000_0000;
const OTHER = 0x9_0000_1000;

function isWhole(entry: bigint): boolean {
  if (!isValid(entry)) return entry === 0n || entry === LOCKED;
  return outputOf(entry) === ONE || outputOf(entry) === OTHER;
}

/** E1: two faults map different pages over one hole, a CPU walks. */
function exchange(table: Stage2Options, cpu: VcpuOptions, suffix: string): Litmus {
  return litmus({
    name: `E1${suffix}`,
    title: "two exchanges of one entry: one wins as a whole, and no walk sees a mixture",
    agents: ["F0", "F1", "V0"],
    mutants: ["torn-exchange"],
    setup(agents, lab) {
      const bed = new Bed(agents, lab, table);
      const entry = bed.hole(0);
      lab.name(entry, 8, "PTE");
      return { bed, entry, vcpu: bed.vcpu("V0", cpu) };
    },
    run({ bed, entry, vcpu }, agents) {
      const answers: Answers = {};
      const map = (name: string, pa: number) => () =>
        agent(agents, name).core.s2_map(
          bed.pgt,
          0,
          PAGE,
          pa,
          Prot.R,
          WALK.SHARED | WALK.HANDLE_FAULT,
          CACHE_UNLIMITED,
        );
      const { core: v0 } = agent(agents, "V0");
      return {
        programs: {
          F0: calls(answers, { one: map("F0", ONE) }),
          F1: calls(answers, { other: map("F1", OTHER) }),
          V0: calls(answers, { load: () => v0.vcpu_translate(vcpu, 0, ACCESS.READ) }),
        },
        invariant: () =>
          isWhole(bed.entry(entry)) ? undefined : `the entry is ${say(bed.entry(entry))}`,
        forbidden() {
          const end = outputOf(bed.entry(entry));
          const { one, other, load } = answers as Record<"one" | "other" | "load", number>;
          return forbidden(
            [
              ![ONE, OTHER].includes(load) && faultOf(load) !== FAULT.TRANSLATION,
              `V0's load answered ${load}`,
            ],
            [![0, EAGAIN].includes(one) || ![0, EAGAIN].includes(other), "a map failed"],
            [one !== 0 && other !== 0, "neither map got through"],
            [end !== ONE && end !== OTHER, `the page is ${say(bed.entry(entry))}`],
            [end === ONE && one !== 0, "F0 was told -EAGAIN, and its page is there"],
            [end === OTHER && other !== 0, "F1 was told -EAGAIN, and its page is there"],
          );
        },
      };
    },
  });
}

/** E2: a valid page is replaced by another, then relaxed: bits change in both halves. */
function publication(table: Stage2Options, cpu: VcpuOptions, suffix: string): Litmus {
  return litmus({
    name: `E2${suffix}`,
    title: "a publication is one store: a walk sees the old page, none, or the new one",
    agents: ["X", "V0"],
    mutants: ["torn-make", "torn-exchange"],
    setup(agents, lab) {
      const bed = new Bed(agents, lab, table);
      const entry = bed.page(0, { pa: ONE, prot: Prot.R });
      lab.name(entry, 8, "PTE");
      return { bed, entry, vcpu: bed.vcpu("V0", cpu) };
    },
    run({ bed, entry, vcpu }, agents) {
      const answers: Answers = {};
      const { core: x } = agent(agents, "X");
      const { core: v0 } = agent(agents, "V0");
      const half = (): string | undefined => {
        const now = bed.entry(entry);
        return isWhole(now) ? undefined : `the entry is ${say(now)}`;
      };
      return {
        programs: {
          X: calls(answers, {
            map: () => x.s2_map(bed.pgt, 0, PAGE, OTHER, Prot.R, 0, CACHE_UNLIMITED),
            relax: () => x.s2_relax_perms(bed.pgt, 0, Prot.RWX),
          }),
          V0: calls(answers, { load: () => v0.vcpu_translate(vcpu, 0, ACCESS.READ) }),
        },
        invariant: half,
        forbidden() {
          const end = bed.entry(entry);
          const load = answers.load as number;
          return forbidden(
            [
              ![ONE, OTHER].includes(load) && faultOf(load) !== FAULT.TRANSLATION,
              `V0's load answered ${load}`,
            ],
            [answers.map !== 0 || answers.relax !== 0, "X's calls failed"],
            [outputOf(end) !== OTHER || !isWritable(end), `the page is ${say(end)}`],
          );
        },
      };
    },
  });
}

export const halves: readonly Litmus[] = [
  exchange({}, NO_TLB, ""),
  exchange(VISITING, WITH_TLB, "/walked"),
  publication({}, NO_TLB, ""),
  publication(VISITING, WITH_TLB, "/walked"),
];
