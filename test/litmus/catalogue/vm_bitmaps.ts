/** Dirty bitmaps: their words are shared by 64 pages, and they come and go with the flag of their slot. */
import { type Litmus, litmus } from "../../../src/explorer/litmus.ts";
import type { VcpuOptions } from "../../../src/index.ts";
import { CHANGE, SLOT_FLAG } from "../../../src/vm/_abi.ts";
import type { Part } from "./observe.ts";
import { Accounts } from "./accounts.ts";
import { A, NO_TLB, PAGE, RAM, WITH_TLB, agent, forbidden } from "./support.ts";
import { TABLE_PAGES, VmBed, atOnce, whole } from "./vm_bed.ts";
import { accessed, met, steady, stores, worked } from "./vm_guests.ts";
import { Collector, ledger, lost } from "./vm_ledger.ts";

const PAGES = 4;
const LOGGED = { pages: PAGES, flags: SLOT_FLAG.LOG_DIRTY_PAGES } as const;
const ON_A = steady(A);

const oneWord = litmus({
  name: "S5",
  title: "two hosts mark two pages of one word beside get_dirty_log: each is named once",
  agents: ["M", "N", "X"],
  mutants: ["marked-by-plain-store", "log-taken-by-plain-store"],
  options: { preemptions: 2, tablePages: TABLE_PAGES },
  setup(agents, lab) {
    const bed = new VmBed(agents, lab, { slots: [LOGGED] });
    return { bed, collector: new Collector(bed, "X") };
  },
  run({ bed, collector }, agents) {
    const answers: Record<string, number> = {};
    let taken: bigint | number = 0n;
    function* marks(name: string, page: number): Part {
      const core = agent(agents, name).core;
      answers[name] = yield () => core.vm_mark_dirty(bed.vm, page * PAGE);
    }
    function* fetches(): Part {
      taken = yield* collector.get();
    }
    return {
      programs: { M: marks("M", 0), N: marks("N", 1), X: fetches() },
      forbidden() {
        if (typeof taken === "number") return `the log answered ${taken}`;
        const bits = taken;
        const wrong = [0, 1].find((page) => {
          const named = (bits >> BigInt(page)) & 1n ? 1 : 0;
          return named + (bed.isDirty(page) ? 1 : 0) !== 1;
        });
        return forbidden(
          [answers.M !== 1 || answers.N !== 1, `marking answered ${answers.M}, ${answers.N}`],
          [wrong !== undefined, `page ${wrong} is in both logs, or in none`],
        );
      },
    };
  },
});

/** X takes the log away, with its memory, beside a host that marks a page in it. */
function goesAway(name: string, pages: number, change: number, mutants: readonly string[]): Litmus {
  return litmus({
    name,
    title: `a page is marked beside ${pages ? "the end of its log" : "the deletion of its slot"}: no freed page is written`,
    agents: ["M", "X"],
    mutants,
    setup(agents, lab) {
      const bed = new VmBed(agents, lab, { slots: [LOGGED, { id: 1, ipa: 8 * PAGE, pages: 1 }] });
      return { bed, accounts: new Accounts(bed, agent(agents, "X")) };
    },
    run({ bed, accounts }, agents) {
      const answers = { marked: 0, change: 0, late: 0 };
      const core = agent(agents, "M").core;
      const x = agent(agents, "X");
      let page = 0;
      function* marks(): Part {
        answers.marked = yield () => core.vm_mark_dirty(bed.vm, 0);
      }
      function* changes(): Part {
        answers.change = yield* bed.setSlot("X", { pages });
        answers.late = yield () => x.core.engine_quiesce();
        page = yield () => x.core.pool_alloc(12); // what was the bitmap may be somebody's table now
      }
      return {
        programs: { M: marks(), X: changes() },
        forbidden() {
          const used = [...Array(512).keys()].find((n) => bed.lab.read64(page + n * 8) !== 0n);
          return (
            forbidden(
              [answers.change !== change, `the change answered ${answers.change}`],
              [answers.late !== 0 || page <= 0, "the pool had no page"],
              [used !== undefined, `somebody else's page was written to, at word ${used}`],
              [answers.marked !== 0 && answers.marked !== 1, `marking answered ${answers.marked}`],
            ) ?? accounts.untouched()
          );
        },
      };
    },
  });
}

/** V0 writes while X turns the log on, as the begin of a migration; then X copies everything. */
function comes(
  name: string,
  cpu: VcpuOptions,
  mapped: boolean,
  mutants: readonly string[],
): Litmus {
  return litmus({
    name,
    title: `the log begins beside a ${mapped ? "guest that writes" : "fault"}: what is stored after it is logged`,
    agents: ["V0", "X"],
    mutants,
    options: { guestRam: RAM, tablePages: TABLE_PAGES },
    setup(agents, lab) {
      const bed = new VmBed(agents, lab, { slots: [{ pages: PAGES }] });
      const guest = bed.guest("V0", cpu);
      if (mapped) atOnce(accessed(bed, guest, stores(guest, 0, 1), ON_A, met()));
      return { bed, guest, collector: new Collector(bed, "X"), word: bed.ram(A) };
    },
    run({ bed, guest, collector, word }) {
      const [first, last, books] = [met(), met(), ledger()];
      let change = 0;
      function* storing(): Part {
        yield* accessed(bed, guest, stores(guest, 0, 2), ON_A, first);
        yield* accessed(bed, guest, stores(guest, 0, 3), ON_A, last);
      }
      function* begins(): Part {
        change = yield* bed.setSlot("X", LOGGED);
        yield* collector.copy(books);
      }
      return {
        programs: { V0: storing(), X: begins() },
        forbidden: () =>
          forbidden(
            [change !== CHANGE.FLAGS, `turning the log on answered ${change}`],
            [!worked(first) || !worked(last), "a store never came to pass"],
          ) ?? lost(bed, books, word),
      };
    },
  });
}

const otherPage = litmus({
  name: "S6",
  title: "a fault on one page beside get_dirty_log of another in the same word: neither is lost",
  agents: ["V0", "X"],
  mutants: ["marked-by-plain-store", "log-taken-by-plain-store"],
  options: { guestRam: RAM, tablePages: TABLE_PAGES },
  setup(agents, lab) {
    const bed = new VmBed(agents, lab, { slots: [LOGGED] });
    const guest = bed.guest("V0");
    agent(agents, "V0").core.vm_mark_dirty(bed.vm, PAGE);
    return { bed, guest, collector: new Collector(bed, "X") };
  },
  run({ bed, guest, collector }) {
    const seen = met();
    let taken: bigint | number = 0n;
    function* fetches(): Part {
      taken = yield* collector.get();
    }
    return {
      programs: { V0: whole(accessed(bed, guest, stores(guest, 0, 1), ON_A, seen)), X: fetches() },
      forbidden() {
        if (typeof taken === "number") return `the log answered ${taken}`;
        const first = (taken & 1n) !== 0n || bed.isDirty(0);
        const marked = (taken & 2n) !== 0n && !bed.isDirty(1);
        return forbidden(
          [!worked(seen), "the store never came to pass"],
          [!first, "V0 stored into page 0, and no log has it"],
          [!marked, "page 1 was marked once, and is not in this log alone"],
        );
      },
    };
  },
});

export const bitmaps: readonly Litmus[] = [
  oneWord,
  otherPage,
  goesAway("S7", 0, CHANGE.DELETE, ["marks-outside-section", "bitmap-freed-at-once"]),
  goesAway("S7/off", PAGES, CHANGE.FLAGS, ["marks-outside-section"]),
  comes("S8", NO_TLB, false, ["commit-forgets-protection"]),
  comes("S8/hot", WITH_TLB, true, ["commit-forgets-flush"]),
];
