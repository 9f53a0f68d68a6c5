/** What the vCPUs of a scene counted, summed up. */
import type { VmVcpu } from "../../../../src/index.ts";

/** Faults by kind, library calls, and what came of them. */
export interface Counts {
  readonly translation: number;
  readonly permission: number;
  readonly accessFlag: number;
  readonly maps: number;
  readonly relaxes: number;
  readonly blocks: number;
  readonly retries: number;
  readonly again: number;
  readonly dirtied: number;
}

const NAMES = {
  translation: "translationFaults",
  permission: "permissionFaults",
  accessFlag: "accessFlagFaults",
  maps: "maps",
  relaxes: "relaxes",
  blocks: "blocks",
  retries: "retries",
  again: "again",
  dirtied: "dirtied",
} as const satisfies Record<keyof Counts, keyof VmVcpu["statistics"]>;
const ENTRIES = Object.entries(NAMES) as [keyof Counts, keyof VmVcpu["statistics"]][];

export function countsOf(vcpus: readonly VmVcpu[]): Counts {
  const all = vcpus.map(({ statistics }) => statistics);
  const sums = ENTRIES.map(([name, counter]) => [
    name,
    all.reduce((n, one) => n + one[counter], 0),
  ]);
  return Object.fromEntries(sums) as Counts;
}

/** What was counted between two moments. */
export function difference(now: Counts, before: Counts): Counts {
  const pairs = ENTRIES.map(([name]) => [name, now[name] - before[name]]);
  return Object.fromEntries(pairs) as Counts;
}
