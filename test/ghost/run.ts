/** Runs: random calls on fresh machines, episode after episode, and what became of them. */
import type { Engine } from "../../src/engine.ts";
import { NOT_SUPPORTED } from "../../src/pkvm/_abi.ts";
import { Generator } from "./generate.ts";
import { createCpus } from "./machine.ts";
import { type Rules, nameOf } from "./model/model.ts";
import { Pair } from "./pair.ts";
import { Chance } from "./random.ts";
import type { Step } from "./step.ts";
import type { World } from "./world.ts";

export interface Plan {
  readonly calls: number;
  readonly seed: number;
  /** The machines, in turn. */
  readonly worlds: readonly World[];
  /** Rules of the model in place of the right ones. */
  readonly rules?: Rules | undefined;
  /** Something done to the machine before each call, for tests. */
  readonly plant?: Plant | undefined;
  /** Told after each episode how many calls there were. */
  readonly progress?: ((calls: number) => void) | undefined;
}

/** Breaks a machine before call number `index` of an episode. */
export type Plant = (pair: Pair, index: number) => void;

/** A call after which the machine was not what the model says; the last of `steps`. */
export interface Finding {
  readonly world: World;
  readonly steps: readonly Step[];
  readonly difference: string;
}

export interface Report {
  readonly calls: number;
  readonly accepted: number;
  /** By the name of the errno. */
  readonly refused: Readonly<Record<string, number>>;
  /** How often each call came to each result: "SHARE_HYP ok", "SHARE_HYP EPERM". */
  readonly reached: Readonly<Record<string, number>>;
  readonly findings: readonly Finding[];
}

const CPUS = 2;
const EPISODE = 1000;
const MOST_FINDINGS = 20;

const ERRNO_NAMES: Readonly<Record<number, string>> = {
  1: "EPERM",
  2: "ENOENT",
  7: "E2BIG",
  11: "EAGAIN",
  12: "ENOMEM",
  14: "EFAULT",
  16: "EBUSY",
  17: "EEXIST",
  22: "EINVAL",
  34: "ERANGE",
  133: "EHWPOISON",
};

export const resultName = (result: number): string =>
  result === NOT_SUPPORTED ? "NOT_SUPPORTED" : (ERRNO_NAMES[-result] ?? `errno ${-result}`);

class Tally {
  calls = 0;
  accepted = 0;
  readonly refused: Record<string, number> = {};
  readonly reached: Record<string, number> = {};

  count(number: number, result: number): void {
    this.calls++;
    const name = result >= 0 ? "ok" : resultName(result);
    if (result >= 0) this.accepted++;
    else this.refused[name] = (this.refused[name] ?? 0) + 1;
    const pair = `${nameOf(number) ?? "unknown"} ${name}`;
    this.reached[pair] = (this.reached[pair] ?? 0) + 1;
  }
}

/** Makes so many calls, or stops at the twentieth difference. */
export async function run(plan: Plan): Promise<Report> {
  const tally = new Tally();
  const findings: Finding[] = [];
  let cpus: Engine[] = [];
  for (let episode = 0; tally.calls < plan.calls; episode++) {
    if (cpus.length === 0) cpus = await createCpus(CPUS);
    const world = plan.worlds[episode % plan.worlds.length] as World;
    const length = Math.min(EPISODE, plan.calls - tally.calls);
    const finding = runEpisode(plan, world, cpus, { episode, length }, tally);
    plan.progress?.(tally.calls);
    if (finding === undefined) continue;
    findings.push(finding);
    cpus = endCpus(cpus);
    if (findings.length === MOST_FINDINGS) break;
  }
  endCpus(cpus);
  const { calls, accepted, refused, reached } = tally;
  return { calls, accepted, refused: sorted(refused), reached, findings };
}

/** An engine that went wrong is not used again: it may hold locks. */
export function endCpus(cpus: readonly Engine[]): [] {
  for (const cpu of cpus) cpu.dispose();
  return [];
}

const sorted = (counts: Record<string, number>): Record<string, number> =>
  Object.fromEntries(Object.entries(counts).sort(([, a], [, b]) => b - a));

function runEpisode(
  { seed, rules, plant }: Plan,
  world: World,
  cpus: readonly Engine[],
  { episode, length }: { episode: number; length: number },
  tally: Tally,
): Finding | undefined {
  const pair = new Pair(cpus, world, { rules, thorough: false });
  const generator = new Generator(new Chance(seed, episode), pair.state, cpus.length);
  const steps: Step[] = [];
  for (let made = 0; made < length;) {
    const step = generator.next();
    const { result, difference } = attempt(pair, step, plant, made);
    if (result === undefined && difference === undefined) continue;
    made++;
    steps.push(step);
    if (result !== undefined) tally.count(step.number, result);
    if (difference !== undefined) return { world, steps, difference };
  }
  const difference = endOf(pair);
  return difference === undefined ? undefined : { world, steps, difference };
}

/** A call; a core that traps, or a look that finds nonsense, is a difference too. */
function attempt(pair: Pair, step: Step, plant: Plant | undefined, index: number) {
  try {
    plant?.(pair, index);
    return pair.step(step);
  } catch (error) {
    return { result: undefined, difference: `${error}` };
  }
}

function endOf(pair: Pair): string | undefined {
  try {
    return pair.end();
  } catch (error) {
    return `${error} (at the end)`;
  }
}

/** Makes these calls on a fresh machine: the first difference, and how many calls it took. */
export async function replay(
  world: World,
  steps: readonly Step[],
  { rules, plant }: Pick<Plan, "rules" | "plant"> = {},
): Promise<{ readonly difference: string; readonly calls: number } | undefined> {
  const cpus = await createCpus(CPUS);
  try {
    const pair = new Pair(cpus, world, { rules });
    for (const [index, step] of steps.entries()) {
      const { difference } = attempt(pair, step, plant, index);
      if (difference !== undefined) return { difference, calls: index + 1 };
    }
    const difference = endOf(pair);
    return difference === undefined ? undefined : { difference, calls: steps.length };
  } finally {
    endCpus(cpus);
  }
}
