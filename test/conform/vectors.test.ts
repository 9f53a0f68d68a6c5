import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { expect, it } from "vitest";
import { VECTORS, shipped } from "./harness.ts";

function stepsIn(file: string): number {
  const text = gunzipSync(shipped(file.replace(".jsonl.gz", ""))).toString();
  return text.split("\n").filter((line) => line !== "").length;
}

// The built program, because it runs twice as fast as modules that the test runner serves one by one.
it("agrees with every recorded step, traced and untraced", { timeout: 300_000 }, () => {
  const steps = readdirSync(VECTORS).map(stepsIn);
  const total = steps.reduce((sum, count) => sum + count, 0);
  const program = new URL("../../dist/cli.js", import.meta.url).pathname;
  const run = spawnSync(process.execPath, [program, "conform", VECTORS], { encoding: "utf8" });
  expect(run.stderr).toBe("");
  expect(run.stdout).toBe(`${total} passed, 0 failed\n`);
  expect(run.status).toBe(0);
  expect(steps.length).toBeGreaterThan(190);
});
