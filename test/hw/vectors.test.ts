/** Every recorded hardware vector, in every way there is to its answer. */
import { describe, expect, it } from "vitest";
import { performs, runsOf } from "../../src/hw/machine.ts";
import { replayVectors } from "../../src/hw/replay.ts";
import { MODES } from "../engines.ts";
import { FILES, linesOf, sharedMachine, vectorsOf } from "./support.ts";

// The whole of all files goes through the built program, see test/conform/vectors.test.ts: here a part on each build.
const EVERY = 8;

describe.each(MODES)("hardware vectors, %s build", (mode) => {
  const machine = sharedMachine({ mode });

  it.each(FILES)("%s: what was recorded happens", async (file) => {
    const lines = linesOf(file).filter((_, i) => i % EVERY === 0);
    const report = replayVectors(await machine(), file, vectorsOf(lines));
    expect(report).toMatchObject({ passed: lines.length, failed: 0 });
    expect(report).not.toHaveProperty("first");
    const open = lines.filter(({ arch }) => arch !== undefined && arch["confirmed"] !== true);
    expect(report.choices.map(({ id }) => id)).toEqual(open.map(({ id }) => id));
    expect(report.confirmed).toBe(lines.filter(({ arch }) => arch?.["confirmed"]).length);
  });
});

describe("the runs of a vector", () => {
  it("are four for an access, two for an AT instruction", () => {
    const [access, at] = vectorsOf([
      linesOf("crafted_s2.jsonl.gz")[0]!,
      linesOf("crafted_hyp.jsonl.gz")[0]!,
    ]);
    expect(runsOf(access!)).toEqual(["translate", "batch", "access", "cached"]);
    expect(runsOf(at!)).toEqual(["access", "cached"]);
    expect(runsOf(access!).filter(performs)).toEqual(["access", "cached"]);
  });
});
