/** The course of a replay, for the report: samples over time, and the address space when most of it was mapped. */
import type { Context } from "../_context.ts";
import { type Region, addressMap } from "./address_map.ts";
import { type Call, isFlush } from "./calls.ts";
import type { Driver } from "./driver.ts";
import { type FaultHistogram, faultHistogram } from "./faults.ts";
import { type PlainLeaf, leavesOf } from "./leaves.ts";
import type { Trace } from "./read.ts";

/** One moment. All arrays of {@link History} have one element for each. */
interface Sample {
  readonly time: number;
  /** Bytes mapped by leaves of level 1, 2 and 3. */
  readonly mapped: readonly [number, number, number];
  /** Bytes of table pages. */
  readonly tables: number;
  /** Calls since the sample before, by kind. */
  readonly calls: Readonly<Record<string, number>>;
}

/** What the report draws of one trace. */
export interface History {
  readonly samples: readonly Sample[];
  readonly faults: FaultHistogram;
  /** Time at which most was mapped, and the map of then. */
  readonly fullest: { readonly time: number; readonly regions: readonly Region[] };
}

const SAMPLES = 240;
const UNIT = 4096;

/** Gathers a history: its `after` is called after every call of the replay. */
export class HistoryRecorder {
  readonly #trace: Trace;
  readonly #every: number;
  readonly #samples: Sample[] = [];
  #calls: Record<string, number> = {};
  #count = 0;
  #time = 0;
  #fullest: { time: number; bytes: number; leaves: PlainLeaf[] } = {
    time: 0,
    bytes: 0,
    leaves: [],
  };

  constructor(trace: Trace) {
    this.#trace = trace;
    const calls = trace.records.filter(({ op }) => op.startsWith("s2_")).length;
    this.#every = Math.max(1, Math.floor(calls / SAMPLES));
  }

  after(call: Call, driver: Driver, context: Context): void {
    if (isFlush(call)) return;
    const kind = call.record.op.replace(/^s2_/, "");
    this.#calls[kind] = (this.#calls[kind] ?? 0) + 1;
    // Calls that overlapped are not replayed in the order of their times.
    this.#time = Math.max(this.#time, Number(call.record.t ?? 0));
    const last = kind === "destroy";
    if (this.#count++ % this.#every === 0 || last) this.#sample(driver, context);
  }

  finish(): History {
    const { time, leaves } = this.#fullest;
    const regions = addressMap(leaves, this.#trace.header.pageShift);
    return {
      samples: this.#samples,
      faults: faultHistogram(this.#trace),
      fullest: { time, regions },
    };
  }

  #sample(driver: Driver, context: Context): void {
    const mapped: [number, number, number] = [0, 0, 0];
    const leaves: PlainLeaf[] = [];
    for (const table of driver.tables.values()) {
      for (const leaf of leavesOf(context, table, this.#trace.header.pageShift)) {
        const index = (leaf.level - 1) as 0 | 1 | 2;
        mapped[index] += leaf.size;
        leaves.push(leaf);
      }
    }
    const bytes = mapped[0] + mapped[1] + mapped[2];
    if (bytes > this.#fullest.bytes) this.#fullest = { time: this.#time, bytes, leaves };
    const tables = context.core.pool_used() * UNIT;
    this.#samples.push({ time: this.#time, mapped, tables, calls: this.#calls });
    this.#calls = {};
  }
}
