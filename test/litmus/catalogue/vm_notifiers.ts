/**
 * B4: invalidations of the host's pages beside faults. The host's page table is one word (observe.ts): it says A, and the
 * notifier's caller changes it between start and end, as KVM's callers do.
 */
import { type Litmus, litmus } from "../../../src/explorer/litmus.ts";
import type { VcpuOptions } from "../../../src/index.ts";
import { type Part, raiseFlag, software } from "./observe.ts";
import {
  A,
  B,
  NO_TLB,
  RAM,
  WITH_TLB,
  agent,
  forbidden,
  isValid,
  outputOf,
  say,
} from "./support.ts";
import { TABLE_PAGES, VmBed, atOnce, whole } from "./vm_bed.ts";
import { type Met, accessed, faulted, handled, met, moving, stores, worked } from "./vm_guests.ts";

/** What the next owner of page A puts there. */
const OWNER = 0x0b0e;
const SLOT = { pages: 4 } as const;

/** What whoever invalidates saw. */
interface Seen {
  status: number;
  /** What the page mapped to just after start, and just before end. */
  after: number;
  before: number;
}

function unseen(): Seen {
  return { status: 0, after: -1, before: -1 };
}

/** Start, what the host does then, end. With `looks` it looks what is mapped at page 0 in between. */
function* invalidation(
  bed: VmBed,
  name: string,
  seen: Seen,
  change: () => Part,
  looks = true,
): Part {
  const on = agent(bed.agents, name);
  const core = on.core;
  const range = bed.hvaRange(0);
  const started = yield* bed.asks(on, range, () => core.vm_invalidate_start(bed.vm, 8));
  if (started !== 0 && started !== 1) seen.status = started;
  if (looks) seen.after = yield () => core.s2_lookup(bed.pgt, 0);
  yield* change();
  if (looks) seen.before = yield () => core.s2_lookup(bed.pgt, 0);
  const ended = yield* bed.asks(on, range, () => core.vm_invalidate_end(bed.vm));
  if (ended < 0) seen.status = ended;
}

/** L40: V0 has the page in its TLB, and stores; the host takes A away and gives it to somebody else. */
function reuse(name: string, cpu: VcpuOptions, mutants: readonly string[]): Litmus {
  return litmus({
    name,
    title: "the host reuses a page once invalidate_start has returned: no store of the guest lands",
    agents: ["V0", "X"],
    mutants,
    options: { guestRam: RAM, tablePages: TABLE_PAGES },
    setup(agents, lab) {
      const bed = new VmBed(agents, lab, { slots: [SLOT] });
      const guest = bed.guest("V0", cpu);
      atOnce(accessed(bed, guest, stores(guest, 0, 1), moving, met()));
      return { bed, guest, owner: software(agent(agents, "X")), words: [bed.ram(A), bed.ram(B)] };
    },
    run({ bed, guest, owner, words: [a, b] }, agents) {
      const [first, last, seen] = [met(), met(), unseen()];
      const x = agent(agents, "X");
      function* storing() {
        yield* accessed(bed, guest, stores(guest, 0, 2), moving, first);
        yield* accessed(bed, guest, stores(guest, 0, 3), moving, last, 5);
      }
      function* gives(): Part {
        yield raiseFlag(x);
        yield () => x.core.vcpu_write(owner, A, 4, OWNER);
      }
      return {
        programs: { V0: storing(), X: invalidation(bed, "X", seen, gives, false) },
        forbidden: () =>
          forbidden(
            [seen.status !== 0, `the notifier answered ${seen.status}`],
            [bed.lab.read32(a as number) !== OWNER, "V0 stored into a page that was taken away"],
            [outputOf(bed.entry(0)) === A, "the page that was taken away is mapped"],
            [
              last.aborts > 0 && worked(last) && bed.lab.read32(b as number) !== 3,
              "a store is in no page",
            ],
          ),
      };
    },
  });
}

/** L41, L42: F faults on an empty page beside an invalidation of it. */
function staleAnswer(
  name: string,
  looks: boolean,
  title: string,
  mutants: readonly string[],
): Litmus {
  return litmus({
    name,
    title,
    agents: ["F", "X"],
    mutants,
    options: { guestRam: RAM, tablePages: TABLE_PAGES },
    setup(agents, lab) {
      const bed = new VmBed(agents, lab, { slots: [SLOT] });
      const guest = bed.guest("F");
      faulted(guest, 0);
      return { bed, guest };
    },
    run({ bed, guest }, agents) {
      const [fault, seen] = [met(), unseen()];
      const x = agent(agents, "X");
      function* moves(): Part {
        yield raiseFlag(x);
      }
      return {
        programs: {
          F: whole(handled(bed, guest, moving, fault)),
          X: invalidation(bed, "X", seen, moves, looks),
        },
        forbidden: () => staleAt(bed, [seen], fault, A),
      };
    },
  });
}

/** What is forbidden when all invalidations are over: a page that the host had there before, or one that came meanwhile. */
function staleAt(bed: VmBed, all: readonly Seen[], fault: Met, old: number): string | undefined {
  const end = bed.entry(0);
  const [, inProgress, active] = bed.notifiers;
  const during = all.find(({ after, before }) => after !== -1 || before !== -1);
  return forbidden(
    [all.some(({ status }) => status !== 0), "a notifier failed"],
    [fault.outcome !== 1, `the abort came to ${fault.outcome}`],
    [outputOf(end) === old, `the host has another page there, and ${say(end)} is mapped`],
    [during !== undefined, "a page was mapped while its invalidation was in progress"],
    [fault.retried !== 0 && isValid(end), "the abort was void, and the page is mapped"],
    [inProgress !== 0 || active !== 0, `${inProgress} in progress, ${active} active at the end`],
  );
}

const twoAtOnce = litmus({
  name: "L43",
  title: "two invalidations overlap: nothing is mapped before the second one has ended, too",
  agents: ["F", "X", "Y"],
  mutants: ["in-progress-is-a-flag"],
  options: { guestRam: RAM, tablePages: TABLE_PAGES, preemptions: 2 },
  setup(agents, lab) {
    const bed = new VmBed(agents, lab, { slots: [SLOT] });
    const guest = bed.guest("F");
    faulted(guest, 0);
    return { bed, guest };
  },
  run({ bed, guest }, agents) {
    const [fault, first, second] = [met(), unseen(), unseen()];
    const y = agent(agents, "Y");
    // eslint-disable-next-line require-yield
    function* nothing(): Part {}
    function* moves(): Part {
      yield raiseFlag(y);
    }
    return {
      programs: {
        F: whole(handled(bed, guest, moving, fault)),
        X: invalidation(bed, "X", first, nothing, false),
        Y: invalidation(bed, "Y", second, moves),
      },
      forbidden: () => staleAt(bed, [first, second], fault, A),
    };
  },
});

export const notifiers: readonly Litmus[] = [
  reuse("L40", NO_TLB, ["notifier-unmaps-nothing", "sequence-unchecked"]),
  reuse("L40/tlb", WITH_TLB, ["notifier-unmaps-nothing", "tlbi-without-ipas2"]),
  staleAnswer(
    "L41",
    false,
    "a page that the host had there before the invalidation is not mapped when it is over",
    ["sequence-unchecked", "sequence-read-after-the-page", "sequence-after-progress"],
  ),
  staleAnswer("L42", true, "nothing is mapped between invalidate_start and invalidate_end", [
    "progress-unchecked",
  ]),
  twoAtOnce,
];
