/** How guest aborts met the notifiers of other threads. */
import type { Abort, Happening, Notifier } from "./model.ts";

/** Why a fault made no call, or that it might have made none. */
export type Meeting = "apart" | "own" | "inside" | "either";

export class Meetings {
  readonly #notifiers: readonly Notifier[];
  /** The latest line at which any of the first n notifiers can have ended. */
  readonly #latest: readonly number[];

  constructor(happenings: readonly Happening[]) {
    this.#notifiers = happenings
      .filter((each): each is Notifier => each.kind === "notifier" && each.overlaps)
      .sort((a, b) => a.from.line - b.from.line);
    let latest = 0;
    this.#latest = this.#notifiers.map(
      ({ until }) => (latest = Math.max(latest, until?.deadline ?? Infinity)),
    );
  }

  of(abort: Abort): Meeting {
    const [call] = abort.calls;
    if (abort.own.some(({ overlaps }) => overlaps)) return "own";
    if (call) return this.#isPartial(abort, call.line) ? "either" : "apart";
    const others = this.#around(abort, abort.end);
    if (others.length === 0) return "apart";
    return others.some((notifier) => surrounds(notifier, abort)) ? "inside" : "either";
  }

  /** A notifier was active when the fault came, or since, and had surely ended when the call was made. */
  #isPartial(abort: Abort, line: number): boolean {
    return this.#around(abort, line).some(({ until }) => until && until.deadline <= line);
  }

  /** Those of others that can have been active between the abort and a line. */
  #around(abort: Abort, line: number): Notifier[] {
    const found: Notifier[] = [];
    for (let at = this.#before(line); at >= 0; at--) {
      if ((this.#latest[at] as number) <= abort.line) break;
      const notifier = this.#notifiers[at] as Notifier;
      const { inside, until, from } = notifier;
      const ended = until !== undefined && until.deadline <= abort.line;
      if (!ended && inside !== abort && from.time <= abort.to) found.push(notifier);
    }
    return found;
  }

  /** Index of the last that starts before a line. */
  #before(line: number): number {
    let [low, high] = [0, this.#notifiers.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#notifiers[middle] as Notifier).from.line < line) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }
}

/** All of the abort lies between the start and the announced end. */
function surrounds({ from, until }: Notifier, { line, to }: Abort): boolean {
  return from.line < line && until !== undefined && to <= until.announced;
}
