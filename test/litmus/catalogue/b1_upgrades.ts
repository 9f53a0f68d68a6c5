/**
 * B1: the access flag against a fault handler that upgrades the same entry. The question behind L2: what prevents another CPU
 * from setting the flag between the reading of the old entry and its replacement? Nothing; so the replacement must notice.
 */
import { type Litmus, litmus } from "../../../src/explorer/litmus.ts";
import { Prot, type Stage2Options, type VcpuOptions } from "../../../src/index.ts";
import {
  A,
  ACCESS,
  type Answers,
  Bed,
  BIT,
  EAGAIN,
  FAULT,
  NO_TLB,
  PAGE,
  VISITING,
  WITH_TLB,
  agent,
  calls,
  faultAt,
  flagsSet,
  forbidden,
  isExecutable,
  isWritable,
  isYoung,
  say,
} from "./support.ts";

/** Calls on one page have a short way, and a walk that visits the entry; CPUs walk straight down, or with a TLB step by step. */
interface Way {
  readonly suffix: string;
  readonly table: Stage2Options;
  readonly cpu: VcpuOptions;
  readonly mutants: readonly string[];
}

const SHORT: Way = {
  suffix: "",
  table: {},
  cpu: NO_TLB,
  mutants: ["plain-store-single", "stale-compare-single"],
};
const WALKED: Way = {
  suffix: "/walked",
  table: VISITING,
  cpu: WITH_TLB,
  mutants: ["plain-store-walked", "stale-compare-walked"],
};

/** L2: a read-only page, old. F makes it writable while V1 reads it. */
function upgrade({ suffix, table, cpu, mutants }: Way): Litmus {
  return litmus({
    name: `L2${suffix}`,
    title:
      "relaxing an old entry loses no access flag that hardware sets between its read and its store",
    agents: ["F", "V1"],
    mutants,
    setup(agents, lab) {
      const bed = new Bed(agents, lab, table);
      const entry = bed.page(0, { prot: Prot.R, young: false });
      lab.name(entry, 8, "PTE");
      return { bed, entry, vcpu: bed.vcpu("V1", cpu) };
    },
    run({ bed, entry, vcpu }, agents) {
      const answers: Answers = {};
      const { core: f } = agent(agents, "F");
      const { core: v1 } = agent(agents, "V1");
      return {
        programs: {
          F: calls(answers, { relax: () => f.s2_relax_perms(bed.pgt, 0, Prot.RW) }),
          V1: calls(answers, { load: () => v1.vcpu_translate(vcpu, 0, ACCESS.READ) }),
        },
        forbidden() {
          const end = bed.entry(entry);
          const { relax, load } = answers;
          return forbidden(
            [load !== A, `V1's load answered ${load}`],
            [!isYoung(end), `V1 set the access flag, nobody took it, and the page is ${say(end)}`],
            [relax !== 0 && relax !== EAGAIN, `relax answered ${relax}`],
            [relax === 0 && !isWritable(end), `relax answered 0, and the page is ${say(end)}`],
            [relax === EAGAIN && isWritable(end), "relax answered -EAGAIN and made it writable"],
          );
        },
      };
    },
  });
}

/** L3: the same with X, and somebody who collects access flags beside them. */
function upgradeAndAge({ suffix, table, cpu, mutants }: Way): Litmus {
  return litmus({
    name: `L3${suffix}`,
    title: "an access flag set beside relax and aging is in the entry or was reported",
    agents: ["F", "V0", "X"],
    mutants,
    setup(agents, lab) {
      const bed = new Bed(agents, lab, table);
      const entry = bed.page(0, { prot: Prot.R, young: false });
      lab.name(entry, 8, "PTE");
      return { bed, entry, vcpu: bed.vcpu("V0", cpu) };
    },
    run({ bed, entry, vcpu }, agents) {
      const answers: Answers = {};
      const { core: f } = agent(agents, "F");
      const { core: v0 } = agent(agents, "V0");
      const { core: x } = agent(agents, "X");
      return {
        programs: {
          F: calls(answers, { relax: () => f.s2_relax_perms(bed.pgt, 0, Prot.RX) }),
          V0: calls(answers, { load: () => v0.vcpu_translate(vcpu, 0, ACCESS.READ) }),
          X: calls(answers, { young: () => x.s2_test_clear_young(bed.pgt, 0, PAGE, 1) }),
        },
        forbidden() {
          const end = bed.entry(entry);
          const { relax, load, young } = answers;
          const events = flagsSet(bed.lab, vcpu);
          return forbidden(
            [load !== A, `V0's load answered ${load}`],
            [
              events !== (young as number) + Number(isYoung(end)),
              `the flag was set ${events} times, aging reported ${young}, the page is ${say(end)}`,
            ],
            [relax !== 0 && relax !== EAGAIN, `relax answered ${relax}`],
            [relax === 0 && !isExecutable(end), `relax answered 0, and the page is ${say(end)}`],
            [isWritable(end), `nobody made it writable, and the page is ${say(end)}`],
          );
        },
      };
    },
  });
}

/** L12: stores to a read-only page, by a CPU that leaves the flag alone when the access fails and by one that sets it. */
function refusedStore(cpu: VcpuOptions, suffix: string): Litmus {
  return litmus({
    name: `L12${suffix}`,
    title:
      "a store that permissions refuse sets the access flag at most (both choices of hardware)",
    agents: ["V0", "V1", "X"],
    mutants: ["refused-store-sets-w"],
    setup(agents, lab) {
      const bed = new Bed(agents, lab);
      const entry = bed.page(0, { prot: Prot.R, young: false });
      lab.name(entry, 8, "PTE");
      return {
        bed,
        entry,
        start: bed.entry(entry),
        leaves: bed.vcpu("V0", cpu),
        sets: bed.vcpu("V1", { ...cpu, afOnPermissionFault: true }),
      };
    },
    run({ bed, entry, start, leaves, sets }, agents) {
      const answers: Answers = {};
      const { core: v0 } = agent(agents, "V0");
      const { core: v1 } = agent(agents, "V1");
      const { core: x } = agent(agents, "X");
      const refused = faultAt(FAULT.PERMISSION, 3);
      return {
        programs: {
          V0: calls(answers, { first: () => v0.vcpu_translate(leaves, 0, ACCESS.WRITE) }),
          V1: calls(answers, { second: () => v1.vcpu_translate(sets, 0, ACCESS.WRITE) }),
          X: calls(answers, { young: () => x.s2_test_clear_young(bed.pgt, 0, PAGE, 1) }),
        },
        invariant: () =>
          isWritable(bed.entry(entry)) ? `the page is ${say(bed.entry(entry))}` : undefined,
        forbidden() {
          const end = bed.entry(entry);
          const events = flagsSet(bed.lab, sets);
          return forbidden(
            [answers.first !== refused, `V0's store answered ${answers.first}`],
            [answers.second !== refused, `V1's store answered ${answers.second}`],
            [((end ^ start) & ~BIT.AF) !== 0n, `${say(start)} became ${say(end)}`],
            [flagsSet(bed.lab, leaves) !== 0, "V0 set the flag, which it leaves alone"],
            [
              events !== (answers.young as number) + Number(isYoung(end)),
              `the flag was set ${events} times, aging reported ${answers.young}, the page is ${say(end)}`,
            ],
          );
        },
      };
    },
  });
}

export const upgrades: readonly Litmus[] = [
  upgrade(SHORT),
  upgrade(WALKED),
  upgradeAndAge(SHORT),
  upgradeAndAge(WALKED),
  refusedStore(NO_TLB, ""),
  refusedStore(WITH_TLB, "/tlb"),
];
