// @ts-check
/** The rings of all vCPUs, also those of other threads, harvested by whoever collects. */

/** @typedef {import("stage2").DirtyEntry} DirtyEntry */

/** Entries of all rings of a VM, from now on harvested. @param {import("stage2").Vm} vm @returns {DirtyEntry[]} */
export function harvestRings(vm) {
  return vm.dirtyRings().flatMap((ring) => Array.from(ring.harvest()));
}

/** Entries that found no room: pages that the log has lost. @param {import("stage2").Vm} vm */
export function overflowedEntries(vm) {
  return vm.dirtyRings().reduce((sum, { overflowed }) => sum + overflowed, 0);
}
