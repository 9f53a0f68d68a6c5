/** B7: pages that come from the pool and go back to it, and addresses that are none. */
import { type Litmus, litmus } from "../../../src/explorer/litmus.ts";
import type { VcpuOptions } from "../../../src/index.ts";
import { Accounts } from "./accounts.ts";
import { faultOf } from "./observe.ts";
import {
  A,
  ACCESS,
  type Answers,
  B,
  BLOCK,
  Bed,
  CACHE_UNLIMITED,
  FAULT,
  NO_TLB,
  PAGE,
  WITH_TLB,
  agent,
  calls,
  forbidden,
} from "./support.ts";

/** Status code of an external abort on a walk, without the level. */
const ON_WALK = 0x14;

/**
 * E4: X maps pages whose tables have to be taken from memory that nobody has used yet, V0 walks to them. In this bed the memory
 * cannot grow under a walk (a table's address is checked against what is committed at each step, and `memory.grow` only
 * moves the end outwards), so what is left to go wrong is an address that is checked against too little or not at all: a
 * table entry that points behind the pool is there from the start.
 */
function bounds(cpu: VcpuOptions, suffix: string): Litmus {
  return litmus({
    name: `E4${suffix}`,
    title:
      "a walk beside growth reads new tables or none, and an address outside is a fault (no memory grows here)",
    agents: ["X", "V0"],
    mutants: ["bounds-not-checked"],
    setup(agents, lab) {
      const bed = new Bed(agents, lab);
      bed.page(0);
      const { core } = agent(agents, "X");
      const wild = lab.entry(bed.s2, 2 * BLOCK);
      const end = core.pool_phys() + core.pool_capacity() * PAGE;
      lab.write64(wild, BigInt(end + 2 ** 32) | 3n);
      return { bed, vcpu: bed.vcpu("V0", cpu) };
    },
    run({ bed, vcpu }, agents) {
      const answers: Answers = {};
      const { core: x } = agent(agents, "X");
      const { core: v0 } = agent(agents, "V0");
      return {
        programs: {
          X: calls(answers, {
            map: () => x.s2_map(bed.pgt, BLOCK, PAGE, B, 6, 0, CACHE_UNLIMITED),
          }),
          V0: calls(answers, {
            fresh: () => v0.vcpu_translate(vcpu, BLOCK, ACCESS.READ),
            wild: () => v0.vcpu_translate(vcpu, 2 * BLOCK, ACCESS.READ),
          }),
        },
        forbidden: () =>
          forbidden(
            [answers.map !== 0, `map answered ${answers.map}`],
            [
              answers.fresh !== B && faultOf(answers.fresh as number) !== FAULT.TRANSLATION,
              `the load of the new page answered ${answers.fresh}`,
            ],
            [
              faultOf(answers.wild as number) !== ON_WALK,
              `the load through an address outside answered ${answers.wild}`,
            ],
          ),
      };
    },
  });
}

/**
 * E5: X unmaps the only pages of a table and maps another page elsewhere, so that the table page comes back under a new
 * parent. V0 walks to the old place; V1, if it takes part, to a page that the new parent never had.
 */
function reuse(
  cpu: VcpuOptions,
  suffix: string,
  agents: readonly string[],
  mutants: readonly string[],
): Litmus {
  return litmus({
    name: `E5${suffix}`,
    title:
      "a table page that comes back is empty to walks through the new parent, and nobody's through the old one",
    agents,
    mutants,
    setup(agents, lab) {
      const bed = new Bed(agents, lab);
      bed.leaf(3 * BLOCK, PAGE, {}); // the table above stays
      for (const n of [0, 1]) bed.page(n, { pa: A + n * PAGE });
      const old = bed.vcpu("V0", cpu);
      const fresh = agents.V1 && bed.vcpu("V1", cpu);
      return { bed, old, fresh, accounts: new Accounts(bed, agent(agents, "X")) };
    },
    run({ bed, accounts, old, fresh }, agents) {
      const answers: Answers = {};
      const { core: x } = agent(agents, "X");
      const { core: v0 } = agent(agents, "V0");
      const beside =
        fresh === undefined
          ? {}
          : {
              V1: calls(answers, {
                fresh: () =>
                  agent(agents, "V1").core.vcpu_translate(fresh, BLOCK + PAGE, ACCESS.READ),
              }),
            };
      return {
        programs: {
          ...beside,
          X: calls(answers, {
            unmap: () => x.s2_unmap(bed.pgt, 0, BLOCK),
            map: () => x.s2_map(bed.pgt, BLOCK, PAGE, B, 6, 0, CACHE_UNLIMITED),
          }),
          V0: calls(answers, { old: () => v0.vcpu_translate(old, 0, ACCESS.READ) }),
        },
        forbidden() {
          const { old: low, fresh: high } = answers as Record<"old" | "fresh", number>;
          return (
            forbidden(
              [answers.unmap !== 0 || answers.map !== 0, "X's calls failed"],
              [
                low !== A && faultOf(low) !== FAULT.TRANSLATION,
                `a walk to the old page answered ${low}: what came later into its table`,
              ],
              [
                fresh !== undefined && faultOf(high) !== FAULT.TRANSLATION,
                `a walk to a page that was never mapped answered ${high}: what its table held before`,
              ],
            ) ?? accounts.wrong()
          );
        },
      };
    },
  });
}

export const poolPages: readonly Litmus[] = [
  bounds(NO_TLB, ""),
  bounds(WITH_TLB, "/tlb"),
  reuse(NO_TLB, "", ["X", "V0", "V1"], ["pages-not-cleared", "no-grace-period"]),
  reuse(WITH_TLB, "/tlb", ["X", "V0"], ["no-grace-period"]),
];
