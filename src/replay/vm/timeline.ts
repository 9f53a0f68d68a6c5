/**
 * The order in which what happened is done again: stages of it, each at a line of the trace.
 *
 * A fault is handled at one moment. With a call, that is where the call stands among those that it met (races.ts); one that was
 * retried for another thread's notifier is handled when it begins, or when that notifier does, if that comes later. Only a fault
 * with a notifier inside takes its time: the notifier runs while the page is looked for.
 */
import type { Call } from "../calls.ts";
import type { Trace } from "../read.ts";
import { Threads } from "../threads.ts";
import type { Abort, DirtyLog, Happening, Notifier, SlotChange } from "./model.ts";
import { type Place, placesOf } from "./races.ts";

export type Stage =
  /** All of it. */
  | { readonly what: "whole"; readonly of: Exclude<Happening, Notifier | SlotChange | Abort> }
  | { readonly what: "flush"; readonly of: SlotChange }
  | { readonly what: "publish"; readonly of: SlotChange }
  /** Goes on until its `call`-th call after the commit is made; the last stage ends it. */
  | {
      readonly what: "follow-up";
      readonly of: SlotChange;
      readonly calls: number;
      readonly last: boolean;
    }
  | { readonly what: "start" | "end"; readonly of: Notifier }
  /** Up to where the page is looked for, and from there on. */
  | { readonly what: "open"; readonly of: Abort }
  | { readonly what: "close"; readonly of: Abort }
  /** `later`: it is handled then, unless it meets an invalidation now. */
  | {
      readonly what: "abort";
      readonly of: Abort;
      readonly place?: Place;
      readonly later?: boolean;
    };

/** Stages of some kinds. */
export type StageOf<W extends Stage["what"]> = Extract<Stage, { what: W }>;

export interface Step {
  readonly line: number;
  /** Orders those of one line. */
  readonly behind: number;
  readonly stage: Stage;
}

/** The steps of a replay, in their order. */
export function timelineOf(trace: Trace, happenings: readonly Happening[]): Step[] {
  const aborts = happenings.filter((each): each is Abort => each.kind === "abort");
  const notifiers = new Overlaps(happenings);
  const places = placesOf(
    aborts.flatMap(({ calls }) => calls).sort((a, b) => a.line - b.line),
    new Threads(trace),
  );
  const steps = happenings.flatMap((each) => [...stepsOf(each, places, notifiers)]);
  return steps.sort((a, b) => a.line - b.line || a.behind - b.behind);
}

function* stepsOf(
  happening: Happening,
  places: ReadonlyMap<Call, Place>,
  notifiers: Overlaps,
): Generator<Step> {
  switch (happening.kind) {
    case "abort":
      return yield* abortSteps(happening, places, notifiers);
    case "slot":
      return yield* slotSteps(happening);
    case "notifier":
      yield step(happening.from.line, { what: "start", of: happening });
      if (happening.until) yield step(happening.until.line, { what: "end", of: happening });
      return;
    case "aging":
      return yield step(happening.calls[0]?.line ?? happening.line, whole(happening));
    case "caches":
      return yield step(happening.calls[0]?.line ?? happening.line, whole(happening));
    case "log":
      return yield step(logLine(happening), whole(happening));
    default:
      return yield step(happening.line, whole(happening));
  }
}

function step(line: number, stage: Stage, behind = 0): Step {
  return { line, behind, stage };
}

function whole(of: Exclude<Happening, Notifier | SlotChange | Abort>): Stage {
  return { what: "whole", of };
}

/** The first word is taken under the lock that all of them are. */
function logLine({ words, line }: DirtyLog): number {
  return words[0]?.line ?? line;
}

function* slotSteps(change: SlotChange): Generator<Step> {
  const { flush, commit } = change;
  if (flush) yield step(flush.line, { what: "flush", of: change });
  if (!commit) return;
  yield step(commit.line, { what: "publish", of: change });
  const lines = commit.calls.map(({ line }) => line);
  if (lines.length === 0)
    yield step(commit.line, { what: "follow-up", of: change, calls: 0, last: true }, 1);
  for (const [index, line] of lines.entries()) {
    const last = index === lines.length - 1;
    yield step(line, { what: "follow-up", of: change, calls: index + 1, last });
  }
}

function* abortSteps(
  abort: Abort,
  places: ReadonlyMap<Call, Place>,
  notifiers: Overlaps,
): Generator<Step> {
  const [call] = abort.calls;
  const own = abort.own.filter(({ overlaps }) => overlaps).at(-1);
  if (own) {
    yield step(abort.line, { what: "open", of: abort });
    return yield step(own.until?.line ?? own.from.line, { what: "close", of: abort }, 1);
  }
  if (abort.device) return yield step(abort.line, { what: "abort", of: abort });
  if (call) {
    const place = places.get(call) as Place;
    return yield step(place.line, { what: "abort", of: abort, place }, place.behind);
  }
  const next = notifiers.startsIn(abort);
  if (next === undefined) return yield step(abort.line, { what: "abort", of: abort });
  yield step(abort.line, { what: "abort", of: abort, later: true });
  yield step(next, { what: "abort", of: abort }, 1);
}

/** Notifiers that keep faults off, to be found by their lines. */
class Overlaps {
  readonly #notifiers: readonly Notifier[];

  constructor(happenings: readonly Happening[]) {
    this.#notifiers = happenings
      .filter((each): each is Notifier => each.kind === "notifier" && each.overlaps)
      .sort((a, b) => a.from.line - b.from.line);
  }

  /** Where the first notifier starts that starts while the abort is handled. */
  startsIn({ line, end, to }: Abort): number | undefined {
    for (let at = this.#after(line); at < this.#notifiers.length; at++) {
      const { from } = this.#notifiers[at] as Notifier;
      if (from.line >= end) return undefined;
      if (from.time <= to) return from.line;
    }
    return undefined;
  }

  #after(line: number): number {
    let [low, high] = [0, this.#notifiers.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#notifiers[middle] as Notifier).from.line <= line) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
