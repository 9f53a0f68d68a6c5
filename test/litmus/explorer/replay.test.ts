import { describe, expect, it } from "vitest";
import { type Settings, explore, replay } from "../../../src/explorer/explore.ts";
import { parseSchedule, printSchedule, switchesIn } from "../../../src/explorer/schedule.ts";
import { printTrace } from "../../../src/explorer/trace.ts";
import { type Make, at, calls, tiny } from "./tiny.ts";

const SETTINGS: Settings = { seed: 1, time: 5_000, first: false, preemptions: 3 };

/** Some steps of their own, a lost update in the middle. */
const lostUpdate: Make = (cores, read) => ({
  programs: cores.map((core, n) =>
    calls([
      () => core.store(at(5 + n), 1),
      () => core.load(at(0)),
      () => core.increment(at(0)),
      () => core.store(at(5 + n), 2),
    ]),
  ),
  forbidden: () => (read(0) === cores.length ? undefined : `the count is ${read(0)}`),
});

/** A wait on the way: its two steps are in the schedule too. */
const waiting: Make = ([a, b], read) => ({
  programs: [
    calls([() => a!.wait(at(0), 0, -1n), () => a!.increment(at(1))]),
    calls([() => b!.increment(at(1)), () => b!.store(at(0), 1), () => b!.notify(at(0), 1)]),
  ],
  forbidden: () => (read(1) === 2 ? "both counted" : undefined),
});

describe("a failing schedule", () => {
  it("is as short as it gets: two switches for a lost update of two agents", () => {
    const { failure } = explore(tiny(2, lostUpdate), SETTINGS);
    expect(switchesIn(failure!.events)).toBe(2);
    expect(failure!.message).toBe("the count is 1");
  });

  it.each([
    ["a lost update", lostUpdate, 3],
    ["a wait", waiting, 2],
  ] as const)("fails again from its text, in a scene that knows nothing: %s", (_, make, agents) => {
    const { failure } = explore(tiny(agents, make), SETTINGS);
    const fresh = tiny(agents, make);
    const { names } = fresh.scene;
    const text = printSchedule(failure!.turns, names);
    const again = replay(fresh, parseSchedule(text, names));
    expect(again.message).toBe(failure!.message);
    expect(replay(fresh, parseSchedule(text, names)).events).toEqual(again.events);
  });

  it("is written as turns, and read back", () => {
    const turns = parseSchedule("A:3 B:12, A:1", ["A", "B"]);
    expect(printSchedule(turns, ["A", "B"])).toBe("A:3 B:12 A:1");
    expect(() => parseSchedule("C:3", ["A", "B"])).toThrow('"C:3" is no turn');
    expect(() => parseSchedule("A", ["A", "B"])).toThrow('"A" is no turn');
  });

  it("is printed with a column for each agent", () => {
    const { failure } = explore(tiny(2, lostUpdate), SETTINGS);
    const label = (address: number): string => (address === at(0) ? "count" : "own");
    const lines = printTrace(failure!.events, ["A", "B"], label).split("\n");
    expect(lines[0]).toMatch(/^A +\| B$/);
    expect(lines.filter((line) => line.includes("store count: 0x0 -> 0x1"))).toHaveLength(1);
    expect(lines.filter((line) => line.includes("store count: stays 0x1"))).toHaveLength(1);
    expect(new Set(lines.map((line) => line.indexOf("|")).filter((bar) => bar >= 0)).size).toBe(1);
  });
});

describe("a seed", () => {
  const many: Make = (cores, read) => ({
    programs: cores.map((core) =>
      calls(Array.from({ length: 12 }, (_, n) => () => core.add(at(n % 3), 1))),
    ),
    forbidden: () => (read(0) < 0 ? "" : undefined),
  });
  const settings = { ...SETTINGS, time: 100 };

  it("explores the same schedules again; they are not all", () => {
    const [first, second] = [1, 2].map(() => explore(tiny(3, many), settings));
    expect(first).toEqual(second);
    expect(first!.exhaustive).toBe(false);
    expect(first!.schedules).toBeGreaterThan(100);
  });

  it("finds the same failure again by chance alone", () => {
    const [first, second] = [1, 2].map(() =>
      explore(tiny(3, lostUpdate), { ...settings, seed: 7 }),
    );
    expect(first!.failure).toEqual(second!.failure);
  });
});
