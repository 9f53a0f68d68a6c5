// @ts-check
/**
 * The program of each thread, the same in Node and in browsers: rounds of operations between quiet points.
 *
 *     all     meet ─ ─ ─ ─ ─ ─ ─ meet ─ draw, do, draw, do … ─ meet ─ ─ ─ ─ ─ ─ ─ meet ─ …
 *     first        checks, changes                                  checks, changes
 */
import { Barrier } from "./barrier.mjs";
import { KINDS, draw } from "./kinds.mjs";
import { operationsOf } from "./operations.mjs";
import { PLANTS } from "./plants.mjs";
import { Quiet } from "./quiet.mjs";
import { generator } from "./random.mjs";
import { focusOf, modesOf } from "./scene.mjs";
import { Thread } from "./thread.mjs";

/** What a thread is made of. @typedef {ReturnType<typeof partsOf>} Parts */

/** Operations of a thread in a round. */
const ROUND = 1000;
/** After so many rounds something is planted: by then every ledger has entries. */
const PLANT_ROUND = 1;

/**
 * Runs until the leader says stop, and gives everything back.
 *
 * @param {import("./thread.mjs").Start} start
 * @param {(text: string) => void} say
 */
export async function work(start, say) {
  const thread = await Thread.start(start, say);
  const barrier = new Barrier(thread.board, 10 * start.patience);
  try {
    run(thread, barrier);
  } catch (error) {
    barrier.abort();
    throw error;
  }
  thread.dispose();
}

/** @param {Thread} thread */
function partsOf(thread) {
  const operations = operationsOf(thread);
  return { thread, ...operations, quiet: new Quiet(thread, operations.host, operations.reclaim) };
}

/** @param {Thread} thread @param {Barrier} barrier */
function run(thread, barrier) {
  const { seed } = thread.options;
  const parts = partsOf(thread);
  const random = generator(seed, thread.number);
  const meet = () => barrier.meet(() => thread.whatAllDo());
  const started = Date.now();
  meet();
  if (thread.number === 0) parts.quiet.begin();
  meet();
  for (let round = 0; !barrier.stopped; round++) {
    perform(parts, random, modesOf(seed, round), focusOf(seed, round));
    thread.topUp();
    meet();
    if (thread.number === 0) lead(parts, barrier, round, Date.now() - started);
    meet();
  }
  if (thread.number === 0) parts.quiet.end();
  meet();
}

/** One round. @param {Parts} parts @param {(limit: number) => number} random @param {readonly import("./scene.mjs").Mode[]} modes @param {import("./scene.mjs").Focus} focus */
function perform({ thread, table }, random, modes, focus) {
  const { now, operations } = thread.rows;
  for (let i = 0; i < ROUND; i++) {
    const operation = draw(random, modes, focus);
    const number = KINDS.indexOf(operation.kind);
    Atomics.store(now, 0, number + 1);
    operations[number]++;
    table[operation.kind](operation);
  }
  Atomics.store(now, 0, 0);
}

/** At a quiet point. @param {Parts} parts @param {Barrier} barrier @param {number} round @param {number} elapsed ms */
function lead(parts, barrier, round, elapsed) {
  const { plant, seconds, rounds, seed } = parts.thread.options;
  const planted = plant !== undefined && round === PLANT_ROUND;
  if (planted) PLANTS[plant].plant(parts);
  parts.quiet.check();
  const enough = rounds === undefined ? elapsed >= seconds * 1000 : round + 1 >= rounds;
  if (planted || (enough && plant === undefined)) barrier.stop();
  else parts.quiet.change(modesOf(seed, round + 1));
}
