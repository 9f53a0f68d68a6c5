/** Recorded hosts, replayed: nothing differs, and all is compared but for the access flags that hardware set. */
import { describe, expect, it } from "vitest";
import { type Access, LOCKED } from "../../src/replay/accesses.ts";
import { findCalls } from "../../src/replay/calls.ts";
import { replayOrder } from "../../src/replay/order.ts";
import { readTrace } from "../../src/replay/read.ts";
import { TRACES, replay, replayOne, traceLines, tracePath } from "./support.ts";

/** Per trace: calls that overlap, and what hardware keeps from being compared. A trace that is not here has neither. */
const EXCEPTIONS: Record<string, { grouped: number; undecided: Record<string, number> }> = {
  "max16k.age": {
    grouped: 5,
    undecided: { "af-from-visits": 142, "af-from-dumps": 20 },
  },
  "max4k.dirty": { grouped: 289, undecided: {} },
  "max4k.race": { grouped: 3669, undecided: {} },
  "max16k.linux": { grouped: 24, undecided: {} },
  "n1st.st4-memslot_modification_stress_test": { grouped: 202, undecided: {} },
};

/** Dumps that belong to a trace. */
const DUMPS = /^checkpoint-taken /;

describe("the bundled traces", () => {
  it("cover aging by software and hardware, dirty logging, huge pages, a boot, a race, 4K and 16K", () => {
    for (const kind of ["age", "dirty", "huge", "linux", "race"])
      expect(
        TRACES.some((name) => name.includes(`.${kind}`)),
        kind,
      ).toBe(true);
    for (const machine of ["a72nvhe.age", "max16k.age", "max4k.huge", "max16k.huge"])
      expect(TRACES).toContain(machine);
  });

  it.each(TRACES)("%s replays without a difference", async (name) => {
    const records = traceLines(name);
    const calls = records.filter(
      ({ op }) => /^s2_/.test(String(op)) && op !== "s2_create_unlinked",
    );
    const dumps = records.filter(({ op, text }) => op === "mark" && DUMPS.test(String(text)));

    const { code, result } = await replayOne(tracePath(name));

    const known = EXCEPTIONS[name] ?? { grouped: 0, undecided: {} };
    expect(result.differences).toEqual([]);
    expect(result).toMatchObject({ trace: name, differing: 0, ok: true, ...known });
    expect(result.undecided).toEqual(known.undecided);
    expect(result.calls).toBe(calls.length);
    expect(result.compared).toBe(calls.length);
    expect(result.checkpoints).toBe(dumps.length);
    expect(code).toBe(0);
  });

  it("hold races of every kind, each with an order that explains it", () => {
    const trace = readTrace(tracePath("max4k.race"));
    const steps = replayOrder(trace, findCalls(trace));
    const turns = steps.flatMap(({ turn }) => (turn === undefined ? [] : [turn]));
    const count = (fits: (access: Access) => boolean): number =>
      turns.filter(({ access }) => fits(access)).length;
    expect(steps.some(({ stuck }) => stuck)).toBe(false);
    expect(new Set(turns.map(({ call }) => call)).size).toBe(3669);
    const lost = (op: string) => (access: Access) =>
      access.what.kind === "exchange" && !access.what.won && access.record.op === op;
    expect(count(lost("break_pte"))).toBe(40);
    expect(count(lost("v_attr"))).toBe(8);
    expect(count(({ what }) => what.kind === "read" && what.first && what.value === LOCKED)).toBe(
      1111,
    );
  });

  it("are told of in one table for people", async () => {
    const { code, out } = await replay(tracePath("max4k.huge"), tracePath("max16k.huge"));
    expect(out).toMatch(/^max16k\.huge +126 +0 +20,531 +5 +126 +0 +0 +[\d,]+$/m);
    expect(out).toMatch(/^total +232 +0 +25,704 +7 +232 +0 +0 +[\d,]+$/m);
    expect(code).toBe(0);
  });
});
