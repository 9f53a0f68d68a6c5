/**
 * Replays files of hardware vectors, each vector in several ways, and counts.
 *
 * A vector without `arch` must give the answer of the CPU model; one whose `arch` is confirmed must give that one; where
 * `arch` is not confirmed either passes, but the same one in every run, and it is told which.
 */
import { type Difference, compare } from "./compare.ts";
import type { Answer, Vector } from "./format.ts";
import { type Run, type VectorMachine, runsOf } from "./machine.ts";
import { type VectorDifference, findStrays } from "./strays.ts";

/** Which of two answers a vector gave: that of the CPU model, or the other one. */
export type Matched = "expect" | "arch";

/** A vector with two answers that both pass. */
export interface Choice {
  readonly id: number;
  readonly category: string;
  readonly notes: readonly string[];
  readonly matched: Matched;
}

/** Where a file first differs. */
export interface FirstVector extends VectorDifference {
  readonly id: number;
  readonly category: string;
  readonly kind: string;
}

export interface HardwareReport {
  readonly file: string;
  /** Vectors. */
  readonly passed: number;
  readonly failed: number;
  readonly first?: FirstVector;
  /** Of the passed: vectors that had to give the other answer, because it is confirmed. */
  readonly confirmed: number;
  /** Of the passed: vectors that had a choice. */
  readonly choices: readonly Choice[];
}

/** Replays the vectors of one file. */
export function replayVectors(
  machine: VectorMachine,
  file: string,
  vectors: readonly Vector[],
): HardwareReport {
  const failed = new Map<Vector, VectorDifference>();
  const matched = new Map<Vector, Matched>();
  for (const vector of vectors) {
    const verdict = judge(machine, vector);
    if (typeof verdict === "string") matched.set(vector, verdict);
    else failed.set(vector, verdict);
  }
  for (const [vector, stray] of findStrays(machine, vectors)) {
    if (matched.delete(vector)) failed.set(vector, stray);
  }
  const passed = [...matched];
  return {
    ...{ file, passed: matched.size, failed: failed.size },
    ...firstOf(failed),
    confirmed: passed.filter(([{ arch }]) => arch?.confirmed).length,
    choices: passed.filter(([{ arch }]) => arch?.confirmed === false).map(choiceOf),
  };
}

function firstOf(failed: ReadonlyMap<Vector, VectorDifference>): { first?: FirstVector } {
  const [first] = [...failed].sort(([a], [b]) => a.id - b.id);
  if (first === undefined) return {};
  const [{ id, category, kind }, difference] = first;
  return { first: { id, category, kind, ...difference } };
}

function choiceOf([{ id, category, notes }, matched]: [Vector, Matched]): Choice {
  return { id, category, notes, matched };
}

/** Replays one vector: every run must give an answer that is allowed, and all the same one. */
export function judge(machine: VectorMachine, vector: Vector): Matched | VectorDifference {
  let answers = allowed(vector);
  for (const run of runsOf(vector)) {
    const differences = replayOnce(machine, vector, run, answers);
    const [first] = differences;
    answers = answers.filter((_, i) => differences[i] === undefined);
    if (answers.length === 0 && first !== undefined) return { run, ...first };
  }
  return (answers[0] as [Matched, Answer])[0];
}

/** How a run differs from each of the answers. A trap of the core is a difference like any other. */
function replayOnce(
  machine: VectorMachine,
  vector: Vector,
  run: Run,
  answers: readonly [Matched, Answer][],
): (Difference | undefined)[] {
  const { memory } = machine;
  try {
    return machine.play(vector, run, (observed) =>
      answers.map(([, answer]) => compare(vector, answer, observed, { run, memory })),
    );
  } catch (error) {
    const actual = error instanceof Error ? error.message : String(error);
    return answers.map(() => ({ field: "crash", expected: undefined, actual }));
  }
}

/** The answers that pass. */
function allowed({ expected, arch }: Vector): [Matched, Answer][] {
  const given: [Matched, Answer] = ["expect", expected];
  if (arch === undefined) return [given];
  return arch.confirmed ? [["arch", arch]] : [given, ["arch", arch]];
}
