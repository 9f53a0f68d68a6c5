/** B4: unmapping. When it has returned, the page belongs to somebody else, and so do the tables that it emptied. */
import { type Litmus, litmus } from "../../../src/explorer/litmus.ts";
import { Prot } from "../../../src/index.ts";
import { Accounts } from "./accounts.ts";
import { load, mapShared, store } from "./guests.ts";
import { type Part, faultOf, software } from "./observe.ts";
import {
  A,
  type Answers,
  BIT,
  BLOCK,
  Bed,
  PAGE,
  RAM,
  WITH_TLB,
  agent,
  calls,
  forbidden,
  isValid,
  say,
} from "./support.ts";

/** What the guest leaves in the page, and what its next owner puts there. */
const GUEST = 0x6e57;
const OWNER = 0x0b0e;
const BIG = 0x9_0000_0000;
const OTHER = 0xa_0000_0000;
const ELSEWHERE = 7 * BLOCK;

/** X unmaps, and the page gets a new owner; V0 goes on with what its TLB holds. */
function reuse(
  name: string,
  title: string,
  size: number,
  options: object,
  mutants: readonly string[],
): Litmus {
  return litmus({
    name,
    title,
    agents: ["V0", "X"],
    options: { guestRam: RAM },
    mutants,
    setup(agents, lab) {
      const bed = new Bed(agents, lab, { locking: true, ...options });
      bed.page(0);
      bed.page(511, { pa: A + 15 * PAGE });
      const v0 = bed.vcpu("V0", WITH_TLB);
      agent(agents, "V0").core.vcpu_write(v0, 0, 4, GUEST);
      return { bed, v0, x: software(agent(agents, "X")), word: bed.ram(A) };
    },
    run({ bed, v0, x, word }, agents) {
      const [guest, on] = [agent(agents, "V0"), agent(agents, "X")];
      const answers: Answers = {};
      const seen: number[] = [];
      function* uses(): Part {
        seen.push(yield load(guest, v0, 0), yield load(guest, v0, 0));
        answers.store = yield store(guest, v0, 0, GUEST + 1);
      }
      return {
        programs: {
          V0: uses(),
          X: calls(answers, {
            unmap: () => on.core.s2_unmap(bed.pgt, 0, size),
            reuse: store(on, x, A, OWNER),
          }),
        },
        forbidden: () =>
          forbidden(
            [answers.unmap !== 0 || answers.reuse !== 0, "unmapping failed"],
            [seen.includes(OWNER), "V0 read what the next owner of the page put there"],
            [bed.lab.read32(word) !== OWNER, "V0 stored into the page after it was unmapped"],
            [
              seen.some((value) => value !== GUEST && faultOf(value) !== 4),
              "V0 read something else",
            ],
          ),
      };
    },
  });
}

const teardownUnderReader = litmus({
  name: "L46",
  title:
    "X unmaps all of a tree of three levels while F1 looks up and lists: no freed page is read",
  agents: ["X", "F1"],
  mutants: ["freed-at-once", "grace-overlooks-walks", "emptied-table-put-twice"],
  setup(agents, lab) {
    const bed = new Bed(agents, lab, { locking: true });
    for (const page of [0, 1]) bed.page(page, { pa: BIG + page * PAGE });
    return { bed, accounts: new Accounts(bed, agent(agents, "X")) };
  },
  run({ bed, accounts }, agents) {
    const [x, f1] = [agent(agents, "X"), agent(agents, "F1")];
    const answers: Answers = {};
    return {
      programs: {
        X: calls(answers, {
          unmap: () => x.core.s2_unmap(bed.pgt, 0, 2 ** 30), // all that is mapped
          // What was the last level is next the one above, and the other way round.
          next: mapShared(x, bed.pgt, BLOCK, OTHER, Prot.RW),
        }),
        F1: calls(answers, {
          found: () => f1.core.s2_lookup(bed.pgt, PAGE),
          again: () => f1.core.s2_lookup(bed.pgt, 0),
        }),
      },
      forbidden: () =>
        forbidden(
          [answers.unmap !== 0 || answers.next !== 0, "unmapping or the next map failed"],
          [answers.found !== BIG + PAGE && answers.found !== -1, `F1 found ${answers.found}`],
          [answers.again !== BIG && answers.again !== -1, `then F1 found ${answers.again}`],
          [answers.found === -1 && answers.again === BIG, "what was unmapped came back"],
        ) ?? accounts.wrong(),
    };
  },
});

/** Aging beside an unmap: of one page, or of a stretch that vectors scan. */
function lockless(name: string, pages: number, mutants: readonly string[]): Litmus {
  return litmus({
    name,
    title: `lockless aging of ${pages} page(s) beside an unmap whose table page is reused: no flag cleared there`,
    agents: ["X", "F1"],
    mutants,
    setup(agents, lab) {
      const bed = new Bed(agents, lab, { locking: true, locklessAging: true });
      for (const page of [0, 1]) bed.page(page, { pa: BIG + page * PAGE });
      bed.leaf(9 * BLOCK, BLOCK, { pa: BIG }); // keeps the table above: only the last level's page is reused
      return { bed, accounts: new Accounts(bed, agent(agents, "X")) };
    },
    run({ bed, accounts }, agents) {
      const [x, f1] = [agent(agents, "X"), agent(agents, "F1")];
      const answers: Answers = {};
      return {
        programs: {
          X: calls(answers, {
            unmap: () => x.core.s2_unmap(bed.pgt, 0, BLOCK),
            // The very entries that were there before: comparing values sees no difference.
            next: mapShared(x, bed.pgt, ELSEWHERE, BIG, Prot.RW, pages * PAGE),
          }),
          F1: calls(answers, {
            young: () => f1.core.s2_test_clear_young(bed.pgt, 0, pages * PAGE, 1),
          }),
        },
        forbidden() {
          const next = bed.s2.getLeaf(ELSEWHERE).pte;
          const gone = bed.s2.getLeaf(0).pte;
          return (
            forbidden(
              [answers.unmap !== 0 || answers.next !== 0, "unmapping or the next map failed"],
              [isValid(gone), `an unmapped page is ${say(gone)}`],
              [(next & BIT.AF) === 0n, "aging cleared a flag in a table that it never walked to"],
              [answers.young !== 0 && answers.young !== 1, `aging answered ${answers.young}`],
            ) ?? accounts.wrong()
          );
        },
      };
    },
  });
}

export const unmapping: readonly Litmus[] = [
  reuse(
    "L44",
    "unmap with its flush deferred to one range TLBI, V0 loads and stores meanwhile: no reuse before",
    2 * PAGE,
    { fwb: true, tlbiRange: true },
    ["deferred-flush-forgotten", "dsb-waits-for-nobody"],
  ),
  reuse(
    "L45",
    "unmap of one page, V0 loads and stores through a hot TLB: nothing of it once unmap has returned",
    PAGE,
    {},
    [
      "tlbi-without-ipas2",
      "tlbi-without-vmalle1",
      "tlbi-in-wrong-order",
      "dsb-waits-for-nobody",
      "dsb-overlooks-sections",
      "unmap-single-without-tlbi",
    ],
  ),
  reuse(
    "L45b",
    "the same, page by page in a walk: the stretch is flushed in one piece",
    2 * PAGE,
    {},
    ["unmap-run-without-tlbi"],
  ),
  teardownUnderReader,
  lockless("L52", 1, ["freed-at-once", "lockless-without-section"]),
  lockless("L52b", 2, ["freed-at-once", "lockless-without-section"]),
];
