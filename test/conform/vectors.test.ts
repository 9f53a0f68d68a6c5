import { spawnSync } from "node:child_process";
import { readFileSync, readdirSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { expect, it } from "vitest";
import { VECTORS } from "./harness.ts";

function linesIn(file: string): number {
  const text = gunzipSync(readFileSync(`${VECTORS}${file}`)).toString();
  return text.split("\n").filter((line) => line !== "").length;
}

function linesBelow(folder: string): number[] {
  const files = readdirSync(`${VECTORS}${folder}`).filter((name) => name.endsWith(".gz"));
  return files.map((name) => linesIn(`${folder}${name}`));
}

function sum(counts: readonly number[]): number {
  return counts.reduce((total, count) => total + count, 0);
}

// The built program, because it runs twice as fast as modules that the test runner serves one by one.
it("agrees with everything recorded: operations and hardware walks", { timeout: 300_000 }, () => {
  const [steps, vectors] = [linesBelow(""), linesBelow("hw/")];
  const program = new URL("../../dist/cli.js", import.meta.url).pathname;
  const run = spawnSync(process.execPath, [program, "conform", VECTORS], { encoding: "utf8" });
  expect(run.stderr).toBe("");
  const lines = run.stdout.trimEnd().split("\n");
  expect(lines.pop()).toBe(`${sum(steps) + sum(vectors)} passed, 0 failed`);
  // Beside the verdict only what the hardware vectors with two answers gave.
  const choices = lines.map(
    (line) => /hw\/\w+\.jsonl\.gz: (\d+) vectors may give either/.exec(line)?.[1],
  );
  expect(sum(choices.map(Number))).toBe(712);
  expect(run.status).toBe(0);
  expect(steps.length).toBeGreaterThan(190);
  expect(vectors.length).toBe(6);
  expect(sum(vectors)).toBe(15_129);
});
