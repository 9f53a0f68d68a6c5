/** B2: clear_dirty_log beside a guest whose TLB lets it write. Cleared, protected, flushed, in this order, and only then copied. */
import { type Litmus, litmus } from "../../../src/explorer/litmus.ts";
import type { VcpuOptions } from "../../../src/index.ts";
import { CAP, SLOT_FLAG } from "../../../src/vm/_abi.ts";
import { A, NO_TLB, RAM, WITH_TLB, forbidden, isWritable } from "./support.ts";
import { TABLE_PAGES, VmBed, atOnce } from "./vm_bed.ts";
import { accessed, met, steady, stores, worked } from "./vm_guests.ts";
import { Collector, ledger, lost } from "./vm_ledger.ts";

const PAGES = 4;
const ON_A = steady(A);

/** V0 has stored into page 0, which is dirty and writable, and stores on; X fetches the log, clears what it names, copies. */
function clearing(name: string, cpu: VcpuOptions, manual: boolean, mutants: readonly string[]) {
  return litmus({
    name,
    title: `stores through a hot TLB beside ${manual ? "clear" : "get"}_dirty_log: in the copy, or in the next log`,
    agents: ["V0", "X"],
    mutants,
    options: { guestRam: RAM, tablePages: TABLE_PAGES },
    setup(agents, lab) {
      const slots = [{ pages: PAGES, flags: SLOT_FLAG.LOG_DIRTY_PAGES }];
      const caps = manual ? ([[CAP.MANUAL_DIRTY_LOG_PROTECT2, 1]] as const) : [];
      const bed = new VmBed(agents, lab, { slots, caps });
      const guest = bed.guest("V0", cpu);
      atOnce(accessed(bed, guest, stores(guest, 0, 1), ON_A, met()));
      if (!isWritable(bed.entry(0)) || !bed.isDirty(0)) throw new Error("the first store failed");
      return { bed, guest, collector: new Collector(bed, "X"), word: bed.ram(A) };
    },
    run({ bed, guest, collector, word }) {
      const [first, last, books] = [met(), met(), ledger()];
      function* storing() {
        yield* accessed(bed, guest, stores(guest, 0, 2), ON_A, first);
        yield* accessed(bed, guest, stores(guest, 0, 3), ON_A, last);
      }
      return {
        programs: {
          V0: storing(),
          X: manual ? collector.manualRound(books, PAGES) : collector.round(books),
        },
        forbidden: () =>
          forbidden(
            [!worked(first) || !worked(last), "a store never came to pass"],
            [isWritable(bed.entry(0)) && !bed.isDirty(0), "a clean page is writable"],
          ) ?? lost(bed, books, word),
      };
    },
  });
}

export const clearedLogs: readonly Litmus[] = [
  clearing("L17/log", WITH_TLB, true, ["log-does-not-protect"]),
  clearing("L17/get", WITH_TLB, false, ["log-does-not-protect"]),
  clearing("L18/log", WITH_TLB, true, ["log-flush-forgotten"]),
  clearing("L18/get", WITH_TLB, false, ["log-flush-forgotten"]),
  clearing("L19", NO_TLB, true, ["protects-before-it-takes"]),
  clearing("L19/get", NO_TLB, false, ["protects-before-it-takes"]),
];
