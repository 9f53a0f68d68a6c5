/** What comes out of a replay at the level of VMs. */

/** Why something was taken from the recording instead of being predicted. */
export type Cause =
  /** A fault that overlapped with an invalidation in part: it mapped, or was retried. */
  | "either-or"
  /** An entry that another CPU was changing at that very moment. */
  | "lost-race"
  /** A page that a fault had mapped writable, and marked as dirty only after the log was taken. */
  | "late-mark"
  /** An access flag that hardware had set. */
  | "af-from-visits";

/** Guest aborts by how they ended. */
export interface AbortCounts {
  aborts: number;
  /** With a library call. */
  called: number;
  /** Retried for a notifier: one inside the fault, one around it, one that overlapped in part. */
  own: number;
  inside: number;
  either: number;
  /** Called, though a notifier had overlapped in part. */
  eitherCalled: number;
  /** Device accesses. */
  devices: number;
  /** Predicted range calls. */
  ranges: number;
}

/** Facts about the host: taken when they were first seen, held to afterwards. */
export interface FactCounts {
  taken: number;
  held: number;
}

/** The outcome of one trace. */
export interface VmReplayResult extends AbortCounts {
  /** Name of the trace file without its endings. */
  readonly trace: string;
  /** Library calls in the record, and those that were compared with a predicted one. */
  readonly calls: number;
  readonly compared: number;
  readonly differing: number;
  readonly undecided: Readonly<Partial<Record<Cause, number>>>;
  readonly ok: boolean;
  /** Answers compared: of aborts, age queries, capabilities. */
  readonly answers: number;
  /** Words of dirty logs and counts of dirty pages compared. */
  readonly words: number;
  readonly counts: number;
  readonly facts: FactCounts;
  readonly seconds: number;
  /** The first differences, as sentences. */
  readonly differences: readonly string[];
}

/** Differences that are kept as sentences; all are counted. */
const SENTENCES = 20;

/** Gathers a result. */
export class VmTally implements AbortCounts {
  compared = 0;
  differing = 0;
  answers = 0;
  words = 0;
  counts = 0;
  aborts = 0;
  called = 0;
  own = 0;
  inside = 0;
  either = 0;
  eitherCalled = 0;
  devices = 0;
  ranges = 0;
  readonly facts: FactCounts = { taken: 0, held: 0 };
  readonly undecided: Partial<Record<Cause, number>> = {};
  readonly differences: string[] = [];

  undecide(cause: Cause, count = 1): void {
    if (count > 0) this.undecided[cause] = (this.undecided[cause] ?? 0) + count;
  }

  differs(sentence: string): void {
    this.differing++;
    if (this.differences.length < SENTENCES) this.differences.push(sentence);
  }

  result(trace: string, calls: number, seconds: number): VmReplayResult {
    const { differing, ...more } = this;
    return { trace, calls, differing, ok: differing === 0, ...more, seconds };
  }
}
