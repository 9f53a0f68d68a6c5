// @ts-check
/** What the tables are made with. */

/** The two tables: aging under the lock, and without. @type {readonly import("stage2").Stage2Options[]} */
export const TABLES = [
  { ipaBits: 40, locking: true },
  {
    ipaBits: 40,
    locking: true,
    locklessAging: true,
    keepPermissions: true,
    fwb: true,
    tlbiRange: true,
  },
];
