/**
 * What the host's code did, counted from the events of the engine: library calls, what of them was broken, TLB invalidations,
 * table pages. Counts are since the last {@link Tally.reset}.
 */
import type { Checker, Engine } from "../../../../src/index.ts";

/** A library call or a flush on a range. */
export interface Call {
  readonly kind: string;
  readonly ipa: number;
  readonly size: number;
}

export class Tally {
  readonly #engine: Engine;
  readonly #checker: Checker | undefined;
  #counts = new Map<string, number>();
  /** Range operations, in order. */
  #ranges: Call[] = [];
  /** Invalidations since the last library call ended. */
  #pending = 0;
  #breaks = 0;

  /** `checker`: is told of everything. */
  constructor(engine: Engine, checker?: Checker) {
    this.#engine = engine;
    this.#checker = checker;
  }

  /** Forgets what happened. */
  reset(): void {
    this.drain();
    this.#counts = new Map();
    this.#ranges = [];
    this.#pending = 0;
    this.#breaks = 0;
  }

  /** Events of this kind. */
  count(kind: string): number {
    this.drain();
    return this.#counts.get(kind) ?? 0;
  }

  /** Valid entries that a map broke: those that needed a TLB invalidation. */
  get breaks(): number {
    this.drain();
    return this.#breaks;
  }

  /** Calls of these kinds on ranges, in order. */
  ranges(...kinds: string[]): Call[] {
    this.drain();
    return this.#ranges.filter(({ kind }) => kinds.includes(kind));
  }

  /** What the checker found, now that every operation has returned. */
  violations(): string[] {
    this.drain();
    this.#checker?.settle();
    return (this.#checker?.violations ?? []).map(String);
  }

  /** Takes the waiting events. The log holds 131,072: call it after some ten thousand faults. */
  drain(): void {
    for (const event of this.#engine.events.drain()) {
      const { kind } = event;
      this.#checker?.observe(event);
      if (kind === "lost") throw new Error(`${event.count} events were lost: drain more often`);
      this.#counts.set(kind, (this.#counts.get(kind) ?? 0) + 1);
      if (kind === "tlbiIpa" || kind === "tlbiVmid" || kind === "tlbiRange") this.#pending++;
      if ("ipa" in event && "size" in event) {
        this.#ranges.push({ kind, ipa: event.ipa, size: event.size });
        if (kind === "map") this.#breaks += this.#pending;
        this.#pending = 0;
      }
    }
  }
}
