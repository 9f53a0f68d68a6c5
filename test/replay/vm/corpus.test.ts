/** Recorded hosts, done again on a VM: every call that the hosts came to make is predicted. */
import { describe, expect, it } from "vitest";
import { TRACES, replay, traceLines, tracePath } from "../support.ts";
import { replayVm } from "./support.ts";

/** Guest aborts by how they ended, and range calls. Counted in the records by themselves. */
const COUNTS: Readonly<Record<string, readonly number[]>> = {
  "a72nvhe.age": [4891, 4711, 0, 0, 0, 6482],
  "a72nvhe.cache": [1565, 1037, 64, 0, 0, 73],
  "max16k.age": [1260, 1066, 14, 0, 0, 2584],
  "max16k.huge": [154, 82, 0, 0, 0, 38],
  "max16k.linux": [4528, 1575, 0, 0, 0, 58],
  "max4k.dirty": [4765, 4607, 0, 0, 0, 163],
  "max4k.dirtyman2": [1539, 1507, 0, 0, 0, 101],
  "max4k.huge": [154, 82, 0, 0, 0, 18],
  "max4k.race": [13280, 12217, 317, 12, 430, 591],
  "n1st.st4-memslot_modification_stress_test": [741, 534, 0, 0, 0, 18],
};

/** What was taken from the record, by cause: no trace may take more. */
const TAKEN: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  "max16k.age": { "af-from-visits": 161, "lost-race": 4 },
  "max4k.dirty": { "lost-race": 22 },
  "max4k.race": { "either-or": 471, "lost-race": 1159 },
};

const LIBRARY = /^s2_(map|unmap|wrprotect|relax_perms|mkyoung|test_clear_young|split|flush)$/;

describe("the bundled traces at the level of VMs", () => {
  it("are all counted here", () => {
    expect(Object.keys(COUNTS).sort()).toEqual([...TRACES].sort());
  });

  it.each(TRACES)("%s is predicted without a difference", async (name) => {
    const calls = traceLines(name).filter(({ op }) => LIBRARY.test(String(op))).length;

    const { code, result } = await replayVm(tracePath(name));

    expect(result.differences).toEqual([]);
    expect(result).toMatchObject({ trace: name, differing: 0, ok: true, calls, compared: calls });
    const { aborts, called, own, inside, either, ranges } = result;
    expect([aborts, called, own, inside, either, ranges]).toEqual(COUNTS[name]);
    const taken = TAKEN[name] ?? {};
    for (const [cause, count] of Object.entries(result.undecided))
      expect(count, cause).toBeLessThanOrEqual(taken[cause] ?? 0);
    expect(code).toBe(0);
  });

  it("hold every word and every count of their dirty logs", async () => {
    const name = "max4k.dirty";
    const lines = traceLines(name);
    const count = (fits: (op: string, text: string) => boolean): number =>
      lines.filter(({ op, text }) => fits(String(op), String(text))).length;

    const { result } = await replayVm(tracePath(name));

    expect(result.words).toBe(count((op) => op === "dirty_masked"));
    expect(result.counts).toBe(count((_, text) => text.startsWith("dirty_count ")));
    expect(result.words).toBeGreaterThan(100);
  });

  it("are told of in one table for people", async () => {
    const paths = ["max4k.huge", "max16k.huge"].map(tracePath);
    const { code, out } = await replay("--level", "vm", ...paths);
    expect(out).toMatch(/^guest aborts +all +call +own +inside +either +call-e +device$/m);
    expect(out).toMatch(/^max4k\.huge +154 +82 +0 +0 +0 +0 +72$/m);
    expect(out).toMatch(/^total +308 +164 /m);
    expect(out).toMatch(/were predicted; 0 faults could have ended either way\.$/);
    expect(code).toBe(0);
  });
});
