import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Bounded } from "../../../src/explorer/bounded.ts";
import { Dpor } from "../../../src/explorer/dpor.ts";
import { Execution } from "../../../src/explorer/execution.ts";
import { type Strategy, drive } from "../../../src/explorer/strategy.ts";
import { type Make, type Tiny, type TinySubject, at, calls, tiny } from "./tiny.ts";

const WORDS = 3;

/** One access of a random program. */
const step = fc.record({
  op: fc.constantFrom("load", "store", "add", "increment", "cas", "wait", "notify" as const),
  word: fc.nat(WORDS - 1),
  value: fc.nat(2),
  other: fc.nat(2),
  timed: fc.boolean(),
});
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

function callOf(core: Tiny, { op, word, value, other, timed }: Step): () => number | void {
  const address = at(word);
  switch (op) {
    case "load":
      return () => core.load(address);
    case "store":
      return () => core.store(address, value);
    case "add":
      return () => core.add(address, value);
    case "increment":
      return () => core.increment(address);
    case "cas":
      return () => core.cas(address, value, other);
    case "wait":
      return () => core.wait(address, value, timed ? 1000n : -1n);
    default:
      return () => core.notify(address, 1 + other);
  }
}

/** Everything that can be told at the end: results, memory, who is left waiting. */
function outcomes(programs: readonly (readonly Step[])[], everyone: boolean): Set<string> {
  let results: number[][] = [];
  const make: Make = (cores) => {
    results = programs.map(() => []);
    return {
      programs: cores.map((core, n) =>
        calls(
          (programs[n] as Step[]).map((one) => callOf(core, one)),
          (result) => results[n]?.push(result),
        ),
      ),
      forbidden: () => undefined,
    };
  };
  const subject = tiny(programs.length, make);
  const seen = new Set<string>();
  const note = (execution: Execution): void => {
    const memory = Array.from({ length: WORDS }, (_, word) => subject.read(word));
    seen.add(JSON.stringify([execution.ending, execution.live, memory, results]));
  };
  subject.scene.everywhere = everyone;
  if (everyone) runAll(subject, oneByOne(new Bounded(Infinity)), note);
  else while (!settled(subject, note));
  return seen;
}

/** The same without a short way to where the last schedule is left. */
function oneByOne(strategy: Bounded): Strategy {
  return {
    next: () => strategy.next(),
    choose: (execution) => strategy.choose(execution),
    stepped: (execution, event) => strategy.stepped(execution, event),
  };
}

function runAll(
  subject: TinySubject,
  strategy: Strategy,
  note: (execution: Execution) => void,
): void {
  while (strategy.next()) {
    subject.scene.restore();
    const execution = new Execution(subject.scene, subject.begin());
    if (drive(execution, strategy)) note(execution);
  }
}

/** A complete search that learned nothing on its way. */
function settled(subject: TinySubject, note: (execution: Execution) => void): boolean {
  const strategy = new Dpor(subject.scene.names.length);
  const known = subject.scene.sharedWords;
  while (strategy.next()) {
    subject.scene.restore();
    const execution = new Execution(subject.scene, subject.begin());
    if (drive(execution, strategy)) note(execution);
    if (subject.scene.sharedWords !== known) return false;
  }
  return true;
}

function everySchedule(programs: readonly (readonly Step[])[]): Set<string> {
  return outcomes(programs, true);
}

const program = (most: number): fc.Arbitrary<Step[]> => fc.array(step, { maxLength: most });

describe("the reduced search", () => {
  it("sees every outcome that all schedules of two agents have", () => {
    fc.assert(
      fc.property(program(4), program(4), (a, b) => {
        expect(outcomes([a, b], false)).toEqual(everySchedule([a, b]));
      }),
      { numRuns: 400 },
    );
  });

  it("sees every outcome that all schedules of three agents have", () => {
    fc.assert(
      fc.property(program(3), program(3), program(2), (a, b, c) => {
        expect(outcomes([a, b, c], false)).toEqual(everySchedule([a, b, c]));
      }),
      { numRuns: 250 },
    );
  });
});
