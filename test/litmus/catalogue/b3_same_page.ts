/** B3: several faults on one page. One mapping is made, it is the better one, and nobody breaks it to make it again. */
import { type Litmus, litmus } from "../../../src/explorer/litmus.ts";
import { Prot } from "../../../src/index.ts";
import { Accounts } from "./accounts.ts";
import { course, handler, load, mapShared, retried, store } from "./guests.ts";
import { type Part, flag, raiseFlag } from "./observe.ts";
import {
  A,
  type Answers,
  Bed,
  EAGAIN,
  LOCKED,
  PAGE,
  RAM,
  WITH_TLB,
  agent,
  calls,
  forbidden,
  isValid,
  isWritable,
  say,
  LOCKING,
} from "./support.ts";

const sameTwice = litmus({
  name: "L25",
  title: "two faults map the same page, no table there yet: one install, one count, no break",
  agents: ["F0", "F1"],
  mutants: ["map-by-plain-store", "lost-table-kept", "count-kept-on-lost-race"],
  setup(agents, lab) {
    const bed = new Bed(agents, lab, LOCKING);
    return { bed, accounts: new Accounts(bed, agent(agents, "F0")) };
  },
  run({ bed, accounts }, agents) {
    const answers: Answers = {};
    const map = (name: string) => mapShared(agent(agents, name), bed.pgt, 0, A, Prot.RW);
    return {
      programs: {
        F0: calls(answers, { first: map("F0") }),
        F1: calls(answers, { second: map("F1") }),
      },
      forbidden() {
        const end = bed.s2.getLeaf(0).pte;
        const results = [answers.first, answers.second];
        const sum = (answers.first ?? 1) + (answers.second ?? 1);
        return (
          forbidden(
            [results.every((result) => result === 0), "both calls say that they mapped the page"],
            [sum !== EAGAIN && sum !== 2 * EAGAIN, `the calls answered ${results.join(" and ")}`],
            [results.includes(0) && !isWritable(end), `the page is ${say(end)}`],
          ) ?? accounts.wrong()
        );
      },
    };
  },
});

/** A late map for reading meets a page that was mapped for writing, or the other way round. */
function lateMap(watched: boolean): Litmus {
  return litmus({
    name: watched ? "L26b" : "L26",
    title: `F0 maps RW, F1 maps R of the same page${watched ? ", TLBs watch" : ""}: RW survives, no break in between`,
    agents: ["F0", "F1"],
    options: { guestRam: RAM },
    mutants: ["no-prejudgement"],
    setup(agents, lab) {
      const bed = new Bed(agents, lab, LOCKING);
      const entry = bed.hole(0);
      const v0 = bed.vcpu("F0", watched ? WITH_TLB : { tlb: false });
      return { bed, entry, v0 };
    },
    run({ bed, entry, v0 }, agents) {
      const [f0, f1] = [agent(agents, "F0"), agent(agents, "F1")];
      const answers: Answers = {};
      return {
        programs: {
          F0: calls(answers, {
            map: mapShared(f0, bed.pgt, 0, A, Prot.RW),
            store: store(f0, v0, 0, 1),
          }),
          F1: calls(answers, { late: mapShared(f1, bed.pgt, 0, A, Prot.R) }),
        },
        invariant() {
          const now = bed.entry(entry);
          if (answers.map === 0 && !isWritable(now)) return `RW was there, now it is ${say(now)}`;
          return undefined;
        },
        forbidden() {
          const end = bed.entry(entry);
          const results = [answers.map, answers.late];
          return forbidden(
            [answers.map === 0 && !isWritable(end), `F0 mapped RW, and the page is ${say(end)}`],
            [answers.map === 0 && answers.store !== 0, "V0 faulted again on what F0 had mapped"],
            [!results.includes(0), "neither of the two got through"],
            [results.every((result) => result === 0), "both calls installed their entry"],
          );
        },
      };
    },
  });
}

/** V0 stores and V1 loads, each with its fault handler, on a page that is empty at first, and once more after an unmap. */
function smallLoops(unmapped: boolean): Litmus {
  const empty = unmapped ? 2 : 1;
  return litmus({
    name: unmapped ? "L27b" : "L27",
    title: `V0 stores and V1 loads in loops${unmapped ? ", and one unmap" : ""}: each faults once when the page is empty, V0 once more to upgrade`,
    agents: unmapped ? ["V0", "V1", "X"] : ["V0", "V1"],
    options: { guestRam: RAM },
    mutants: [unmapped ? "relax-stores-nothing" : "no-prejudgement"],
    setup(agents, lab) {
      const bed = new Bed(agents, lab, LOCKING);
      bed.hole(0);
      return { bed, v0: bed.vcpu("V0", WITH_TLB), v1: bed.vcpu("V1", WITH_TLB) };
    },
    run({ bed, v0, v1 }, agents) {
      const [writer, reader] = [agent(agents, "V0"), agent(agents, "V1")];
      const [stores, loads] = [course(), course()];
      function* writes(): Part {
        const fix = handler(writer, bed.pgt, 0, A, Prot.RW);
        for (let i = 0; i < 2; i++) yield* retried(store(writer, v0, 0, 7), fix, stores, 8);
      }
      function* reads(): Part {
        const fix = handler(reader, bed.pgt, 0, A, Prot.R);
        for (let i = 0; i < 2; i++) yield* retried(load(reader, v1, 0), fix, loads, 8);
      }
      const x = unmapped ? agent(agents, "X") : writer;
      const unmap = calls({}, { unmap: () => x.core.s2_unmap(bed.pgt, 0, PAGE) });
      return {
        programs: { V0: writes(), V1: reads(), ...(unmapped ? { X: unmap } : {}) },
        forbidden: () =>
          forbidden(
            // The upgrade is KVM's own second fault, where the reader's mapping came first.
            [stores.translation > empty, `V0 took ${stores.translation} translation faults`],
            [stores.permission > empty, `V0 took ${stores.permission} permission faults`],
            [loads.translation > empty, `V1 took ${loads.translation} translation faults`],
            [loads.permission > 0, "V1 may read, and took a permission fault"],
            [stores.result !== 0 || loads.result < 0, "an access never came to pass"],
          ),
      };
    },
  });
}

const permissionOnly = litmus({
  name: "L28",
  title:
    "map RW over R of the same page: the map leaves it to relax, and a load beside it never faults",
  agents: ["F1", "V0"],
  options: { guestRam: RAM },
  mutants: ["no-prejudgement"],
  setup(agents, lab) {
    const bed = new Bed(agents, lab, LOCKING);
    const entry = bed.page(0, { prot: Prot.R });
    return { bed, entry, start: bed.entry(entry), v0: bed.vcpu("V0") };
  },
  run({ bed, entry, start, v0 }, agents) {
    const f1 = agent(agents, "F1");
    const answers: Answers = {};
    return {
      programs: {
        F1: calls(answers, {
          map: mapShared(f1, bed.pgt, 0, A, Prot.RW),
          relax: () => f1.core.s2_relax_perms(bed.pgt, 0, Prot.RW),
        }),
        V0: calls(answers, { load: load(agent(agents, "V0"), v0, 0) }),
      },
      invariant() {
        const now = bed.entry(entry);
        if (answers.map === undefined && now !== start) return `map made it ${say(now)}`;
        return isValid(now) && now !== LOCKED ? undefined : `a valid page became ${say(now)}`;
      },
      forbidden: () =>
        forbidden(
          [answers.map !== EAGAIN, `map answered ${answers.map}`],
          [answers.relax !== 0, `relax answered ${answers.relax}`],
          [!isWritable(bed.entry(entry)), `the page is ${say(bed.entry(entry))}`],
          [(answers.load as number) < 0, "V0's load faulted"],
        ),
    };
  },
});

const notStarved = litmus({
  name: "L39",
  title: "F1 is told to try again while F0 maps: once F0 is done, F1 sees the mapping or makes it",
  agents: ["F0", "F1"],
  options: { guestRam: RAM },
  mutants: ["marker-left-behind"],
  setup(agents, lab) {
    const bed = new Bed(agents, lab, LOCKING);
    const entry = bed.page(0, { pa: A + PAGE });
    bed.vcpu("F0", WITH_TLB); // so that a map breaks before it makes, in steps
    return { bed, entry };
  },
  run({ bed, entry }, agents) {
    const [f0, f1] = [agent(agents, "F0"), agent(agents, "F1")];
    const tries: { done: number; result: number; mapped: boolean }[] = [];
    const answers: Answers = {};
    function* maps(): Part {
      answers.map = yield mapShared(f0, bed.pgt, 0, A, Prot.RW);
      yield raiseFlag(f0);
    }
    function* triesAgain(): Part {
      for (let i = 0; i < 3; i++) {
        const done = yield* flag(f1);
        const result = yield mapShared(f1, bed.pgt, 0, A, Prot.RW);
        const found = yield () => f1.core.s2_lookup(bed.pgt, 0);
        tries.push({ done, result, mapped: found === A });
        if (result === 0 || found === A) return;
      }
    }
    return {
      programs: { F0: maps(), F1: triesAgain() },
      forbidden() {
        const end = bed.entry(entry);
        const stuck = tries.some(({ done, result, mapped }) => done && result !== 0 && !mapped);
        return forbidden(
          [stuck, "F1 had to try again after F0 was done, and nothing is mapped"],
          [!isWritable(end), `the page is ${say(end)}`],
        );
      },
    };
  },
});

export const samePage: readonly Litmus[] = [
  sameTwice,
  lateMap(false),
  lateMap(true),
  smallLoops(false),
  smallLoops(true),
  permissionOnly,
  notStarved,
];
