/** The results of a replay as text: calls by kind, what was compared, and the first differences. */
import type { ReplayResult } from "../replay/result.ts";
import type { VmReplayResult } from "../replay/vm/result.ts";

/** Kinds in the order of the columns; a kind that is not here gets one behind them. */
const KINDS = ["map", "unmap", "relax_perms", "mkyoung", "wrprotect", "test_clear_young"];

export function describeResults(results: readonly ReplayResult[]): string {
  const parts = [kindTable(results), "", resultTable(results)];
  const undecided = undecidedLines(results);
  if (undecided.length > 0) parts.push("", "Not compared, by cause:", ...undecided);
  return [...parts, ...differenceLines(results)].join("\n");
}

/** The same for a replay at the level of VMs: guest aborts by how they ended, what was predicted, the first differences. */
export function describeVmResults(results: readonly VmReplayResult[]): string {
  const parts = [abortTable(results), "", predictionTable(results)];
  const undecided = undecidedLines(results);
  if (undecided.length > 0) parts.push("", "Taken from the record, by cause:", ...undecided);
  return [...parts, ...differenceLines(results)].join("\n");
}

/** Aborts: with a call; retried for a notifier inside, around, in part; called though one overlapped in part; devices. */
function abortTable(results: readonly VmReplayResult[]): string {
  const head = ["guest aborts", "all", "call", "own", "inside", "either", "call-e", "device"];
  const rows = results.map((result) => [
    result.trace,
    result.aborts,
    result.called,
    result.own,
    result.inside,
    result.either,
    result.eitherCalled,
    result.devices,
  ]);
  return table(head, withTotal(rows));
}

function predictionTable(results: readonly VmReplayResult[]): string {
  const head = ["trace", "calls", "range", "compared", "answers", "dirty words", "counts"];
  head.push("facts taken", "held", "differing");
  const rows = results.map((result) => [
    result.trace,
    result.calls,
    result.ranges,
    result.compared,
    result.answers,
    result.words,
    result.counts,
    result.facts.taken,
    result.facts.held,
    result.differing,
  ]);
  return table(head, withTotal(rows));
}

interface Told {
  readonly trace: string;
  readonly undecided: Readonly<Record<string, number>>;
  readonly differences: readonly string[];
}

function differenceLines(results: readonly Told[]): string[] {
  const lines = results.flatMap(({ trace, differences }) =>
    differences.map((sentence) => `${trace}: ${sentence}`),
  );
  return lines.length > 0 ? ["", ...lines] : [];
}

function kindTable(results: readonly ReplayResult[]): string {
  const seen = new Set(results.flatMap(({ kinds }) => Object.keys(kinds)));
  const columns = [
    ...KINDS.filter((kind) => seen.has(kind)),
    ...[...seen].filter((kind) => !KINDS.includes(kind)).sort(),
  ];
  const rows = results.map(({ trace, kinds }) => [
    trace,
    ...columns.map((kind) => kinds[kind] ?? 0),
  ]);
  return table(["calls by kind", ...columns], withTotal(rows));
}

function resultTable(results: readonly ReplayResult[]): string {
  const head = ["trace", "calls", "overlapping", "pages", "-EAGAIN"];
  head.push("compared", "differing", "undecided");
  const rows = results.map((result) => [
    result.trace,
    result.calls,
    result.grouped,
    result.pages,
    result.again,
    result.compared,
    result.differing,
    sum(Object.values(result.undecided)),
  ]);
  const seconds = sum(results.map((result) => result.seconds));
  const rates = results.map(({ callsPerSecond }) => Math.round(callsPerSecond));
  rates.push(Math.round(sum(results.map(({ calls }) => calls)) / seconds));
  return table(
    [...head, "calls/s"],
    withTotal(rows).map((row, i) => [...row, rates[i] as number]),
  );
}

function undecidedLines(results: readonly Told[]): string[] {
  return results
    .filter(({ undecided }) => Object.keys(undecided).length > 0)
    .map(({ trace, undecided }) => {
      const causes = Object.entries(undecided).map(([cause, count]) => `${cause} ${count}`);
      return `  ${trace}: ${causes.join(", ")}`;
    });
}

type Cell = string | number;

/** Adds the sums of the columns, if there is more than one row. */
function withTotal(rows: Cell[][]): Cell[][] {
  const [first] = rows;
  if (first === undefined || rows.length === 1) return rows;
  const total = first.map((_, column) =>
    column === 0 ? "total" : sum(rows.map((row) => Number(row[column]))),
  );
  return [...rows, total];
}

/** Lines with aligned columns: the first to the left, numbers to the right. */
function table(head: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const lines = [head, ...rows.map((row) => row.map(show))];
  const widths = head.map((_, column) =>
    Math.max(...lines.map((line) => (line[column] as string).length)),
  );
  return lines
    .map((line) =>
      line.map((cell, i) =>
        i === 0 ? cell.padEnd(widths[0] as number) : cell.padStart(widths[i] as number),
      ),
    )
    .map((cells) => cells.join("  "))
    .join("\n");
}

function show(cell: Cell): string {
  return typeof cell === "number" ? cell.toLocaleString("en-US") : cell;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
