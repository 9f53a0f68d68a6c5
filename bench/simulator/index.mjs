// @ts-check
/** A machine simulator's inner loop, less the instructions: loads and stores through a vCPU, faults served on demand. */
import assert from "node:assert/strict";
import { Engine } from "stage2";
import { measure } from "../measure.mjs";
import { UsageError, selects } from "../options.mjs";
import { figure, formatTable, toRow } from "../rows.mjs";
import { DATA, GUEST_RAM, Guest, fillFresh } from "./guest.mjs";
import { replay, streams, zipf } from "./pattern.mjs";

const ACCESSES = 2 ** 20;

const PATTERNS = { zipf, streams };

/**
 * Each with each pattern. `mapped`: the guest made the same accesses before, no page is missing and the TLB is in use.
 *
 * @type {[suffix: string, options: import("./guest.mjs").GuestOptions, mapped: boolean][]}
 */
const GUESTS = [
  ["-faults", { stage1: false, tlb: true }, false],
  ["", { stage1: false, tlb: true }, true],
  ["-no-tlb", { stage1: false, tlb: false }, true],
  ["-two-stage-faults", { stage1: true, tlb: true }, false],
  ["-two-stage", { stage1: true, tlb: true }, true],
];

/**
 * A program, and what it comes to.
 *
 * @typedef {object} Program
 * @property {import("./pattern.mjs").Pattern} pattern
 * @property {Uint32Array} memory after one run, or more
 * @property {number[]} sums of what the first run loads, and the second
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

/**
 * @param {string} only
 * @param {number} reps
 * @param {(done: number, total: number) => void} progress
 * @returns {Promise<SimulatorRow[]>}
 */
export async function simulatorRows(only, reps, progress) {
  const engine = await Engine.create({ guestRam: GUEST_RAM });
  const simulations = allSimulations(engine, only);
  if (simulations.length === 0) throw new UsageError(`no guest is named ${only}`);

  const { ours } = measure(simulations, reps, undefined, progress);
  engine.dispose();
  return simulations.map((simulation) => ({
    ...toRow(simulation, ours.get(simulation.name) ?? [], undefined),
    ...simulation.happened(),
  }));
}

/**
 * @param {Engine} engine
 * @param {string} only
 * @returns {Simulation[]}
 */
function allSimulations(engine, only) {
  return Object.entries(PATTERNS).flatMap(([pattern, make]) => {
    const guests = GUESTS.filter(([suffix]) => selects(only, pattern + suffix));
    if (guests.length === 0) return [];
    const program = toProgram(make(DATA.size, ACCESSES));
    return guests.map(([suffix, options, mapped]) =>
      simulation(engine, pattern + suffix, program, options, mapped),
    );
  });
}

/** @param {import("./pattern.mjs").Pattern} pattern @returns {Program} */
function toProgram(pattern) {
  const memory = fillFresh(new Uint32Array(DATA.size / 4));
  return { pattern, memory, sums: [replay(pattern, memory), replay(pattern, memory)] };
}

/** @typedef {import("../measure.mjs").Workload & { happened(): Happened }} Simulation */

/**
 * @param {Engine} engine
 * @param {string} name
 * @param {Program} program
 * @param {import("./guest.mjs").GuestOptions} options
 * @param {boolean} mapped
 * @returns {Simulation}
 */
function simulation(engine, name, { pattern, memory, sums }, options, mapped) {
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
      assert.ok(guest.holds(memory), `${name}: what was stored`);
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
