/**
 * In which order overlapping calls of two CPUs are replayed, one after the other, so that each finds what it found
 * when it was recorded.
 *
 * Only calls that hold the lock shared overlap. A call is *open* from its line to the last line of any CPU that began
 * before it returned; calls of one table whose open spans touch form a group. A call alone is replayed at its line.
 * In a group, what a call did to the tables decides its place:
 *
 *   committed something              line of its last commit
 *   met the locked marker, gave up   right after the call that had placed the marker, which is put back meanwhile
 *   lost its exchange                right after the call that committed to the entry nearest to it; the marker stands
 *                                    in for the value that made it lose
 *   committed tables, then lost      line of its last commit, with just these pages to build from
 *   did nothing                      line of its last visit
 */
import { type Call, type Node, inside, isShared, isVisit, storedAttribute } from "./calls.ts";
import type { Trace } from "./read.ts";
import type { TraceRecord } from "./record.ts";

/** How a call ended that a call of another CPU got in the way of. */
export type Collision =
  | { readonly kind: "marker-seen" | "lost-map" | "lost-relax"; readonly entry: string }
  | { readonly kind: "partial"; readonly tables: number };

/** A call in its place. */
export interface Step {
  readonly call: Call;
  /** Line at which it is replayed; of steps at one line, the call whose line it is comes first. */
  readonly line: number;
  readonly follows: boolean;
  /** Whether it is one of a group. */
  readonly grouped: boolean;
  readonly collision?: Collision;
}

/** The value of an entry that somebody else is changing. */
export const LOCKED = "0x400";
const EAGAIN = -11;

/** The calls in the order of their replay. */
export function replayOrder(trace: Trace, calls: readonly Call[]): Step[] {
  const steps = [...groups(trace, calls)].flatMap((group) => {
    if (group.length > 1) return groupOrder(group);
    return group.map((call) => ({ call, line: call.line, follows: false, grouped: false }));
  });
  return steps.sort(
    (a, b) => a.line - b.line || Number(a.follows) - Number(b.follows) || a.call.line - b.call.line,
  );
}

/** Calls that may have met, together; every other call alone. */
function* groups(trace: Trace, calls: readonly Call[]): Generator<Call[]> {
  const lastLineBefore = lineFinder(trace);
  const open = new Map<Call["table"], { group: Call[]; end: number }>();
  for (const call of calls) {
    if (!isShared(call)) {
      yield [call];
      continue;
    }
    const end = Math.max(call.lastLine, lastLineBefore(Number(call.record.t2)));
    const current = open.get(call.table);
    if (current !== undefined && call.line <= current.end) {
      current.group.push(call);
      current.end = Math.max(current.end, end);
    } else {
      if (current !== undefined) yield current.group;
      open.set(call.table, { group: [call], end });
    }
  }
  for (const { group } of open.values()) yield group;
}

/** Answers which line is the last that began before a time. The clocks of two CPUs differ a little. */
function lineFinder(trace: Trace): (time: number) => number {
  const earliestFrom = new Float64Array(trace.records.length);
  let earliest = Infinity;
  for (let line = trace.records.length - 1; line >= 0; line--) {
    const { t } = trace.records[line] as { t?: string };
    if (t !== undefined) earliest = Math.min(earliest, Number(t));
    earliestFrom[line] = earliest;
  }
  return (time) => {
    let [low, high] = [0, earliestFrom.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((earliestFrom[middle] as number) < time) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  };
}

/** What a call did: the stores that others see, the markers it placed, its last visit, the tables it took. */
interface Course {
  readonly call: Call;
  readonly commits: { readonly entry: string; readonly line: number }[];
  readonly markers: { readonly entry: string; readonly line: number }[];
  readonly tables: number;
  readonly last: Node | undefined;
}

function courseOf(call: Call): Course {
  const nodes = [...inside(call)];
  const of = (op: string): Node[] => nodes.filter(({ record }) => record.op === op);
  const place = ({ record, line }: Node) => ({ entry: record.pte_pa, line });
  const attributes = nodes.filter((node) => storedAttribute(node) !== undefined);
  return {
    call,
    commits: [...of("make_pte"), ...attributes].map(place),
    markers: of("break_pte").filter(({ record }) => record.ret === 1).map(place), // prettier-ignore
    tables: of("make_pte").filter(({ record }) => isTable(record)).length,
    last: nodes.findLast(isVisit),
  };
}

function groupOrder(group: Call[]): Step[] {
  const courses = group.map(courseOf);
  return courses.map((course) => ({
    call: course.call,
    grouped: true,
    ...placeOf(course, courses),
  }));
}

function placeOf(course: Course, group: Course[]): Omit<Step, "call" | "grouped"> {
  const { call, last, commits } = course;
  const commit = commits.at(-1);
  if (commit !== undefined) {
    const place = { line: commit.line, follows: false };
    if (call.record.ret !== EAGAIN) return place;
    return { ...place, collision: { kind: "partial", tables: course.tables } };
  }
  const visitLine = last?.line ?? call.line;
  if (last?.record.ret !== EAGAIN) return { line: visitLine, follows: false };
  const entry = last.record.pte_pa;
  if (last.record.old === LOCKED) return afterMarker(entry, visitLine, group);
  const kind = lostExchange(last);
  if (kind === undefined) return { line: visitLine, follows: false };
  return afterWinner({ kind, entry }, visitLine, course, group);
}

/** Behind the call that had placed the marker; at its own line, to fail there, if nobody had. */
function afterMarker(entry: string, line: number, group: Course[]): Omit<Step, "call" | "grouped"> {
  const owner = nearest(group, "markers", entry, (marker) => line - marker);
  if (owner === undefined) return { line, follows: false };
  return { line: lastCommit(owner), follows: true, collision: { kind: "marker-seen", entry } };
}

/** Behind the call that changed the entry before this one could, but not before this one had read it. */
function afterWinner(
  collision: Collision & { entry: string },
  line: number,
  course: Course,
  group: Course[],
): Omit<Step, "call" | "grouped"> {
  const others = group.filter((other) => other !== course);
  const winner = nearest(others, "commits", collision.entry, (commit) => Math.abs(commit - line));
  if (winner === undefined) return { line, follows: false };
  return { line: Math.max(lastCommit(winner), line), follows: true, collision };
}

/** Whether the visit failed because the entry had changed since it was read, and in which kind of call. */
function lostExchange({ record, inner }: Node): "lost-map" | "lost-relax" | undefined {
  if (record.op === "v_attr") return isValid(record.old) ? "lost-relax" : undefined;
  const lost = inner.some((node) => node.record.op === "break_pte" && node.record.ret === 0);
  return lost ? "lost-map" : undefined;
}

/** The call with the line on this entry at the smallest distance that is not negative. */
function nearest(
  group: Course[],
  what: "commits" | "markers",
  entry: string,
  distance: (line: number) => number,
): Course | undefined {
  let best: Course | undefined;
  let least = Infinity;
  for (const course of group) {
    for (const mark of course[what]) {
      const far = mark.entry === entry ? distance(mark.line) : -1;
      if (far >= 0 && far < least) [best, least] = [course, far];
    }
  }
  return best;
}

function lastCommit({ commits, call }: Course): number {
  return commits.at(-1)?.line ?? call.lastLine;
}

function isValid(entry: string): boolean {
  return (lowBits(entry) & 1) === 1;
}

/** Whether the record stored a pointer to a table. */
function isTable({ level, new: value }: TraceRecord): boolean {
  return level < 3 && value !== undefined && (lowBits(value) & 3) === 3;
}

function lowBits(entry: string): number {
  return Number(`0x${entry.slice(-1)}`);
}
