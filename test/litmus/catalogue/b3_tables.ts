/** B3: tables come and go under walks. A block is split once, a new table is seen whole or not at all, none is lost. */
import { type Litmus, litmus } from "../../../src/explorer/litmus.ts";
import { Prot } from "../../../src/index.ts";
import { Accounts } from "./accounts.ts";
import { breakBeforeMake } from "./b3_break.ts";
import { FAULT_WALK, course, handler, mapShared, patient, retried } from "./guests.ts";
import { type Part, faultOf } from "./observe.ts";
import {
  A,
  ACCESS,
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
  isWritable,
  LOCKING,
} from "./support.ts";

const ENOMEM = -12;
/** Where the block of these tests lies: translated, never loaded from, so it needs no memory. */
const BIG = 0x9_0000_0000;
const [I, J] = [3 * PAGE, 9 * PAGE];

/** F0 maps one page inside a block that others use. */
function splitUnderWalk(watched: boolean): Litmus {
  return litmus({
    name: watched ? "L31b" : "L31",
    title: `F0 maps page i of a block, V1 uses page j${watched ? " through its TLB" : ""}: the block's data, or a fault that ends`,
    agents: ["F0", "V1"],
    mutants: watched ? ["replaced-without-break", "marker-left-behind"] : ["marker-left-behind"],
    setup(agents, lab) {
      const bed = new Bed(agents, lab, LOCKING);
      const entry = bed.block({ pa: BIG });
      const v1 = bed.vcpu("V1", watched ? WITH_TLB : { tlb: false });
      agent(agents, "V1").core.vcpu_translate(v1, J, ACCESS.READ);
      return { bed, entry, v1, accounts: new Accounts(bed, agent(agents, "F0")) };
    },
    run({ bed, entry, v1, accounts }, agents) {
      const [f0, guest] = [agent(agents, "F0"), agent(agents, "V1")];
      const answers: Answers = {};
      const met = course();
      const fix = patient(handler(guest, bed.pgt, J, BIG + J, Prot.RW), guest, bed.pgt);
      function* uses(): Part {
        for (let i = 0; i < 2; i++) {
          yield* retried(() => guest.core.vcpu_translate(v1, J, ACCESS.READ), fix, met);
        }
      }
      const bbm = breakBeforeMake(bed, entry);
      return {
        programs: {
          F0: calls(answers, { map: mapShared(f0, bed.pgt, I, BIG + I, Prot.RWX) }),
          V1: uses(),
        },
        invariant: () =>
          met.result >= 0 && met.result !== BIG + J ? `V1 got 0x${met.result.toString(16)}` : bbm(),
        forbidden: () =>
          forbidden(
            [answers.map !== 0 && answers.map !== EAGAIN, `map answered ${answers.map}`],
            [met.result !== BIG + J, `V1 ended with ${met.result}`],
            [met.faults > 3, `V1 faulted ${met.faults} times`],
          ) ?? accounts.wrong(),
      };
    },
  });
}

const splitTwice = litmus({
  name: "L32",
  title: "F0 and F1 map different pages of one block: one table, no page lost whose map returned 0",
  agents: ["F0", "F1"],
  mutants: ["lost-table-kept", "replaced-without-break"],
  setup(agents, lab) {
    const bed = new Bed(agents, lab, LOCKING);
    bed.block({ pa: BIG });
    return { bed, accounts: new Accounts(bed, agent(agents, "F0")) };
  },
  run({ bed, accounts }, agents) {
    const answers: Answers = {};
    const map = (name: string, at: number) =>
      mapShared(agent(agents, name), bed.pgt, at, BIG + at, Prot.RWX);
    function* twice(name: string, at: number): Part {
      for (let i = 0; i < 2 && answers[name] !== 0; i++) answers[name] = yield map(name, at);
    }
    return {
      programs: { F0: twice("F0", I), F1: twice("F1", J) },
      forbidden() {
        const { core } = agent(agents, "F0");
        const found = [I, J].map((at) => core.s2_lookup(bed.pgt, at));
        const { F0, F1 } = answers;
        return (
          forbidden(
            [F0 === 0 && found[0] !== BIG + I, "page i is gone after its map returned 0"],
            [F1 === 0 && found[1] !== BIG + J, "page j is gone after its map returned 0"],
            [F0 !== 0 && F1 !== 0, "both lost twice"],
          ) ?? accounts.wrong()
        );
      },
    };
  },
});

const builtUnderWalk = litmus({
  name: "L36",
  title: "F makes a table of a page that was one before, V0 walks: nothing there, or what F mapped",
  agents: ["F", "V0"],
  mutants: ["pages-not-cleared"],
  setup(agents, lab) {
    const bed = new Bed(agents, lab, LOCKING);
    bed.s2.map({ ipa: 3 * BLOCK, size: 2 * PAGE, pa: BIG, prot: Prot.RW });
    bed.leaf(9 * BLOCK, BLOCK, { pa: BIG }); // keeps the table above
    return { bed, v0: bed.vcpu("V0"), accounts: new Accounts(bed, agent(agents, "F")) };
  },
  run({ bed, v0, accounts }, agents) {
    const [f, guest] = [agent(agents, "F"), agent(agents, "V0")];
    const answers: Answers = {};
    const look = (ipa: number) => () => guest.core.vcpu_translate(v0, ipa, ACCESS.WRITE);
    return {
      programs: {
        F: calls(answers, {
          unmap: () => f.core.s2_unmap(bed.pgt, 3 * BLOCK, BLOCK),
          map: mapShared(f, bed.pgt, 0, A, Prot.RW),
        }),
        V0: calls(answers, { hole: look(PAGE), first: look(0), second: look(0) }),
      },
      forbidden() {
        const { unmap, map, hole, first, second } = answers;
        const holes = [hole, first, second].map((result) => faultOf(result as number) === 4);
        return (
          forbidden(
            [unmap !== 0 || map !== 0, `unmap answered ${unmap}, map ${map}`],
            [!holes[0], `V0 came to ${hole} where nothing is mapped`],
            [!holes[1] && first !== A, `V0 came to ${first}`],
            [!holes[2] && second !== A, `V0 came to ${second}`],
            [first === A && second !== A, "V0 saw the page, and then a hole"],
          ) ?? accounts.wrong()
        );
      },
    };
  },
});

const filledUnderMap = litmus({
  name: "L36b",
  title: "F fills a whole table with pages while F1 maps one of them: published full and counted",
  agents: ["F", "F1"],
  options: { preemptions: 2 },
  mutants: ["published-before-filled"],
  setup(agents, lab) {
    const bed = new Bed(agents, lab, LOCKING);
    bed.s2.map({ ipa: BLOCK, size: PAGE, pa: A, prot: Prot.R });
    return { bed, accounts: new Accounts(bed, agent(agents, "F")) };
  },
  run({ bed, accounts }, agents) {
    const [f, f1] = [agent(agents, "F"), agent(agents, "F1")];
    const answers: Answers = {};
    const pages = FAULT_WALK | 128; // FORCE_PAGES
    return {
      programs: {
        F: calls(answers, {
          all: () => f.core.s2_map(bed.pgt, 0, BLOCK, BIG, Prot.RW, pages, CACHE_UNLIMITED),
        }),
        F1: calls(answers, { one: mapShared(f1, bed.pgt, J, BIG + J, Prot.RWX) }),
      },
      forbidden() {
        const end = bed.s2.getLeaf(J).pte;
        const { all, one } = answers;
        const executable = isWritable(end) && (end & (1n << 54n)) === 0n;
        return (
          forbidden(
            [all !== 0 && all !== EAGAIN, `mapping all answered ${all}`],
            [one !== 0 && one !== EAGAIN, `mapping one answered ${one}`],
            [one === 0 && !executable, "page j is gone after its map returned 0"],
            [!isWritable(end), "page j is not mapped"],
          ) ?? accounts.wrong()
        );
      },
    };
  },
});

const outOfPages = litmus({
  name: "L38",
  title:
    "the stock runs out half way down while F1 maps beside: counts are right, the next map goes on",
  agents: ["F0", "F1"],
  mutants: ["failed-map-drops-count", "breaks-before-it-has-a-page"],
  setup(agents, lab) {
    const bed = new Bed(agents, lab, LOCKING);
    const { core } = agent(agents, "F0");
    const stock = core.cache_create(12);
    core.cache_topup(stock, 1); // two levels are missing
    return { bed, stock, accounts: new Accounts(bed, agent(agents, "F0"), stock) };
  },
  run({ bed, stock, accounts }, agents) {
    const [f0, f1] = [agent(agents, "F0"), agent(agents, "F1")];
    const answers: Answers = {};
    return {
      programs: {
        F0: calls(answers, {
          starved: () => f0.core.s2_map(bed.pgt, 0, PAGE, A, Prot.RW, FAULT_WALK, stock),
          next: mapShared(f0, bed.pgt, 0, A, Prot.RW),
        }),
        F1: calls(answers, { other: mapShared(f1, bed.pgt, BLOCK, A, Prot.R) }),
      },
      forbidden() {
        const { starved, next, other } = answers;
        const known = [0, EAGAIN, ENOMEM].includes(starved as number);
        const mapped = f0.core.s2_lookup(bed.pgt, 0) === A;
        const last = f0.core.s2_map(bed.pgt, 0, PAGE, A, Prot.RW, FAULT_WALK, CACHE_UNLIMITED);
        return (
          forbidden(
            [!known, `the map without pages answered ${starved}`],
            [next !== 0 && next !== EAGAIN, `the next map answered ${next}`],
            [(starved === 0 || next === 0) && !mapped, "a map returned 0 and nothing is there"],
            [other !== 0 && other !== EAGAIN, `F1's map answered ${other}`],
            [last !== (mapped ? EAGAIN : 0), `in peace, the map answers ${last}`],
          ) ?? accounts.wrong()
        );
      },
    };
  },
});

export const tables: readonly Litmus[] = [
  splitUnderWalk(false),
  splitUnderWalk(true),
  splitTwice,
  builtUnderWalk,
  filledUnderMap,
  outOfPages,
];
