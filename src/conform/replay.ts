/** Replays vector files, each traced and untraced, on machines that are used again while they are clean. */
import type { Difference } from "./compare.ts";
import { Machine } from "./machine.ts";
import { type Mode, Script } from "./script.ts";
import type { Step } from "./vectors.ts";

/** Where a file first differs. */
export interface FirstDifference extends Difference {
  /** Number of the step, from 0. */
  readonly step: number;
  readonly op: string;
  readonly run: Mode;
}

export interface FileReport {
  readonly file: string;
  readonly passed: number;
  readonly failed: number;
  readonly first?: FirstDifference;
}

/** The builds under test. */
export interface Builds {
  /** The core that everything runs on; the release build if absent. */
  readonly core?: WebAssembly.Module;
  /** Its instrumented copy, for foreign stores in the middle of an operation. */
  readonly instrumented: () => WebAssembly.Module;
}

const MODES: readonly Mode[] = ["traced", "untraced"];

export class Replayer {
  readonly #builds: Builds;
  #machine: Machine | undefined;

  constructor(builds: Builds) {
    this.#builds = builds;
  }

  /** A step passes if everything compared holds in both runs. */
  replay(file: string, steps: readonly Step[]): FileReport {
    const failed = new Set<number>();
    let first: FirstDifference | undefined;
    for (const mode of MODES) {
      for (const difference of this.run(steps, mode)) {
        failed.add(difference.step);
        if (first === undefined || difference.step < first.step) first = difference;
      }
    }
    const counts = { file, passed: steps.length - failed.size, failed: failed.size };
    return first === undefined ? counts : { ...counts, first };
  }

  /** One run of a script: how its steps differ, each named once. */
  run(steps: readonly Step[], run: Mode): FirstDifference[] {
    this.#machine ??= new Machine(this.#builds.core);
    const machine = this.#machine;
    const script = new Script(machine, run, this.#builds.instrumented);
    const differences: FirstDifference[] = [];
    for (const [index, step] of steps.entries()) {
      const difference = playGuarded(script, step);
      if (difference !== undefined)
        differences.push({ step: index, op: step.name, run, ...difference });
      if (difference?.field !== CRASH) continue;
      // What follows a crash was not tried: none of it has passed.
      this.#machine = undefined;
      const untried = steps.slice(index + 1).map((later, i) => ({ later, step: index + 1 + i }));
      const lost = untried.map(({ later, step: at }) => ({
        ...difference,
        step: at,
        op: later.name,
        run,
      }));
      return [...differences, ...lost];
    }
    script.end();
    // Leaks that a script provokes on purpose must not weigh on the next one.
    if (!machine.empty) this.#machine = undefined;
    return differences;
  }
}

const CRASH = "crash";

/** A trap of the core, or a harness that cannot go on, is a difference like any other. */
function playGuarded(script: Script, step: Step): Difference | undefined {
  try {
    return script.play(step);
  } catch (error) {
    const actual = error instanceof Error ? error.message : String(error);
    return { field: CRASH, expected: undefined, actual };
  }
}
