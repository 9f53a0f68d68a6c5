// @ts-check
/** A run: the engine, the tables, the threads, the result. Where threads come from is the caller's affair. */
import { Engine } from "stage2";
import { Board } from "./board.mjs";
import { Memory } from "./memory.mjs";
import { RAM } from "./scene.mjs";
import { TABLES } from "./shapes.mjs";
import { VIOLATIONS } from "./violations.mjs";

/** How long threads wait for each other, ms: a machine that is busy otherwise is no violation. */
const PATIENCE = 10_000;

/**
 * Starts a thread with a message; resolves when its program has ended, rejects if it failed.
 *
 * @typedef {(start: import("./parts.mjs").Start, say: (text: string) => void) => Promise<void>} Spawn
 */

/**
 * @typedef {object} Result
 * @property {Record<string, number>} operations
 * @property {Record<string, number>} violations
 * @property {string[]} notes what there is to be said beside
 */

/**
 * @param {import("./options.mjs").Options} options
 * @param {Spawn} spawn
 * @param {(text: string) => void} say
 * @returns {Promise<Result>}
 */
export async function run(options, spawn, say) {
  const { threads } = options;
  const engine = await Engine.create({
    maxTablePages: 16_384,
    maxThreads: threads + 1,
    guestRam: RAM,
    patience: PATIENCE,
  });
  const tables = TABLES.map((shape) => engine.stage2(shape));
  const board = Board.create(threads);
  new Memory(engine, board).format();
  const started = await Promise.allSettled(
    Array.from({ length: threads }, (_, thread) =>
      spawn(
        {
          engine: engine.handle,
          tables: tables.map((s2) => s2.handle),
          board: /** @type {SharedArrayBuffer} */ (board.buffer),
          thread,
          threads,
          patience: PATIENCE,
          options,
        },
        say,
      ),
    ),
  );
  const found = (
    /** @type {import("./violations.mjs").Violation} */ name,
    /** @type {string} */ text,
  ) => {
    Atomics.add(board.common.violations, VIOLATIONS.indexOf(name), 1);
    say(`${name}: ${text}`);
  };
  for (const end of started) {
    if (end.status === "rejected") found("unexpected result", `a thread failed: ${end.reason}`);
  }
  // Threads that failed have left what they had; then nothing can be said of pages.
  if (started.every(({ status }) => status === "fulfilled")) {
    for (const s2 of tables) s2.dispose();
    const { used } = engine.memoryUsage();
    if (used !== 0) found("leaked page", `${used} are in use after the end of everything`);
    engine.dispose();
  }
  const most = Math.max(...board.threads.map(({ faults }) => faults[2]));
  const [handled, repeated] = [board.sum("faults", 0), board.sum("faults", 1)];
  const note = `${handled} faults handled; ${repeated} accesses took more than one, the most took ${most}`;
  return { ...board.result(), notes: [note] };
}
