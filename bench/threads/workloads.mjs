// @ts-check
/** W13 and W14: with so many threads, on a fresh table. Each checks that it did what it says. */
import assert from "node:assert/strict";
import { Prot } from "stage2";
import { BLOCK, GIB, PA_OFFSET, PAGE, PARANGE_48 } from "../bed.mjs";
import { throughput } from "./crew.mjs";

/** @typedef {import("./crew.mjs").Crew} Crew */
/** @typedef {import("stage2").Engine} Engine */
/** @typedef {(engine: Engine, crew: Crew, threads: number) => Promise<number>} Measured operations per second */

const IPA = 4 * GIB;
/** Pages that are aged one by one, so that each flag can be accounted for. */
const WATCHED = { ipa: IPA, size: BLOCK };
const REST = { ipa: IPA + BLOCK, size: GIB - BLOCK };
const AGE_EVERY_MS = 10;
const MS = 250;
const REGIONS = 64;

/** @param {Engine} engine */
export function lockingTable(engine) {
  return engine.stage2({ ipaBits: 40, parange: PARANGE_48, locking: true });
}

/** vCPUs translate 1 GiB while a thread more ages it every 10 ms. @type {Measured} */
export async function translateWhileAged(engine, crew, threads) {
  const s2 = lockingTable(engine);
  s2.map({ ipa: IPA, size: GIB, pa: IPA + PA_OFFSET, prot: Prot.RWX, forcePages: true });
  const common = { s2: s2.handle, ...REST, watched: WATCHED };
  /** @type {import("./crew.mjs").Job[]} */
  const jobs = Array.from({ length: threads }, (_, i) => {
    return { role: "translate", data: { ...common, ms: MS, seed: i + 1 } };
  });
  /** @type {import("./crew.mjs").Job} */
  const ager = { role: "age", data: { ...common, every: AGE_EVERY_MS } };
  const { done, beside } = await crew.run(jobs, [ager]);
  const { made, failed } = sums(done);
  assert.equal(failed, 0, "W13: translations that failed");
  const young = Array.from(s2.leaves(WATCHED)).filter(({ accessed }) => accessed).length;
  const before = WATCHED.size / PAGE;
  const lost = before + made - (beside[0].facts?.cleared ?? 0) - young;
  assert.equal(lost, 0, "W13: access flags lost");
  end(engine, s2);
  return throughput(done);
}

/** vCPUs fault on pages of regions of their own. @type {Measured} */
export const faultStorm = (engine, crew, threads) => storm(engine, crew, threads, "fault");

/** What their handlers do alone. @type {Measured} */
export const mapStorm = (engine, crew, threads) => storm(engine, crew, threads, "map");

/** @param {Engine} engine @param {Crew} crew @param {number} threads @param {"fault" | "map"} role */
async function storm(engine, crew, threads, role) {
  const s2 = lockingTable(engine);
  /** @type {import("./crew.mjs").Job[]} */
  const jobs = Array.from({ length: threads }, (_, thread) => {
    // In turns, as a guest's CPUs have it: neighbours in the tables above belong to different threads.
    const regions = Array.from({ length: REGIONS }, (_, i) => IPA + (i * threads + thread) * BLOCK);
    return { role, data: { s2: s2.handle, regions } };
  });
  const { done } = await crew.run(jobs);
  assert.equal(sums(done).failed, 0, `${role}: faults that went wrong`);
  assert.equal(s2.counters().leafCount, (threads * REGIONS * BLOCK) / PAGE);
  end(engine, s2);
  return throughput(done);
}

/** @param {readonly import("./crew.mjs").Done[]} done @returns {Record<string, number>} */
function sums(done) {
  /** @type {Record<string, number>} */
  const total = {};
  for (const { facts } of done) {
    for (const [name, value] of Object.entries(facts ?? {}))
      total[name] = (total[name] ?? 0) + value;
  }
  return total;
}

/** @param {Engine} engine @param {import("stage2").Stage2} s2 */
function end(engine, s2) {
  s2.dispose();
  assert.equal(engine.memoryUsage().used, 0, "table pages left");
}
