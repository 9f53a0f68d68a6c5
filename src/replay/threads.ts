/**
 * Which recorded thread wrote each line of a trace, and when that thread wrote its next: what it did after one line was
 * done before the other.
 */
import type { Trace } from "./read.ts";
import type { TraceRecord } from "./record.ts";

/** In place of a thread, where nothing tells it. */
const UNKNOWN = -1;
/** Times are written in whole microseconds: a little less than one, for what falls into the same. */
const TICK = 0.9e-6;

export class Threads {
  readonly #threads: Int32Array;
  readonly #next: Int32Array;
  /** For every line, the earliest time at which it or a later one began. */
  readonly #times: Float64Array;
  readonly #timed: Uint8Array;

  constructor({ records }: Trace) {
    this.#threads = threadsOf(records);
    this.#next = nextLines(this.#threads);
    this.#times = earliestTimes(records);
    this.#timed = Uint8Array.from(records, ({ t }) => Number(t !== undefined));
  }

  /** The thread of a line, if it is known. */
  of(line: number): number | undefined {
    const thread = this.#threads[line];
    return thread === UNKNOWN ? undefined : thread;
  }

  /** The next line of the same thread; the end of the trace if there is none. */
  next(line: number): number {
    return this.#next[line] ?? this.#next.length;
  }

  /** The last line that is known to have begun before a time. The clocks of two CPUs differ a little. */
  lastBefore(time: number): number {
    return this.#firstFrom(time) - 1;
  }

  /** The first line that is known to have begun after a time: many lines tell none. */
  firstAfter(time: number): number {
    let line = this.#firstFrom(time + TICK);
    while (line < this.#timed.length && this.#timed[line] === 0) line++;
    return line;
  }

  #firstFrom(time: number): number {
    let [low, high] = [0, this.#times.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#times[middle] as number) < time) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** A record inside another may leave its thread out. */
function threadsOf(records: readonly TraceRecord[]): Int32Array {
  const lines = new Map<number, number>();
  const threads = new Int32Array(records.length).fill(UNKNOWN);
  records.forEach(({ i, pid, up }, line) => {
    lines.set(i, line);
    const outer = up === undefined ? undefined : lines.get(up);
    const inherited = outer === undefined ? UNKNOWN : (threads[outer] as number);
    threads[line] = pid ?? inherited;
  });
  return threads;
}

function nextLines(threads: Int32Array): Int32Array {
  const next = new Int32Array(threads.length).fill(threads.length);
  const seen = new Map<number, number>();
  for (let line = threads.length - 1; line >= 0; line--) {
    const thread = threads[line] as number;
    const later = seen.get(thread);
    if (thread !== UNKNOWN && later !== undefined) next[line] = later;
    seen.set(thread, line);
  }
  return next;
}

function earliestTimes(records: readonly TraceRecord[]): Float64Array {
  const times = new Float64Array(records.length);
  let earliest = Infinity;
  for (let line = records.length - 1; line >= 0; line--) {
    const t = records[line]?.t;
    if (t !== undefined) earliest = Math.min(earliest, Number(t));
    times[line] = earliest;
  }
  return times;
}
