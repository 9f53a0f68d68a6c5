/** What tests share: an engine per test in either build, and the promise that no table page outlives a test. */
import { afterEach, beforeEach, expect } from "vitest";
import { Engine, type EngineOptions, type Mode, Stage2Error } from "../src/index.ts";

/** Both builds: suites run over each with `describe.each(MODES)`. */
export const MODES: readonly Mode[] = ["threads", "single"];

/** Memory for a few thousand pages: enough for tests, quick to make. */
export const SMALL: EngineOptions = { maxTablePages: 4096, maxThreads: 4, maxObjects: 32 };

/** The engine of the running test. What `keep` was given is disposed at its end. */
export interface Lab {
  readonly engine: Engine;
  keep<T extends { dispose(): void }>(object: T): T;
}

/** A fresh engine for every test of the suite; after it, page accounting must be zero. */
export function lab(mode: Mode, options: EngineOptions = SMALL): Lab {
  let engine: Engine | undefined;
  const kept: { dispose(): void }[] = [];
  beforeEach(async () => {
    engine = await Engine.create({ ...options, mode });
  });
  afterEach(() => {
    for (const object of kept.splice(0).reverse()) object.dispose();
    const used = engine?.memoryUsage().used;
    engine?.dispose();
    engine = undefined;
    expect(used, "table pages that outlived the test").toBe(0);
  });
  return {
    get engine() {
      if (engine === undefined) throw new Error("no test is running");
      return engine;
    },
    keep(object) {
      kept.push(object);
      return object;
    },
  };
}

/** The error that `action` throws, which must be a {@link Stage2Error}. */
export function errorOf(action: () => unknown): Stage2Error {
  try {
    action();
  } catch (error) {
    if (error instanceof Stage2Error) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

/** The same for a promise. */
export async function rejectionOf(promise: Promise<unknown>): Promise<Stage2Error> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error instanceof Stage2Error) return error;
  throw new Error(`no Stage2Error: ${String(error)}`);
}
