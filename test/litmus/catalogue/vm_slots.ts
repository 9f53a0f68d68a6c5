/** B4: slots that go and move beside faults and lookups, and beside invalidations of the host's pages. */
import { type Litmus, litmus } from "../../../src/explorer/litmus.ts";
import { ABORT, CHANGE } from "../../../src/vm/_abi.ts";
import type { Part } from "./observe.ts";
import { A, PAGE, RAM, agent, forbidden, isValid, say } from "./support.ts";
import { TABLE_PAGES, VmBed, whole } from "./vm_bed.ts";
import { HVA, HVA2 } from "./vm_regions.ts";
import { faulted, handled, met, steady } from "./vm_guests.ts";

const SLOT = { pages: 4 } as const;
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
    const x = agent(agents, "X").core;
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
    const r = agent(agents, "R").core;
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
    const core = on.core;
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
    const core = agent(agents, "X").core;
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

export const slotChanges: readonly Litmus[] = [deleted, wholeSets, publishing, twoOwners];
