/**
 * B1: the access flag against exclusive walks. Nobody else changes the table, but hardware does: an exclusive walk that loses
 * to it reads again and retries. It never skips the entry, and the flag is never lost.
 */
import { type Litmus, litmus } from "../../../src/explorer/litmus.ts";
import { Prot, type Stage2Options, type VcpuOptions } from "../../../src/index.ts";
import {
  A,
  ACCESS,
  type Answers,
  Bed,
  NO_TLB,
  PAGE,
  VISITING,
  WITH_TLB,
  agent,
  calls,
  forbidden,
  isWritable,
  isYoung,
  say,
} from "./support.ts";

/** A page of the line that L4 and L5 write-protect, and how many pages that are. */
const USED = 2;

interface Way {
  readonly suffix: string;
  readonly table: Stage2Options;
  readonly cpu: VcpuOptions;
  /** First page of the range, and how many. */
  readonly from: number;
  readonly pages: number;
  readonly mutants: readonly string[];
}

/** One page: a walk that visits it. Eight: a line, by vectors. With a TLB: the CPU walks step by step. */
const ONE: Way = {
  suffix: "",
  table: {},
  cpu: NO_TLB,
  from: USED,
  pages: 1,
  mutants: ["plain-store-walked", "exclusive-gives-up"],
};
const RUN: Way = {
  suffix: "/run",
  table: {},
  cpu: NO_TLB,
  from: 0,
  pages: 8,
  mutants: ["stale-compare-run", "run-gives-up"],
};
const WALKED: Way = { ...ONE, suffix: "/walked", table: VISITING, cpu: WITH_TLB };

/** L4: an old, writable page is write-protected while V0 reads it. */
function protect({ suffix, table, cpu, from, pages, mutants }: Way): Litmus {
  return litmus({
    name: `L4${suffix}`,
    title: "write protection beside a walk that sets the flag: both are there at the end",
    agents: ["X", "V0"],
    mutants,
    setup(agents, lab) {
      const bed = new Bed(agents, lab, table);
      for (let n = 0; n < 8; n++) {
        if (n !== USED) bed.page(n, { pa: A + n * PAGE, prot: Prot.R });
      }
      const entry = bed.page(USED, { pa: A + USED * PAGE, prot: Prot.RWX, young: false });
      lab.name(entry, 8, "PTE");
      return { bed, entry, vcpu: bed.vcpu("V0", cpu) };
    },
    run({ bed, entry, vcpu }, agents) {
      const answers: Answers = {};
      const { core: x } = agent(agents, "X");
      const { core: v0 } = agent(agents, "V0");
      return {
        programs: {
          X: calls(answers, {
            protect: () => x.s2_wrprotect(bed.pgt, from * PAGE, pages * PAGE),
          }),
          V0: calls(answers, { load: () => v0.vcpu_translate(vcpu, USED * PAGE, ACCESS.READ) }),
        },
        forbidden() {
          const end = bed.entry(entry);
          return forbidden(
            [answers.load !== A + USED * PAGE, `V0's load answered ${answers.load}`],
            [answers.protect !== 0, `wrprotect answered ${answers.protect}`],
            [isWritable(end), `wrprotect passed the page over: it is ${say(end)}`],
            [!isYoung(end), `V0 set the flag, nobody took it, and the page is ${say(end)}`],
          );
        },
      };
    },
  });
}

/** L5: aging and write protection of one young page; with the lock of the table, and without. */
function ageAndProtect(options: Stage2Options, suffix: string, mutants: readonly string[]): Litmus {
  return litmus({
    name: `L5${suffix}`,
    title: "aging and write protection in any order: neither undoes the other",
    agents: ["X0", "X1"],
    mutants,
    setup(agents, lab) {
      const bed = new Bed(agents, lab, options);
      const entry = bed.page(0);
      lab.name(entry, 8, "PTE");
      return { bed, entry };
    },
    run({ bed, entry }, agents) {
      const answers: Answers = {};
      const { core: x0 } = agent(agents, "X0");
      const { core: x1 } = agent(agents, "X1");
      return {
        programs: {
          X0: calls(answers, { young: () => x0.s2_test_clear_young(bed.pgt, 0, PAGE, 1) }),
          X1: calls(answers, { protect: () => x1.s2_wrprotect(bed.pgt, 0, PAGE) }),
        },
        forbidden() {
          const end = bed.entry(entry);
          return forbidden(
            [answers.young !== 1, "the page was young, and aging did not say so"],
            [answers.protect !== 0, `wrprotect answered ${answers.protect}`],
            [isWritable(end), `the page is writable again: ${say(end)}`],
            [isYoung(end), `the page is young with no access: ${say(end)}`],
          );
        },
      };
    },
  });
}

export const exclusive: readonly Litmus[] = [
  protect(ONE),
  protect(RUN),
  protect(WALKED),
  ageAndProtect({ locking: true }, "", ["protect-unlocked-plain-store"]),
  ageAndProtect({}, "/unlocked", ["plain-store-walked", "plain-store-single"]),
  ageAndProtect(VISITING, "/visiting", ["plain-store-walked"]),
];
