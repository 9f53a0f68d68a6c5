// @ts-check
/** Figures with one to eight threads, each beside one thread's from the same rounds. */
import assert from "node:assert/strict";
import { Prot } from "stage2";
import { BLOCK, GIB, PA_OFFSET } from "../bed.mjs";
import { throughput } from "./crew.mjs";
import { alternate, toRow } from "./rows.mjs";
import { faultStorm, lockingTable, mapStorm, translateWhileAged } from "./workloads.mjs";

/** @typedef {import("./workloads.mjs").Measured} Measured */

const THREADS = [1, 2, 3, 4, 6, 8];
const ROUNDS = 3;
const MS = 200;
const IPA = 4 * GIB;
const SIZE = 64 * BLOCK;

/**
 * All threads in one role for a time, on a table of 128 MiB in pages.
 *
 * @param {import("./crew.mjs").RoleName} role
 * @param {(thread: number) => Partial<import("./roles.mjs").Data>} data
 * @returns {Measured}
 */
function together(role, data) {
  return async (engine, crew, threads) => {
    const s2 = lockingTable(engine);
    s2.map({ ipa: IPA, size: SIZE, pa: IPA + PA_OFFSET, prot: Prot.RWX, forcePages: true });
    /** @type {import("./crew.mjs").Job[]} */
    const jobs = Array.from({ length: threads }, (_, i) => {
      return { role, data: { s2: s2.handle, ms: MS, ...data(i) } };
    });
    const { done } = await crew.run(jobs);
    s2.dispose();
    assert.equal(engine.memoryUsage().used, 0, "table pages left");
    return throughput(done);
  };
}

/** @type {readonly { name: string, unit: string, beside: number, measured: Measured }[]} */
const WORKLOADS = [
  { name: "translate while aged (W13)", unit: "walk", beside: 1, measured: translateWhileAged },
  {
    name: "translate, TLB hit",
    unit: "hit",
    beside: 0,
    measured: together("hit", () => ({ ipa: IPA })),
  },
  { name: "fault (W14)", unit: "fault", beside: 0, measured: faultStorm },
  { name: "map alone", unit: "map", beside: 0, measured: mapStorm },
  {
    name: "read side",
    unit: "turn",
    beside: 0,
    measured: together("lock", () => ({ side: "read" })),
  },
  {
    name: "write side",
    unit: "turn",
    beside: 0,
    measured: together("lock", () => ({ side: "write" })),
  },
  {
    name: "age 2 MiB of its own",
    unit: "page",
    beside: 0,
    measured: together("ageOwn", (thread) => ({ ipa: IPA + thread * BLOCK })),
  },
];

/** @param {(done: number, total: number) => void} progress */
export async function scaleRows(progress) {
  const rows = [];
  for (const [i, { measured, ...workload }] of WORKLOADS.entries()) {
    progress(i, WORKLOADS.length);
    const rates = await alternate(measured, THREADS, ROUNDS);
    rows.push(...THREADS.map((threads) => toRow(workload, threads, rates)));
  }
  progress(WORKLOADS.length, WORKLOADS.length);
  return rows;
}
