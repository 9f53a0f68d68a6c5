/** Dirty rings: a vCPU pushes, the VMM harvests, a reset protects anew; the ledger is that of a dirty log. */
import { type Litmus, litmus } from "../../../src/explorer/litmus.ts";
import type { VcpuOptions } from "../../../src/index.ts";
import { CAP, SLOT_FLAG } from "../../../src/vm/_abi.ts";
import { type Call, type Part, software } from "./observe.ts";
import { B, NO_TLB, PAGE, RAM, WITH_TLB, agent, forbidden } from "./support.ts";
import { type Guest, TABLE_PAGES, VmBed, atOnce } from "./vm_bed.ts";
import { accessed, loads, met, steady, stores, worked } from "./vm_guests.ts";

const RING_BYTES = 4096;
const ENTRIES = RING_BYTES / 16;
const SLOT = 1;
const NUMBER = 1;
const DIRTY = 1;
const HARVESTED = 3;

// A ring is shared with whoever runs the VM, who looks at it without calls. The scheduler sees calls alone, so these two stand in:
// one that is just a load of the word at +8 of its argument, one that is just an exchange of the word at +32.
function peek({ core }: Guest["on"], address: number): Call {
  return () => core.cache_count(address - 8);
}

function poke({ core }: Guest["on"], address: number, value: number): Call {
  return () => core.pgt_set_events(address - 32, value);
}

/** What is in the ring of a vCPU now: pages that were pushed and not reset. */
function named(bed: VmBed, { on, context }: Guest): number[] {
  on.core.vm_vcpu_ring(context);
  const [ring, , , pushed, reset] = [0, 1, 2, 3, 4].map((n) => bed.result(on, n)) as number[];
  const count = (pushed as number) - (reset as number);
  return Array.from({ length: count }, (_, n) => {
    const entry = (ring as number) + (((reset as number) + n) % ENTRIES) * 16;
    return Number(bed.lab.read64(entry + 8));
  });
}

/** V0 stores twice into page 1, X harvests one entry, resets, and copies the page that it named. */
function harvest(name: string, cpu: VcpuOptions, mutants: readonly string[]): Litmus {
  return litmus({
    name,
    title: "stores beside harvest and reset of the dirty ring: in the copy, or named again",
    agents: ["V0", "X"],
    mutants,
    options: { guestRam: RAM, tablePages: TABLE_PAGES },
    setup(agents, lab) {
      const caps = [
        [CAP.DIRTY_LOG_RING_ACQ_REL, RING_BYTES],
        [CAP.DIRTY_LOG_RING_WITH_BITMAP, 0],
      ] as const;
      const slots = [{ id: SLOT, pages: 4, flags: SLOT_FLAG.LOG_DIRTY_PAGES }];
      const bed = new VmBed(agents, lab, { slots, caps });
      const guest = bed.guest("V0", cpu);
      atOnce(accessed(bed, guest, loads(guest, PAGE), steady(B), met()));
      guest.on.core.vm_vcpu_ring(guest.context);
      const copier = software(agent(agents, "X"));
      return { bed, guest, copier, ring: bed.result(guest.on, 0), word: bed.ram(B) };
    },
    run({ bed, guest, copier, ring, word }, agents) {
      const [first, last] = [met(), met()];
      const x = agent(agents, "X");
      const books = { copy: 0, slot: SLOT, page: NUMBER, reset: 0, harvested: 0 };
      function* storing(): Part {
        yield* accessed(bed, guest, stores(guest, PAGE, 2), steady(B), first);
        yield* accessed(bed, guest, stores(guest, PAGE, 3), steady(B), last);
      }
      function* harvests(): Part {
        if ((yield peek(x, ring)) !== DIRTY) return;
        books.slot = yield peek(x, ring + 4);
        books.page = yield peek(x, ring + 8);
        yield poke(x, ring, HARVESTED);
        books.harvested = 1;
        books.reset = yield () => x.core.vm_rings_reset(bed.vm, ENTRIES);
        books.copy = yield () => x.core.vcpu_read(copier, B, 4);
      }
      return {
        programs: { V0: storing(), X: harvests() },
        forbidden() {
          const memory = bed.lab.read32(word);
          const again = named(bed, guest).includes(NUMBER);
          return forbidden(
            [!worked(first) || !worked(last), "a store never came to pass"],
            [books.slot !== SLOT || books.page !== NUMBER, `slot ${books.slot} page ${books.page}`],
            [books.reset !== books.harvested, `resetting answered ${books.reset}`],
            [memory !== books.copy && !again, `${memory} is in no copy, and no entry names it`],
          );
        },
      };
    },
  });
}

export const rings: readonly Litmus[] = [
  harvest("S9", NO_TLB, ["ring-flag-before-entry", "reset-does-not-protect"]),
  harvest("S9/tlb", WITH_TLB, ["reset-flush-forgotten"]),
];
