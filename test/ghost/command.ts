/** The arguments of `npm run ghost`, and what it prints. */
import { parseArgs } from "node:util";
import { PLANTS, type PlantName } from "./plants.ts";
import type { Finding, Report } from "./run.ts";
import { scriptText } from "./script.ts";
import { GENERATIONS, type Generation } from "./world.ts";

export const HELP = `npm run ghost -- [--calls N] [--seed S] [--json <file>] [--generation <name>]
                 [--replay <file>] [--plant <name>]

  --calls       hypercalls in all (default 200000)
  --seed        of the random ones (default 1)
  --json        writes what was counted to a file
  --generation  ${GENERATIONS.join(", ")} alone; otherwise they take turns
  --replay      makes the calls of a script that an earlier run printed, and no others
  --plant       something wrong that must be found: ${Object.keys(PLANTS).join(", ")}

Exit code 0: the hypervisor and the model never differed; 1: they did; 2: unusable arguments.`;

export interface Command {
  readonly calls: number;
  readonly seed: number;
  readonly json: string | undefined;
  readonly generations: readonly Generation[];
  readonly replay: string | undefined;
  readonly plant: PlantName | undefined;
  readonly help: boolean;
}

/** Arguments that cannot be used. */
export class Unusable extends Error {}

const OPTIONS = {
  calls: { type: "string", default: "200000" },
  seed: { type: "string", default: "1" },
  json: { type: "string" },
  generation: { type: "string" },
  replay: { type: "string" },
  plant: { type: "string" },
  help: { type: "boolean", default: false },
} as const;

/** @throws Unusable */
export function parseCommand(argv: readonly string[]): Command {
  const values = parse(argv);
  const { generation, plant } = values;
  return {
    calls: integer("--calls", values.calls, 1, 1e9),
    seed: integer("--seed", values.seed, 0, 2 ** 32 - 1),
    json: values.json,
    generations:
      generation === undefined ? GENERATIONS : [oneOf("generation", generation, GENERATIONS)],
    replay: values.replay,
    plant:
      plant === undefined ? undefined : oneOf("plant", plant, Object.keys(PLANTS) as PlantName[]),
    help: values.help,
  };
}

function parse(argv: readonly string[]) {
  try {
    return parseArgs({ args: [...argv], options: OPTIONS, strict: true }).values;
  } catch (error) {
    throw new Unusable((error as Error).message.split(/\. |\n/)[0] ?? "");
  }
}

function oneOf<T extends string>(what: string, given: string, names: readonly T[]): T {
  const found = names.find((name) => name === given);
  if (found === undefined) throw new Unusable(`there is no ${what} ${given}`);
  return found;
}

function integer(name: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= least && value <= most) return value;
  throw new Unusable(`${name} takes an integer from ${least} to ${most}`);
}

/** The document of `--json`. */
export function jsonOf({ calls, accepted, refused, findings }: Report): string {
  const document = { calls, accepted, refused, differences: findings.length };
  return `${JSON.stringify(document, undefined, 2)}\n`;
}

export function summary({ calls, accepted, refused, findings }: Report): string {
  const most = Object.entries(refused).map(([name, times]) => `  ${name.padEnd(16)}${times}`);
  const verdict = findings.length === 0 ? "no difference" : `${findings.length} differences`;
  return [`${calls} hypercalls, ${accepted} accepted`, ...most, verdict].join("\n");
}

export function findingText(finding: Finding): string {
  return `${scriptText(finding)}\n# ${finding.difference}`;
}
