/** A scene whose vCPUs run in threads of their own, beside each other and beside the test. */
import { Worker } from "node:worker_threads";
import { afterAll, beforeAll, expect } from "vitest";
import type { VcpuOptions } from "../../../../src/index.ts";
import { Scene, type SceneOptions } from "../slot/scene.ts";
import { type Bundle, bundleWorker } from "../../../bundle.ts";
import { type Answer, type Start, type Task, WORD, WORDS } from "./messages.ts";
import type { Programs } from "./programs.ts";

type Name = keyof Programs;
type Args<K extends Name> = Parameters<Programs[K]>[0];
type Result<K extends Name> = ReturnType<Programs[K]>;

class Thread {
  readonly #worker: Worker;
  readonly #ended: Promise<void>;

  private constructor(worker: Worker) {
    this.#worker = worker;
    this.#ended = new Promise((resolve) => worker.once("exit", () => resolve()));
  }

  static async start(file: string, workerData: Start): Promise<Thread> {
    const thread = new Thread(new Worker(file, { workerData }));
    await thread.#answer();
    return thread;
  }

  run(program: string, args: unknown): Promise<unknown> {
    this.#worker.postMessage({ program, args } satisfies Task);
    return this.#answer();
  }

  async end(): Promise<void> {
    this.#worker.postMessage("end" satisfies Task);
    await this.#ended;
  }

  async kill(): Promise<void> {
    await this.#worker.terminate();
    await this.#ended;
  }

  #answer(): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const fail = (error: unknown): void => reject(error);
      this.#worker.once("error", fail);
      this.#worker.once("message", (answer: Answer) => {
        this.#worker.off("error", fail);
        if ("error" in answer) reject(new Error(`in a vCPU's thread: ${answer.error}`));
        else resolve(answer.value);
      });
    });
  }
}

/** A scene and the threads of its vCPUs. */
export class Crew {
  readonly scene: Scene;
  readonly control = new Int32Array(new SharedArrayBuffer(WORDS * 4));
  readonly pages: Uint8Array;
  readonly #threads: readonly Thread[];

  private constructor(
    scene: Scene,
    threads: readonly Thread[],
    shared: Pick<Crew, "control" | "pages">,
  ) {
    this.scene = scene;
    this.#threads = threads;
    this.control = shared.control;
    this.pages = shared.pages;
  }

  static async hire(scene: Scene, file: string, vcpus: number, cpu: VcpuOptions): Promise<Crew> {
    const control = new Int32Array(new SharedArrayBuffer(WORDS * 4));
    const pages = new Uint8Array(new SharedArrayBuffer(scene.pages));
    const { ipa, hva, size, page } = scene;
    const common = { engine: scene.engine.handle, vm: scene.vm.handle, ram: scene.ram.handle };
    const threads = await Promise.all(
      Array.from({ length: vcpus }, (_, id) =>
        Thread.start(file, { ...common, id, cpu, slot: { ipa, hva, size }, page, control, pages }),
      ),
    );
    return new Crew(scene, threads, { control, pages });
  }

  get size(): number {
    return this.#threads.length;
  }

  /** Every vCPU runs the program, with the arguments for its number. */
  run<K extends Name>(program: K, args: (id: number) => Args<K>): Promise<Result<K>[]> {
    const running = this.#threads.map((thread, id) => thread.run(program, args(id)));
    return Promise.all(running) as Promise<Result<K>[]>;
  }

  /** The same, and meanwhile `host` again and again, which lets others have their turn in between. */
  async runBeside<K extends Name>(
    program: K,
    args: (id: number) => Args<K>,
    host: (round: number) => void,
  ): Promise<Result<K>[]> {
    let going = true;
    const results = this.run(program, args).finally(() => (going = false));
    for (let round = 0; going; round++) {
      host(round);
      await new Promise(setImmediate);
    }
    return results;
  }

  word(name: keyof typeof WORD): number {
    return Atomics.load(this.control, WORD[name]);
  }

  set(name: keyof typeof WORD, value: number): void {
    Atomics.store(this.control, WORD[name], value);
    Atomics.notify(this.control, WORD[name]);
  }

  async end(): Promise<void> {
    for (const thread of this.#threads) await thread.end();
  }

  async kill(): Promise<void> {
    this.set("OVER", 1);
    this.set("STOPPING", 0);
    for (const thread of this.#threads) await thread.kill();
  }
}

export interface CrewOptions extends Omit<SceneOptions, "vcpus" | "turns" | "mode" | "hd"> {
  readonly threads: number;
  readonly cpu?: VcpuOptions;
}

/** For a test file: makes the worker once, and crews from it. */
export function crews(): (
  options: CrewOptions,
  use: (crew: Crew) => Promise<void>,
) => Promise<void> {
  let bundle: Bundle;
  beforeAll(async () => {
    bundle = await bundleWorker(new URL("worker.ts", import.meta.url));
  });
  afterAll(() => bundle.remove());

  return async ({ threads, cpu = {}, ...options }, use) => {
    const scene = await Scene.create({ judged: false, ...options, mode: "threads", vcpus: 0 });
    const crew = await Crew.hire(scene, bundle.file, threads, cpu);
    try {
      await use(crew);
    } catch (error) {
      await crew.kill();
      throw error; // what is left of the engine is of no interest now
    }
    await crew.end();
    expect(scene.engine.threads().filter(({ self }) => !self)).toEqual([]);
    scene[Symbol.dispose]();
  };
}
