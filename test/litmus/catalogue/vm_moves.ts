/** B4: a slot that moves beside faults at its old and its new place, and beside the marks in its log. */
import { type Litmus, litmus } from "../../../src/explorer/litmus.ts";
import { ABORT, CHANGE, SLOT_FLAG } from "../../../src/vm/_abi.ts";
import type { Part } from "./observe.ts";
import { A, PAGE, RAM, agent, forbidden, isValid } from "./support.ts";
import { type Guest, TABLE_PAGES, VmBed, whole } from "./vm_bed.ts";
import { type Met, accessed, faulted, handled, met, steady, stores } from "./vm_guests.ts";

const SLOT = { pages: 4 } as const;
const LOGGED = { ...SLOT, flags: SLOT_FLAG.LOG_DIRTY_PAGES } as const;
const NEW = 8 * PAGE;
const ON_A = steady(A);
const EFAULT = -14;

/** Handles a fault at an address; if it was mapped, looks whether the other place of the page is, too. */
function* faultsAt(bed: VmBed, guest: Guest, other: number, seen: Met & { twice: boolean }): Part {
  const outcome = yield* handled(bed, guest, ON_A, seen);
  if (outcome !== ABORT.RESUME || seen.retried !== 0) return;
  const found = yield () => guest.on.core.s2_lookup(bed.pgt, other);
  seen.twice = found !== -1;
}

const moved = litmus({
  name: "L48",
  title: "a slot moves beside faults at its old and its new place: the page is never at both",
  agents: ["F0", "F1", "X"],
  mutants: ["edition-unchecked", "unpublished-before-unmap"],
  options: { guestRam: RAM, tablePages: TABLE_PAGES, preemptions: 2 },
  setup(agents, lab) {
    const bed = new VmBed(agents, lab, { slots: [SLOT] });
    const [old, next] = [bed.guest("F0"), bed.guest("F1")];
    faulted(old, 0);
    faulted(next, NEW);
    return { bed, old, next };
  },
  run({ bed, old, next }, agents) {
    const before = { ...met(), twice: false };
    const after = { ...met(), twice: false };
    const answers = { change: 0, found: 0 };
    const x = agent(agents, "X").core;
    function* moves(): Part {
      answers.change = yield* bed.setSlot("X", { ...SLOT, ipa: NEW });
      answers.found = yield () => x.s2_lookup(bed.pgt, 0);
    }
    return {
      programs: {
        F0: faultsAt(bed, old, NEW, before),
        F1: faultsAt(bed, next, 0, after),
        X: moves(),
      },
      forbidden: () =>
        forbidden(
          [answers.change !== CHANGE.MOVE, `moving answered ${answers.change}`],
          [answers.found !== -1, "the slot has moved, and its old place is mapped"],
          [isValid(bed.entry(0)), "in the end the old place is mapped"],
          [after.twice, "the page is mapped at its new place, and still at the old one"],
          [before.outcome === EFAULT || after.outcome === EFAULT, "a guest was told -EFAULT"],
        ),
    };
  },
});

const logMoves = litmus({
  name: "S13",
  title: "a slot moves with its log beside a store: what is stored before it goes is in the log",
  agents: ["V0", "X"],
  mutants: ["hidden-slots-not-logged"],
  options: { guestRam: RAM, tablePages: TABLE_PAGES },
  setup(agents, lab) {
    const bed = new VmBed(agents, lab, { slots: [LOGGED] });
    return { bed, guest: bed.guest("V0"), word: bed.ram(A) };
  },
  run({ bed, guest, word }) {
    const seen = met();
    let change = 0;
    function* moves(): Part {
      change = yield* bed.setSlot("X", { ...LOGGED, ipa: NEW });
    }
    return {
      programs: { V0: whole(accessed(bed, guest, stores(guest, 0, 1), ON_A, seen)), X: moves() },
      forbidden: () =>
        forbidden(
          [change !== CHANGE.MOVE, `moving answered ${change}`],
          [isValid(bed.entry(0)), "in the end the old place is mapped"],
          [bed.lab.read32(word) !== 0 && !bed.isDirty(0), "the store is in memory, not in the log"],
        ),
    };
  },
});

export const moves: readonly Litmus[] = [moved, logMoves];
