// @ts-check
/** The program of a thread of a crew: attached to the engine once, it does one job after another. */
import { parentPort, workerData } from "node:worker_threads";
import { Engine } from "stage2";
import { start, stopped } from "./crew.mjs";

/** Serves until it is let go. @param {Readonly<Record<string, (engine: Engine, data: any) => import("./roles.mjs").Role>>} roles */
export async function serve(roles) {
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
    const { work, finish } = roles[job.role](engine, job.data);
    const from = start(flags);
    const operations = work(() => stopped(flags));
    const ns = Number(process.hrtime.bigint() - from);
    parentPort?.postMessage({ operations, ns, facts: finish() });
  });
}
