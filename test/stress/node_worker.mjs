// @ts-check
/** A thread in Node. */
import { parentPort, workerData } from "node:worker_threads";
import { programOf } from "./parts.mjs";

await programOf(workerData)((text) => parentPort?.postMessage(text));
