/** Workers that run one program together over one guest memory. */
import { Worker } from "node:worker_threads";
import { type Bundle, bundleWorker } from "../../../bundle.ts";
import type { Engine } from "../../../../src/engine.ts";
import type { GuestMemory } from "../../../../src/vm/memory/guest_memory.ts";
import type { Vm } from "../../../../src/vm/vm.ts";
import { type ProgramName, type Result, type Start, WORKERS } from "./messages.ts";

const ENTRY = new URL("worker.ts", import.meta.url);

/** The worker as one file that Node runs. */
export class Crew {
  readonly #bundle: Bundle;

  private constructor(bundle: Bundle) {
    this.#bundle = bundle;
  }

  static async build(): Promise<Crew> {
    return new Crew(await bundleWorker(ENTRY));
  }

  /** What all workers bring back. */
  run(engine: Engine, ram: GuestMemory, program: ProgramName, machine?: Vm): Promise<Result[]> {
    const control = new Int32Array(new SharedArrayBuffer(4));
    const { file } = this.#bundle;
    const workers = Array.from({ length: WORKERS }, (_, n) => {
      const handles = { engine: engine.handle, ram: ram.handle, vm: machine?.handle };
      const start = { ...handles, id: n + 1, program, control };
      const worker = new Worker(file, { workerData: start satisfies Start });
      return new Promise<Result>((resolve, reject) => {
        let result: Result | undefined;
        worker.once("error", reject);
        worker.once("message", (message: Result) => (result = message));
        worker.once("exit", () => (result === undefined ? reject(noResult()) : resolve(result)));
      });
    });
    return Promise.all(workers);
  }

  remove(): void {
    this.#bundle.remove();
  }
}

function noResult(): Error {
  return new Error("a worker ended without a result");
}
