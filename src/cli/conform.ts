/** `stage2 conform`: replays vector files and tells where the engine differs from what was recorded. */
import { instrumented } from "virtual:stage2-instrumented";
import { readVectorFile } from "../conform/files.ts";
import { type FileReport, Replayer } from "../conform/replay.ts";
import { VectorMachine } from "../hw/machine.ts";
import { type HardwareReport, replayVectors } from "../hw/replay.ts";
import { choiceLines, describe } from "./conform_text.ts";
import { progressBar } from "./progress.ts";
import { EXIT, type Io, expandPaths, parseArguments, usageError } from "./shared.ts";

const SUFFIXES = [".jsonl", ".jsonl.gz"];

/** A file of either kind, replayed. */
type Report = FileReport | HardwareReport;

export async function conformCommand(argv: readonly string[], io: Io): Promise<number> {
  const { values, positionals } = parseArguments(argv, {
    json: { type: "boolean" },
    "list-arch": { type: "boolean" },
  });
  if (positionals.length === 0) throw usageError("conform: no vector file given");
  const files = expandPaths(positionals, SUFFIXES);
  const print = values.json === true ? () => undefined : (text: string) => io.out(text);
  const reports = await replayAll(files, io, (report) => {
    if (report.first !== undefined) print(describe(report));
    if ("choices" in report) choiceLines(report, values["list-arch"] === true).forEach(print);
  });
  const passed = sum(reports, (report) => report.passed);
  const failed = sum(reports, (report) => report.failed);
  if (values.json) io.out(JSON.stringify({ passed, failed, files: reports }, jsonValue));
  else io.out(`${passed} passed, ${failed} failed`);
  return failed === 0 ? EXIT.HOLDS : EXIT.DIFFERS;
}

/** Replays files one after the other; `done` is called after each. */
async function replayAll(
  files: readonly string[],
  io: Io,
  done: (report: Report) => void,
): Promise<Report[]> {
  const replayer = new Replayer({ instrumented: instrumentedModule });
  const bar = progressBar(io, files.length, "files");
  const reports: Report[] = [];
  let machine: VectorMachine | undefined; // half a gigabyte of memory: made once, and only if it is needed
  try {
    for (const path of files) {
      const file = readVectorFile(path);
      const report =
        file.kind === "hardware"
          ? replayVectors((machine ??= await VectorMachine.create()), path, file.vectors)
          : replayer.replay(path, file.steps);
      bar.advance();
      done(report);
      reports.push(report);
    }
  } finally {
    bar.stop();
    machine?.dispose();
  }
  return reports;
}

let compiled: WebAssembly.Module | undefined;

function instrumentedModule(): WebAssembly.Module {
  compiled ??= new WebAssembly.Module(Buffer.from(instrumented, "base64"));
  return compiled;
}

/** Words of hardware vectors are hex strings in JSON, as they are in the files. */
function jsonValue(_key: string, value: unknown): unknown {
  return typeof value === "bigint" ? `0x${value.toString(16)}` : value;
}

function sum(reports: readonly Report[], count: (report: Report) => number): number {
  return reports.reduce((total, report) => total + count(report), 0);
}
