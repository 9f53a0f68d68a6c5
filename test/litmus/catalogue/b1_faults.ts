/** B1: no hardware access flag, so faults set it; and walks that nobody asked for. */
import { type Litmus, type Program, litmus } from "../../../src/explorer/litmus.ts";
import { Prot, type Stage2Options, type VcpuOptions } from "../../../src/index.ts";
import { Accounts } from "./accounts.ts";
import {
  A,
  ACCESS,
  type Agents,
  type Answers,
  BIT,
  BLOCK,
  Bed,
  COUNTER,
  EAGAIN,
  FAULT,
  NO_TLB,
  PAGE,
  STATE,
  VISITING,
  WITH_TLB,
  agent,
  calls,
  counted,
  faultAt,
  forbidden,
  say,
} from "./support.ts";

const NO_HA: Stage2Options = { ha: false };
const AF_FAULT = faultAt(FAULT.ACCESS_FLAG, 3);

/** One access as a guest makes it: on an access-flag fault the handler makes the page young, then the guest tries again. */
function* access(agents: Agents, name: string, bed: Bed, vcpu: number, answers: Answers): Program {
  const { core } = agent(agents, name);
  const first = yield () => core.vcpu_translate(vcpu, 0, ACCESS.READ);
  answers[`${name} first`] = first;
  if (first !== AF_FAULT) return;
  answers[`${name} young`] = yield () => core.s2_mkyoung(bed.pgt, 0);
  answers[`${name} again`] = yield () => core.vcpu_translate(vcpu, 0, ACCESS.READ);
}

function accessFailed(answers: Answers, name: string): string | undefined {
  const first = answers[`${name} first`];
  const young = answers[`${name} young`];
  const again = answers[`${name} again`];
  if (first === A) return undefined;
  if (first !== AF_FAULT) return `${name}'s load answered ${first}`;
  if (young !== 1 && young !== EAGAIN) return `mkyoung of ${name} answered ${young}`;
  return again === A ? undefined : `${name}'s second load answered ${again}`;
}

/** L8: two CPUs fault on one old page, and both make it young. */
function twoFaults(
  table: Stage2Options,
  cpu: VcpuOptions,
  suffix: string,
  mutants: readonly string[],
): Litmus {
  return litmus({
    name: `L8${suffix}`,
    title:
      "two access-flag faults on one page: the flag is set, nothing else changes, no TLB is flushed",
    agents: ["V0", "V1"],
    mutants,
    setup(agents, lab) {
      const bed = new Bed(agents, lab, { ...table, ...NO_HA });
      const entry = bed.page(0, { prot: Prot.R, young: false });
      lab.name(entry, 8, "PTE");
      const vcpus = { V0: bed.vcpu("V0", cpu), V1: bed.vcpu("V1", cpu) };
      return { bed, entry, start: bed.entry(entry), vcpus };
    },
    run({ bed, entry, start, vcpus }, agents) {
      const answers: Answers = {};
      const applied = (): number =>
        counted(bed.lab, vcpus.V0, COUNTER.TLBI_APPLIED) +
        counted(bed.lab, vcpus.V1, COUNTER.TLBI_APPLIED);
      return {
        programs: {
          V0: access(agents, "V0", bed, vcpus.V0, answers),
          V1: access(agents, "V1", bed, vcpus.V1, answers),
        },
        forbidden() {
          const end = bed.entry(entry);
          const failed = accessFailed(answers, "V0") ?? accessFailed(answers, "V1");
          if (failed !== undefined) return failed;
          return forbidden(
            [end !== (start | BIT.AF), `${say(start)} became ${say(end)}`],
            [applied() !== 0, `${applied()} TLB invalidations for a flag that no TLB can hold`],
          );
        },
      };
    },
  });
}

/** L9: a fault makes a page young that X unmaps. `alone`: with it the tables go, and the locks must keep the two apart. */
function resurrection(alone: boolean, suffix: string, mutants: readonly string[]): Litmus {
  return litmus({
    name: `L9${suffix}`,
    title: alone
      ? "mkyoung beside an unmap that frees the table (locks): no entry comes back, no freed page is written"
      : "mkyoung beside unmap: the entry does not come back",
    agents: ["F", "X"],
    mutants,
    setup(agents, lab) {
      const bed = new Bed(agents, lab, { ...NO_HA, locking: alone });
      const accounts = new Accounts(bed, agent(agents, "X"));
      if (!alone) bed.page(1);
      const entry = bed.page(0, { young: false });
      lab.name(entry, 8, "PTE");
      return { bed, entry, accounts };
    },
    run({ bed, entry, accounts }, agents) {
      const answers: Answers = {};
      const { core: f } = agent(agents, "F");
      const { core: x } = agent(agents, "X");
      return {
        programs: {
          F: calls(answers, { young: () => f.s2_mkyoung(bed.pgt, 0) }),
          X: calls(answers, { unmap: () => x.s2_unmap(bed.pgt, 0, PAGE) }),
        },
        forbidden() {
          const end = bed.entry(entry);
          return (
            forbidden(
              [end !== 0n, `the page was unmapped, and its entry is ${say(end)}`],
              [answers.unmap !== 0, `unmap answered ${answers.unmap}`],
              [
                ![1, 0, EAGAIN].includes(answers.young as number),
                `mkyoung answered ${answers.young}`,
              ],
            ) ?? accounts.wrong()
          );
        },
      };
    },
  });
}

/** Every translation also walks for a neighbouring page: the shortest interval, which no option gives. */
function alwaysSpeculate(bed: Bed, vcpu: number, agents: Agents): void {
  bed.lab.write32(vcpu + STATE.SPECULATE, 1);
  agent(agents, "V0").core.vcpu_configure(vcpu);
}

/** L13: V0 uses the middle one of three pages and walks ahead to a neighbour; X unmaps all, and takes the freed table. */
function speculation(freed: boolean, suffix: string, mutants: readonly string[]): Litmus {
  return litmus({
    name: `L13${suffix}`,
    title: freed
      ? "a speculative walk writes nothing into a table page that was freed and has another use"
      : "a speculative walk sets no flag in an entry that is gone",
    agents: ["V0", "X"],
    mutants,
    setup(agents, lab) {
      const bed = new Bed(agents, lab);
      bed.leaf(BLOCK, PAGE, {}); // the table above stays
      if (!freed) bed.page(3);
      const [low, , high] = [0, 1, 2].map((n) =>
        bed.page(n, { pa: A + n * PAGE, prot: Prot.RW, young: n === 1 }),
      ) as [number, number, number];
      lab.name(low, 8, "PTE 0");
      lab.name(high, 8, "PTE 2");
      const vcpu = bed.vcpu("V0", { ...NO_TLB, speculation: 2 });
      alwaysSpeculate(bed, vcpu, agents);
      return { bed, low, vcpu, accounts: new Accounts(bed, agent(agents, "X")) };
    },
    run({ bed, low, vcpu, accounts }, agents) {
      const answers: Answers = {};
      const { core: v0 } = agent(agents, "V0");
      const { core: x } = agent(agents, "X");
      const allocate = freed ? { page: () => x.pool_alloc(12) } : {};
      return {
        programs: {
          V0: calls(answers, { load: () => v0.vcpu_translate(vcpu, PAGE, ACCESS.READ) }),
          X: calls(answers, { unmap: () => x.s2_unmap(bed.pgt, 0, 3 * PAGE), ...allocate }),
        },
        forbidden() {
          const gone = [3, 2].map((level) => faultAt(FAULT.TRANSLATION, level));
          const { load, unmap, page = 0 } = answers;
          if (freed && page <= 0) return "the pool had no page";
          const written = freed ? firstWord(bed, page) : undefined;
          if (written !== undefined) return `entry ${written} of the page was written to`;
          if (freed) x.pool_free(page, 12);
          const left = [low, low + 8, low + 16].map((at) => bed.entry(at)).find((entry) => entry);
          return (
            forbidden(
              [unmap !== 0, `unmap answered ${unmap}`],
              [left !== undefined, `an entry that is gone is ${say(left ?? 0n)}`],
              [![A + PAGE, ...gone].includes(load as number), `V0's load answered ${load}`],
            ) ?? accounts.wrong()
          );
        },
      };
    },
  });
}

/** Index of the first entry of a page that is not zero. */
function firstWord(bed: Bed, page: number): number | undefined {
  for (let index = 0; index < PAGE / 8; index++) {
    if (bed.entry(page + index * 8) !== 0n) return index;
  }
  return undefined;
}

export const faults: readonly Litmus[] = [
  twoFaults({}, NO_TLB, "", ["mkyoung-adds-write"]),
  twoFaults(VISITING, WITH_TLB, "/walked", ["mkyoung-flushes"]),
  resurrection(false, "", ["plain-store-single"]),
  resurrection(true, "/freed", ["mkyoung-unlocked-plain-store"]),
  speculation(false, "", ["hardware-or", "hardware-plain-store"]),
  speculation(true, "/freed", ["hardware-or-in-freed-page"]),
];
