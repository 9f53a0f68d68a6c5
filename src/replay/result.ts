/** What comes out of a replay. */

/** Why something was not compared, or taken over from the recording. */
export type Cause =
  /** An access flag that hardware had set, found by a call or in a dump. */
  | "af-from-visits"
  | "af-from-dumps"
  /** A dump that is not beside the trace, or shows no table of it. */
  | "dump-missing";

/** Counts that are there only if they are not zero. */
export type Undecided = Readonly<Partial<Record<Cause, number>>>;

/** The outcome of one trace. */
export interface ReplayResult {
  /** Name of the trace file without its endings. */
  readonly trace: string;
  readonly calls: number;
  /** Calls that were compared, in full. */
  readonly compared: number;
  /** Calls and dumps in which anything differed. */
  readonly differing: number;
  readonly undecided: Undecided;
  readonly ok: boolean;
  /** Calls by kind ("map", "unmap", …). */
  readonly kinds: Readonly<Record<string, number>>;
  /** Pages that were mapped, over all calls. */
  readonly pages: number;
  /** Calls that answered -EAGAIN. */
  readonly again: number;
  /** Calls that overlapped with one of another CPU. */
  readonly grouped: number;
  /** Facts compared in calls: returns, visits, stores, invalidations, allocations, references. */
  readonly facts: number;
  /** Range flushes outside calls, compared as well. */
  readonly flushes: number;
  /** Dumps compared, and entries in them. */
  readonly checkpoints: number;
  readonly entries: number;
  /** Time of the calls and their comparison, without reading the file. */
  readonly seconds: number;
  readonly callsPerSecond: number;
  /** The first differences, as sentences. */
  readonly differences: readonly string[];
}

/** Differences that are kept as sentences; all are counted. */
const SENTENCES = 20;

/** Gathers a result. */
export class Tally {
  compared = 0;
  differing = 0;
  pages = 0;
  again = 0;
  grouped = 0;
  facts = 0;
  flushes = 0;
  checkpoints = 0;
  entries = 0;
  readonly kinds: Record<string, number> = {};
  readonly undecided: Partial<Record<Cause, number>> = {};
  readonly differences: string[] = [];

  kind(name: string): void {
    this.kinds[name] = (this.kinds[name] ?? 0) + 1;
  }

  undecide(cause: Cause, count = 1): void {
    if (count > 0) this.undecided[cause] = (this.undecided[cause] ?? 0) + count;
  }

  differs(sentence: string): void {
    this.differing++;
    if (this.differences.length < SENTENCES) this.differences.push(sentence);
  }

  result(trace: string, calls: number, seconds: number): ReplayResult {
    const { compared, differing, undecided, ...more } = this;
    const verdict = { compared, differing, undecided, ok: differing === 0 };
    return { trace, calls, ...verdict, ...more, seconds, callsPerSecond: calls / seconds };
  }
}
