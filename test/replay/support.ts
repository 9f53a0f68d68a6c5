/** What the replay tests share: the bundled traces, changed copies of them, and the command under test. */
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync, gzipSync } from "node:zlib";
import { afterEach } from "vitest";
import { replayCommand } from "../../src/cli/replay.ts";
import { run } from "../../src/cli/shared.ts";
import type { ReplayResult } from "../../src/replay/result.ts";

const CORPUS = fileURLToPath(new URL("../corpus/", import.meta.url));
const ENDING = ".trace.jsonl.gz";

/** Names of the bundled traces. */
export const TRACES = readdirSync(CORPUS)
  .filter((file) => file.endsWith(ENDING))
  .map((file) => file.slice(0, -ENDING.length));

/** A record of a trace, to be changed. */
export type Line = Record<string, string | number>;

export function tracePath(name: string): string {
  return join(CORPUS, `${name}${ENDING}`);
}

/** Header and records of a bundled trace. */
export function traceLines(name: string): Line[] {
  const text = gunzipSync(readFileSync(tracePath(name))).toString();
  return text
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Line);
}

let folder: string | undefined;

/** An empty folder, gone after the test. */
export function scratch(): string {
  folder ??= mkdtempSync(join(tmpdir(), "stage2-replay-"));
  return folder;
}

afterEach(() => {
  if (folder !== undefined) rmSync(folder, { recursive: true });
  folder = undefined;
});

/** Writes a file into the scratch folder; its path. */
export function writeScratch(name: string, content: string | Uint8Array): string {
  const path = join(scratch(), name);
  writeFileSync(path, content);
  return path;
}

export function writeTrace(name: string, lines: readonly object[]): string {
  const text = lines.map((line) => `${JSON.stringify(line)}\n`).join("");
  return writeScratch(`${name}${ENDING}`, gzipSync(text, { level: 1 }));
}

/** Copies the dumps of a bundled trace into the scratch folder, with the bytes of the first one changed. */
export function copyDumps(name: string, change: (bytes: Buffer) => void = () => undefined): void {
  const dumps = readdirSync(CORPUS).filter((file) => file.startsWith(`${name}.c`));
  for (const file of dumps) {
    const bytes = readFileSync(join(CORPUS, file));
    if (!file.endsWith(".c0.tables.bin.gz")) writeScratch(file, bytes);
    else {
      const pages = gunzipSync(bytes);
      change(pages);
      writeScratch(file, gzipSync(pages));
    }
  }
}

/** What a command printed, and its exit code. */
export interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs `stage2 replay` with these arguments. */
export async function replay(...argv: string[]): Promise<Outcome> {
  const out: string[] = [];
  const err: string[] = [];
  const code = await run(replayCommand, argv, {
    out: (text) => void out.push(text),
    err: (text) => void err.push(text),
    tty: false,
  });
  return { code, out: out.join("\n"), err: err.join("\n") };
}

/** Runs it with `--json` on one trace. */
export async function replayOne(path: string): Promise<{ code: number; result: ReplayResult }> {
  const { code, out } = await replay("--json", path);
  const [result] = JSON.parse(out) as ReplayResult[];
  if (result === undefined) throw new Error("no result");
  return { code, result };
}
