/** K: completion and grace periods. What was taken away is out of everybody's hands when the call returns. */
import { LATE, LEVEL_UNKNOWN, TLBI_OP } from "../../../src/_abi.ts";
import { type Litmus, litmus } from "../../../src/explorer/litmus.ts";
import { Prot, type VcpuOptions } from "../../../src/index.ts";
import { Accounts } from "./accounts.ts";
import { load, mapShared, store } from "./guests.ts";
import { type Part, faultOf, software } from "./observe.ts";
import {
  A,
  ACCESS,
  type Answers,
  BLOCK,
  Bed,
  NO_TLB,
  PAGE,
  RAM,
  WITH_TLB,
  agent,
  calls,
  forbidden,
  LOCKING,
} from "./support.ts";

const ETIMEDOUT = -110;
const BIG = 0x9_0000_0000;
const OTHER = 0xa_0000_0000;

/** Each CPU waits in its DSB for the other one, which waits in its own. */
const bothBroadcast = litmus({
  name: "K8",
  title:
    "two vCPUs inside their brackets both broadcast a TLBI: neither waits for the other for ever",
  agents: ["V0", "V1"],
  mutants: ["dsb-does-not-answer"],
  setup(agents, lab) {
    const bed = new Bed(agents, lab, LOCKING);
    return { v0: bed.vcpu("V0", WITH_TLB), v1: bed.vcpu("V1", WITH_TLB) };
  },
  run({ v0, v1 }, agents) {
    const answers: Answers = {};
    function* invalidates(name: string, v: number): Part {
      const { core } = agent(agents, name);
      yield () => core.vcpu_enter(v);
      answers[name] = yield () => core.vcpu_tlbi(v, TLBI_OP.VMALLE1, LEVEL_UNKNOWN, 1);
      yield () => core.vcpu_exit(v);
    }
    return {
      programs: { V0: invalidates("V0", v0), V1: invalidates("V1", v1) },
      forbidden: () =>
        forbidden([
          answers.V0 !== 0 || answers.V1 !== 0,
          `the TLBIs answered ${JSON.stringify(answers)}`,
        ]),
    };
  },
});

const bothWalkers = litmus({
  name: "K9",
  title:
    "a table is unmapped and its page reused beside a hardware walk and a lookup: neither meets it",
  agents: ["X", "V0", "F1"],
  options: { preemptions: 2 },
  mutants: ["freed-at-once", "grace-overlooks-walks"],
  setup(agents, lab) {
    const bed = new Bed(agents, lab, LOCKING);
    bed.page(0, { pa: BIG });
    bed.leaf(9 * BLOCK, BLOCK, { pa: BIG }); // keeps the table above
    return { bed, v0: bed.vcpu("V0"), accounts: new Accounts(bed, agent(agents, "X")) };
  },
  run({ bed, v0, accounts }, agents) {
    const [x, guest, f1] = [agent(agents, "X"), agent(agents, "V0"), agent(agents, "F1")];
    const answers: Answers = {};
    return {
      programs: {
        X: calls(answers, {
          unmap: () => x.core.s2_unmap(bed.pgt, 0, BLOCK),
          next: mapShared(x, bed.pgt, 7 * BLOCK, OTHER, Prot.RW),
        }),
        V0: calls(answers, { walked: () => guest.core.vcpu_translate(v0, 0, ACCESS.READ) }),
        F1: calls(answers, { found: () => f1.core.s2_lookup(bed.pgt, 0) }),
      },
      forbidden() {
        const { walked, found } = answers;
        const hole = faultOf(walked as number) === 4;
        return (
          forbidden(
            [answers.unmap !== 0 || answers.next !== 0, "unmapping or the next map failed"],
            [walked !== BIG && !hole, `hardware came to ${walked}`],
            [found !== BIG && found !== -1, `the lookup found ${found}`],
          ) ?? accounts.wrong()
        );
      },
    };
  },
});

const accessUnderWay = litmus({
  name: "K10",
  title: "unmap beside a store of a CPU without a TLB: it returns when the store has ended",
  agents: ["V0", "X"],
  options: { guestRam: RAM },
  mutants: ["dsb-waits-for-nobody", "dsb-overlooks-sections", "unmap-single-without-tlbi"],
  setup(agents, lab) {
    const bed = new Bed(agents, lab, LOCKING);
    bed.page(0);
    bed.page(511, { pa: A + 15 * PAGE });
    return { bed, v0: bed.vcpu("V0"), x: software(agent(agents, "X")), word: bed.fillRam(A, 1) };
  },
  run({ bed, v0, x, word }, agents) {
    const [guest, on] = [agent(agents, "V0"), agent(agents, "X")];
    const answers: Answers = {};
    return {
      programs: {
        V0: calls(answers, { store: store(guest, v0, 0, 7) }),
        X: calls(answers, {
          unmap: () => on.core.s2_unmap(bed.pgt, 0, PAGE),
          look: load(on, x, A),
        }),
      },
      forbidden: () =>
        forbidden(
          [answers.unmap !== 0, `unmap answered ${answers.unmap}`],
          [bed.lab.read32(word) !== answers.look, "a store landed after the page was unmapped"],
        ),
    };
  },
});

/** JavaScript stores through the address that a vCPU gave it; the bracket says how long it may. */
function insideBracket(name: string, tlb: VcpuOptions, what: string): Litmus {
  return litmus({
    name,
    title: `unmap beside a bracket in which an address is used, ${what}: it waits for poll or exit`,
    agents: ["V0", "X"],
    options: { guestRam: RAM },
    mutants: [
      "dsb-overlooks-brackets",
      "dsb-waits-for-nobody",
      "bracket-unpublished",
      ...(tlb === WITH_TLB ? [] : ["nothing-to-catch-up-with"]),
    ],
    setup(agents, lab) {
      const bed = new Bed(agents, lab, LOCKING);
      bed.page(0);
      bed.page(511, { pa: A + 15 * PAGE });
      const [v0, own] = [bed.vcpu("V0", tlb), software(agent(agents, "V0"))];
      agent(agents, "V0").core.vcpu_translate(v0, 0, ACCESS.WRITE);
      return { bed, v0, own, x: software(agent(agents, "X")), word: bed.fillRam(A, 1) };
    },
    run({ bed, v0, own, x, word }, agents) {
      const [guest, on] = [agent(agents, "V0"), agent(agents, "X")];
      const answers: Answers = {};
      function* uses(): Part {
        yield () => guest.core.vcpu_enter(v0);
        for (const turn of [2, 3]) {
          const pa = yield () => guest.core.vcpu_translate(v0, 0, ACCESS.WRITE);
          if (pa >= 0) yield store(guest, own, pa, turn);
          yield () => guest.core.vcpu_poll(v0);
        }
        yield () => guest.core.vcpu_exit(v0);
      }
      return {
        programs: {
          V0: uses(),
          X: calls(answers, {
            unmap: () => on.core.s2_unmap(bed.pgt, 0, PAGE),
            look: load(on, x, A),
          }),
        },
        forbidden: () =>
          forbidden(
            [answers.unmap !== 0, `unmap answered ${answers.unmap}`],
            [bed.lab.read32(word) !== answers.look, "a store landed after the page was unmapped"],
          ),
      };
    },
  });
}

const neverPolls = litmus({
  name: "K12",
  title: "a vCPU stays inside its bracket: unmap says who does not answer, and has taken place",
  agents: ["V0", "X"],
  mutants: ["dsb-overlooks-brackets"],
  setup(agents, lab) {
    const bed = new Bed(agents, lab, LOCKING);
    bed.page(0);
    const v0 = bed.vcpu("V0");
    const { core } = agent(agents, "V0");
    core.vcpu_enter(v0);
    return { bed, number: core.vcpu_number(v0) };
  },
  run({ bed, number }, agents) {
    const x = agent(agents, "X");
    const answers: Answers = {};
    const late: number[] = [];
    function* unmaps(): Part {
      answers.unmap = yield () => x.core.s2_unmap(bed.pgt, 0, PAGE);
      yield () => x.core.late();
      const results = (x.core.args() >>> 0) + 64;
      late.push(...[0, 8, 16].map((at) => bed.lab.read32(results + at)));
      answers.found = yield () => x.core.s2_lookup(bed.pgt, 0);
    }
    return {
      programs: { X: unmaps() },
      forbidden: () =>
        forbidden(
          [answers.unmap !== ETIMEDOUT, `unmap answered ${answers.unmap}`],
          [late.join() !== `${agent(agents, "V0").thread},${number},${LATE.BRACKET}`, `${late}`],
          [answers.found !== -1, "the page is still mapped"],
        ),
    };
  },
});

export const completion: readonly Litmus[] = [
  bothBroadcast,
  bothWalkers,
  accessUnderWay,
  insideBracket("K11", NO_TLB, "walked anew each time"),
  insideBracket("K11b", WITH_TLB, "from a TLB"),
  neverPolls,
];
