// @ts-check
/** Stress: `npm run stress -- --help`. */
import { existsSync, writeFileSync } from "node:fs";
import { Worker } from "node:worker_threads";
import { USAGE, UsageError, parseOptions } from "./options.mjs";

const LIBRARY = new URL("../../dist/index.js", import.meta.url);

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof UsageError)) throw error;
  console.error(error.message);
  process.exitCode = 2;
}

/** @param {string[]} args */
async function main(args) {
  const options = parseOptions(args);
  if (options.help) {
    console.log(USAGE);
    return 0;
  }
  if (!existsSync(LIBRARY))
    throw new UsageError('there is no library yet: run "npm run build" first');
  const { runParts } = await import("./parts.mjs");
  const { operations, violations, notes } = await runParts(options, spawn, console.error);
  console.log(summary(options, operations, notes));
  for (const [name, times] of Object.entries(violations)) console.log(`${name}: ${times}`);
  if (options.json) {
    writeFileSync(options.json, `${JSON.stringify({ operations, violations }, null, 2)}\n`);
  }
  const clean = Object.keys(violations).length === 0;
  console.log(clean ? "no violation" : "violated");
  return clean ? 0 : 1;
}

/** @type {import("./run.mjs").Spawn} */
function spawn(start, say) {
  const worker = new Worker(new URL("node_worker.mjs", import.meta.url), { workerData: start });
  worker.on("message", say);
  return new Promise((resolve, reject) => {
    worker.on("error", reject);
    worker.on("exit", (code) => (code === 0 ? resolve() : reject(new Error(`exit ${code}`))));
  });
}

/** @param {import("./options.mjs").Options} options @param {Record<string, number>} operations @param {readonly string[]} notes */
function summary({ threads, seed }, operations, notes) {
  const total = Object.values(operations).reduce((sum, times) => sum + times, 0);
  const lines = Object.entries(operations).map(([kind, times]) => `  ${kind.padEnd(22)}${times}`);
  return [`${threads} threads, seed ${seed}: ${total} operations`, ...lines, ...notes].join("\n");
}
