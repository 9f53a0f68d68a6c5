/** `stage2 replay --level vm`: replays what recorded hosts were asked for above the page-table library. */
import { readTrace } from "../replay/read.ts";
import { replayVmTrace } from "../replay/vm/replay.ts";
import type { VmReplayResult } from "../replay/vm/result.ts";
import { progressBar } from "./progress.ts";
import { describeVmResults } from "./replay_table.ts";
import type { Io } from "./shared.ts";

/** Replays the traces one after the other. */
export async function replayVms(files: readonly string[], io: Io): Promise<VmReplayResult[]> {
  const bar = progressBar(io, files.length, "traces");
  const results: VmReplayResult[] = [];
  try {
    for (const file of files) {
      results.push(await replayVmTrace(readTrace(file)));
      bar.advance();
    }
  } finally {
    bar.stop();
  }
  return results;
}

/** The results for people, and the verdict. */
export function describeVmRun(results: readonly VmReplayResult[], report?: string): string {
  const lines = [describeVmResults(results), "", verdict(results)];
  if (report !== undefined) lines.push(`The report is in ${report}.`);
  return lines.join("\n");
}

function verdict(results: readonly VmReplayResult[]): string {
  const bad = results.filter(({ ok }) => !ok).length;
  if (bad > 0) return `${bad} of ${results.length} traces differ from what the hosts did.`;
  const sum = (count: (result: VmReplayResult) => number): string =>
    results.reduce((total, result) => total + count(result), 0).toLocaleString("en-US");
  const either = sum(({ undecided }) => undecided["either-or"] ?? 0);
  return (
    `All ${sum(({ compared }) => compared)} library calls of ${sum(({ aborts }) => aborts)} guest aborts and ` +
    `${sum(({ ranges }) => ranges)} range operations were predicted; ${either} faults could have ended either way.`
  );
}
