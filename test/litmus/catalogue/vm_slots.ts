/** B4: slots that go and move beside faults and lookups, and beside invalidations of the host's pages. */
import { type Litmus, litmus } from "../../../src/explorer/litmus.ts";
import { ABORT, CHANGE, SLOT_FLAG } from "../../../src/vm/_abi.ts";
import type { Part } from "./observe.ts";
import { A, PAGE, RAM, agent, forbidden, isValid, say } from "./support.ts";
import { type Guest, HVA, HVA2, TABLE_PAGES, VmBed, vmCalls, whole } from "./vm_bed.ts";
import { type Met, accessed, faulted, handled, met, steady, stores } from "./vm_guests.ts";

const SLOT = { pages: 4 } as const;
const LOGGED = { ...SLOT, flags: SLOT_FLAG.LOG_DIRTY_PAGES } as const;
const ON_A = steady(A);
const EFAULT = -14;
const ENOENT = -2;

const deleted = litmus({
  name: "L47",
  title:
    "a slot goes beside a fault in it: nothing of it is mapped then, the guest sees no -EFAULT",
  agents: ["F", "X"],
  mutants: ["edition-unchecked", "unpublished-before-unmap"],
  options: { guestRam: RAM, tablePages: TABLE_PAGES },
  setup(agents, lab) {
    const bed = new VmBed(agents, lab, { slots: [SLOT] });
    const guest = bed.guest("F");
    faulted(guest, 0);
    return { bed, guest };
  },
  run({ bed, guest }, agents) {
    const fault = met();
    const answers = { change: 0, found: 0 };
    const x = vmCalls(agent(agents, "X"));
    function* deletes(): Part {
      answers.change = yield* bed.setSlot("X", { pages: 0 });
      answers.found = yield () => x.s2_lookup(bed.pgt, 0);
    }
    return {
      programs: { F: whole(handled(bed, guest, ON_A, fault)), X: deletes() },
      forbidden() {
        const end = bed.entry(0);
        const { outcome } = fault;
        return forbidden(
          [answers.change !== CHANGE.DELETE, `deleting answered ${answers.change}`],
          [answers.found !== -1, "the slot is gone, and its page is mapped"],
          [isValid(end), `the slot is gone, and in the end its page is ${say(end)}`],
          [outcome === EFAULT, "the run loop is told -EFAULT for a slot that went"],
          [
            outcome !== ABORT.RESUME && outcome !== ABORT.MMIO && outcome !== ABORT.NISV,
            `${outcome}`,
          ],
        );
      },
    };
  },
});

const NEW = 8 * PAGE;

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
    const x = vmCalls(agent(agents, "X"));
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

/** What a lookup of a slot said. */
function looked(bed: VmBed, name: string, id: number): string {
  if (id < 0) return id === ENOENT ? "none" : `${id}`;
  const [base, bytes, hva, , , invalid] = [0, 1, 2, 3, 4, 5].map((n) =>
    bed.result(agent(bed.agents, name), n),
  );
  return [id, base, bytes, hva, invalid].join(" ");
}

const wholeSets = litmus({
  name: "S1",
  title: "a lookup beside a slot that is deleted and made anew elsewhere: old or new, never a mix",
  agents: ["R", "X"],
  mutants: ["lookup-of-any-sequence", "edition-without-sequence"],
  setup(agents, lab) {
    return {
      bed: new VmBed(agents, lab, { slots: [SLOT, { id: 1, ipa: NEW, pages: 1, hva: HVA2 }] }),
    };
  },
  run({ bed }, agents) {
    const r = vmCalls(agent(agents, "R"));
    const seen: string[] = [];
    function* looks(): Part {
      for (const ipa of [PAGE, NEW]) {
        const id = yield () => r.vm_slot_of(bed.vm, ipa);
        seen.push(looked(bed, "R", id));
      }
    }
    function* changes(): Part {
      yield* bed.setSlot("X", { pages: 0 });
      yield* bed.setSlot("X", { ipa: PAGE, pages: 2, hva: HVA2 });
    }
    const old = [0, 0, SLOT.pages * PAGE, HVA];
    const known = [
      [...old, 0].join(" "),
      [...old, 1].join(" "),
      "none",
      [0, PAGE, 2 * PAGE, HVA2, 0].join(" "),
    ];
    return {
      programs: { R: looks(), X: changes() },
      forbidden: () =>
        forbidden(
          [!known.includes(seen[0] ?? ""), `a lookup found ${seen[0]}`],
          [seen[1] !== [1, NEW, PAGE, HVA2, 0].join(" "), `the other slot was found as ${seen[1]}`],
        ),
    };
  },
});

const publishing = litmus({
  name: "S2",
  title: "a slot comes beside an invalidation of its pages: start and end see the same slots",
  agents: ["N", "X"],
  mutants: ["publishes-beside-invalidations"],
  setup(agents, lab) {
    return { bed: new VmBed(agents, lab, { slots: [{ id: 1, ipa: NEW, pages: 1, hva: HVA2 }] }) };
  },
  run({ bed }, agents) {
    const on = agent(agents, "N");
    const core = vmCalls(on);
    const answers = { start: 0, end: 0, change: 0 };
    function* notifies(): Part {
      const range = bed.hvaRange(0);
      answers.start = yield* bed.asks(on, range, () => core.vm_invalidate_start(bed.vm, 8));
      answers.end = yield* bed.asks(on, range, () => core.vm_invalidate_end(bed.vm));
    }
    function* creates(): Part {
      answers.change = yield* bed.setSlot("X", SLOT);
    }
    return {
      programs: { N: notifies(), X: creates() },
      forbidden() {
        const [, inProgress, active] = bed.notifiers;
        return forbidden(
          [answers.change !== CHANGE.CREATE, `creating answered ${answers.change}`],
          [answers.start < 0 || answers.end < 0, `${answers.start}, ${answers.end}`],
          [inProgress !== 0, `in the end ${inProgress} invalidations are in progress`],
          [active !== 0, `in the end ${active} invalidations are active`],
        );
      },
    };
  },
});

const twoOwners = litmus({
  name: "S3",
  title:
    "two threads make slots: one after the other (slots_lock), and both slots are as asked for",
  agents: ["X", "Y"],
  mutants: ["slots-lock-ignored"],
  setup(agents, lab) {
    return { bed: new VmBed(agents, lab, { slots: [SLOT] }) };
  },
  run({ bed }, agents) {
    const asked = {
      X: { id: 1, ipa: NEW, pages: 1, hva: HVA2 },
      Y: { id: 2, ipa: 2 * NEW, pages: 2 },
    };
    const answers = { X: 0, Y: 0 };
    function* makes(name: "X" | "Y"): Part {
      answers[name] = yield* bed.setSlot(name, asked[name]);
    }
    const core = vmCalls(agent(agents, "X"));
    const made = (name: "X" | "Y"): string => {
      const { id } = asked[name];
      return looked(bed, "X", core.vm_slot(bed.vm, id) === 1 ? id : ENOENT);
    };
    return {
      programs: { X: makes("X"), Y: makes("Y") },
      forbidden: () =>
        forbidden(
          [answers.X !== CHANGE.CREATE || answers.Y !== CHANGE.CREATE, JSON.stringify(answers)],
          [made("X") !== `1 ${NEW} ${PAGE} ${HVA2} 0`, `slot 1 is ${made("X")}`],
          [made("Y") !== `2 ${2 * NEW} ${2 * PAGE} ${HVA} 0`, `slot 2 is ${made("Y")}`],
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

export const slotChanges: readonly Litmus[] = [
  deleted,
  moved,
  logMoves,
  wholeSets,
  publishing,
  twoOwners,
];
