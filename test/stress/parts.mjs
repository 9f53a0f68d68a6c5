// @ts-check
/** What the stress is made of: page tables by themselves, VMs, and machines with a hypervisor. */
import { PLANTS } from "./plants.mjs";
import { PKVM_PLANTS } from "./pkvm/plants.mjs";
import { runPkvm } from "./pkvm/run.mjs";
import { work as workOnPkvm } from "./pkvm/worker.mjs";
import { run } from "./run.mjs";
import { VM_PLANTS } from "./vm/plants.mjs";
import { runVms } from "./vm/run.mjs";
import { work as workOnVms } from "./vm/worker.mjs";
import { work } from "./worker.mjs";

/** @typedef {import("./thread.mjs").Start | import("./vm/thread.mjs").VmStart | import("./pkvm/thread.mjs").PkvmStart} Start */
/** @typedef {keyof typeof PARTS} Part */
/** @typedef {import("./run.mjs").Result} Result */

/** Each with its run, and the faults that can be put in. */
export const PARTS = {
  tables: { run, plants: PLANTS },
  vm: { run: runVms, plants: VM_PLANTS },
  pkvm: { run: runPkvm, plants: PKVM_PLANTS },
};

export const PART_NAMES = /** @type {Part[]} */ (Object.keys(PARTS));

/** Names of all plants. */
export const PLANT_NAMES = PART_NAMES.flatMap((part) => Object.keys(PARTS[part].plants));

/** The parts that options ask for: with a fault put in, the one that has it. @param {import("./options.mjs").Options} options */
export function selectedParts({ part, plant }) {
  if (plant !== undefined)
    return PART_NAMES.filter((name) => Object.hasOwn(PARTS[name].plants, plant));
  return part === undefined ? PART_NAMES : [part];
}

/**
 * Runs them one after the other, and says it all at once.
 *
 * @param {import("./options.mjs").Options} options
 * @param {import("./run.mjs").Spawn} spawn
 * @param {(text: string) => void} say
 * @returns {Promise<Result>}
 */
export async function runParts(options, spawn, say) {
  /** @type {Result} */
  const all = { operations: {}, violations: {}, notes: [] };
  for (const part of selectedParts(options)) {
    const { operations, violations, notes } = await PARTS[part].run(options, spawn, say);
    Object.assign(all.operations, operations);
    for (const [name, times] of Object.entries(violations)) {
      all.violations[name] = (all.violations[name] ?? 0) + times;
    }
    all.notes.push(...notes);
  }
  return all;
}

/** The program of a thread, by what it was started with. @param {Start} start @returns {(say: (text: string) => void) => Promise<void>} */
export function programOf(start) {
  return (say) => {
    if (!("part" in start)) return work(start, say);
    return start.part === "vm" ? workOnVms(start, say) : workOnPkvm(start, say);
  };
}
