/** What the page draws, as the JSON that is put into it. */
import type { Cause, ReplayResult } from "../../replay/result.ts";
import type { History } from "../../replay/history.ts";
import type { TraceHeader } from "../../replay/record.ts";

/** A replayed trace. */
export interface Run {
  readonly header: TraceHeader;
  readonly result: ReplayResult;
  readonly history: History;
}

/** What each cause means, for readers who meet it the first time. */
const CAUSES: Readonly<Record<Cause, string>> = {
  "af-from-visits": "access flags that hardware had set, found by the next call",
  "af-from-dumps": "access flags that hardware had set, found in a dump",
  "dump-missing": "dumps that are not beside the trace, or show none of its tables",
};

/** One trace, in columns. */
export function traceData({ header, result, history }: Run): object {
  const { samples, faults, fullest } = history;
  const first = samples[0]?.time ?? 0;
  const kinds = [...new Set(samples.flatMap(({ calls }) => Object.keys(calls)))];
  return {
    name: result.trace,
    kernel: header.kernel,
    cpu: header.cpuModel,
    pageShift: header.pageShift,
    shapes: header.shapes.map(({ iaBits }) => iaBits),
    result,
    undecided: Object.entries(result.undecided).map(([cause, count]) => ({
      cause,
      count,
      meaning: CAUSES[cause as Cause],
    })),
    time: samples.map(({ time }) => Number((time - first).toFixed(6))),
    mapped: [1, 2, 3].map((level) => samples.map(({ mapped }) => mapped[level - 1])),
    tables: samples.map(({ tables }) => tables),
    calls: Object.fromEntries(
      kinds.map((kind) => [kind, samples.map(({ calls }) => calls[kind] ?? 0)]),
    ),
    faults,
    fullest: { ...fullest, time: fullest.time - first },
  };
}
