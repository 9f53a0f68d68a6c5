/** B3: tables that go out of the tree. Nobody who is still inside meets what their pages become next. */
import { type Lab, type Litmus, litmus } from "../../../src/explorer/litmus.ts";
import { Prot, WalkFlag } from "../../../src/index.ts";
import { Accounts } from "./accounts.ts";
import { FAULT_WALK, mapShared } from "./guests.ts";
import { type Part, faultOf } from "./observe.ts";
import {
  ACCESS,
  type Agents,
  type Answers,
  BLOCK,
  Bed,
  CACHE_UNLIMITED,
  EAGAIN,
  PAGE,
  WITH_TLB,
  agent,
  calls,
  forbidden,
} from "./support.ts";

/** What the block maps, and pages of it before; what the page of the old table maps next. */
const BIG = 0x9_0000_0000;
const OTHER = 0xa_0000_0000;
/** Where the freed page becomes a table again. */
const ELSEWHERE = 7 * BLOCK;
const K = 9 * PAGE;

/** A table of a few pages that a block is to replace, and the mapping that takes its page. */
function coalescing(agents: Agents, lab: Lab, tlbiRange = false): { bed: Bed } {
  const bed = new Bed(agents, lab, { locking: true, tlbiRange });
  for (const page of [0, 1]) bed.page(page, { pa: BIG + page * PAGE });
  return { bed };
}

const mapInOldTable = litmus({
  name: "L33",
  title:
    "F0 puts a block in place of a table, F1 maps a page in that table: nothing in a freed page",
  agents: ["F0", "F1"],
  mutants: ["freed-at-once", "detached-tree-freed-inside"],
  setup(agents, lab) {
    const { bed } = coalescing(agents, lab);
    return { bed, accounts: new Accounts(bed, agent(agents, "F0")) };
  },
  run({ bed, accounts }, agents) {
    const [f0, f1] = [agent(agents, "F0"), agent(agents, "F1")];
    const answers: Answers = {};
    return {
      programs: {
        F0: calls(answers, {
          block: mapShared(f0, bed.pgt, 0, BIG, Prot.RW, BLOCK),
          next: mapShared(f0, bed.pgt, ELSEWHERE, OTHER, Prot.RW),
        }),
        F1: calls(answers, { page: mapShared(f1, bed.pgt, K, BIG + K, Prot.RW) }),
      },
      forbidden() {
        const { block, next, page } = answers;
        const [at0, atK] = [0, K].map((ipa) => f0.core.s2_lookup(bed.pgt, ipa));
        const stray = f0.core.s2_lookup(bed.pgt, ELSEWHERE + K);
        return (
          forbidden(
            [block !== 0 && block !== EAGAIN, `mapping the block answered ${block}`],
            [next !== 0, `the next map answered ${next}`],
            [page !== 0 && page !== EAGAIN, `mapping the page answered ${page}`],
            // A late page splits the block: what the rest of it mapped faults back.
            [at0 !== BIG && at0 !== -1, `page 0 is mapped at ${at0}`],
            [page === 0 && atK !== BIG + K, "F1's map returned 0 and its page is not mapped"],
            [stray !== -1, "F1's page appeared in a table that was made of the freed one"],
          ) ?? accounts.wrong()
        );
      },
    };
  },
});

const readInOldTable = litmus({
  name: "L34",
  title: "F0 replaces a table, its page becomes another table; F1 looks up: never a page of that",
  agents: ["F0", "F1"],
  mutants: ["freed-at-once", "grace-overlooks-walks"],
  setup(agents, lab) {
    return coalescing(agents, lab);
  },
  run({ bed }, agents) {
    const [f0, f1] = [agent(agents, "F0"), agent(agents, "F1")];
    const answers: Answers = {};
    return {
      programs: {
        F0: calls(answers, {
          block: mapShared(f0, bed.pgt, 0, BIG, Prot.RW, BLOCK),
          next: mapShared(f0, bed.pgt, ELSEWHERE, OTHER, Prot.RW),
        }),
        F1: calls(answers, { found: () => f1.core.s2_lookup(bed.pgt, 0) }),
      },
      forbidden: () =>
        forbidden(
          [answers.block !== 0 || answers.next !== 0, "a map failed"],
          // Between break and make there is nothing; before and after, the same page.
          [answers.found !== BIG && answers.found !== -1, `F1 found ${answers.found}`],
        ),
    };
  },
});

/** The same for hardware: a walk under way, or a walk that begins at a cached table. */
function walkInOldTable(watched: boolean): Litmus {
  return litmus({
    name: watched ? "L35" : "L35b",
    title: `F0 replaces a table and reuses its page; V1 ${watched ? "has the table in its walk cache" : "is in the middle of a walk"}: never a page of the new table`,
    agents: ["F0", "V1"],
    mutants: watched
      ? ["break-without-tlbi", "tables-stay-cached"]
      : ["freed-at-once", "grace-overlooks-hardware"],
    setup(agents, lab) {
      const { bed } = coalescing(agents, lab, watched);
      const v1 = bed.vcpu("V1", watched ? WITH_TLB : { tlb: false });
      if (watched) agent(agents, "V1").core.vcpu_translate(v1, PAGE, ACCESS.READ);
      return { bed, v1 };
    },
    run({ bed, v1 }, agents) {
      const [f0, guest] = [agent(agents, "F0"), agent(agents, "V1")];
      const answers: Answers = {};
      // Without a TLB anywhere there is nothing to invalidate, and no DSB that waits for the walk before the table is freed.
      const flags = watched ? FAULT_WALK : FAULT_WALK | WalkFlag.SKIP_BBM_TLBI;
      const seen: number[] = [];
      function* looks(): Part {
        for (let i = 0; i < 2; i++) {
          seen.push(yield () => guest.core.vcpu_translate(v1, 0, ACCESS.READ));
        }
      }
      return {
        programs: {
          F0: calls(answers, {
            block: () => f0.core.s2_map(bed.pgt, 0, BLOCK, BIG, Prot.RW, flags, CACHE_UNLIMITED),
            next: mapShared(f0, bed.pgt, ELSEWHERE, OTHER, Prot.RW),
          }),
          V1: looks(),
        },
        forbidden() {
          const bad = seen.find((pa) => pa !== BIG && faultOf(pa) !== 4);
          return forbidden(
            [answers.block !== 0 || answers.next !== 0, "a map failed"],
            [bad !== undefined, `V1 came to 0x${bad?.toString(16)}`],
          );
        },
      };
    },
  });
}

export const grace: readonly Litmus[] = [
  mapInOldTable,
  readInOldTable,
  walkInOldTable(true),
  walkInOldTable(false),
];
