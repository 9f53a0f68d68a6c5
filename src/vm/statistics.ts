/** What VMs and their vCPUs counted. */
import { VM_COUNTER } from "./_abi.ts";
import type { VmPlace } from "./_place.ts";

/** Counts of a vCPU since it was made. */
export interface AbortStatistics {
  /** Aborts handled, of all kinds. */
  readonly aborts: number;
  /** Calls of `kvm_pgtable_stage2_map`, `_relax_perms` and `_mkyoung`. */
  readonly maps: number;
  readonly relaxes: number;
  readonly youngs: number;
  /** Of those, the ones that came too late: the library said -EAGAIN. */
  readonly again: number;
  /** Aborts that began anew: an invalidation or a change of the slot came between. */
  readonly retries: number;
  /** Accesses to devices. */
  readonly mmio: number;
  /** Exceptions for the guest. */
  readonly injected: number;
  /** Block mappings that were made. */
  readonly blocks: number;
  /** Pages that became dirty in a log. */
  readonly dirtied: number;
  /** Entries taken from HDBSS. */
  readonly harvested: number;
  /** Times that the memory cache was filled up. */
  readonly topups: number;
  /** Times that it was loaded on a CPU. */
  readonly loads: number;
  /** Aborts by what the walk met. */
  readonly accessFlagFaults: number;
  readonly permissionFaults: number;
  readonly translationFaults: number;
}

const NAMES = {
  aborts: VM_COUNTER.ABORTS,
  maps: VM_COUNTER.MAPS,
  relaxes: VM_COUNTER.RELAXES,
  youngs: VM_COUNTER.YOUNGS,
  again: VM_COUNTER.AGAIN,
  retries: VM_COUNTER.RETRIES,
  mmio: VM_COUNTER.MMIO,
  injected: VM_COUNTER.INJECTED,
  blocks: VM_COUNTER.BLOCKS,
  dirtied: VM_COUNTER.DIRTIED,
  harvested: VM_COUNTER.HARVESTED,
  topups: VM_COUNTER.TOPUPS,
  loads: VM_COUNTER.LOADS,
  accessFlagFaults: VM_COUNTER.ACCESS_FLAG,
  permissionFaults: VM_COUNTER.PERMISSION,
  translationFaults: VM_COUNTER.TRANSLATION,
} as const satisfies Record<keyof AbortStatistics, number>;

const ENTRIES = Object.entries(NAMES) as [keyof AbortStatistics, number][];

/** The counters of a vCPU context. */
export function abortStatistics({ context, core }: VmPlace, pointer: number): AbortStatistics {
  const first = (core.vm_vcpu_counters(pointer) >>> 0) / 8;
  const words = context.u64;
  return from((counter) => Number(words[first + counter]));
}

/** Counts of several vCPUs together. */
export function sum(parts: readonly AbortStatistics[]): AbortStatistics {
  const totals = Object.fromEntries(
    ENTRIES.map(([name]) => [name, parts.reduce((total, part) => total + part[name], 0)]),
  );
  return totals as unknown as AbortStatistics;
}

function from(count: (counter: number) => number): AbortStatistics {
  const counts = Object.fromEntries(ENTRIES.map(([name, counter]) => [name, count(counter)]));
  return counts as unknown as AbortStatistics;
}
