/** What the tests of threads share: an engine and a table of the test's, workers that are attached to both. */
import { Worker } from "node:worker_threads";
import { afterAll, afterEach, beforeAll, beforeEach, expect } from "vitest";
import { Engine, type Stage2, type Stage2Options } from "../../src/index.ts";
import { type Bundle, bundleWorker } from "../bundle.ts";
import { type Answer, CONTROL, CONTROL_WORDS, type Call, type Start } from "./messages.ts";

export const PAGE = 4096;
export const RAM = { pa: 0x8000_0000, size: 0x10_0000 };
/** Where guests have their pages. */
export const IPA = 0x4000_0000;

/** A worker: a thread of the engine with the test's table and a vCPU. */
export class Thread {
  readonly #worker: Worker;
  readonly #ended: Promise<void>;
  /** Number of its slot. */
  number = -1;

  private constructor(worker: Worker) {
    this.#worker = worker;
    this.#ended = new Promise((resolve) => worker.once("exit", () => resolve()));
  }

  static async start(file: string, workerData: Start): Promise<Thread> {
    const thread = new Thread(new Worker(file, { workerData }));
    thread.number = (await thread.#answer()).value as number;
    return thread;
  }

  /** A call that must succeed; what it returns. */
  async do(on: Call["on"], method: string, ...args: unknown[]): Promise<unknown> {
    const { value, error } = await this.ask(on, method, ...args);
    expect(error, `${on}.${method}`).toBeUndefined();
    return value;
  }

  /** A call, whatever it comes to. The next one has to wait for it. */
  ask(on: Call["on"], method: string, ...args: unknown[]): Promise<Answer> {
    this.#worker.postMessage({ on, method, args } satisfies Call);
    return this.#answer();
  }

  /** Ends it wherever it is. */
  async kill(): Promise<void> {
    await this.#worker.terminate();
    await this.#ended;
  }

  #answer(): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const fail = (error: unknown): void => reject(error);
      this.#worker.once("error", fail);
      this.#worker.once("message", (answer: Answer) => {
        this.#worker.off("error", fail);
        resolve(answer);
      });
    });
  }
}

/** The engine of the running test, its table, and its workers. */
export interface Crew {
  readonly engine: Engine;
  readonly s2: Stage2;
  /** A worker that is attached. */
  hire(patience?: number): Promise<Thread>;
  /** Resolves when this many loops run, or are parked. */
  running(count: number): Promise<void>;
  /** Ends all loops, and lets what is parked go on. */
  stop(): void;
  count(word: keyof typeof CONTROL): number;
}

export interface CrewOptions {
  readonly table?: Stage2Options;
  readonly patience?: number;
  readonly maxThreads?: number;
}

/** A fresh engine for every test. After it nothing may be held, nothing may wait, and no page may be left. */
export function crew({ table = {}, patience = 400, maxThreads = 4 }: CrewOptions = {}): Crew {
  let bundle: Bundle;
  let engine: Engine;
  let s2: Stage2;
  let control: Int32Array;
  const hired: Thread[] = [];

  beforeAll(async () => {
    bundle = await bundleWorker(new URL("worker.ts", import.meta.url));
  });
  afterAll(() => bundle.remove());
  beforeEach(async () => {
    engine = await Engine.create({ maxTablePages: 1024, maxThreads, guestRam: RAM, patience });
    s2 = engine.stage2({ ipaBits: 40, ...table });
    control = new Int32Array(new SharedArrayBuffer(CONTROL_WORDS * 4));
  });
  afterEach(async () => {
    stop();
    for (const thread of hired.splice(0)) await thread.kill();
    for (const { number, self } of engine.threads()) if (!self) engine.reclaimThread(number);
    s2.dispose();
    engine.quiesce();
    expect(engine.memoryUsage()).toMatchObject({ used: 0, waiting: 0 });
    engine.dispose();
  });

  function stop(): void {
    Atomics.store(control, CONTROL.STOP, 1);
    Atomics.notify(control, CONTROL.STOP);
  }

  return {
    get engine() {
      return engine;
    },
    get s2() {
      return s2;
    },
    async hire(theirs = patience) {
      const start = { engine: engine.handle, s2: s2.handle, control, patience: theirs };
      const thread = await Thread.start(bundle.file, start);
      hired.push(thread);
      return thread;
    },
    async running(count) {
      while (Atomics.load(control, CONTROL.RUNNING) !== count) await new Promise(setImmediate);
    },
    stop,
    count: (word) => Atomics.load(control, CONTROL[word]),
  };
}

/** What the test of a race does between two of its steps, long enough for others to come in. */
export function spin(microseconds: number): void {
  const end = performance.now() + microseconds / 1000;
  while (performance.now() < end);
}
