/** B2: write protection. Once the flush behind it has returned, no store comes through what TLBs held before. */
import { EVENT } from "../../../src/_abi.ts";
import { type Litmus, litmus } from "../../../src/explorer/litmus.ts";
import { load, store } from "./guests.ts";
import { type Part, faultOf, logged, software } from "./observe.ts";
import {
  type Answers,
  Bed,
  BIT,
  PAGE,
  RAM,
  WITH_TLB,
  agent,
  calls,
  forbidden,
  isWritable,
  isYoung,
  say,
} from "./support.ts";

const NEW = 7;

/** X protects the page, flushes, and then looks at the memory: what it sees there is what stays. */
function storeBehindFlush(name: string, title: string, mutants: readonly string[]): Litmus {
  return litmus({
    name,
    title,
    agents: ["V0", "X"],
    options: { guestRam: RAM },
    mutants,
    setup(agents, lab) {
      const bed = new Bed(agents, lab, { locking: true });
      const entry = bed.page(0);
      const v0 = bed.vcpu("V0", WITH_TLB);
      agent(agents, "V0").core.vcpu_write(v0, 0, 4, 1); // RW is in its TLB
      return { bed, entry, v0, x: software(agent(agents, "X")), word: bed.ram(RAM.pa) };
    },
    run({ bed, entry, v0, x, word }, agents) {
      const on = agent(agents, "X");
      const answers: Answers = {};
      return {
        programs: {
          V0: calls(answers, { store: store(agent(agents, "V0"), v0, 0, NEW) }),
          X: calls(answers, {
            protect: () => on.core.s2_wrprotect(bed.pgt, 0, PAGE),
            flush: () => on.core.s2_tlb_flush_range(bed.pgt, 0, PAGE),
            look: load(on, x, RAM.pa),
          }),
        },
        forbidden() {
          const end = bed.lab.read32(word);
          const faulted = faultOf(answers.store as number) !== undefined;
          return forbidden(
            [answers.protect !== 0 || answers.flush !== 0, "write-protection failed"],
            [isWritable(bed.entry(entry)), `the page is ${say(bed.entry(entry))}`],
            [end !== answers.look, "a store landed after the page was clean: lost dirty"],
            [faulted !== (end !== NEW), "the store's answer is not what became of it"],
          );
        },
      };
    },
  });
}

const cleanWhileStoring = storeBehindFlush(
  "L17",
  "write-protect and flush beside a store through a hot TLB: no store lands behind the flush",
  ["dsb-waits-for-nobody", "dsb-overlooks-sections"],
);

const flushOmitted = storeBehindFlush(
  "L18",
  "the same store, to see that it is found when the flush is missing",
  ["flush-forgotten"],
);

const protectTwice = litmus({
  name: "L23",
  title: "write-protect twice beside a load that sets AF: the second call writes nothing",
  agents: ["X", "V0"],
  options: { guestRam: RAM },
  mutants: ["stores-unchanged-entry"],
  setup(agents, lab) {
    const bed = new Bed(agents, lab, { locking: true });
    const entry = bed.page(0, { young: false });
    bed.s2.setEvents(["writes"]);
    return { bed, entry, v0: bed.vcpu("V0") };
  },
  run({ bed, entry, v0 }, agents) {
    const { core } = agent(agents, "X");
    const answers: Answers = {};
    function* twice(): Part {
      answers.first = yield () => core.s2_wrprotect(bed.pgt, 0, PAGE);
      answers.second = yield () => core.s2_wrprotect(bed.pgt, 0, PAGE);
    }
    return {
      programs: { X: twice(), V0: calls(answers, { load: load(agent(agents, "V0"), v0, 0) }) },
      forbidden() {
        const end = bed.entry(entry);
        const stores = logged(agent(agents, "X"), bed.lab).filter(
          ({ kind }) => kind === EVENT.WRITE,
        );
        return forbidden(
          [stores.length !== 1, `two write-protections stored ${stores.length} times`],
          [(end & BIT.W) !== 0n || !isYoung(end), `the page is ${say(end)}`],
          [faultOf(answers.load as number) !== undefined, "V0's load failed"],
        );
      },
    };
  },
});

export const protection: readonly Litmus[] = [cleanWhileStoring, flushOmitted, protectTwice];
