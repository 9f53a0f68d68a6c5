/**
 * `stage2 replay`: replays recorded KVM traces and tells where the engine differs from what was recorded. By default the calls
 * of the page-table library are made again; with `--level vm` what the hosts were asked for is, and the calls are predicted.
 */
import { HistoryRecorder } from "../replay/history.ts";
import { readTrace } from "../replay/read.ts";
import { replayTrace } from "../replay/replay.ts";
import type { ReplayResult } from "../replay/result.ts";
import { progressBar } from "./progress.ts";
import { describeResults } from "./replay_table.ts";
import { describeVmRun, replayVms } from "./replay_vm.ts";
import { type Run, renderReport } from "./report/report.ts";
import { checkReportFile, writeReportFile } from "./report/file.ts";
import { renderVmReport } from "./report/vm.ts";
import { EXIT, type Io, expandPaths, parseArguments, usageError } from "./shared.ts";

const SUFFIXES = [".trace.jsonl", ".trace.jsonl.gz"];

export async function replayCommand(argv: readonly string[], io: Io): Promise<number> {
  const { values, positionals } = parseArguments(argv, {
    level: { type: "string", default: "pgtable" },
    report: { type: "string" },
    json: { type: "boolean" },
  });
  checkLevel(values.level);
  if (positionals.length === 0) throw usageError("replay: no trace given");
  const files = expandPaths(positionals, SUFFIXES);
  if (values.report !== undefined) checkReportFile(values.report, files); // refuse a bad path before the work
  const replayLevel = values.level === "vm" ? replayAtVms : replayCalls;
  return replayLevel(files, values, io);
}

interface Wanted {
  readonly json?: boolean | undefined;
  readonly report?: string | undefined;
}

/** The calls of the page-table library. */
async function replayCalls(files: readonly string[], values: Wanted, io: Io): Promise<number> {
  const runs = await replayAll(files, io);
  const results = runs.map(({ result }) => result);
  if (values.report !== undefined) writeReportFile(values.report, renderReport(runs));
  if (values.json) io.out(JSON.stringify(results, null, 2));
  else io.out([describeResults(results), "", ...closing(results, values.report)].join("\n"));
  return results.every(({ ok }) => ok) ? EXIT.HOLDS : EXIT.DIFFERS;
}

/** What VMs were asked for. */
async function replayAtVms(files: readonly string[], values: Wanted, io: Io): Promise<number> {
  const results = await replayVms(files, io);
  if (values.report !== undefined) writeReportFile(values.report, renderVmReport(results));
  io.out(values.json ? JSON.stringify(results, null, 2) : describeVmRun(results, values.report));
  return results.every(({ ok }) => ok) ? EXIT.HOLDS : EXIT.DIFFERS;
}

/** The verdict, and where to look further. */
function closing(results: readonly ReplayResult[], report: string | undefined): string[] {
  const calls = results.reduce((sum, result) => sum + result.calls, 0);
  const bad = results.filter(({ ok }) => !ok).length;
  const undecided = results
    .flatMap(({ undecided }) => Object.values(undecided))
    .reduce((sum, count) => sum + count, 0);
  const verdict =
    bad === 0
      ? `All ${count(calls)} calls agree with what the hosts did; ${count(undecided)} facts were not compared.`
      : `${bad} of ${results.length} traces differ from what the hosts did.`;
  return report === undefined ? [verdict] : [verdict, `The report is in ${report}.`];
}

function count(value: number): string {
  return value.toLocaleString("en-US");
}

function checkLevel(level: string): void {
  if (level === "pgtable" || level === "vm") return;
  throw usageError(`replay: unknown level "${level}"`);
}

async function replayAll(files: readonly string[], io: Io): Promise<Run[]> {
  const bar = progressBar(io, files.length, "traces");
  const runs: Run[] = [];
  try {
    for (const file of files) {
      const trace = readTrace(file);
      const recorder = new HistoryRecorder(trace);
      const result = await replayTrace(trace, recorder);
      runs.push({ header: trace.header, result, history: recorder.finish() });
      bar.advance();
    }
  } finally {
    bar.stop();
  }
  return runs;
}
