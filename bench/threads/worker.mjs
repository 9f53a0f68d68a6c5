// @ts-check
/** A thread of the crew: attached to the engine once, it does one job after another. */
import { parentPort, workerData } from "node:worker_threads";
import { Engine } from "stage2";
import { start, stopped } from "./crew.mjs";
import { ROLES } from "./roles.mjs";

const engine = await Engine.attach(workerData.engine, { patience: 20_000 });

parentPort?.on("message", (order) => {
  if (order === undefined) {
    engine.dispose();
    parentPort?.close();
    return;
  }
  const { job, flags } = /** @type {{ job: import("./crew.mjs").Job, flags: Int32Array }} */ (
    order
  );
  const { work, finish } = ROLES[job.role](engine, /** @type {any} */ (job.data));
  const from = start(flags);
  const operations = work(() => stopped(flags));
  const ns = Number(process.hrtime.bigint() - from);
  parentPort?.postMessage({ operations, ns, facts: finish() });
});
