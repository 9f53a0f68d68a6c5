/** The arguments of `npm run litmus`, and what it prints. */
import { parseArgs } from "node:util";
import type { Litmus } from "../../src/explorer/litmus.ts";
import type { Row } from "./check.ts";
import type { Mutant } from "./mutants.ts";

export const HELP = `npm run litmus -- [--only L2,L26] [--seed S] [--seconds N] [--json <file>]
                  [--on <mutant>] [--replay "L2:<schedule>"] [--traces] [--workers N]

  --only     these tests alone, with their variants
  --seed     of the random schedules (default 1)
  --seconds  of work for a test, about; the same on every machine (default 3)
  --json     writes what was found to a file
  --on       explores a mutant in place of the engine
  --replay   runs one schedule of a test again and prints it step by step
  --traces   prints for each mutant the schedule that shows it
  --workers  tests that are explored at a time (default: as many as there are processors)

Exit code 0: nothing forbidden was seen and every mutant was caught; 1: otherwise; 2: unusable arguments.`;

export interface Command {
  readonly tests: readonly Litmus[];
  readonly seed: number;
  readonly seconds: number;
  readonly json: string | undefined;
  readonly on: string | undefined;
  readonly replay: { readonly litmus: Litmus; readonly schedule: string } | undefined;
  readonly traces: boolean;
  readonly workers: number | undefined;
  readonly help: boolean;
}

/** Arguments that cannot be used. */
export class Unusable extends Error {}

const OPTIONS = {
  only: { type: "string" },
  seed: { type: "string", default: "1" },
  seconds: { type: "string", default: "3" },
  json: { type: "string" },
  on: { type: "string" },
  replay: { type: "string" },
  traces: { type: "boolean", default: false },
  workers: { type: "string" },
  help: { type: "boolean", default: false },
} as const;

/** @throws Unusable */
export function parseCommand(
  argv: readonly string[],
  catalogue: readonly Litmus[],
  mutants: readonly Mutant[],
): Command {
  const values = parse(argv);
  const named = (name: string): Litmus => {
    const found = catalogue.find((litmus) => litmus.name === name);
    if (found === undefined) throw new Unusable(`there is no litmus test ${name}`);
    return found;
  };
  /** A row of the list with its variants: L2 is L2 and L2/walked. */
  const row = (name: string): Litmus[] => {
    const variants = catalogue.filter((litmus) => litmus.name.startsWith(`${name}/`));
    return variants.length > 0 && !catalogue.some((litmus) => litmus.name === name)
      ? variants
      : [named(name), ...variants];
  };
  const names = values.only?.split(",").map((name) => name.trim());
  if (values.on !== undefined && !mutants.some((mutant) => mutant.name === values.on))
    throw new Unusable(`there is no mutant ${values.on}`);
  const [, name, schedule] = /^([^:]+):(.*)$/s.exec(values.replay ?? "") ?? [];
  if (values.replay !== undefined && name === undefined)
    throw new Unusable("--replay takes <test>:<schedule>");
  const { workers } = values;
  return {
    tests: names === undefined ? catalogue : [...new Set(names.flatMap(row))],
    seed: integer("--seed", values.seed, 0, 2 ** 32 - 1),
    seconds: integer("--seconds", values.seconds, 1, 86_400),
    json: values.json,
    on: values.on,
    replay: name === undefined ? undefined : { litmus: named(name), schedule: schedule ?? "" },
    traces: values.traces,
    workers: workers === undefined ? undefined : integer("--workers", workers, 1, 64),
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

function integer(name: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= least && value <= most) return value;
  throw new Unusable(`${name} takes an integer from ${least} to ${most}`);
}

export function holds(row: Row): boolean {
  return row.forbidden === 0 && row.mutants.every((mutant) => mutant.caught);
}

/** One line a test; what went wrong below it. */
export function printRow(row: Row, traces: boolean): string {
  const bounded = row.preemptions < 0 ? "some" : `all to ${row.preemptions} preemptions`;
  const how = row.exhaustive ? "all" : bounded;
  const caught = row.mutants.filter((mutant) => mutant.caught).length;
  const mutants = row.mutants.length === 0 ? "" : `, ${caught}/${row.mutants.length} mutants`;
  const verdict = holds(row) ? "ok  " : "FAIL";
  const counts = `${row.schedules} schedules (${how})${mutants}`;
  const time = `${(row.milliseconds / 1000).toFixed(1)} s`;
  const lines = [`${verdict} ${row.name.padEnd(5)} ${counts}, ${time}: ${row.title}`];
  if (row.report !== "") lines.push(`seen ${row.forbidden} times: ${row.report}`);
  for (const { name, caught, reached, report } of row.mutants) {
    const why = reached ? "" : ": no program came to it";
    if (!caught) lines.push(`     mutant ${name} was not caught${why}`);
    else if (traces) lines.push(`     mutant ${name}: ${report}`);
  }
  return lines.join("\n");
}

/** The document of `--json`. */
export function jsonOf(rows: readonly Row[]): string {
  const document = rows.map(({ name, schedules, exhaustive, forbidden, mutants }) => ({
    name,
    schedules,
    exhaustive,
    forbidden,
    mutants: mutants.map(({ name, caught }) => ({ name, caught })),
  }));
  return `${JSON.stringify(document, undefined, 2)}\n`;
}
