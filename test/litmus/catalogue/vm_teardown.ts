/** B4: teardown of a VM beside operations that let go of its lock between two pieces, and the stock of pages that faults have. */
import { type Litmus, litmus } from "../../../src/explorer/litmus.ts";
import { ABORT, RANGE } from "../../../src/vm/_abi.ts";
import type { Part } from "./observe.ts";
import { A, BLOCK, PAGE, RAM, agent, forbidden } from "./support.ts";
import { TABLE_PAGES, VmBed, atOnce, fine } from "./vm_bed.ts";
import { accessed, faulted, handled, loads, met, steady } from "./vm_guests.ts";

const GIB = 2 ** 30;
/** A range of two pieces, as pieces end at multiples of the largest block: one block in each. */
const START = GIB - BLOCK;
const ENOMEM = -12;

/** Gives everything back, and says what is left. */
function leftOver(bed: VmBed, before: number): string | undefined {
  const core = bed.maker.core;
  core.vm_destroy(bed.vm);
  const late = core.engine_quiesce();
  const left = core.pool_used() - before;
  return forbidden(
    [late !== 0, `freed tables wait for a thread that is in no section (${late})`],
    [left !== 0, `${left} pages outlive the VM`],
  );
}

/** What the pool had in use before there was a VM. */
function inUse(agents: Readonly<Record<string, { core: { pool_used(): number } }>>): number {
  return Object.values(agents)[0]?.core.pool_used() ?? 0;
}

/** L49: T tears the VM down while X is between two pieces of a range operation. */
function betweenPieces(name: string, op: number, mutants: readonly string[]): Litmus {
  return litmus({
    name,
    title: "teardown beside a range operation that lets go between pieces: it ends with 0",
    agents: ["X", "T"],
    mutants,
    options: { guestRam: RAM, tablePages: TABLE_PAGES },
    setup(agents, lab) {
      const before = inUse(agents);
      const bed = new VmBed(agents, lab, {
        ipaBits: 36, // few entries, as teardown visits them all
        slots: [{ ipa: START, pages: (2 * BLOCK) / PAGE }],
      });
      const core = agent(agents, "X").core;
      for (const at of [START, GIB]) fine("map", core.s2_map(bed.pgt, at, BLOCK, A, 7, 0, 1));
      return { bed, before };
    },
    run({ bed, before }, agents) {
      const answers = { range: NaN, teardown: NaN, fresh: NaN };
      const t = agent(agents, "T").core;
      const x = agent(agents, "X").core;
      function* protects(): Part {
        const first = yield () => x.vm_range(bed.vm, op, START, 2 * BLOCK, 1, 0);
        answers.fresh = first;
        if (first < 0) return;
        answers.range = yield () => x.vm_range(bed.vm, op, GIB, BLOCK, 1, 1);
      }
      function* ends(): Part {
        answers.teardown = yield () => t.vm_teardown(bed.vm);
      }
      return {
        programs: { X: protects(), T: ends() },
        forbidden: () =>
          forbidden(
            [answers.teardown !== 0, `teardown answered ${answers.teardown}`],
            [answers.fresh !== BLOCK && answers.fresh !== -22, `the first piece: ${answers.fresh}`],
            [answers.fresh > 0 && answers.range !== BLOCK, `the next piece: ${answers.range}`],
            [t.pgt_root(bed.pgt) !== 0, "the page table is still there"],
          ) ?? leftOver(bed, before),
      };
    },
  });
}

const underFault = litmus({
  name: "L49/fault",
  title: "teardown beside a fault: it maps before, or nothing; no page is lost or used after",
  agents: ["F", "T"],
  mutants: ["teardown-without-lock"],
  options: { guestRam: RAM, tablePages: TABLE_PAGES },
  setup(agents, lab) {
    const before = inUse(agents);
    const bed = new VmBed(agents, lab, { ipaBits: 36, slots: [{ pages: 4 }] });
    const guest = bed.guest("F");
    atOnce(accessed(bed, guest, loads(guest, PAGE), steady(A), met()));
    faulted(guest, 0, 1); // what follows is its handling, no CPU walks any more
    return { bed, guest, used: before };
  },
  run({ bed, guest, used }, agents) {
    const seen = met();
    const t = agent(agents, "T").core;
    const answers = { teardown: NaN };
    function* faults(): Part {
      yield* handled(bed, guest, steady(A), seen);
    }
    function* ends(): Part {
      answers.teardown = yield () => t.vm_teardown(bed.vm);
    }
    return {
      programs: { F: faults(), T: ends() },
      forbidden() {
        guest.on.core.vm_vcpu_put(guest.context);
        guest.on.core.vcpu_destroy(guest.cpu);
        return (
          forbidden(
            [answers.teardown !== 0, `teardown answered ${answers.teardown}`],
            [seen.outcome !== ABORT.RESUME, `the abort came to ${seen.outcome}`],
          ) ?? leftOver(bed, used)
        );
      },
    };
  },
});

const underNotifier = litmus({
  name: "L49/notifier",
  title: "teardown beside an invalidation: each is whole, and none is in progress in the end",
  agents: ["N", "T"],
  mutants: ["teardown-without-lock"],
  options: { guestRam: RAM, tablePages: TABLE_PAGES },
  setup(agents, lab) {
    const before = inUse(agents);
    const bed = new VmBed(agents, lab, { ipaBits: 36, slots: [{ pages: BLOCK / PAGE }] });
    fine("map", bed.maker.core.s2_map(bed.pgt, 0, BLOCK, A, 7, 0, 1));
    return { bed, before };
  },
  run({ bed, before }, agents) {
    const answers = { start: NaN, end: NaN, teardown: NaN };
    const on = agent(agents, "N");
    const t = agent(agents, "T").core;
    function* notifies(): Part {
      const range = bed.hvaRange(0);
      answers.start = yield* bed.asks(on, range, () => on.core.vm_invalidate_start(bed.vm, 8));
      answers.end = yield* bed.asks(on, range, () => on.core.vm_invalidate_end(bed.vm));
    }
    function* ends(): Part {
      answers.teardown = yield () => t.vm_teardown(bed.vm);
    }
    return {
      programs: { N: notifies(), T: ends() },
      forbidden() {
        const [seq, inProgress, active] = bed.notifiers;
        return (
          forbidden(
            [answers.teardown !== 0, `teardown answered ${answers.teardown}`],
            [answers.start !== 1 || answers.end !== 0, `${answers.start}, ${answers.end}`],
            [inProgress !== 0 || active !== 0, `${inProgress} in progress, ${active} active`],
            [seq !== 1, `the sequence number is ${seq} after one invalidation`],
          ) ?? leftOver(bed, before)
        );
      },
    };
  },
});

const stocks = litmus({
  name: "S4",
  title: "two vCPUs stock up where there is too little for both: no page is lost",
  agents: ["F0", "F1"],
  mutants: ["topup-forgets-its-failure"],
  options: { guestRam: RAM, tablePages: TABLE_PAGES },
  setup(agents, lab) {
    const bed = new VmBed(agents, lab, { slots: [{ pages: 4 }] });
    const contexts = [bed.context("F0"), bed.context("F1")] as const;
    const used = bed.maker.core.pool_used();
    bed.maker.core.pool_set_budget(used + 3);
    return { bed, contexts, used };
  },
  run({ contexts, used }, agents) {
    const answers = [NaN, NaN];
    function* stocksUp(name: string, index: 0 | 1): Part {
      const core = agent(agents, name).core;
      answers[index] = yield () => core.vm_vcpu_topup(contexts[index], 2, 2);
    }
    return {
      programs: { F0: stocksUp("F0", 0), F1: stocksUp("F1", 1) },
      forbidden() {
        const stock = ["F0", "F1"].map((name, index) =>
          agent(agents, name).core.vm_vcpu_cache(contexts[index] as number),
        ) as [number, number];
        const { core } = agent(agents, "F0");
        const sum = core.pool_used() - used;
        const short = answers.filter((answer) => answer === ENOMEM).length;
        return forbidden(
          [sum !== stock[0] + stock[1], `${sum} pages were taken, the stocks are ${stock.join()}`],
          [short === 0, "both have two pages, and there were three"],
          [
            answers.some((answer, n) => answer === 0 && (stock[n] as number) < 2),
            "a stock is short",
          ],
        );
      },
    };
  },
});

export const teardowns: readonly Litmus[] = [
  betweenPieces("L49", RANGE.WRPROTECT, ["teardown-without-lock", "teardown-is-an-error"]),
  betweenPieces("L49/unmap", RANGE.UNMAP, ["teardown-without-lock"]),
  underFault,
  underNotifier,
  stocks,
];
