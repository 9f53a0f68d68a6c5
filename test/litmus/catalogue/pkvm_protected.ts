/** B6: pages that guests own: the host takes them back by force beside what the guest does with them. */
import { type Litmus, litmus } from "../../../src/explorer/litmus.ts";
import type { Lab } from "../../../src/explorer/litmus.ts";
import { POISON as POISON_WORD, PAGE_STATE } from "../../../src/pkvm/_abi.ts";
import { type Part, software } from "./observe.ts";
import { HYPERCALL, PkvmBed, ROOM, pfn } from "./pkvm_bed.ts";
import { isHosts } from "./pkvm_books.ts";
import {
  A,
  type Agents,
  type Answers,
  RAM,
  WITH_TLB,
  agent,
  forbidden,
  isValid,
  say,
} from "./support.ts";
import { fine } from "./vm_bed.ts";

const H = HYPERCALL;
const EPERM = -1;
const EAGAIN = -11;
const EHWPOISON = -133;
const PROTECTED = 1;
const POISON = BigInt(POISON_WORD);
const SECRET = 7;
/** First of the pages that a VM is made of, and of those that its tables are. */
const PARTS = 300;
const TABLES = 320;

/** A protected VM that owns page A at address 0, on the agent that has it loaded. */
function protectedVm(bed: PkvmBed, name: string, page: number | undefined, first = PARTS) {
  const on = agent(bed.agents, name);
  const handle = bed.bareVm(on, first, PROTECTED);
  fine("VCPU_LOAD", bed.now(on, H.VCPU_LOAD, handle, 0));
  const list = [0, 1, 2, 3, 4].map((n) => pfn(TABLES + (first - PARTS) + n));
  const held = 400 + (first - PARTS);
  fine("DONATE_GUEST", bed.giveNow(on, H.DONATE_GUEST, list, pfn(held), 500));
  if (page !== undefined) fine("DONATE_GUEST", bed.giveNow(on, H.DONATE_GUEST, [], pfn(page), 0));
  const table = bed.tableOf(handle);
  return { handle, table, entry: bed.lab.entry(table, 0) };
}

function start(agents: Agents, lab: Lab, name: string) {
  const bed = new PkvmBed(agents, lab, "newest");
  return { bed, ...protectedVm(bed, name, 0) };
}

/** P16: G stores into its page while R takes it back. */
const takenBack = litmus({
  name: "P16",
  title:
    "a page is taken back by force beside a store of the guest: the host finds zeros, for ever",
  agents: ["G", "R"],
  mutants: [
    "dsb-waits-for-nobody",
    "dsb-overlooks-sections",
    "break-without-tlbi",
    "reclaim-without-poison",
  ],
  options: { guestRam: RAM, tablePages: ROOM },
  setup(agents, lab) {
    const world = start(agents, lab, "G");
    const g = agent(agents, "G");
    const vmid = g.core.pgt_vmid(world.table.pointer);
    const cpu = world.bed.cpuOn("G", world.table, vmid, WITH_TLB);
    if (g.core.vcpu_write(cpu, 0, 4, SECRET) !== 0) throw new Error("the guest cannot store");
    return { ...world, cpu, host: software(agent(agents, "R")), word: world.bed.ram(A) };
  },
  run({ bed, cpu, entry, host, word }, agents) {
    const seen = { stored: NaN, taken: NaN, read: NaN };
    const [g, r] = [agent(agents, "G"), agent(agents, "R")];
    function* stores(): Part {
      seen.stored = yield () => g.core.vcpu_write(cpu, 0, 4, SECRET + 1);
    }
    function* takes(): Part {
      seen.taken = yield* bed.calls(r, H.FORCE_RECLAIM, pfn(0));
      seen.read = yield () => r.core.vcpu_read(host, A, 4);
    }
    return {
      programs: { G: stores(), R: takes() },
      forbidden: () =>
        forbidden(
          [seen.taken !== 0, `taking it back answered ${seen.taken}`],
          [seen.read !== 0, `the host reads ${seen.read}, which was the guest's`],
          [bed.lab.read32(word) !== 0, "the guest stores into a page that is the host's"],
          [bed.lab.read64(entry) !== POISON, `the guest's entry is ${say(bed.lab.read64(entry))}`],
          [!isHosts(bed, 0), "the page is not the host's"],
        ),
    };
  },
});

/** P17: G lends its page to the host while R takes it back. */
const lentAndTaken = litmus({
  name: "P17",
  title: "a guest lends its page to the host beside one who takes it by force: one of the two",
  agents: ["G", "R"],
  mutants: ["lends-without-locks"],
  options: { tablePages: ROOM },
  setup: (agents, lab) => start(agents, lab, "G"),
  run({ bed, entry }, agents) {
    const answers: Answers = {};
    function* makes(name: string, call: number, word: number): Part {
      answers[name] = yield* bed.calls(agent(agents, name), call, word);
    }
    return {
      programs: { G: makes("G", H.GUEST_SHARE_HOST, 0), R: makes("R", H.FORCE_RECLAIM, pfn(0)) },
      forbidden() {
        const { G, R } = answers;
        const { host } = bed.record(0);
        const [lent, taken] = [G === 0 && R === EAGAIN, G === EHWPOISON && R === 0];
        return forbidden(
          [!lent && !taken, JSON.stringify(answers)],
          [lent && host !== PAGE_STATE.SHARED_BORROWED, `it was lent: host ${host}`],
          [lent && !isValid(bed.lab.read64(entry)), "it was lent, and the guest has lost it"],
          [taken && !isHosts(bed, 0), `it was taken: host ${host}`],
          [taken && bed.lab.read64(entry) !== POISON, "it was taken, and the guest is not told"],
        );
      },
    };
  },
});

/** P18: one page is given to two guests. */
const givenTwice = litmus({
  name: "P18",
  title: "one page is given to two guests: one has it",
  agents: ["V0", "V1"],
  mutants: ["donation-without-host-lock"],
  options: { tablePages: ROOM },
  setup(agents, lab) {
    const bed = new PkvmBed(agents, lab, "newest");
    const vms = ["V0", "V1"].map((name, n) => protectedVm(bed, name, undefined, PARTS + 10 * n));
    return { bed, entries: vms.map(({ entry }) => entry) };
  },
  run({ bed, entries }, agents) {
    const answers: Answers = {};
    function* gives(name: string): Part {
      answers[name] = yield* bed.gives(agent(agents, name), H.DONATE_GUEST, [], pfn(0), 0);
    }
    return {
      programs: { V0: gives("V0"), V1: gives("V1") },
      forbidden() {
        const told = [answers.V0, answers.V1].sort().join();
        const leaves = entries.filter((entry) => isValid(bed.lab.read64(entry))).length;
        return forbidden(
          [told !== `${EPERM},0`, `giving it answered ${told}`],
          [leaves !== 1, `${leaves} guests have it`],
          [bed.record(0).host !== PAGE_STATE.NOPAGE, "the host has it, too"],
        );
      },
    };
  },
});

export const protectedGuests: readonly Litmus[] = [takenBack, lentAndTaken, givenTwice];
