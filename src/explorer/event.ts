/**
 * One step of one agent as it happened, and when the order of two steps matters.
 *
 * Two steps are dependent iff their bytes overlap and one of them changed what is there, or both are about waiting on the
 * same word and not both looked for somebody to wake in vain. A compare-exchange that failed changed nothing, nor did a store of what was there already: at the
 * point where it happened it commutes with every step that changes nothing there either.
 */
import type { Stop } from "../agents/stop.ts";

export interface Event {
  readonly agent: number;
  readonly stop: Stop;
  /** First byte, and the byte behind the last. */
  readonly start: number;
  readonly end: number;
  /** Whether it looked at those bytes (to wake others one looks at none), and whether they changed. */
  readonly data: boolean;
  readonly write: boolean;
  /** Whether it queued, looked for somebody to wake, or was woken. */
  readonly queue: boolean;
  /** Whether it looked for somebody to wake, and nobody was there. */
  readonly inVain: boolean;
  /** Nobody else could go on: a wait has timed out. */
  readonly timeout: boolean;
  /** Accesses that the agent has done with it, those that need no stop included. */
  readonly done: number;
  /** The first 8 bytes before and after, low half first. */
  readonly before: readonly [number, number];
  readonly after: readonly [number, number];
}

export function dependent(a: Event, b: Event): boolean {
  return a.agent === b.agent || touch(a, b) || copies(a, b) || copies(b, a);
}

function touch(a: Event, b: Event): boolean {
  if (a.start >= b.end || b.start >= a.end) return false;
  return (
    (a.data && b.data && (a.write || b.write)) || (a.queue && b.queue && !(a.inVain && b.inVain))
  );
}

/** Whether `a` copies from where `b` writes. */
function copies(a: Event, b: Event): boolean {
  const { source, bytes } = a.stop;
  return source !== 0 && b.write && source < b.end && b.start < source + bytes;
}
