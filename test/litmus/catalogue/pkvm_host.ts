/** B6: what the host gives away beside what it does: its own faults, shares, donations of the same page. */
import { type Litmus, litmus } from "../../../src/explorer/litmus.ts";
import { Prot } from "../../../src/index.ts";
import { OWNER, PAGE_STATE } from "../../../src/pkvm/_abi.ts";
import { FAULT_WALK } from "./guests.ts";
import { type Part, faultOf, flag, raiseFlag, software } from "./observe.ts";
import { HYPERCALL, PkvmBed, ROOM, pfn } from "./pkvm_bed.ts";
import { wrongBooks } from "./pkvm_books.ts";
import { guestOf } from "./pkvm_maps.ts";
import {
  A,
  type Answers,
  FAULT,
  PAGE,
  RAM,
  WITH_TLB,
  agent,
  forbidden,
  isValid,
} from "./support.ts";

const EPERM = -1;
const EBUSY = -16;
const SECRET = 7;
const { DONATE_HYP, HOST_ABORT, PIN, SHARE_FFA, SHARE_HYP, UNSHARE_HYP } = HYPERCALL;

/** P7: H aborts on page `touched`, D gives page 0 to the hypervisor. */
function abortAndDonation(suffix: string, touched: number, mutants: readonly string[]): Litmus {
  return litmus({
    name: `P7${suffix}`,
    title: `an abort of the host on ${touched === 0 ? "a page" : "its neighbour"} beside its donation: no leaf of the host has it then`,
    agents: ["H", "D"],
    mutants,
    options: { tablePages: ROOM },
    setup: (agents, lab) => ({ bed: new PkvmBed(agents, lab) }),
    run({ bed }, agents) {
      const answers: Answers = {};
      function* aborts(): Part {
        const pa = RAM.pa + touched * PAGE;
        answers.abort = yield* bed.calls(agent(agents, "H"), HOST_ABORT, pa);
      }
      function* donates(): Part {
        answers.given = yield* bed.calls(agent(agents, "D"), DONATE_HYP, pfn(0), 1);
      }
      return {
        programs: { H: aborts(), D: donates() },
        forbidden() {
          const entry = bed.hostEntry(0);
          const { abort } = answers;
          return (
            forbidden(
              [answers.given !== 0, `the donation answered ${answers.given}`],
              [abort !== 0 && !(touched === 0 && abort === EPERM), `the abort answered ${abort}`],
              [isValid(entry), "the page is the hypervisor's, and the host maps it"],
              [Number(entry & 0x3fcn) >> 2 !== OWNER.HYP, `the host's entry is ${entry}`],
            ) ?? wrongBooks(bed, [])
          );
        },
      };
    },
  });
}

/** P7/stale: the host's CPU has the page in its TLB. After the donation its loads fault. */
const hostTlb = litmus({
  name: "P7/stale",
  title: "the host uses a page beside its donation: once that has returned, no load or store works",
  agents: ["H", "D"],
  mutants: ["dsb-waits-for-nobody", "dsb-overlooks-sections", "break-without-tlbi"],
  options: { guestRam: RAM, tablePages: ROOM },
  setup(agents, lab) {
    const bed = new PkvmBed(agents, lab);
    const on = agent(agents, "H");
    if (bed.now(on, HOST_ABORT, A) !== 0) throw new Error("the host cannot map its page");
    const cpu = bed.cpuOn("H", bed.host, 0, WITH_TLB);
    on.core.vcpu_read(cpu, A, 4);
    return { bed, cpu, hyp: software(agent(agents, "D")), word: bed.ram(A) };
  },
  run({ bed, cpu, hyp, word }, agents) {
    const seen = { given: NaN, flag: 0, after: 0, abort: NaN };
    const [h, d] = [agent(agents, "H"), agent(agents, "D")];
    function* loads(): Part {
      yield () => h.core.vcpu_write(cpu, A, 4, 1);
      seen.flag = yield* flag(h);
      seen.after = yield () => h.core.vcpu_read(cpu, A, 4);
      if (seen.after < 0) seen.abort = yield* bed.calls(h, HOST_ABORT, A);
    }
    function* donates(): Part {
      seen.given = yield* bed.calls(d, DONATE_HYP, pfn(0), 1);
      yield () => d.core.vcpu_write(hyp, A, 4, SECRET);
      yield raiseFlag(d);
    }
    const fault = (result: number): boolean => faultOf(result) === FAULT.TRANSLATION;
    return {
      programs: { H: loads(), D: donates() },
      forbidden: () =>
        forbidden(
          [seen.given !== 0, `the donation answered ${seen.given}`],
          [bed.lab.read32(word) !== SECRET, "the host stores into what it has given away"],
          [seen.flag === 1 && !fault(seen.after), "the page was given away, and the host loads it"],
          [seen.after < 0 && seen.abort !== EPERM, `the host's abort answered ${seen.abort}`],
        ) ?? wrongBooks(bed, []),
    };
  },
});

/** P11: three ways to lend or give away one page; each agent tries one. */
function contested(
  suffix: string,
  ways: Readonly<Record<string, number>>,
  mutants: readonly string[],
): Litmus {
  const names = Object.keys(ways);
  return litmus({
    name: `P11${suffix}`,
    title: `one page for ${names.length + 1}: whoever comes first has it, the others are refused`,
    agents: ["V0", ...names],
    mutants,
    options: { tablePages: ROOM },
    setup(agents, lab) {
      const bed = new PkvmBed(agents, lab);
      return { bed, vm: guestOf(bed, ["V0"]), cache: bed.cache("V0") };
    },
    run({ bed, vm, cache }, agents) {
      const answers: Answers = {};
      function* maps(): Part {
        const { core } = agent(agents, "V0");
        answers.V0 = yield () => core.el1_map(vm.pgt, 0, PAGE, A, Prot.RW, FAULT_WALK, cache);
      }
      function* tries(name: string, call: number): Part {
        answers[name] = yield* bed.calls(agent(agents, name), call, pfn(0), 1);
      }
      const others = names.map((name) => [name, tries(name, ways[name] as number)] as const);
      return {
        programs: { V0: maps(), ...Object.fromEntries(others) },
        forbidden() {
          const all = Object.values(answers);
          const won = all.filter((answer) => answer === 0).length;
          const refused = all.filter((answer) => answer === EPERM).length;
          const ffa = answers.F === 0 ? [0] : [];
          return (
            forbidden([won !== 1 || won + refused !== all.length, JSON.stringify(answers)]) ??
            wrongBooks(bed, [vm], { ffa })
          );
        },
      };
    },
  });
}

/** P12: P pins a page that U takes back. */
const pinned = litmus({
  name: "P12",
  title: "pin beside unshare_hyp: either it is pinned and stays shared, or it is the host's again",
  agents: ["P", "U"],
  mutants: ["transitions-without-locks"],
  options: { tablePages: ROOM },
  setup(agents, lab) {
    const bed = new PkvmBed(agents, lab);
    if (bed.now(bed.maker, SHARE_HYP, pfn(0)) !== 0) throw new Error("the page cannot be shared");
    return { bed };
  },
  run({ bed }, agents) {
    const answers: Answers = {};
    function* makes(name: string, call: number): Part {
      answers[name] = yield* bed.calls(agent(agents, name), call, pfn(0), 1);
    }
    return {
      programs: { P: makes("P", PIN), U: makes("U", UNSHARE_HYP) },
      forbidden() {
        const { P, U } = answers;
        const { references, hyp } = bed.record(0);
        const stays = P === 0 && U === EBUSY;
        return (
          forbidden(
            [!stays && !(P === EPERM && U === 0), JSON.stringify(answers)],
            [references !== (stays ? 1 : 0), `there are ${references} references`],
            [stays !== (hyp === PAGE_STATE.SHARED_BORROWED), `the hypervisor's state is ${hyp}`],
          ) ?? wrongBooks(bed, [])
        );
      },
    };
  },
});

export const hostPages: readonly Litmus[] = [
  abortAndDonation("", 0, ["idmap-without-lock", "transitions-without-locks"]),
  abortAndDonation("/beside", 1, ["idmap-without-lock", "transitions-without-locks"]),
  hostTlb,
  contested("", { S: SHARE_HYP, D: DONATE_HYP }, [
    "shares-without-host-lock",
    "transitions-without-locks",
  ]),
  contested("/ffa", { F: SHARE_FFA }, ["shares-without-host-lock"]),
  pinned,
];
