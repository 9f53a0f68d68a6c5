/** Every litmus test, in the order of the report. */
import type { Litmus } from "../../../src/explorer/litmus.ts";
import { aging } from "./b1_aging.ts";
import { exclusive } from "./b1_exclusive.ts";
import { faults } from "./b1_faults.ts";
import { ranges } from "./b1_ranges.ts";
import { upgrades } from "./b1_upgrades.ts";
import { permissions } from "./b2_permissions.ts";
import { protection } from "./b2_protect.ts";
import { aged } from "./b3_aged.ts";
import { breaks } from "./b3_break.ts";
import { grace } from "./b3_grace.ts";
import { markers } from "./b3_marker.ts";
import { samePage } from "./b3_same_page.ts";
import { tables } from "./b3_tables.ts";
import { unmapping } from "./b4_unmap.ts";
import { dirty } from "./b5_dirty.ts";
import { dirtyReaders } from "./b5_readers.ts";
import { replacedPages } from "./b5_replaced.ts";
import { structures } from "./b5_structures.ts";
import { comesBack } from "./b7_aba.ts";
import { halves } from "./b7_halves.ts";
import { lockWords } from "./b7_locks.ts";
import { poolPages } from "./b7_pages.ts";
import { completion } from "./locks_completion.ts";
import { exclusion } from "./locks_exclusion.ts";
import { misuse } from "./locks_misuse.ts";
import { sections } from "./locks_sections.ts";
import { counts } from "./pkvm_counts.ts";
import { hostPages } from "./pkvm_host.ts";
import { guestMaps } from "./pkvm_maps.ts";
import { protectedGuests } from "./pkvm_protected.ts";
import { relaxing } from "./pkvm_relax.ts";
import { guestEnds } from "./pkvm_teardown.ts";
import { vmLives } from "./pkvm_vms.ts";
import { bitmaps } from "./vm_bitmaps.ts";
import { blocks } from "./vm_blocks.ts";
import { hardwareLists } from "./vm_hdbss.ts";
import { lastRun } from "./vm_last_run.ts";
import { clearedLogs } from "./vm_log_clear.ts";
import { loggedFaults } from "./vm_log_faults.ts";
import { moves } from "./vm_moves.ts";
import { notifiers } from "./vm_notifiers.ts";
import { rings } from "./vm_rings.ts";
import { slotChanges } from "./vm_slots.ts";
import { teardowns } from "./vm_teardown.ts";
import { vmids } from "./vm_vmid.ts";

/** By number: L25 before L31, letters within. */
function byNumber(a: Litmus, b: Litmus): number {
  return a.name.localeCompare(b.name, "en", { numeric: true });
}

const rows: readonly Litmus[] = [
  ...aging,
  ...exclusive,
  ...faults,
  ...ranges,
  ...upgrades,
  ...permissions,
  ...protection,
  ...samePage,
  ...breaks,
  ...markers,
  ...tables,
  ...grace,
  ...aged,
  ...unmapping,
  ...dirty,
  ...dirtyReaders,
  ...replacedPages,
  ...structures,
  ...halves,
  ...lockWords,
  ...comesBack,
  ...poolPages,
];
const locks: readonly Litmus[] = [...exclusion, ...misuse, ...sections, ...completion];
const machines: readonly Litmus[] = [
  ...loggedFaults,
  ...clearedLogs,
  ...bitmaps,
  ...blocks,
  ...rings,
  ...hardwareLists,
  ...notifiers,
  ...slotChanges,
  ...moves,
  ...teardowns,
  ...vmids,
  ...lastRun,
];
const hypervisor: readonly Litmus[] = [
  ...guestMaps,
  ...relaxing,
  ...counts,
  ...hostPages,
  ...guestEnds,
  ...vmLives,
  ...protectedGuests,
];

export const catalogue: readonly Litmus[] = [...rows, ...locks, ...machines, ...hypervisor].sort(
  byNumber,
);
