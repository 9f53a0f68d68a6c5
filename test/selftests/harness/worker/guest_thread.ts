/** A guest program that runs in a worker while the test goes on. */
import { Worker } from "node:worker_threads";
import { afterAll, afterEach, beforeAll } from "vitest";
import { cpuOptions } from "../configurations.ts";
import type { Scene } from "../machine.ts";
import { type Bundle, bundleWorker } from "../../../bundle.ts";
import { BOARD, BOARD_WORDS } from "./board.ts";
import type { Report, Start } from "./messages.ts";
import type { Program } from "./programs.ts";

const ENTRY = new URL("worker.ts", import.meta.url);

export class GuestThread {
  readonly board: Int32Array;
  readonly #worker: Worker;
  readonly #report: Promise<Report>;

  constructor(file: string, scene: Scene, program: Program) {
    this.board = new Int32Array(new SharedArrayBuffer(BOARD_WORDS * 4));
    const { engine, vm, host, machine } = scene;
    const start: Start = {
      ...{ engine: engine.handle, vm: vm.handle, memory: host.handle },
      ...{ cpu: cpuOptions(machine), board: this.board, program },
    };
    const worker = new Worker(file, { workerData: start });
    this.#worker = worker;
    this.#report = new Promise((resolve, reject) => {
      let report: Report | undefined;
      worker.once("message", (message: Report) => (report = message));
      worker.once("error", reject);
      worker.once("exit", (code) =>
        report === undefined ? reject(new Error(`the guest ended with ${code}`)) : resolve(report),
      );
    });
    this.#report.catch(() => undefined); // told by end()
  }

  /** Number that the guest saw last. */
  get seen(): number {
    return Atomics.load(this.board, BOARD.SEEN);
  }

  /** Resolves when the guest runs. A thread that blocks before keeps it from starting. */
  async running(): Promise<void> {
    const ended = this.#report.then(
      () => true,
      () => true,
    );
    while (Atomics.load(this.board, BOARD.ROUNDS) === 0) {
      const over = await Promise.race([
        ended,
        new Promise<boolean>((go) => setTimeout(go, 1, false)),
      ]);
      if (over) return;
    }
  }

  /** Ends it wherever it is. */
  async kill(): Promise<void> {
    await this.#worker.terminate();
  }

  /** Tells the guest to stop; its report. */
  async end(): Promise<Report> {
    Atomics.store(this.board, BOARD.STOP, 1);
    return this.#report;
  }
}

/** The worker of a test file, bundled once. */
export interface GuestBundle {
  readonly file: string;
}

export function guestBundle(): GuestBundle {
  let bundle: Bundle | undefined;
  beforeAll(async () => {
    bundle = await bundleWorker(ENTRY);
  });
  afterAll(() => bundle?.remove());
  return {
    get file() {
      if (bundle === undefined) throw new Error("no test is running");
      return bundle.file;
    },
  };
}

/** Starts guests of a suite. Called behind its other hooks, so that what a failed test leaves running ends before those. */
export function guestThreads(bundle: GuestBundle): (scene: Scene, program: Program) => GuestThread {
  const started: GuestThread[] = [];
  afterEach(async () => {
    for (const guest of started.splice(0)) await guest.kill();
  });
  return (scene, program) => {
    const guest = new GuestThread(bundle.file, scene, program);
    started.push(guest);
    return guest;
  };
}
