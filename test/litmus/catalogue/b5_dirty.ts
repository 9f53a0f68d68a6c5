/**
 * B5: dirty state that hardware sets (DBM: a page is writable-clean, the first store makes it writable). Who makes a page clean
 * again has to know that it was dirty; a store that is in memory is in the page's dirty state or in somebody's copy.
 */
import { type Litmus, type Program, litmus } from "../../../src/explorer/litmus.ts";
import { Prot, type VcpuOptions } from "../../../src/index.ts";
import { software } from "./observe.ts";
import {
  A,
  ACCESS,
  type Answers,
  Bed,
  BIT,
  FAULT,
  NO_TLB_HD,
  PAGE,
  RAM,
  WITH_TLB_HD,
  agent,
  calls,
  faultAt,
  forbidden,
  isWritable,
  isYoung,
  say,
} from "./support.ts";

const WORD = 4;
const FIRST = 0x51;
const LAST = 0x52;

/** L53: V0 stores twice; X collects: a page that it finds dirty it notes, makes clean, flushes, and only then copies. */
function collect(cpu: VcpuOptions, suffix: string, mutants: readonly string[]): Litmus {
  return litmus({
    name: `L53${suffix}`,
    title: "a store beside the cleaning of its page is in the copy, or the page is dirty",
    agents: ["V0", "X"],
    mutants,
    options: { guestRam: RAM },
    setup(agents, lab) {
      const bed = new Bed(agents, lab);
      const entry = bed.page(0, { prot: Prot.R, dbm: true });
      lab.name(entry, 8, "PTE");
      const word = bed.fillRam(A, 0);
      lab.name(word, WORD, "WORD");
      const results = agent(agents, "X").core.args() + 64;
      const copier = software(agent(agents, "X"));
      return { bed, entry, word, results, copier, vcpu: bed.vcpu("V0", cpu) };
    },
    run({ bed, entry, word, results, copier, vcpu }, agents) {
      const answers: Answers = {};
      const { core: v0 } = agent(agents, "V0");
      const { core: x } = agent(agents, "X");
      let copy: number | undefined;
      function* clean(): Program {
        yield () => x.s2_get_leaf(bed.pgt, 0);
        if (!isWritable(bed.lab.read64(results))) return;
        answers.protect = yield () => x.s2_wrprotect(bed.pgt, 0, PAGE);
        answers.flush = yield () => x.s2_tlb_flush_range(bed.pgt, 0, PAGE);
        copy = yield () => x.vcpu_read(copier, A, WORD);
      }
      return {
        programs: {
          V0: calls(answers, {
            first: () => v0.vcpu_write(vcpu, 0, WORD, FIRST),
            last: () => v0.vcpu_write(vcpu, 0, WORD, LAST),
          }),
          X: clean(),
        },
        forbidden() {
          const end = bed.entry(entry);
          const stored = bed.lab.read32(word);
          return forbidden(
            [answers.first !== 0 || answers.last !== 0, "a store to a writable-clean page failed"],
            [stored !== LAST, `the word is ${stored}`],
            [(answers.protect ?? 0) !== 0, `wrprotect answered ${answers.protect}`],
            [(answers.flush ?? 0) !== 0, `the flush answered ${answers.flush}`],
            [
              !isWritable(end) && copy !== stored,
              `the last store is in memory, not in the copy (${copy}), and the page is ${say(end)}`,
            ],
            [!isYoung(end), `nobody took the access flag, and the page is ${say(end)}`],
          );
        },
      };
    },
  });
}

/** L55: one store to an old, writable-clean page, and somebody who looks. */
function together(cpu: VcpuOptions, suffix: string): Litmus {
  return litmus({
    name: `L55${suffix}`,
    title: "access flag and dirty state of one store appear together",
    agents: ["V0", "X"],
    mutants: ["dirty-before-flag"],
    setup(agents, lab) {
      const bed = new Bed(agents, lab);
      const entry = bed.page(0, { prot: Prot.R, young: false, dbm: true });
      lab.name(entry, 8, "PTE");
      const results = agent(agents, "X").core.args() + 64;
      return { bed, entry, results, vcpu: bed.vcpu("V0", cpu) };
    },
    run({ bed, entry, results, vcpu }, agents) {
      const answers: Answers = {};
      const { core: v0 } = agent(agents, "V0");
      const { core: x } = agent(agents, "X");
      const torn = (pte: bigint): string | undefined =>
        isWritable(pte) && !isYoung(pte) ? `the page is ${say(pte)}` : undefined;
      let seen = 0n;
      function* look(): Program {
        yield () => x.s2_get_leaf(bed.pgt, 0);
        seen = bed.lab.read64(results);
      }
      return {
        programs: {
          V0: calls(answers, { store: () => v0.vcpu_translate(vcpu, 0, ACCESS.WRITE) }),
          X: look(),
        },
        invariant: () => torn(bed.entry(entry)),
        forbidden() {
          const end = bed.entry(entry);
          return (
            torn(seen) ??
            forbidden(
              [answers.store !== A, `V0's store answered ${answers.store}`],
              [!isWritable(end) || !isYoung(end), `V0 stored, and the page is ${say(end)}`],
            )
          );
        },
      };
    },
  });
}

/** L57: the same without DBM: hardware may not make the page writable, whatever VTCR_EL2.HD says. */
function notMine(cpu: VcpuOptions, suffix: string): Litmus {
  return litmus({
    name: `L57${suffix}`,
    title: "without DBM no store makes a read-only page writable",
    agents: ["V0", "X"],
    mutants: ["dbm-ignored"],
    setup(agents, lab) {
      const bed = new Bed(agents, lab);
      const entry = bed.page(0, { prot: Prot.R });
      lab.name(entry, 8, "PTE");
      return { bed, entry, start: bed.entry(entry), vcpu: bed.vcpu("V0", cpu) };
    },
    run({ bed, entry, start, vcpu }, agents) {
      const answers: Answers = {};
      const { core: v0 } = agent(agents, "V0");
      const { core: x } = agent(agents, "X");
      return {
        programs: {
          V0: calls(answers, { store: () => v0.vcpu_translate(vcpu, 0, ACCESS.WRITE) }),
          X: calls(answers, { young: () => x.s2_test_clear_young(bed.pgt, 0, PAGE, 1) }),
        },
        invariant: () =>
          isWritable(bed.entry(entry)) ? `the page is ${say(bed.entry(entry))}` : undefined,
        forbidden() {
          const end = bed.entry(entry);
          return forbidden(
            [
              answers.store !== faultAt(FAULT.PERMISSION, 3),
              `V0's store answered ${answers.store}`,
            ],
            [end !== (start & ~BIT.AF), `${say(start)} became ${say(end)}`],
            [answers.young !== 1, "the page was young, and aging did not say so"],
          );
        },
      };
    },
  });
}

export const dirty: readonly Litmus[] = [
  collect(NO_TLB_HD, "", ["store-outside-section"]),
  collect(WITH_TLB_HD, "/tlb", ["flush-forgotten", "store-outside-section"]),
  together(NO_TLB_HD, ""),
  together(WITH_TLB_HD, "/tlb"),
  notMine(NO_TLB_HD, ""),
  notMine(WITH_TLB_HD, "/tlb"),
];
