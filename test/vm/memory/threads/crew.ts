/** Workers that run one program together over one guest memory. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { type Plugin, build } from "vite";
import type { Engine } from "../../../../src/engine.ts";
import type { GuestMemory } from "../../../../src/vm/memory/guest_memory.ts";
import type { Vm } from "../../../../src/vm/vm.ts";
import { type ProgramName, type Result, type Start, WORKERS } from "./messages.ts";

const ENTRY = fileURLToPath(new URL("worker.ts", import.meta.url));
const CORE = "virtual:stage2-core";

/** Workers get the compiled core with the engine's handle. */
const noCore: Plugin = {
  name: "no-core",
  resolveId: (id) => (id === CORE ? `\0${CORE}` : undefined),
  load: (id) => (id === `\0${CORE}` ? 'export const threads = "", single = "";' : undefined),
};

/** The worker as one file that Node runs. */
export class Crew {
  readonly #directory: string;

  private constructor(directory: string) {
    this.#directory = directory;
  }

  static async build(): Promise<Crew> {
    const outDir = mkdtempSync(join(tmpdir(), "stage2-memory-"));
    await build({
      configFile: false,
      logLevel: "warn",
      plugins: [noCore],
      ssr: { noExternal: true },
      build: {
        target: "node20",
        minify: false,
        outDir,
        emptyOutDir: false,
        copyPublicDir: false,
        reportCompressedSize: false,
        ssr: ENTRY,
        rolldownOptions: { output: { entryFileNames: "worker.mjs", codeSplitting: false } },
      },
    });
    return new Crew(outDir);
  }

  /** What all workers bring back. */
  run(engine: Engine, ram: GuestMemory, program: ProgramName, machine?: Vm): Promise<Result[]> {
    const control = new Int32Array(new SharedArrayBuffer(4));
    const file = join(this.#directory, "worker.mjs");
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
    rmSync(this.#directory, { recursive: true });
  }
}

function noResult(): Error {
  return new Error("a worker ended without a result");
}
