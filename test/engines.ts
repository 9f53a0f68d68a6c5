/** Engines for tests: every suite runs over both builds, and no table page may be left at the end. */
import { expect } from "vitest";
import { Engine, type EngineOptions, type Mode } from "../src/engine.ts";

export const MODES: readonly Mode[] = ["threads", "single"];

/** Runs `use` on a fresh engine, and checks that it left no table page behind. */
export async function onEngine(
  options: Mode | EngineOptions,
  use: (engine: Engine) => void,
): Promise<void> {
  const given = typeof options === "string" ? { mode: options } : options;
  const engine = await Engine.create({ maxTablePages: 8192, ...given });
  try {
    use(engine);
    expect(engine.memoryUsage().used).toBe(0);
  } finally {
    engine.dispose();
  }
}
