/**
 * B5: the dirty-state structure (FEAT_HDBSS: each page that becomes dirty gets an entry in the CPU's buffer) and the cleaner
 * that works such a list off (FEAT_HACDBS).
 *
 *   LIST   page 14 of guest memory, 512 entries of 8 bytes: IPA in 55:12, level in 3:1, valid in 0
 */
import { type Litmus, litmus } from "../../../src/explorer/litmus.ts";
import { Prot, type VcpuOptions } from "../../../src/index.ts";
import { faultOf, software } from "./observe.ts";
import {
  A,
  ACCESS,
  type Answers,
  Bed,
  COUNTER,
  FAULT,
  PAGE,
  RAM,
  STATE,
  agent,
  calls,
  counted,
  forbidden,
  isWritable,
  isYoung,
  say,
} from "./support.ts";

const WORD = 4;
const FIRST = 0x61;
const LAST = 0x62;
const LIST = RAM.pa + 14 * PAGE;
const ENTRIES = 512;
const INDEX = 0x7ffffn;
/** VTCR_EL2.HD and .HDBSS. */
const VTCR_HD = 1n << 22n;
const VTCR_HDBSS = 1n << 45n;
type Tlb = NonNullable<VcpuOptions["tlb"]>;

/** HACDBSBR_EL2.EN, and an entry of a reserved level, which ends a list. */
const CLEANER_ON = 1n << 11n;
const STOP = (4n << 1n) | 1n;

function listed(ipa: number): bigint {
  return BigInt(ipa) | (3n << 1n) | 1n;
}

/** A CPU whose structure begins at entry `index`. */
function recording(bed: Bed, index: number, tlb: Tlb = false): VcpuOptions {
  return {
    tlb,
    hafdbs: 4,
    hd: true,
    registers: {
      vtcrEl2: bed.s2.vtcr | VTCR_HD | VTCR_HDBSS,
      hdbssbrEl2: BigInt(LIST),
      hdbssprodEl2: BigInt(index),
    },
  };
}

/** Entries that the structure holds from `from` on. */
function entriesFrom(bed: Bed, vcpu: number, from: number): bigint[] {
  const end = Number(bed.lab.read64(vcpu + STATE.HDBSSPROD_EL2) & INDEX);
  const at = bed.ram(LIST);
  return Array.from({ length: end - from }, (_, n) => bed.lab.read64(at + (from + n) * 8));
}

/** L58: one place is left, V0 stores to two pages, X changes both entries under it. */
const full = litmus({
  name: "L58",
  title: "with the structure full no page becomes dirty, and an entry is there for each that does",
  agents: ["V0", "X"],
  mutants: ["hdbss-advances-first", "hdbss-full-ignored"],
  options: { guestRam: RAM },
  setup(agents, lab) {
    const bed = new Bed(agents, lab);
    const entries = [0, 1].map((n) => {
      const entry = bed.page(n, { pa: A + n * PAGE, prot: Prot.R, dbm: true });
      lab.name(entry, 8, `PTE ${n}`);
      return entry;
    }) as [number, number];
    lab.name(bed.ram(LIST), PAGE, "LIST");
    return { bed, entries, vcpu: bed.vcpu("V0", recording(bed, ENTRIES - 1)) };
  },
  run({ bed, entries, vcpu }, agents) {
    const answers: Answers = {};
    const { core: v0 } = agent(agents, "V0");
    const { core: x } = agent(agents, "X");
    return {
      programs: {
        V0: calls(answers, {
          first: () => v0.vcpu_translate(vcpu, 0, ACCESS.WRITE),
          second: () => v0.vcpu_translate(vcpu, PAGE, ACCESS.WRITE),
        }),
        X: calls(answers, { young: () => x.s2_test_clear_young(bed.pgt, 0, 2 * PAGE, 1) }),
      },
      forbidden() {
        const [first, second] = entries.map((entry) => bed.entry(entry)) as [bigint, bigint];
        const list = entriesFrom(bed, vcpu, ENTRIES - 1);
        return forbidden(
          [answers.first !== A, `the store to page 0 answered ${answers.first}`],
          [
            faultOf(answers.second as number) !== FAULT.PERMISSION,
            `the store to page 1 answered ${answers.second}`,
          ],
          [isWritable(second), `no place was left, and page 1 is ${say(second)}`],
          [
            isWritable(first) !== (list.length === 1 && list[0] === listed(0)),
            `page 0 is ${say(first)}, and the structure has [${list.map((entry) => entry.toString(16))}]`,
          ],
        );
      },
    };
  },
});

/** L59: V0 stores twice, X makes the page clean meanwhile; who reads the structure afterwards finds each time it became dirty. */
function read(tlb: Tlb, suffix: string, mutants: readonly string[]): Litmus {
  return litmus({
    name: `L59${suffix}`,
    title: "below INDEX there is one entry for each time that a page became dirty",
    agents: ["V0", "X"],
    mutants,
    options: { guestRam: RAM },
    setup(agents, lab) {
      const bed = new Bed(agents, lab);
      const entry = bed.page(0, { prot: Prot.R, young: false, dbm: true });
      lab.name(entry, 8, "PTE");
      lab.name(bed.ram(LIST), PAGE, "LIST");
      const word = bed.fillRam(A, 0);
      return { bed, entry, word, vcpu: bed.vcpu("V0", recording(bed, 0, tlb)) };
    },
    run({ bed, entry, word, vcpu }, agents) {
      const answers: Answers = {};
      const { core: v0 } = agent(agents, "V0");
      const { core: x } = agent(agents, "X");
      return {
        programs: {
          V0: calls(answers, {
            enter: () => v0.vcpu_enter(vcpu),
            first: () => v0.vcpu_write(vcpu, 0, WORD, FIRST),
            poll: () => v0.vcpu_poll(vcpu),
            last: () => v0.vcpu_write(vcpu, 0, WORD, LAST),
            exit: () => v0.vcpu_exit(vcpu),
          }),
          X: calls(answers, {
            protect: () => x.s2_wrprotect(bed.pgt, 0, PAGE),
            young: () => x.s2_test_clear_young(bed.pgt, 0, PAGE, 1),
            flush: () => x.s2_tlb_flush_range(bed.pgt, 0, PAGE),
          }),
        },
        forbidden() {
          const rises = counted(bed.lab, vcpu, COUNTER.DIRTY_STAGE2);
          const list = entriesFrom(bed, vcpu, 0);
          const end = bed.entry(entry);
          return forbidden(
            [answers.first !== 0 || answers.last !== 0, "a store to a writable-clean page failed"],
            [bed.lab.read32(word) !== LAST, "the last store is not in memory"],
            [answers.protect !== 0 || answers.flush !== 0, "wrprotect or flush failed"],
            [list.length === 0, "a store is in memory, and the structure is empty"],
            [
              list.length !== rises || list.some((one) => one !== listed(0)),
              `the page became dirty ${rises} times, it is ${say(end)}, and the structure has [${list.map((one) => one.toString(16))}]`,
            ],
          );
        },
      };
    },
  });
}

/** L60: X knows that page 0 is dirty; its cleaner makes it clean, it flushes and copies. V0 stores again. */
function cleaner(tlb: Tlb, suffix: string, young: boolean, mutants: readonly string[]): Litmus {
  return litmus({
    name: `L60${suffix}`,
    title: "a store beside the cleaner is in the copy, or the page is dirty; its access flag stays",
    agents: ["V0", "X"],
    mutants,
    options: { guestRam: RAM },
    setup(agents, lab) {
      const bed = new Bed(agents, lab);
      const entry = bed.page(0, { prot: Prot.RW, young, dbm: true });
      lab.name(entry, 8, "PTE");
      const list = bed.ram(LIST);
      lab.write64(list, listed(0));
      lab.write64(list + 8, STOP);
      const word = bed.fillRam(A, FIRST);
      lab.name(word, WORD, "WORD");
      const registers = { hacdbsbrEl2: BigInt(LIST) | CLEANER_ON, hacdbsconsEl2: 0n };
      const machine = bed.vcpu("X", { tlb: false, hafdbs: 4, hd: true, registers });
      const vcpu = bed.vcpu("V0", { tlb, hd: true });
      if (young) agent(agents, "V0").core.vcpu_translate(vcpu, 0, ACCESS.WRITE); // a TLB has it, writable
      return { bed, entry, word, machine, vcpu, copier: software(agent(agents, "X")) };
    },
    run({ bed, entry, word, machine, vcpu, copier }, agents) {
      const answers: Answers = {};
      const { core: v0 } = agent(agents, "V0");
      const { core: x } = agent(agents, "X");
      return {
        programs: {
          V0: calls(answers, { store: () => v0.vcpu_write(vcpu, 0, WORD, LAST) }),
          X: calls(answers, {
            cleaned: () => x.vcpu_hacdbs(machine),
            flush: () => x.s2_tlb_flush_range(bed.pgt, 0, PAGE),
            copy: () => x.vcpu_read(copier, A, WORD),
          }),
        },
        forbidden() {
          const end = bed.entry(entry);
          return forbidden(
            [answers.store !== 0, `V0's store answered ${answers.store}`],
            [bed.lab.read32(word) !== LAST, "V0's store is not in memory"],
            [answers.cleaned !== 1, `the cleaner processed ${answers.cleaned} entries`],
            [answers.flush !== 0, `the flush answered ${answers.flush}`],
            [
              !isWritable(end) && answers.copy !== LAST,
              `V0's store is in memory, not in the copy, and the page is ${say(end)}`,
            ],
            [!isYoung(end), `nobody took the access flag, and the page is ${say(end)}`],
          );
        },
      };
    },
  });
}

const TLB = { sets: 1, ways: 8 } as const;

export const structures: readonly Litmus[] = [
  full,
  read(false, "", ["hdbss-advances-first", "hdbss-records-once"]),
  read(TLB, "/tlb", ["hdbss-records-once"]), // the TLB entry is there until all is over: no update meets a change
  cleaner(false, "", false, ["cleaner-plain-store", "store-outside-section"]),
  cleaner(TLB, "/tlb", true, ["flush-forgotten"]),
];
