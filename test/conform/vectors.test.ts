import { readdirSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { expect, it } from "vitest";
import { VECTORS, shipped, stage2 } from "./harness.ts";

function stepsIn(file: string): number {
  const text = gunzipSync(shipped(file.replace(".jsonl.gz", ""))).toString();
  return text.split("\n").filter((line) => line !== "").length;
}

it("agrees with every recorded step, traced and untraced", { timeout: 300_000 }, async () => {
  const steps = readdirSync(VECTORS).map(stepsIn);
  const total = steps.reduce((sum, count) => sum + count, 0);
  const { exit, out, err } = await stage2("conform", VECTORS);
  expect(err).toEqual([]);
  expect(out).toEqual([`${total} passed, 0 failed`]);
  expect(exit).toBe(0);
  expect(steps.length).toBeGreaterThan(190);
});
