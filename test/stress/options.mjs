// @ts-check
/** Arguments of the command. */
import { closeSync, openSync } from "node:fs";
import { parseArgs } from "node:util";
import { MOST_THREADS } from "./board.mjs";
import { PKVM_PLANTS } from "./pkvm/plants.mjs";
import { PLANTS } from "./plants.mjs";
import { VM_PLANTS } from "./vm/plants.mjs";

const PARTS = /** @type {const} */ (["tables", "vm", "pkvm"]);
const PLANT_NAMES = [
  ...Object.keys(PLANTS),
  ...Object.keys(VM_PLANTS),
  ...Object.keys(PKVM_PLANTS),
];

export const USAGE = `npm run stress -- [options]

  --threads <k>   real threads, 1 to ${MOST_THREADS} (default 4)
  --part <name>   tables: page tables by themselves; vm: memslots, aborts, notifiers, every way of dirty logging;
                  pkvm: guests, their kernel and a hostile host over a hypervisor (default all)
  --seconds <n>   how long, each part (default 10)
  --rounds <n>    so many rounds instead: the same seed then does exactly the same operations
  --seed <s>      what each thread does, in which order (default 1)
  --json <file>   also write { operations, violations } there
  --plant <name>  put in a fault, to see it found: ${PLANT_NAMES.join(", ")}
  --help

Exit code 0: no violation, 1: some, 2: unusable arguments.`;

/** Unusable arguments: the message is for the user. */
export class UsageError extends Error {}

/**
 * @typedef {object} Options
 * @property {number} threads
 * @property {number} seconds
 * @property {number | undefined} rounds
 * @property {number} seed
 * @property {string | undefined} json
 * @property {(typeof PARTS)[number] | undefined} part
 * @property {string | undefined} plant
 * @property {boolean} help
 */

/** @param {string[]} args @returns {Options} @throws {UsageError} */
export function parseOptions(args) {
  const { threads, seconds, rounds, seed, json, part, plant, help } = parseStrictly(args);
  if (plant !== undefined && !PLANT_NAMES.includes(plant)) {
    throw new UsageError(`--plant takes one of ${PLANT_NAMES.join(", ")}, not ${plant}`);
  }
  const chosen = PARTS.find((name) => name === part);
  if (part !== undefined && chosen === undefined) {
    throw new UsageError(`--part takes one of ${PARTS.join(", ")}, not ${part}`);
  }
  checkWritable(json);
  return {
    threads: integer("threads", threads, 1, MOST_THREADS),
    seconds: integer("seconds", seconds, 1, 86_400),
    rounds: rounds === undefined ? undefined : integer("rounds", rounds, 1, 1_000_000),
    seed: integer("seed", seed, 0, 2 ** 32 - 1),
    json,
    part: chosen,
    plant,
    help,
  };
}

/**
 * Told before the run, not after it.
 *
 * @param {string | undefined} json
 */
function checkWritable(json) {
  if (json === undefined) return;
  try {
    closeSync(openSync(json, "a"));
  } catch (error) {
    throw new UsageError(`--json: ${error instanceof Error ? error.message : error}`);
  }
}

/** @param {string} name @param {string} text @param {number} least @param {number} most */
function integer(name, text, least, most) {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= least && value <= most) return value;
  throw new UsageError(`--${name} takes ${least} to ${most}, not ${JSON.stringify(text)}`);
}

/** @param {string[]} args */
function parseStrictly(args) {
  try {
    return parseArgs({
      args,
      options: {
        threads: { type: "string", default: "4" },
        seconds: { type: "string", default: "10" },
        rounds: { type: "string" },
        seed: { type: "string", default: "1" },
        json: { type: "string" },
        part: { type: "string" },
        plant: { type: "string" },
        help: { type: "boolean", default: false },
      },
    }).values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}
