/** How often the guest faulted on the same page. */
import type { Trace } from "./read.ts";

/** `pages[n]` is the number of pages that faulted n + 1 times. The last element counts all that faulted more often. */
export interface FaultHistogram {
  readonly pages: readonly number[];
  /** Faults in all, and those that went to the VMM as device accesses. */
  readonly faults: number;
  readonly mmio: number;
  /** Pages that faulted at all. */
  readonly touched: number;
}

const BINS = 10;

/** Faults that KVM answered with the page table, by guest page. */
export function faultHistogram(trace: Trace): FaultHistogram {
  const { pageShift } = trace.header;
  const mmio = new Set<number>();
  for (const { op, up } of trace.records) {
    if (op === "tp_mmio" && up !== undefined) mmio.add(up);
  }
  const counts = new Map<number, number>();
  let faults = 0;
  for (const { op, up, ipa } of trace.records) {
    if (op !== "tp_guest_fault") continue;
    faults++;
    if (up !== undefined && mmio.has(up)) continue;
    const page = Math.floor(Number(ipa) / 2 ** pageShift);
    counts.set(page, (counts.get(page) ?? 0) + 1);
  }
  const pages = new Array<number>(BINS).fill(0);
  for (const count of counts.values()) {
    const bin = Math.min(count, BINS) - 1;
    pages[bin] = (pages[bin] as number) + 1;
  }
  return { pages, faults, mmio: mmio.size, touched: counts.size };
}
