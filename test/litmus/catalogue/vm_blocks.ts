/** Blocks in a slot that logs: a store breaks its block, and the pages beside it come back one by one. */
import { type Litmus, litmus } from "../../../src/explorer/litmus.ts";
import { AGE, SLOT_FLAG } from "../../../src/vm/_abi.ts";
import { Accounts } from "./accounts.ts";
import type { Part } from "./observe.ts";
import {
  A,
  B,
  BIT,
  BLOCK,
  PAGE,
  RAM,
  WITH_TLB,
  agent,
  forbidden,
  isWritable,
  outputOf,
  say,
} from "./support.ts";
import { type Guest, TABLE_PAGES, VmBed, atOnce, whole } from "./vm_bed.ts";
import { type Host, accessed, loads, met, steady, stores, worked } from "./vm_guests.ts";

const SLOT = { pages: BLOCK / PAGE } as const;
const BLOCK_SHIFT = 21;

/** The host has a huge page at A: whoever asks for a page of it gets that page. */
function huge(page: number): Host {
  return steady(A + page * PAGE, BLOCK_SHIFT);
}

/** Pages that the two guests' memory caches have. */
function stockOf(guests: readonly Guest[]): number {
  return guests.reduce((sum, { on, context }) => sum + on.core.vm_vcpu_cache(context), 0);
}

const broken = litmus({
  name: "S10",
  title: "two guests store into pages of one block that is logged: both pages are there, and dirty",
  agents: ["V0", "V1"],
  mutants: ["lost-table-kept"],
  options: { guestRam: RAM, tablePages: TABLE_PAGES },
  setup(agents, lab) {
    const bed = new VmBed(agents, lab, { slots: [SLOT] });
    const guests = [bed.guest("V0", WITH_TLB), bed.guest("V1", WITH_TLB)] as const;
    atOnce(accessed(bed, guests[0], stores(guests[0], 0, 1), huge(0), met()));
    if ((bed.entry(0) & BIT.TYPE) !== 0n) throw new Error("there is no block");
    atOnce(bed.setSlot("V0", { ...SLOT, flags: SLOT_FLAG.LOG_DIRTY_PAGES }));
    guests[1].on.core.vcpu_read(guests[1].cpu, PAGE, 4); // the block is in its TLB
    const books = new Accounts(bed, agent(agents, "V0"), () => stockOf(guests));
    return { bed, guests, books, words: [bed.ram(A), bed.ram(B)] as const };
  },
  run({ bed, guests: [v0, v1], books, words }) {
    const [first, second] = [met(), met()];
    return {
      programs: {
        V0: whole(accessed(bed, v0, stores(v0, 0, 7), huge(0), first)),
        V1: whole(accessed(bed, v1, stores(v1, PAGE, 8), huge(1), second)),
      },
      forbidden() {
        const wrong = [0, 1].find((n) => outputOf(bed.entry(n * PAGE)) !== A + n * PAGE);
        return (
          forbidden(
            [!worked(first) || !worked(second), "a store never came to pass"],
            [wrong !== undefined, `page ${wrong} is ${say(bed.entry((wrong ?? 0) * PAGE))}`],
            [bed.lab.read32(words[0]) !== 7 || bed.lab.read32(words[1]) !== 8, "a store is lost"],
            [!bed.isDirty(0) || !bed.isDirty(1), "a page that was stored into is clean"],
            [bed.isDirty(2) || isWritable(bed.entry(2 * PAGE)), "page 2 was given, too"],
          ) ?? books.wrong()
        );
      },
    };
  },
});

/** clear_flush_young beside a guest with the page in its TLB: once it has returned, the next use of the page is seen again. */
const agedAndFlushed = litmus({
  name: "S11",
  title: "clear_flush_young beside a guest that loads: a load after it makes the page young again",
  agents: ["V0", "X"],
  mutants: ["aging-without-flush"],
  options: { guestRam: RAM, tablePages: TABLE_PAGES },
  setup(agents, lab) {
    const bed = new VmBed(agents, lab, { slots: [{ pages: 4 }] });
    const guest = bed.guest("V0", WITH_TLB);
    atOnce(accessed(bed, guest, loads(guest, 0), steady(A), met()));
    return { bed, guest };
  },
  run({ bed, guest }, agents) {
    const on = agent(agents, "X");
    const seen = { first: 0, second: 0 };
    const [before, after] = [met(), met()];
    function* ages(): Part {
      const range = bed.hvaRange(0);
      const call = () => on.core.vm_age(bed.vm, AGE.CLEAR_FLUSH);
      seen.first = yield* bed.asks(on, range, call);
      seen.second = yield* bed.asks(on, range, () => on.core.vm_age(bed.vm, AGE.TEST));
    }
    return {
      programs: { V0: whole(accessed(bed, guest, loads(guest, 0), steady(A), before)), X: ages() },
      forbidden() {
        atOnce(accessed(bed, guest, loads(guest, 0), steady(A), after));
        return forbidden(
          [seen.first !== 1, `the page was young, and aging answered ${seen.first}`],
          [seen.second < 0, `a look at the page answered ${seen.second}`],
          [!worked(before) || !worked(after), "a load never came to pass"],
          [(bed.entry(0) & BIT.AF) === 0n, "V0 uses the page, and it stays old"],
        );
      },
    };
  },
});

export const blocks: readonly Litmus[] = [broken, agedAndFlushed];
