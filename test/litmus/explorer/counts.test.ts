import { describe, expect, it } from "vitest";
import { type Settings, explore } from "../../../src/explorer/explore.ts";
import { type Make, at, calls, tiny } from "./tiny.ts";

const SETTINGS: Settings = { seed: 1, time: 20_000, first: false, preemptions: 3 };
const nothing = (): undefined => undefined;

function schedulesOf(agents: number, make: Make): number {
  const { exhaustive, schedules, forbidden } = explore(tiny(agents, make), SETTINGS);
  expect(forbidden).toBe(0);
  expect(exhaustive).toBe(true);
  return schedules;
}

function binomial(n: number, k: number): number {
  return k === 0 ? 1 : (binomial(n - 1, k - 1) * n) / k;
}

describe("how many schedules are explored", () => {
  it.each([1, 2, 3, 4])("one, if %d agents write words of their own", (agents) => {
    const make: Make = (cores) => ({
      programs: cores.map((core, n) =>
        calls([() => core.store(at(n), 1), () => core.store(at(n), 2)]),
      ),
      forbidden: nothing,
    });
    expect(schedulesOf(agents, make)).toBe(1);
  });

  it.each([1, 2, 3, 4])("all, if two agents change one word %d times each", (steps) => {
    const make: Make = (cores) => ({
      programs: cores.map((core) =>
        calls(Array.from({ length: steps }, () => () => core.add(at(0), 1))),
      ),
      forbidden: nothing,
    });
    expect(schedulesOf(2, make)).toBe(binomial(2 * steps, steps));
  });

  it.each([
    [2, 2],
    [3, 6],
    [4, 24],
  ])("the orders of one write each by %d agents", (agents, orders) => {
    const make: Make = (cores) => ({
      programs: cores.map((core, n) => calls([() => core.store(at(0), n + 1)])),
      forbidden: nothing,
    });
    expect(schedulesOf(agents, make)).toBe(orders);
  });

  it("where readers stand among writes, and not among each other", () => {
    const make: Make = ([a, b, c]) => ({
      programs: [
        calls([() => a!.store(at(0), 1)]),
        calls([() => b!.load(at(0))]),
        calls([() => c!.load(at(0))]),
      ],
      forbidden: nothing,
    });
    expect(schedulesOf(3, make)).toBe(4);
  });

  it("no more for exchanges that fail: they only look", () => {
    const make: Make = (cores) => ({
      programs: cores.map((core) => calls([() => core.cas(at(0), 7, 8)])),
      forbidden: nothing,
    });
    expect(schedulesOf(4, make)).toBe(1);
  });
});
