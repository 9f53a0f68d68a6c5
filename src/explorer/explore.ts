/**
 * Looks for a schedule that ends in something forbidden. First a few random ones, which find out what agents share; then
 * all of them, up to the order of independent steps; if there are too many, all with few preemptions, and random ones for
 * as long as there is time. Learning that one more word is shared starts a complete search anew.
 *
 * What "all" means: accesses happen one after the other, as WebAssembly's atomics do; a vector access, a fill and a copy
 * are one step each; a wait for a while ends by itself only when nobody else can go on (waiting.ts).
 */
import { Bounded } from "./bounded.ts";
import { Dpor } from "./dpor.ts";
import { Execution, type Play } from "./execution.ts";
import { Random } from "./random.ts";
import { Replay, type Turn, turnsOf } from "./schedule.ts";
import { type Scene, UNIT_OF_WORK } from "./scene.ts";
import { shrink } from "./shrink.ts";
import { type Strategy, drive } from "./strategy.ts";
import type { Event } from "./event.ts";

/** What is explored: a scene, and for each schedule new programs with a judgement. */
export interface Subject {
  readonly scene: Scene;
  readonly begin: () => Case;
}

/** One schedule to be. */
export interface Case extends Play {
  /** What is wrong when it has ended as it should. */
  readonly forbidden: (events: readonly Event[]) => string | undefined;
  readonly allowDeadlock?: boolean | undefined;
  readonly allowLivelock?: boolean | undefined;
}

export interface Settings {
  readonly seed: number;
  /** Milliseconds of work in all, about. It is counted, not timed: the same settings explore the same schedules anywhere. */
  readonly time: number;
  /** Stop at the first schedule that ends in something forbidden, and look where one is likely first. */
  readonly first: boolean;
  readonly preemptions: number;
}

/** A schedule that ends in something forbidden. */
export interface Failure {
  readonly message: string;
  readonly turns: readonly Turn[];
  readonly events: readonly Event[];
}

export interface Findings {
  /** Schedules that were run to their end, each different from all others that are counted if `exhaustive`. */
  schedules: number;
  /** Left early, as they were equivalent to others. */
  redundant: number;
  /** Whether there is no schedule that is not equivalent to one of these. */
  exhaustive: boolean;
  /** If not: all with at most so many preemptions were run; -1: not even those without. */
  preemptions: number;
  /** Schedules that ended in something forbidden. */
  forbidden: number;
  /** The first of them, made as short as it gets. */
  failure: Failure | undefined;
}

const WARM_UP = 40;
const SHARE_OF_WARM_UP = 0.1;
const SHARE_OF_ALL = 0.6;
const SHARE_OF_BOUNDED = 0.7;
const QUICK_PREEMPTIONS = 2;
const QUICK_LOOK = 3000;
const FOREVER = 2 ** 31;

export function explore(subject: Subject, settings: Settings): Findings {
  return new Search(subject, settings).run();
}

/** Runs one schedule again. */
export function replay(subject: Subject, turns: readonly Turn[]): Outcome {
  const { scene } = subject;
  scene.everywhere = true;
  try {
    const once = begin(subject);
    drive(once.execution, new Replay(turns));
    return { events: once.execution.events, message: judge(once), ending: once.execution.ending };
  } finally {
    scene.everywhere = false;
  }
}

export interface Outcome {
  readonly events: readonly Event[];
  /** What is wrong with it. */
  readonly message: string | undefined;
  readonly ending: Execution["ending"];
}

interface Once {
  readonly execution: Execution;
  readonly case: Case;
}

function begin({ scene, begin: next }: Subject): Once {
  scene.restore();
  const one = next();
  return { case: one, execution: new Execution(scene, one) };
}

function judge({ execution, case: one }: Once): string | undefined {
  const { ending, message } = execution;
  if (ending === "livelock") return one.allowLivelock === true ? undefined : `livelock: ${message}`;
  if (ending === "trap" || ending === "invariant") return `${ending}: ${message}`;
  if (ending === "deadlock" && one.allowDeadlock !== true) return `deadlock: ${message}`;
  return one.forbidden(execution.events);
}

class Search {
  readonly #subject: Subject;
  readonly #settings: Settings;
  readonly #end: number;
  #found: Findings = empty();
  #failing: readonly Turn[] | undefined;

  constructor(subject: Subject, settings: Settings) {
    this.#subject = subject;
    this.#settings = settings;
    this.#end = subject.scene.work + (settings.time * 1e6) / UNIT_OF_WORK;
  }

  run(): Findings {
    const { seed, preemptions, first } = this.#settings;
    this.#warmUp();
    if (first) this.#fewPreemptions(QUICK_PREEMPTIONS, QUICK_LOOK);
    if (!this.#over) this.#all();
    if (!this.#found.exhaustive) {
      this.#fewPreemptions(preemptions, FOREVER);
      this.#schedules(new Random(seed, FOREVER, preemptions));
    }
    this.#found.failure = this.#shrunk();
    return this.#found;
  }

  get #over(): boolean {
    if (this.#settings.first && this.#failing !== undefined) return true;
    return this.#subject.scene.work > this.#end;
  }

  /** Only to learn: what goes wrong here goes wrong again below. */
  #warmUp(): void {
    const { scene } = this.#subject;
    const { seed, preemptions } = this.#settings;
    const strategy = new Random(seed, WARM_UP, preemptions);
    const end = scene.work + (this.#end - scene.work) * SHARE_OF_WARM_UP;
    scene.everywhere = true;
    while (strategy.next()) {
      drive(begin(this.#subject).execution, strategy);
      if (scene.work > end) break;
    }
    scene.everywhere = false;
  }

  #fewPreemptions(most: number, runs: number): void {
    const { scene } = this.#subject;
    const end = scene.work + (this.#end - scene.work) * SHARE_OF_BOUNDED;
    let left = runs;
    for (let bound = 0; bound <= most; bound++) {
      const strategy = (): Strategy => new Bounded(bound);
      if (!this.#settled(strategy, () => left-- <= 0 || scene.work > end)) return;
      this.#found.preemptions = bound;
    }
  }

  #all(): void {
    const { scene } = this.#subject;
    const end = scene.work + (this.#end - scene.work) * SHARE_OF_ALL;
    const before = this.#found;
    const strategy = (): Strategy => {
      this.#found = empty();
      return new Dpor(scene.names.length);
    };
    const complete = this.#settled(strategy, () => scene.work > end);
    this.#found.exhaustive = complete;
    if (complete) return;
    this.#found.schedules += before.schedules;
    this.#found.forbidden += before.forbidden;
    this.#found.preemptions = before.preemptions;
  }

  /** A complete search, as often as it learns something on its way: whether one came to its end and learned nothing. */
  #settled(strategy: () => Strategy, enough: () => boolean): boolean {
    const { scene } = this.#subject;
    for (;;) {
      const known = scene.sharedWords;
      const learned = (): boolean => scene.sharedWords !== known;
      let stop = false;
      const complete = this.#schedules(strategy(), () => learned() || (stop = enough()));
      if (!learned()) return complete;
      if (stop || this.#over) return false;
    }
  }

  /** Whether the strategy has come to its end. */
  #schedules(strategy: Strategy, enough: () => boolean = () => false): boolean {
    for (;;) {
      if (this.#over || enough()) return false;
      if (!strategy.next()) return true;
      this.#schedule(strategy);
    }
  }

  #schedule(strategy: Strategy): void {
    const once = begin(this.#subject);
    if (!drive(once.execution, strategy)) {
      this.#found.redundant++;
      return;
    }
    this.#found.schedules++;
    if (judge(once) === undefined) return;
    this.#found.forbidden++;
    this.#failing ??= turnsOf(once.execution.events);
  }

  #shrunk(): Failure | undefined {
    if (this.#failing === undefined) return undefined;
    const turns = this.#shortest(this.#failing);
    const once = begin(this.#subject);
    drive(once.execution, new Replay(turns));
    const { events } = once.execution;
    return { message: judge(once) as string, turns, events };
  }

  #shortest(failing: readonly Turn[]): readonly Turn[] {
    let last: Once | undefined;
    const start = (): Execution => (last = begin(this.#subject)).execution;
    return shrink(start, () => judge(last as Once), failing).turns;
  }
}

function empty(): Findings {
  const counts = { schedules: 0, redundant: 0, forbidden: 0 };
  return { ...counts, exhaustive: false, preemptions: -1, failure: undefined };
}
