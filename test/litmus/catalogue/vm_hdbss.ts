/** Dirty pages that hardware lists (HDBSS) beside a dirty log: what a store left is in the copy, in the log, or in the list. */
import { type Litmus, litmus } from "../../../src/explorer/litmus.ts";
import { CAP, SLOT_FLAG } from "../../../src/vm/_abi.ts";
import type { Part } from "./observe.ts";
import { A, type Answers, NO_TLB, RAM, WITH_TLB, forbidden } from "./support.ts";
import { TABLE_PAGES, VmBed, atOnce, fine } from "./vm_bed.ts";
import { accessed, met, steady, stores, worked } from "./vm_guests.ts";
import { Collector, ledger, lost } from "./vm_ledger.ts";

const ON_A = steady(A);
const HDBSS = { hafdbs: 4 } as const;

/** V0 stores, moves what its CPU has listed into the log, and stores again; X fetches the log and copies. */
function listed(name: string, tlb: boolean, mutants: readonly string[]): Litmus {
  return litmus({
    name,
    title:
      "hardware lists dirty pages beside get_dirty_log: no store is lost when all is harvested",
    agents: ["V0", "X"],
    mutants,
    options: { guestRam: RAM, tablePages: TABLE_PAGES },
    setup(agents, lab) {
      const slots = [{ pages: 4, flags: SLOT_FLAG.LOG_DIRTY_PAGES }];
      const bed = new VmBed(agents, lab, { slots, caps: [[CAP.HDBSS, 1]], hd: true });
      const guest = bed.guest("V0", { ...(tlb ? WITH_TLB : NO_TLB), ...HDBSS });
      fine("vm_vcpu_hdbss", guest.on.core.vm_vcpu_hdbss(guest.context, 0));
      atOnce(accessed(bed, guest, stores(guest, 0, 1), ON_A, met()));
      return { bed, guest, collector: new Collector(bed, "X"), word: bed.ram(A) };
    },
    run({ bed, guest, collector, word }) {
      const [first, last, books] = [met(), met(), ledger()];
      const answers: Answers = {};
      const core = guest.on.core;
      function* storing(): Part {
        yield* accessed(bed, guest, stores(guest, 0, 2), ON_A, first);
        answers.harvested = yield () => core.vm_vcpu_harvest(guest.context);
        yield* accessed(bed, guest, stores(guest, 0, 3), ON_A, last);
      }
      return {
        programs: { V0: storing(), X: collector.round(books) },
        forbidden() {
          const rest = core.vm_vcpu_harvest(guest.context);
          return (
            forbidden(
              [!worked(first) || !worked(last), "a store never came to pass"],
              [(answers.harvested ?? 0) < 0 || rest < 0, "harvesting failed"],
            ) ?? lost(bed, books, word)
          );
        },
      };
    },
  });
}

export const hardwareLists: readonly Litmus[] = [
  listed("S12", false, ["harvest-forgets", "log-does-not-protect"]),
  listed("S12/tlb", true, ["log-flush-forgotten"]),
];
