/** Runs the command on vector files made for a test, and catches what it prints. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { afterAll } from "vitest";
import { main } from "../../src/cli/stage2.ts";
import { readVectorFile } from "../../src/conform/files.ts";
import type { Step } from "../../src/conform/vectors.ts";

export const VECTORS = new URL("../vectors/", import.meta.url).pathname;

/** One line of a vector file, free to be changed. */
export interface Line {
  i: number;
  op: Record<string, unknown>;
  r: Record<string, unknown>;
}

/** What a run of the tool left behind. */
export interface Outcome {
  readonly exit: number;
  readonly out: string[];
  readonly err: string[];
}

const directory = mkdtempSync(join(tmpdir(), "stage2-conform-"));
afterAll(() => rmSync(directory, { recursive: true }));

export function temporary(name: string): string {
  return join(directory, name);
}

/** The bytes of a shipped vector file. */
export function shipped(name: string): Buffer {
  return readFileSync(`${VECTORS}${name}.jsonl.gz`);
}

export function linesOf(name: string): Line[] {
  const text = gunzipSync(shipped(name)).toString();
  return text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Line);
}

/** The steps of a file of page-table vectors, as the command reads them. */
export function stepsOf(path: string): Step[] {
  const file = readVectorFile(path);
  if (file.kind !== "page-table") throw new Error(`${path} has other vectors`);
  return file.steps;
}

/** Writes a file that a test may destroy, and answers its path. */
export function write(name: string, content: string | Uint8Array): string {
  const path = temporary(name);
  writeFileSync(path, content);
  return path;
}

export function writeLines(name: string, lines: readonly Line[]): string {
  return write(name, lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
}

export async function stage2(...argv: string[]): Promise<Outcome> {
  const out: string[] = [];
  const err: string[] = [];
  const io = { out: (text: string) => out.push(text), err: (text: string) => err.push(text) };
  const exit = await main(argv, { ...io, tty: false });
  return { exit, out, err };
}
