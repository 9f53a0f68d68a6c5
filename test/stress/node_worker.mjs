// @ts-check
/** A thread in Node. */
import { parentPort, workerData } from "node:worker_threads";
import { work } from "./worker.mjs";

await work(workerData, (text) => parentPort?.postMessage(text));
