/** What the tests of hardware vectors share: the recorded files, and one machine per test file. */
import { readFileSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { afterAll } from "vitest";
import type { EngineOptions } from "../../src/engine.ts";
import { type Vector, parseVectors } from "../../src/hw/format.ts";
import { VectorMachine } from "../../src/hw/machine.ts";

export const HARDWARE = fileURLToPath(new URL("../vectors/hw/", import.meta.url));

/** The recorded files. */
export const FILES = readdirSync(HARDWARE);

/** One line of a file, free to be changed. */
export interface Line {
  id: number;
  cat: string;
  regs: Record<string, string>;
  mem: [string, string][];
  access: Record<string, unknown>;
  expect: Record<string, unknown>;
  after: [string, string][];
  data_after?: [string, string][];
  arch?: Record<string, unknown>;
  note?: string[];
}

/** The lines of a recorded file. */
export function linesOf(file: string): Line[] {
  const text = gunzipSync(readFileSync(`${HARDWARE}${file}`)).toString();
  return text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Line);
}

const all = new Map<number, Line>();

/** A copy of the recorded vector with this number. */
export function lineOf(id: number): Line {
  if (all.size === 0)
    for (const file of FILES) for (const line of linesOf(file)) all.set(line.id, line);
  return structuredClone(all.get(id) as Line);
}

/** The first recorded vector that fits, as a copy. */
export function findLine(fits: (line: Line) => boolean): Line {
  lineOf(0);
  const found = [...all.values()].find(fits);
  if (found === undefined) throw new Error("no such vector");
  return structuredClone(found);
}

/** Lines as the replay takes them. */
export function vectorsOf(lines: readonly Line[]): Vector[] {
  return parseVectors(
    "test.jsonl",
    lines.map((line) => JSON.stringify(line)),
  );
}

/** A machine for the tests of one file. */
export function sharedMachine(options: EngineOptions = {}): () => Promise<VectorMachine> {
  let machine: Promise<VectorMachine> | undefined;
  afterAll(async () => (await machine)?.dispose());
  return () => (machine ??= VectorMachine.create(options));
}
