/** B3: break-before-make. Between one mapping and another stands the marker, which nobody takes for a mapping. */
import { EVENT, VCPU_EVENT } from "../../../src/_abi.ts";
import { type Litmus, litmus } from "../../../src/explorer/litmus.ts";
import { Prot } from "../../../src/index.ts";
import { load, mapShared, store } from "./guests.ts";
import { type Part, faultOf, flag, logged, raiseFlag, software } from "./observe.ts";
import {
  A,
  ACCESS,
  type Answers,
  B,
  Bed,
  LOCKED,
  RAM,
  WITH_TLB,
  agent,
  calls,
  forbidden,
  isValid,
  outputOf,
  say,
  LOCKING,
} from "./support.ts";

const IN_A = 0xa;
const IN_B = 0xb;
const OWNER = 0x0b0e;

/** Looks at each step that no mapping turned into another without the marker in between. */
export function breakBeforeMake(bed: Bed, entry: number): () => string | undefined {
  let before = bed.entry(entry);
  return () => {
    const now = bed.entry(entry);
    const jumped = isValid(before) && isValid(now) && outputOf(before) !== outputOf(now);
    const said = jumped ? `${say(before)} became ${say(now)} without a break` : undefined;
    before = now;
    return said;
  };
}

const newPage = litmus({
  name: "L29",
  title:
    "F0 maps another page, V1 loads through a hot TLB: never the old page once map has returned",
  agents: ["F0", "V1"],
  options: { guestRam: RAM },
  mutants: [
    "break-without-tlbi",
    "replaced-without-break",
    "dsb-waits-for-nobody",
    "dsb-overlooks-sections",
  ],
  setup(agents, lab) {
    const bed = new Bed(agents, lab, LOCKING);
    const entry = bed.page(0);
    const v1 = bed.vcpu("V1", WITH_TLB);
    bed.fillRam(A, IN_A);
    bed.fillRam(B, IN_B);
    agent(agents, "V1").core.vcpu_read(v1, 0, 4);
    return { bed, entry, v1, own: software(agent(agents, "F0")) };
  },
  run({ bed, entry, v1, own }, agents) {
    const [f0, guest] = [agent(agents, "F0"), agent(agents, "V1")];
    const answers: Answers = {};
    const loads: { mapped: number; value: number }[] = [];
    function* maps(): Part {
      answers.map = yield mapShared(f0, bed.pgt, 0, B, Prot.RW);
      yield raiseFlag(f0);
      yield store(f0, own, A, OWNER); // A is somebody else's now
    }
    function* reads(): Part {
      for (let i = 0; i < 2; i++) {
        const mapped = yield* flag(guest);
        loads.push({ mapped, value: yield load(guest, v1, 0) });
      }
    }
    return {
      programs: { F0: maps(), V1: reads() },
      invariant: breakBeforeMake(bed, entry),
      forbidden: () =>
        forbidden(
          [answers.map !== 0, `map answered ${answers.map}`],
          [
            loads.some(({ mapped, value }) => mapped !== 0 && value !== IN_B),
            "V1 did not read the new page after the map had returned",
          ],
          [
            loads.some(({ value }) => value >= 0 && value !== IN_A && value !== IN_B),
            "V1 read what the next owner of the old page put there",
          ],
          [loads[0]?.value === IN_B && loads[1]?.value !== IN_B, "V1 read the new page, then not"],
        ),
    };
  },
});

const freshCode = litmus({
  name: "L37",
  title: "F maps a page of code, V0 fetches: the instruction cache is invalidated before it can",
  agents: ["F", "V0"],
  options: { guestRam: RAM },
  mutants: ["icache-after-publishing"],
  setup(agents, lab) {
    const bed = new Bed(agents, lab, LOCKING);
    bed.hole(0);
    const v0 = bed.vcpu("V0", { tlb: false, events: ["walks"] });
    bed.s2.setEvents(["maintenance"]);
    return { bed, v0 };
  },
  run({ bed, v0 }, agents) {
    const [f, guest] = [agent(agents, "F"), agent(agents, "V0")];
    const answers: Answers = {};
    return {
      programs: {
        F: calls(answers, { map: mapShared(f, bed.pgt, 0, A, Prot.RX) }),
        V0: calls(answers, { fetch: () => guest.core.vcpu_translate(v0, 0, ACCESS.FETCH) }),
      },
      forbidden() {
        const events = logged(f, bed.lab);
        const cleaned = events.findIndex(({ kind, a }) => kind === EVENT.ICACHE_INVAL && a === A);
        const walked = events.findIndex(
          ({ kind, b }) => kind === VCPU_EVENT.HW_READ && outputOf(b) === A && b !== LOCKED,
        );
        return forbidden(
          [answers.map !== 0, `map answered ${answers.map}`],
          [cleaned < 0, "the instruction cache was not invalidated"],
          [
            walked >= 0 && walked < cleaned,
            "hardware walked to the page before its code was clean",
          ],
          [
            faultOf(answers.fetch as number) === undefined && answers.fetch !== A,
            "V0 fetched from elsewhere",
          ],
        );
      },
    };
  },
});

export const breaks: readonly Litmus[] = [newPage, freshCode];
