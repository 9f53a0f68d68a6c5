/** Replays vector files, each traced and untraced, on machines that are used again while they are clean. */
import type { Difference } from "./compare.ts";
import { Machine } from "./machine.ts";
import { DumpMemory } from "./rows.ts";
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
    const dumps = new DumpMemory();
    let first: FirstDifference | undefined;
    for (const mode of MODES) {
      for (const difference of this.run(steps, mode, dumps)) {
        failed.add(difference.step);
        if (first === undefined || difference.step < first.step) first = difference;
      }
    }
    const counts = { file, passed: steps.length - failed.size, failed: failed.size };
    return first === undefined ? counts : { ...counts, first };
  }

  /** One run of a script: how its steps differ, each named once. */
  run(steps: readonly Step[], run: Mode, dumps = new DumpMemory()): FirstDifference[] {
    this.#machine ??= new Machine(this.#builds.core);
    const machine = this.#machine;
    const { instrumented } = this.#builds;
    const script = new Script(machine, run, { instrumented, dumps });
    const differences: FirstDifference[] = [];
    for (const [index, step] of steps.entries()) {
      const difference = guarded(() => script.play(step, index));
      if (difference === undefined) continue;
      // What follows a crash was not tried: none of it has passed.
      const crashed = difference.field === CRASH;
      const named = crashed ? steps.slice(index) : [step];
      for (const [after, { name }] of named.entries())
        differences.push({ step: index + after, op: name, run, ...difference });
      if (crashed) return this.#discard(differences);
    }
    const ending = guarded(() => script.end());
    if (ending !== undefined)
      differences.push({ step: steps.length - 1, op: "the end", run, ...ending });
    // Leaks that a script provokes on purpose must not weigh on the next one.
    return machine.empty ? differences : this.#discard(differences);
  }

  /** Does not use the machine again. */
  #discard(differences: FirstDifference[]): FirstDifference[] {
    this.#machine = undefined;
    return differences;
  }
}

const CRASH = "crash";

/** A trap of the core, or a harness that cannot go on, is a difference like any other. */
function guarded(act: () => Difference | undefined | void): Difference | undefined {
  try {
    return act() ?? undefined;
  } catch (error) {
    const actual = error instanceof Error ? error.message : String(error);
    return { field: CRASH, expected: undefined, actual };
  }
}
