// @ts-check
/** Runs the stress program in workers of this page, and leaves what it found in `window.report`. */
import { runParts } from "./program/parts.mjs";

const query = new URLSearchParams(location.search);
const number = (/** @type {string} */ name) => Number(query.get(name));
const options = {
  threads: number("threads"),
  seconds: number("seconds"),
  rounds: undefined,
  seed: number("seed"),
  json: undefined,
  part: undefined,
  plant: query.get("plant") ?? undefined,
  help: false,
};

/** @type {string[]} */
const said = [];
try {
  const { operations, violations } = await runParts(options, spawn, (text) => said.push(text));
  Object.assign(window, { report: { operations, violations, said } });
} catch (error) {
  Object.assign(window, { report: { error: String(error), said } });
}

/** @type {import("./program/run.mjs").Spawn} */
function spawn(start, say) {
  const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  return new Promise((resolve, reject) => {
    worker.onerror = ({ message }) => reject(new Error(message));
    worker.onmessage = ({ data }) => {
      if (data.text !== undefined) return say(data.text);
      worker.terminate();
      if (data.error === undefined) resolve();
      else reject(new Error(data.error));
    };
    worker.postMessage(start);
  });
}
