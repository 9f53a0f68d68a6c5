/** One litmus test on the engine as it is, and on every mutant that it must catch. */
import { agentModule } from "../../src/agents/build.ts";
import {
  type Case,
  type Failure,
  type Outcome,
  type Subject,
  explore,
  replay,
} from "../../src/explorer/explore.ts";
import type { Litmus } from "../../src/explorer/litmus.ts";
import { type Turn, printSchedule } from "../../src/explorer/schedule.ts";
import { printTrace } from "../../src/explorer/trace.ts";
import { type Build, World } from "../../src/explorer/world.ts";
import type { Mutant } from "./mutants.ts";

/** How long to look, and where. */
export interface Budget {
  readonly seed: number;
  /** Seconds of work for a test. */
  readonly seconds: number;
}

/** Milliseconds of work to find out what agents share. */
const LEARNING = 500;
const MUTANT_FACTOR = 5;

/** What was found of a mutant. */
export interface MutantRow {
  readonly name: string;
  readonly caught: boolean;
  /** Whether what is wrong with it was run at all. */
  readonly reached: boolean;
  /** The schedule that shows it, for people. */
  readonly report: string;
}

/** What was found of a test. */
export interface Row {
  readonly name: string;
  readonly title: string;
  readonly schedules: number;
  readonly exhaustive: boolean;
  /** If not exhaustive: all with at most so many preemptions; -1: not even those. */
  readonly preemptions: number;
  readonly forbidden: number;
  readonly mutants: readonly MutantRow[];
  readonly report: string;
  readonly milliseconds: number;
}

/** All mutants in one binary, of which one is chosen. */
export class Mutants {
  readonly #names: readonly string[];
  readonly #module: WebAssembly.Module;

  constructor(list: readonly Mutant[], binary: Uint8Array<ArrayBuffer>) {
    this.#names = list.map((mutant) => mutant.name);
    this.#module = new WebAssembly.Module(binary);
  }

  /**
   * The build in which this mutant alone is wrong, while a program runs; `reached` is called where it is.
   * @throws Error if there is none of this name
   */
  build(name: string, reached: () => void = () => undefined): Build {
    const chosen = this.#names.indexOf(name);
    if (chosen < 0) throw new Error(`there is no mutant ${name}`);
    const mutant = (id: number, scheduled: boolean): number => {
      if (id !== chosen || !scheduled) return 0;
      reached();
      return 1;
    };
    return {
      module: this.#module,
      imports: (scheduled) => ({ mutant: (id: number) => mutant(id, scheduled()) }),
    };
  }
}

/** The engine that is shipped. */
export function engineBuild(): Build {
  return { module: agentModule() };
}

/** A row that says what went wrong, if the test itself does. */
export function check(litmus: Litmus, engine: Build, mutants: Mutants, budget: Budget): Row {
  const start = performance.now();
  try {
    return { ...checked(litmus, engine, mutants, budget), milliseconds: performance.now() - start };
  } catch (error) {
    const { name, title } = litmus;
    const report = `the test fails: ${error instanceof Error ? error.stack : String(error)}`;
    const nothing = { schedules: 0, exhaustive: false, preemptions: -1, forbidden: 1, mutants: [] };
    return { name, title, ...nothing, report, milliseconds: performance.now() - start };
  }
}

function checked(
  litmus: Litmus,
  engine: Build,
  mutants: Mutants,
  budget: Budget,
): Omit<Row, "milliseconds"> {
  const world = new World(litmus, engine);
  const found = explore(subjectOf(world), settingsOf(litmus, budget, false));
  const rows = litmus.mutants.map((name) => checkMutant(litmus, name, mutants, budget));
  const { schedules, exhaustive, preemptions, forbidden, failure } = found;
  const { name, title } = litmus;
  const report = failure === undefined ? "" : reportOf(world, failure);
  return { name, title, schedules, exhaustive, preemptions, forbidden, mutants: rows, report };
}

function checkMutant(litmus: Litmus, name: string, mutants: Mutants, budget: Budget): MutantRow {
  let reached = false;
  const world = new World(
    litmus,
    mutants.build(name, () => (reached = true)),
  );
  const { failure } = explore(subjectOf(world), settingsOf(litmus, budget, true));
  const report = failure === undefined ? "" : reportOf(world, failure);
  return { name, caught: failure !== undefined, reached, report };
}

function settingsOf(litmus: Litmus, budget: Budget, first: boolean) {
  const preemptions = litmus.options?.preemptions ?? 3;
  // A mutant is searched longer: it is found soon, or it is a failure.
  const seconds = first ? budget.seconds * MUTANT_FACTOR : budget.seconds;
  return { seed: budget.seed, time: seconds * 1000, first, preemptions };
}

export function subjectOf(world: World): Subject {
  const { litmus, scene } = world;
  const { allowDeadlock, allowLivelock } = litmus.options ?? {};
  const begin = (): Case => {
    const { programs, forbidden, invariant } = world.run();
    const unknown = Object.keys(programs).find((name) => !scene.names.includes(name));
    if (unknown !== undefined) throw new Error(`${litmus.name} has no agent ${unknown}`);
    const byNumber = scene.names.map((name) => programs[name]);
    return { programs: byNumber, forbidden, invariant, allowDeadlock, allowLivelock };
  };
  return { scene, begin };
}

/** Runs one schedule of a test again. */
export function replayTurns(
  litmus: Litmus,
  build: Build,
  turns: readonly Turn[],
): Outcome & { report: string } {
  const world = new World(litmus, build);
  const subject = subjectOf(world);
  // Finds out what the agents share, so that the trace shows that and no more.
  explore(subject, { seed: 1, time: LEARNING, first: true, preemptions: 0 });
  const outcome = replay(subject, turns);
  const events = outcome.events.filter(({ stop, queue }) => queue || isShared(world, stop));
  const trace = printTrace(events, litmus.agents, (address) => world.labels.say(address));
  return { ...outcome, report: `${outcome.message ?? "nothing forbidden"}\n\n${trace}` };
}

function isShared({ scene }: World, stop: { address: number; bytes: number }): boolean {
  return scene.isShared(stop.address, stop.bytes);
}

function reportOf({ litmus, labels }: World, { message, turns, events }: Failure): string {
  const { agents, name } = litmus;
  const trace = printTrace(events, agents, (address) => labels.say(address));
  return `${message}\n  --replay "${name}:${printSchedule(turns, agents)}"\n\n${trace}`;
}
