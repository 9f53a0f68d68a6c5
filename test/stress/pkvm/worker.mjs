// @ts-check
/** The program of each thread of pKVM, the same in Node and in browsers: rounds of operations between quiet points. */
import { Barrier } from "../barrier.mjs";
import { generator } from "../random.mjs";
import { KINDS, draw, focusOf } from "./kinds.mjs";
import { operationsOf } from "./operations.mjs";
import { PKVM_PLANTS } from "./plants.mjs";
import { Quiet } from "./quiet.mjs";
import { PkvmThread } from "./thread.mjs";

/** What a thread is made of. @typedef {ReturnType<typeof partsOf>} Parts */

/** Operations of a thread in a round. */
const ROUND = 300;
const PLANT_ROUND = 1;
/** Rounds after which the hostile machine is emptied. */
const FRESH_ROUNDS = 3;

/** Runs until the leader says stop, and gives everything back. @param {import("./thread.mjs").PkvmStart} start @param {(text: string) => void} say */
export async function work(start, say) {
  const thread = await PkvmThread.start(start, say);
  const barrier = new Barrier(thread.board, 10 * start.patience);
  const parts = partsOf(thread);
  try {
    run(parts, barrier);
  } catch (error) {
    barrier.abort();
    throw error;
  }
  parts.guest.dispose();
  thread.dispose();
}

/** @param {PkvmThread} thread */
function partsOf(thread) {
  const operations = operationsOf(thread);
  return { thread, ...operations, quiet: new Quiet(thread, operations.guest) };
}

/** @param {Parts} parts @param {Barrier} barrier */
function run(parts, barrier) {
  const { thread } = parts;
  const { seed } = thread.options;
  const random = generator(seed, thread.number);
  const meet = () => barrier.meet(() => thread.whatAllDo());
  const started = Date.now();
  for (let round = 0; !barrier.stopped; round++) {
    perform(parts, random, focusOf(seed, round));
    meet();
    if (thread.number === 0) lead(parts, barrier, round, Date.now() - started);
    meet();
  }
}

/** One round. @param {Parts} parts @param {(limit: number) => number} random @param {import("./kinds.mjs").Focus} focus */
function perform({ thread, table }, random, focus) {
  const { now, operations } = thread.rows;
  for (let i = 0; i < ROUND; i++) {
    const operation = draw(random, focus);
    const number = KINDS.indexOf(operation.kind);
    Atomics.store(now, 0, number + 1);
    operations[number]++;
    table[operation.kind](operation);
  }
  Atomics.store(now, 0, 0);
}

/** At a quiet point. @param {Parts} parts @param {Barrier} barrier @param {number} round @param {number} elapsed ms */
function lead(parts, barrier, round, elapsed) {
  const { plant, seconds, rounds } = parts.thread.options;
  const planted = plant !== undefined && round === PLANT_ROUND;
  if (planted) PKVM_PLANTS[plant].plant(parts);
  parts.quiet.check();
  if (round % FRESH_ROUNDS === 0) parts.quiet.startAnew();
  const enough = rounds === undefined ? elapsed >= seconds * 1000 : round + 1 >= rounds;
  if (planted || (enough && plant === undefined)) barrier.stop();
}
