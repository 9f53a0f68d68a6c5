/** What the tests of `stage2 pkvm` share: scripts in a scratch folder, and the command under test. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach } from "vitest";
import { pkvmCommand } from "../../../src/cli/pkvm.ts";
import type { ScriptResult, Step } from "../../../src/cli/pkvm_script/document.ts";
import { run } from "../../../src/cli/shared.ts";

/** Path of a script that ships as an example. */
export function example(name: string): string {
  return fileURLToPath(new URL(`../../../examples/pkvm/${name}.pkvm`, import.meta.url));
}

export function exampleText(name: string): string {
  return readFileSync(example(name), "utf8");
}

let folder: string | undefined;

/** A path in an empty folder, gone after the test. */
export function scratch(name: string): string {
  folder ??= mkdtempSync(join(tmpdir(), "stage2-pkvm-"));
  return join(folder, name);
}

afterEach(() => {
  if (folder !== undefined) rmSync(folder, { recursive: true });
  folder = undefined;
});

/** What the command printed, and its exit code. */
export interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs `stage2 pkvm` with these arguments. */
export async function pkvm(...argv: string[]): Promise<Outcome> {
  const out: string[] = [];
  const err: string[] = [];
  const code = await run(pkvmCommand, argv, {
    out: (text) => void out.push(text),
    err: (text) => void err.push(text),
    tty: false,
  });
  return { code, out: out.join("\n"), err: err.join("\n") };
}

/** Writes a script. */
export function write(text: string, name = "test.pkvm"): string {
  const path = scratch(name);
  writeFileSync(path, text);
  return path;
}

/** Runs a script with `--json`. */
export async function runJson(text: string): Promise<{ code: number; result: ScriptResult }> {
  const { code, out } = await pkvm("--json", "--script", write(text));
  return { code, result: JSON.parse(out) as ScriptResult };
}

/** The statement of a line, as it went. */
export function stepAt({ steps }: ScriptResult, line: number): Step {
  const found = steps.find((step) => step.line === line);
  if (found === undefined) throw new Error(`no statement in line ${line}`);
  return found;
}
