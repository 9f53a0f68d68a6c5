// @ts-check
import { parseArgs } from "node:util";

export const USAGE = `npm run bench -- [options]

  --only <name>   these workloads: W5 is W5a to W5d, W1 is only W1
  --reps <n>      samples per workload (default 9)
  --micro         module start, first call, sizes and memory per page instead of the workloads
  --scaling       figures against the size mapped, 1 MiB to 64 GiB, instead of the workloads
  --simulator     loads and stores of a simulated guest instead of the workloads; --only selects of them
  --threads       what threads cost and how figures go from one to eight of them, instead of the workloads
  --vm            what the KVM MMU takes: migration rounds, aging, demand paging, memslots, by phase; --only selects of them
  --pkvm          what it costs that a hypervisor owns the tables: beside a plain table, at 1,000 to 1,000,000 mappings; --only selects of them
  --progress      faults per access where vCPUs work on the same page, with and without KVM's prejudgement
  --json <file>   also write the rows as JSON
  --help`;

/** Unusable arguments: the message is for the user. */
export class UsageError extends Error {}

/** @typedef {ReturnType<typeof parseOptions>} Options */

/** @param {string[]} args */
export function parseOptions(args) {
  const { only, reps, json, help, ...modes } = parseStrictly(args);
  const count = Number(reps);
  if (!Number.isInteger(count) || count < 1 || count > 999) {
    throw new UsageError(`--reps takes 1 to 999, not ${reps}`);
  }
  if (Object.values(modes).filter(Boolean).length > 1) {
    throw new UsageError(`--${Object.keys(modes).join(", --")} exclude each other`);
  }
  return { only, reps: count, json, help, ...modes };
}

/** @param {string[]} args */
function parseStrictly(args) {
  try {
    return parseArgs({
      args,
      options: {
        only: { type: "string", default: "" },
        reps: { type: "string", default: "9" },
        json: { type: "string" },
        micro: { type: "boolean", default: false },
        scaling: { type: "boolean", default: false },
        simulator: { type: "boolean", default: false },
        threads: { type: "boolean", default: false },
        vm: { type: "boolean", default: false },
        pkvm: { type: "boolean", default: false },
        progress: { type: "boolean", default: false },
        help: { type: "boolean", default: false },
      },
    }).values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

/**
 * Whether `--only` selects a workload: by prefix, but W1 is not W10.
 *
 * @param {string} only
 * @param {string} name
 */
export function selects(only, name) {
  return name.startsWith(only) && (only === "" || !/^\d/.test(name.slice(only.length)));
}
