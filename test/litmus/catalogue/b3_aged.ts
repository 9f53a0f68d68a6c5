/** B3: pages without access flag. A late map takes nothing from them, and software and hardware do not chase each other. */
import { type Litmus, litmus } from "../../../src/explorer/litmus.ts";
import { Prot } from "../../../src/index.ts";
import { COUNTER, STATE } from "../../../src/_abi.ts";
import { course, handler, mapShared, patient, retried, store } from "./guests.ts";
import { type Part } from "./observe.ts";
import {
  A,
  ACCESS,
  type Answers,
  Bed,
  EAGAIN,
  LOCKED,
  PAGE,
  RAM,
  agent,
  calls,
  forbidden,
  isExecutable,
  isWritable,
  isYoung,
  outputOf,
  say,
} from "./support.ts";

/** F1 took its fault for reading before the page was there; its map comes when the page has been aged. */
function lateMap(strict: boolean): Litmus {
  return litmus({
    name: strict ? "L39b" : "L39b-parity",
    title: `a late map of R over an aged RW page beside a store: ${strict ? "the page stays as it is" : "one fault more at most"}`,
    agents: ["F1", "V0"],
    options: { guestRam: RAM },
    mutants: strict ? ["late-map-downgrades"] : ["relax-stores-nothing"],
    setup(agents, lab) {
      const bed = new Bed(agents, lab, { locking: true, keepPermissions: strict });
      const entry = bed.page(0, { young: false });
      return { bed, entry, v0: bed.vcpu("V0"), word: bed.fillRam(A, 0) };
    },
    run({ bed, entry, v0, word }, agents) {
      const [f1, guest] = [agent(agents, "F1"), agent(agents, "V0")];
      const answers: Answers = {};
      const met = course();
      const fix = patient(handler(guest, bed.pgt, 0, A, Prot.RW), guest, bed.pgt);
      function* stores(): Part {
        yield* retried(store(guest, v0, 0, 7), fix, met);
      }
      return {
        programs: {
          F1: calls(answers, { map: mapShared(f1, bed.pgt, 0, A, Prot.R) }),
          V0: stores(),
        },
        invariant() {
          const now = bed.entry(entry);
          const kept = isWritable(now) && now !== LOCKED;
          return !strict || kept ? undefined : `the page became ${say(now)}`;
        },
        forbidden() {
          const end = bed.entry(entry);
          return forbidden(
            [strict && met.faults > 0, "V0 faulted"],
            [strict && answers.map !== EAGAIN, `the late map answered ${answers.map}`],
            // One for the marker, one for the downgrade behind it.
            [met.translation > 1 || met.permission > 1, `V0 faulted ${met.faults} times`],
            [met.result !== 0 || bed.lab.read32(word) !== 7, "V0's store never came to pass"],
            [outputOf(end) !== A, `the page is ${say(end)}`],
          );
        },
      };
    },
  });
}

const chase = litmus({
  name: "L39c",
  title:
    "relax beside hardware that sets access flags, page by page in one reservation granule: both end",
  agents: ["F0", "V1"],
  options: { guestRam: RAM },
  mutants: ["relax-retries-blindly"],
  setup(agents, lab) {
    const bed = new Bed(agents, lab, { locking: true });
    const entries = Array.from({ length: 8 }, (_, page) =>
      bed.page(page, { prot: Prot.R, young: false, pa: A + page * PAGE }),
    );
    const v1 = bed.vcpu("V1", { tlb: false, strictMonitor: true });
    return { bed, entries, v1 };
  },
  run({ bed, entries, v1 }, agents) {
    const [f0, guest] = [agent(agents, "F0"), agent(agents, "V1")];
    const tries = [0, 0];
    function* relaxes(): Part {
      for (const page of [0, 1]) {
        let result = EAGAIN;
        while (result === EAGAIN && (tries[page] as number) < 4) {
          tries[page] = (tries[page] as number) + 1;
          result = yield () => f0.core.s2_relax_perms(bed.pgt, page * PAGE, Prot.RX);
        }
      }
    }
    const answers: Answers = {};
    return {
      programs: {
        F0: relaxes(),
        V1: calls(answers, {
          first: () => guest.core.vcpu_translate(v1, 0, ACCESS.READ),
          second: () => guest.core.vcpu_translate(v1, PAGE, ACCESS.READ),
        }),
      },
      forbidden() {
        const ends = entries.slice(0, 2).map((entry) => bed.entry(entry));
        const restarts = bed.lab.read64(v1 + STATE.COUNTERS + COUNTER.RESTARTS * 8);
        return forbidden(
          // Each page has one change of the other side to lose against.
          [tries.some((count) => count > 2), `relaxing took ${tries.join(" and ")} tries`],
          [restarts > 2n, `V1 walked anew ${restarts} times`],
          [answers.first !== A || answers.second !== A + PAGE, "a load came to the wrong page"],
          [
            !ends.every((end) => isExecutable(end) && isYoung(end)),
            `they are ${ends.map(say).join()}`,
          ],
        );
      },
    };
  },
});

export const aged: readonly Litmus[] = [lateMap(true), lateMap(false), chase];
