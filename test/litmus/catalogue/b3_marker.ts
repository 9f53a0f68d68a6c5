/** B3: the marker between break and make. Whoever meets it takes it for no mapping, and leaves it where it is. */
import { type Agent, type Litmus, litmus } from "../../../src/explorer/litmus.ts";
import { Prot } from "../../../src/index.ts";
import { Accounts } from "./accounts.ts";
import { breakBeforeMake } from "./b3_break.ts";
import { mapShared } from "./guests.ts";
import type { Call, Part } from "./observe.ts";
import {
  A,
  type Answers,
  B,
  BIT,
  Bed,
  EAGAIN,
  LOCKED,
  PAGE,
  RAM,
  WITH_TLB,
  agent,
  calls,
  forbidden,
  isValid,
  outputOf,
  say,
} from "./support.ts";

/** Results of a call lie in the thread's own scratch, behind 8 words of arguments. */
const RESULTS = 64;

/** F1 makes one call on an entry in which F0's marker may stand. */
function onMarker(
  name: string,
  what: string,
  call: (f1: Agent, pgt: number) => Call,
  fine: (result: number, end: bigint, word: bigint) => boolean,
  mutants: readonly string[],
): Litmus {
  return litmus({
    name,
    title: `${what} while F0 replaces the page: the marker is no mapping, and F0's page stands at the end`,
    agents: ["F0", "F1"],
    options: { guestRam: RAM },
    mutants,
    setup(agents, lab) {
      const bed = new Bed(agents, lab, { locking: true, locklessAging: true });
      const entry = bed.page(0, { prot: Prot.R, young: false });
      bed.page(511, { pa: A + 15 * PAGE });
      bed.vcpu("F0", WITH_TLB); // the break is followed by a TLBI, step by step
      return { bed, entry, accounts: new Accounts(bed, agent(agents, "F0")) };
    },
    run({ bed, entry, accounts }, agents) {
      const [f0, f1] = [agent(agents, "F0"), agent(agents, "F1")];
      const answers: Answers = {};
      const bbm = breakBeforeMake(bed, entry);
      let word = 0n;
      function* other(): Part {
        answers.other = yield call(f1, bed.pgt);
        word = bed.lab.read64((f1.core.args() >>> 0) + RESULTS);
      }
      return {
        programs: {
          F0: calls(answers, { map: mapShared(f0, bed.pgt, 0, B, Prot.R) }),
          F1: other(),
        },
        invariant() {
          const now = bed.entry(entry);
          if (!isValid(now) && now !== LOCKED) return `the marker became ${say(now)}`;
          return bbm();
        },
        forbidden() {
          const end = bed.entry(entry);
          const { map, other } = answers;
          const lost = map === EAGAIN && other !== EAGAIN; // F1 was there between F0's look and its break
          return (
            forbidden(
              [map !== 0 && !lost, `F0's map answered ${map}`],
              [!isValid(end), `at the end there is ${say(end)}`],
              [map === 0 && outputOf(end) !== B, `F0 mapped B, and the page is ${say(end)}`],
              [
                !fine(other as number, end, word),
                `F1's call answered ${other}, the page is ${say(end)}`,
              ],
            ) ?? accounts.wrong()
          );
        },
      };
    },
  });
}

/** 0 and what was asked for, on whichever page; or "try again". */
const doneOrAgain = (result: number): boolean => result === 0 || result === EAGAIN;

/** The page that was there was old: young is only what F0 has just mapped, and then it is old now. */
const agedIfMapped = (result: number, end: bigint): boolean =>
  (result === 1) === ((end & BIT.AF) === 0n && outputOf(end) === B);

export const markers: readonly Litmus[] = [
  onMarker(
    "L30",
    "F1 maps the same new page",
    (f1, pgt) => mapShared(f1, pgt, 0, B, Prot.R),
    doneOrAgain,
    ["break-over-marker", "marker-left-behind"],
  ),
  onMarker(
    "L30b",
    "F1 relaxes",
    ({ core }, pgt) =>
      () =>
        core.s2_relax_perms(pgt, 0, Prot.RW),
    doneOrAgain,
    ["marker-taken-for-leaf", "plain-store-single"],
  ),
  onMarker(
    "L30c",
    "F1 makes young",
    ({ core }, pgt) =>
      () =>
        core.s2_mkyoung(pgt, 0),
    // What it was is in the results: a leaf, if it says so.
    (result, _end, word) => (result === 1 && isValid(word)) || result === EAGAIN,
    ["marker-taken-for-leaf"],
  ),
  onMarker(
    "L30d",
    "lockless aging",
    ({ core }, pgt) =>
      () =>
        core.s2_test_clear_young(pgt, 0, PAGE, 1),
    agedIfMapped,
    ["marker-taken-for-leaf", "aging-by-blind-and-single"],
  ),
  onMarker(
    "L30e",
    "lockless aging of a stretch",
    ({ core }, pgt) =>
      () =>
        core.s2_test_clear_young(pgt, 0, 2 * PAGE, 1),
    agedIfMapped,
    ["aging-by-blind-and-run"],
  ),
];
