/** B2 with a dirty log: who faults on a write-protected page says that it is dirty, if and only if the page was given. */
import { type Litmus, litmus } from "../../../src/explorer/litmus.ts";
import type { VcpuOptions } from "../../../src/index.ts";
import { ABORT, SLOT_FLAG } from "../../../src/vm/_abi.ts";
import {
  A,
  NO_TLB,
  PAGE,
  RAM,
  WITH_TLB,
  agent,
  forbidden,
  isValid,
  isWritable,
  say,
} from "./support.ts";
import { TABLE_PAGES, VmBed, atOnce, whole } from "./vm_bed.ts";
import { accessed, faulted, handled, loads, met, steady, stores, worked } from "./vm_guests.ts";
import { Collector, ledger, lost } from "./vm_ledger.ts";

const LOGGED = { pages: 4, flags: SLOT_FLAG.LOG_DIRTY_PAGES } as const;
const ON_A = steady(A);

/** A VM with one logged slot, whose first page this guest has read: mapped without W. */
function readBefore(bed: VmBed, name: string, cpu: VcpuOptions) {
  const guest = bed.guest(name, cpu);
  atOnce(accessed(bed, guest, loads(guest, 0), ON_A, met()));
  if (isWritable(bed.entry(0)) || !isValid(bed.entry(0)))
    throw new Error(`a page that was read is ${say(bed.entry(0))}`);
  return guest;
}

/** L16, L22: V0 stores twice, X fetches the log and copies what it names. */
function storesBesideLog(name: string, cpu: VcpuOptions, mutants: readonly string[]): Litmus {
  return litmus({
    name,
    title: "a write fault beside get_dirty_log: the store is in the copy or in a log, two faults",
    agents: ["V0", "X"],
    mutants,
    options: { guestRam: RAM, tablePages: TABLE_PAGES },
    setup(agents, lab) {
      const bed = new VmBed(agents, lab, { slots: [LOGGED] });
      const guest = readBefore(bed, "V0", cpu);
      return { bed, guest, collector: new Collector(bed, "X"), word: bed.ram(A) };
    },
    run({ bed, guest, collector, word }) {
      const [seen, again, books] = [met(), met(), ledger()];
      function* storing() {
        yield* accessed(bed, guest, stores(guest, 0, 1), ON_A, seen);
        yield* accessed(bed, guest, stores(guest, 0, 2), ON_A, again);
      }
      return {
        programs: { V0: storing(), X: collector.round(books) },
        forbidden: () =>
          forbidden(
            [!worked(seen) || !worked(again), "a store never came to pass"],
            [seen.aborts + again.aborts > 2, `V0 faulted ${seen.aborts + again.aborts} times`],
            [isWritable(bed.entry(0)) && !bed.isDirty(0), "a clean page is writable"],
          ) ?? lost(bed, books, word),
      };
    },
  });
}

/** Two guests store into words of one page, X fetches the log: each word is in the copy, or the page is named again. */
const twoWriters = litmus({
  name: "L16/two",
  title: "two write faults on one page beside get_dirty_log: neither store is lost",
  agents: ["V0", "V1", "X"],
  mutants: ["dirty-before-it-is-given"],
  options: { guestRam: RAM, tablePages: TABLE_PAGES, preemptions: 2 },
  setup(agents, lab) {
    const bed = new VmBed(agents, lab, { slots: [LOGGED] });
    const v0 = readBefore(bed, "V0", NO_TLB);
    const v1 = bed.guest("V1");
    return { bed, v0, v1, collector: new Collector(bed, "X"), word: bed.ram(A) };
  },
  run({ bed, v0, v1, collector, word }) {
    const [first, second, books] = [met(), met(), ledger()];
    return {
      programs: {
        V0: whole(accessed(bed, v0, stores(v0, 0, 1), ON_A, first)),
        V1: whole(accessed(bed, v1, stores(v1, 0, 2), ON_A, second)),
        X: collector.round(books),
      },
      forbidden: () =>
        forbidden([!worked(first) || !worked(second), "a store never came to pass"]) ??
        lost(bed, books, word),
    };
  },
});

/** L20: V0 wants to write to a page that V1 maps for reading meanwhile: a map changes no permissions, that takes another fault. */
const lostRace = litmus({
  name: "L20",
  title: "a write fault that loses its race (-EAGAIN) leaves the page clean",
  agents: ["V0", "V1"],
  mutants: ["dirty-in-any-case"],
  options: { guestRam: RAM, tablePages: TABLE_PAGES },
  setup(agents, lab) {
    const bed = new VmBed(agents, lab, { slots: [LOGGED] });
    const [v0, v1] = [bed.guest("V0"), bed.guest("V1")];
    atOnce(accessed(bed, v1, loads(v1, PAGE), steady(A + PAGE), met())); // makes the tables
    faulted(v0, 0, 1);
    faulted(v1, 0);
    return { bed, v0, v1 };
  },
  run({ bed, v0, v1 }) {
    const [writes, reads] = [met(), met()];
    return {
      programs: {
        V0: whole(handled(bed, v0, ON_A, writes)),
        V1: whole(handled(bed, v1, ON_A, reads)),
      },
      forbidden() {
        const given = isWritable(bed.entry(0));
        const { outcome, again, dirtied } = writes;
        return forbidden(
          [outcome !== ABORT.RESUME, `the abort came to ${outcome}`],
          [again + reads.again > 1, "both lost their race"],
          [
            given !== (again === 0),
            `${again} races were lost, and the page is ${say(bed.entry(0))}`,
          ],
          [given !== bed.isDirty(0), `the page is ${say(bed.entry(0))}, dirty ${bed.isDirty(0)}`],
          [dirtied !== (given ? 1 : 0), `the host was told of ${dirtied} dirty pages`],
        );
      },
    };
  },
});

/** L21: X invalidates what V0 faults on. */
const voidAnswer = litmus({
  name: "L21",
  title: "a write fault that an invalidation makes void dirties nothing, in the log or in the host",
  agents: ["V0", "X"],
  mutants: ["dirty-in-any-case"],
  options: { guestRam: RAM, tablePages: TABLE_PAGES },
  setup(agents, lab) {
    const bed = new VmBed(agents, lab, { slots: [LOGGED] });
    const guest = bed.guest("V0");
    faulted(guest, 0, 1);
    return { bed, guest };
  },
  run({ bed, guest }, agents) {
    const seen = met();
    const x = agent(agents, "X");
    function* invalidation() {
      const hva = bed.hvaRange(0);
      yield* bed.asks(x, hva, () => x.core.vm_invalidate_start(bed.vm, 1));
      yield* bed.asks(x, hva, () => x.core.vm_invalidate_end(bed.vm));
    }
    return {
      programs: { V0: whole(handled(bed, guest, ON_A, seen)), X: invalidation() },
      forbidden() {
        const dirty = bed.isDirty(0);
        return forbidden(
          [seen.outcome !== ABORT.RESUME, `the abort came to ${seen.outcome}`],
          [seen.retried !== 0 && dirty, "the page was not mapped, and the log calls it dirty"],
          [seen.retried !== 0 && seen.dirtied !== 0, "it was not mapped, and the host's is dirty"],
          [seen.retried === 0 && !dirty, "the page was given for writing, and is clean"],
          [seen.retried !== 0 && isValid(bed.entry(0)), "it was not mapped, and is there"],
        );
      },
    };
  },
});

/** L21: X takes away what the tables of the fault would be made of. */
const noMemory = litmus({
  name: "L21/memory",
  title: "a write fault that finds no memory for tables dirties nothing",
  agents: ["V0", "X"],
  mutants: ["topup-forgets-its-failure"],
  options: { guestRam: RAM, tablePages: TABLE_PAGES },
  setup(agents, lab) {
    const bed = new VmBed(agents, lab, { slots: [LOGGED] });
    const guest = bed.guest("V0", NO_TLB, false);
    faulted(guest, 0, 1);
    const { core } = bed.maker;
    return { bed, guest, used: core.pool_used(), tables: core.pgt_pages(bed.pgt) };
  },
  run({ bed, guest, used, tables }, agents) {
    const seen = met();
    const { core } = agent(agents, "X");
    function* squeeze() {
      yield () => core.pool_set_budget(used + 1);
    }
    return {
      programs: { V0: whole(handled(bed, guest, ON_A, seen)), X: squeeze() },
      forbidden() {
        const given = isWritable(bed.entry(0));
        const { outcome } = seen;
        return forbidden(
          [outcome !== ABORT.RESUME && outcome !== -12, `the abort came to ${outcome}`],
          [
            given !== (outcome === ABORT.RESUME),
            `${outcome}, and the page is ${say(bed.entry(0))}`,
          ],
          [given !== bed.isDirty(0), `the page is ${say(bed.entry(0))}, dirty ${bed.isDirty(0)}`],
          [!given && core.pgt_pages(bed.pgt) !== tables, "a table was made, and nothing mapped"],
        );
      },
    };
  },
});

export const loggedFaults: readonly Litmus[] = [
  storesBesideLog("L16", NO_TLB, ["dirty-before-it-is-given"]),
  storesBesideLog("L22/log", WITH_TLB, ["log-flush-forgotten"]),
  twoWriters,
  lostRace,
  voidAnswer,
  noMemory,
];
