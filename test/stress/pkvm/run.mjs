// @ts-check
/** A run of the part on pKVM: the engine, the machines and guests, the threads, the result. */
import { Engine } from "stage2";
import { COUNT, PkvmBoard } from "./board.mjs";
import { emptied } from "./quiet.mjs";
import { GUESTS, KEPT, MACHINES, optionsOf } from "./scene.mjs";

/** How long threads wait for each other, ms: a machine that is busy otherwise is no violation. */
const PATIENCE = 10_000;
const TABLE_PAGES = 8192;
const PAGES_PER_THREAD = 500;

/**
 * @param {import("../options.mjs").Options} options
 * @param {import("../run.mjs").Spawn} spawn
 * @param {(text: string) => void} say
 * @returns {Promise<import("../run.mjs").Result>}
 */
export async function runPkvm(options, spawn, say) {
  const { threads } = options;
  const engine = await Engine.create({
    maxTablePages: TABLE_PAGES + threads * PAGES_PER_THREAD,
    maxThreads: threads + 1,
    patience: PATIENCE,
  });
  const machines = MACHINES.map((_, machine) => engine.pkvm(optionsOf(machine)));
  const guests = machines
    .slice(0, KEPT)
    .flatMap((machine) => Array.from({ length: GUESTS }, () => machine.stage2()));
  const board = PkvmBoard.create(threads);
  const found = (
    /** @type {import("./violations.mjs").PkvmViolation} */ name,
    /** @type {string} */ text,
  ) => {
    board.count(name);
    say(`${name}: ${text}`);
  };
  const starts = startsOf(engine, machines, guests, board, options);
  const ended = await Promise.allSettled(starts.map((start) => spawn(start, say)));
  for (const end of ended) {
    if (end.status === "rejected") found("unexpected result", `a thread failed: ${end.reason}`);
  }
  // Threads that failed have left what they had; then nothing can be said of pages.
  if (ended.every(({ status }) => status === "fulfilled")) {
    for (const guest of guests) guest.dispose();
    machines.forEach((machine, number) => {
      for (const words of emptied(machine, number)) found("page owner", `in the end ${words}`);
      machine.dispose();
    });
    engine.quiesce();
    const { used } = engine.memoryUsage();
    if (used !== 0) found("leaked page", `${used} are in use after the end of everything`);
    engine.dispose();
  }
  return { ...board.result(), notes: notesOf(board) };
}

/** What each thread is started with. @param {Engine} engine @param {readonly import("stage2").Pkvm[]} machines @param {readonly import("stage2").PkvmStage2[]} guests @param {PkvmBoard} board @param {import("../options.mjs").Options} options @returns {import("./thread.mjs").PkvmStart[]} */
function startsOf(engine, machines, guests, board, options) {
  return Array.from({ length: options.threads }, (_, thread) => ({
    part: "pkvm",
    engine: engine.handle,
    machines: machines.map((machine) => machine.handle),
    guests: guests.map((guest) => guest.handle),
    board: /** @type {SharedArrayBuffer} */ (board.buffer),
    thread,
    threads: options.threads,
    patience: PATIENCE,
    options,
  }));
}

/** @param {PkvmBoard} board */
function notesOf(board) {
  const count = (/** @type {number} */ i) => board.sum("counts", i);
  const { MAPPED, AGAIN, REFUSED, CALLS, ACCEPTED } = COUNT;
  return [
    `${count(MAPPED)} pages and blocks shared, ${count(AGAIN)} again, ${count(REFUSED)} refused`,
    `${count(CALLS)} hypercalls of strangers, of which ${count(ACCEPTED)} were accepted`,
  ];
}
