/** `stage2 conform`: replays vector files and tells where the engine differs from what was recorded. */
import { instrumented } from "virtual:stage2-instrumented";
import { type FileReport, Replayer } from "../conform/replay.ts";
import { readVectors } from "../conform/vectors.ts";
import { progressBar } from "./progress.ts";
import { EXIT, type Io, expandPaths, parseArguments, usageError } from "./shared.ts";

const SUFFIXES = [".jsonl", ".jsonl.gz"];

export async function conformCommand(argv: readonly string[], io: Io): Promise<number> {
  const { values, positionals } = parseArguments(argv, { json: { type: "boolean" } });
  if (positionals.length === 0) throw usageError("conform: no vector file given");
  const files = expandPaths(positionals, SUFFIXES);
  const reports = replayAll(files, io, values.json === true);
  const passed = sum(reports, (report) => report.passed);
  const failed = sum(reports, (report) => report.failed);
  if (values.json) io.out(JSON.stringify({ passed, failed, files: reports }));
  else io.out(`${passed} passed, ${failed} failed`);
  return failed === 0 ? EXIT.HOLDS : EXIT.DIFFERS;
}

function replayAll(files: readonly string[], io: Io, quiet: boolean): FileReport[] {
  const replayer = new Replayer({ instrumented: instrumentedModule });
  const bar = progressBar(io, files.length, "files");
  try {
    return files.map((file) => {
      const report = replayer.replay(file, readVectors(file));
      bar.advance();
      if (!quiet && report.first !== undefined) io.out(describe(report));
      return report;
    });
  } finally {
    bar.stop();
  }
}

let compiled: WebAssembly.Module | undefined;

function instrumentedModule(): WebAssembly.Module {
  compiled ??= new WebAssembly.Module(Buffer.from(instrumented, "base64"));
  return compiled;
}

function describe({ file, failed, passed, first }: FileReport): string {
  if (first === undefined) return `${file}: holds`;
  const where = `step ${first.step} (${first.op}, ${first.run})`;
  const values = `expected ${show(first.expected)}, got ${show(first.actual)}`;
  return `${file}: ${where}: ${first.field}: ${values}; ${failed} of ${failed + passed} steps differ`;
}

function show(value: unknown): string {
  return value === undefined ? "nothing" : JSON.stringify(value);
}

function sum(reports: readonly FileReport[], count: (report: FileReport) => number): number {
  return reports.reduce((total, report) => total + count(report), 0);
}
