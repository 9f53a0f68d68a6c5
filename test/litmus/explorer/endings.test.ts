import { describe, expect, it } from "vitest";
import { type Findings, type Settings, explore } from "../../../src/explorer/explore.ts";
import { type Make, at, calls, tiny } from "./tiny.ts";

const SETTINGS: Settings = { seed: 1, time: 5_000, first: false, preemptions: 3 };
const nothing = (): undefined => undefined;
const FOREVER = -1n;
const A_WHILE = 1000n;

function found(agents: number, make: Make): Findings {
  return explore(tiny(agents, make), SETTINGS);
}

describe("what a schedule can end in", () => {
  it("a lost update, in some orders of two loads and two stores", () => {
    const { forbidden, schedules, failure } = found(2, (cores, read) => ({
      programs: cores.map((core) => calls([() => core.increment(at(0))])),
      forbidden: () => (read(0) === 2 ? undefined : `the count is ${read(0)}`),
    }));
    expect(schedules).toBe(4);
    expect(forbidden).toBe(2);
    expect(failure?.message).toBe("the count is 1");
  });

  it("a deadlock: two that each hold what the other waits for", () => {
    // Each waits until the other's word is free again, and frees its own after that.
    const make: Make = (cores) => ({
      programs: cores.map((core, n) =>
        calls([
          () => core.store(at(n), 1),
          () => core.wait(at(1 - n), 1, FOREVER),
          () => core.store(at(n), 0),
          () => core.notify(at(n), 1),
        ]),
      ),
      forbidden: nothing,
    });
    const { schedules, forbidden, failure } = found(2, make);
    expect(failure?.message).toBe("deadlock: A and B wait for ever");
    expect(forbidden).toBeLessThan(schedules);
  });

  it("a wake-up that comes before the wait is lost", () => {
    const make: Make = ([a, b]) => ({
      programs: [calls([() => a!.wait(at(0), 0, FOREVER)]), calls([() => b!.notify(at(0), 1)])],
      forbidden: nothing,
    });
    const { schedules, forbidden, failure } = found(2, make);
    expect([schedules, forbidden]).toEqual([2, 1]);
    expect(failure?.message).toBe("deadlock: A waits for ever");
  });

  it("a store before the wake-up is seen by whoever comes too late to be woken", () => {
    const { forbidden, exhaustive } = found(2, ([a, b]) => ({
      programs: [
        calls([() => a!.wait(at(0), 0, FOREVER)]),
        calls([() => b!.store(at(0), 1), () => b!.notify(at(0), 1)]),
      ],
      forbidden: nothing,
    }));
    expect([forbidden, exhaustive]).toEqual([0, true]);
  });

  it("a wake-up for one wakes one of two", () => {
    const { forbidden, failure } = found(3, ([a, b, c]) => ({
      programs: [
        calls([() => a!.wait(at(0), 0, FOREVER)]),
        calls([() => b!.wait(at(0), 0, FOREVER)]),
        calls([() => c!.notify(at(0), 1)]),
      ],
      forbidden: nothing,
    }));
    expect(forbidden).toBeGreaterThan(0);
    expect(failure?.message).toMatch(/^deadlock/);
  });

  it("who waits for a while goes on when the word changes, and gives up only if nobody can go on", () => {
    const answers = new Set<number>();
    const { forbidden } = found(2, ([a, b]) => ({
      programs: [
        calls([() => a!.wait(at(0), 0, A_WHILE)], (answer) => answers.add(answer)),
        calls([() => b!.store(at(0), 1)]),
      ],
      forbidden: nothing,
    }));
    expect(forbidden).toBe(0);
    expect([...answers]).toEqual([1]);

    const alone = new Set<number>();
    found(1, ([a]) => ({
      programs: [calls([() => a!.wait(at(0), 0, A_WHILE)], (answer) => alone.add(answer))],
      forbidden: nothing,
    }));
    expect([...alone]).toEqual([2]);
  });

  it("a livelock: an agent that looks for ever", () => {
    const make: Make = ([a, b]) => ({
      programs: [calls([() => a!.spin(at(0))]), calls([() => b!.load(at(0))])],
      forbidden: nothing,
    });
    const { failure } = explore(tiny(2, make, 500), { ...SETTINGS, first: true });
    expect(failure?.message).toMatch(/^livelock/);
  });

  it("a trap, named with its agent; the others are not run on", () => {
    const { failure } = found(2, ([a, b]) => ({
      programs: [calls([() => a!.load(at(0))]), calls([() => b!.trap(at(0))])],
      forbidden: nothing,
    }));
    expect(failure?.message).toMatch(/^trap: B: /);
  });

  it("a broken invariant, also where no two agents meet", () => {
    const { failure } = found(2, ([a], read) => ({
      programs: [calls([() => a!.store(at(0), 1), () => a!.store(at(0), 0)])],
      invariant: () => (read(0) === 1 ? "the word is 1" : undefined),
      forbidden: nothing,
    }));
    expect(failure?.message).toBe("invariant: the word is 1");
  });
});

describe("the start of every schedule", () => {
  it("has the memory and the globals of each instance as they were", () => {
    const seen = new Set<string>();
    found(2, (cores, read) => ({
      programs: cores.map((core) => calls([() => core.load(at(0)), () => core.add(at(0), 1)])),
      forbidden: () => {
        seen.add(`${read(0)}, ${cores.map((core) => core.calls()).join(" ")}`);
        return undefined;
      },
    }));
    expect([...seen]).toEqual(["2, 1 1"]);
  });
});
