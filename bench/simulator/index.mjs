// @ts-check
/** A machine simulator's inner loop, less the instructions: loads and stores through a vCPU, faults served on demand. */
import assert from "node:assert/strict";
import { Engine } from "stage2";
import { measure } from "../measure.mjs";
import { UsageError, selects } from "../options.mjs";
import { figure, formatTable, toRow } from "../rows.mjs";
import { DATA, GUEST_RAM, Guest } from "./guest.mjs";
import { replay, streams, zipf } from "./pattern.mjs";

const ACCESSES = 2 ** 20;

/**
 * @typedef {object} Scenario
 * @property {string} name
 * @property {import("./pattern.mjs").Pattern} pattern
 * @property {import("./guest.mjs").GuestOptions} options
 * @property {boolean} mapped the guest made the same accesses before: no page is missing, and the TLB is in use
 */

/**
 * What happened in a run, beside what it took. The same in every run.
 *
 * @typedef {object} Happened
 * @property {number} faults served
 * @property {number} tlbHitRate 0 to 1
 * @property {number} descriptorReads per access
 */

/** @typedef {import("../rows.mjs").Row & Happened} SimulatorRow */

/** @returns {Scenario[]} */
function scenarios() {
  const patterns = { zipf: zipf(DATA.size, ACCESSES), streams: streams(DATA.size, ACCESSES) };
  return Object.entries(patterns).flatMap(([name, pattern]) => {
    /** @param {string} suffix @param {Partial<Scenario["options"]>} options @param {boolean} mapped @returns {Scenario} */
    const scenario = (suffix, options, mapped) => {
      return {
        name: name + suffix,
        pattern,
        options: { stage1: false, tlb: true, ...options },
        mapped,
      };
    };
    return [
      scenario("-faults", {}, false),
      scenario("", {}, true),
      scenario("-no-tlb", { tlb: false }, true),
      scenario("-two-stage-faults", { stage1: true }, false),
      scenario("-two-stage", { stage1: true }, true),
    ];
  });
}

/**
 * @param {string} only
 * @param {number} reps
 * @param {(done: number, total: number) => void} progress
 * @returns {Promise<SimulatorRow[]>}
 */
export async function simulatorRows(only, reps, progress) {
  const selected = scenarios().filter(({ name }) => selects(only, name));
  if (selected.length === 0) throw new UsageError(`no guest is named ${only}`);

  const engine = await Engine.create({ guestRam: GUEST_RAM });
  const workloads = selected.map((scenario) => simulation(engine, scenario));
  const { ours } = measure(workloads, reps, undefined, progress);
  engine.dispose();
  return workloads.map((workload) => ({
    ...toRow(workload, ours.get(workload.name) ?? [], undefined),
    ...workload.happened(),
  }));
}

/**
 * @param {Engine} engine
 * @param {Scenario} scenario
 * @returns {import("../measure.mjs").Workload & { happened(): Happened }}
 */
function simulation(engine, { name, pattern, options, mapped }) {
  const expected = new Uint32Array(pattern.bytes / 4);
  const sums = [replay(pattern, expected), replay(pattern, expected)];
  /** @type {Guest} */
  let guest;
  let sum = NaN;
  /** @type {Happened} */
  let happened;
  return {
    name,
    unit: "access",
    operations: pattern.offsets.length,
    prepare() {
      guest = new Guest(engine, options);
      if (mapped) runProgram(guest, pattern);
      guest.vcpu.resetStatistics();
      guest.faults = 0;
    },
    run() {
      sum = runProgram(guest, pattern);
    },
    verify() {
      assert.equal(sum, sums[Number(mapped)], `${name}: what was loaded`);
      assert.ok(holds(guest, expected), `${name}: what was stored`);
      happened = count(guest, pattern.offsets.length);
      guest.dispose();
    },
    happened: () => happened,
  };
}

/**
 * @param {Guest} guest
 * @param {import("./pattern.mjs").Pattern} pattern
 * @returns {number} sum of what was loaded
 */
function runProgram(guest, { offsets, writes }) {
  const { data } = guest;
  let sum = 0;
  for (let i = 0; i < offsets.length; i++) {
    const va = data + offsets[i];
    if (writes[i]) guest.store(va, i);
    else sum += guest.load(va);
  }
  return sum;
}

/** @param {Guest} guest @param {Uint32Array} expected */
function holds({ memory }, expected) {
  return (
    Buffer.compare(memory.subarray(0, expected.byteLength), new Uint8Array(expected.buffer)) === 0
  );
}

/** @param {Guest} guest @param {number} accesses @returns {Happened} */
function count({ vcpu, faults }, accesses) {
  const { tlb, descriptorReads } = vcpu.statistics;
  const levels = [descriptorReads.stage1, descriptorReads.stage2].flatMap(Object.values);
  const looked = tlb.hits + tlb.misses;
  return {
    faults,
    tlbHitRate: looked === 0 ? 0 : tlb.hits / looked,
    descriptorReads: levels.reduce((sum, reads) => sum + reads, 0) / accesses,
  };
}

/** @type {[string, (row: SimulatorRow) => string][]} */
const COLUMNS = [
  ["guest", (row) => row.name],
  ["unit", (row) => row.unit],
  ["million/s", (row) => figure(row.opsPerSec / 1e6)],
  ["ns", (row) => figure(row.nsPerOp)],
  ["min", (row) => figure(row.min)],
  ["TLB hits", (row) => `${(row.tlbHitRate * 100).toFixed(1)} %`],
  ["descriptors", (row) => figure(row.descriptorReads)],
  ["faults", (row) => String(row.faults)],
];

/** @param {readonly SimulatorRow[]} rows */
export function formatSimulator(rows) {
  const head = COLUMNS.map(([title]) => title);
  return formatTable([head, ...rows.map((row) => COLUMNS.map(([, cell]) => cell(row)))]);
}
