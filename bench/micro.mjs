// @ts-check
/** Figures beside the workloads: cold start, sizes of what is shipped, memory per mapped page. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { Engine } from "stage2";
import { GIB, N, evenBed, scatteredBed } from "./bed.mjs";
import { figure, formatTable } from "./rows.mjs";
import { summarize } from "./statistics.mjs";
import { mapPages } from "./workloads/state.mjs";
import { mapEveryPage } from "./workloads/map.mjs";

/** @typedef {{ name: string, value: number, unit: string }} Fact */

/**
 * @param {number} reps
 * @returns {Promise<Fact[]>}
 */
export async function microFacts(reps) {
  return [...coldStart(reps), ...shippedSizes(), ...(await memoryPerPage())];
}

/** @param {readonly Fact[]} facts */
export function formatFacts(facts) {
  const lines = facts.map(({ name, value, unit }) => [name, unit, figure(value)]);
  return formatTable([["figure", "unit", "value"], ...lines]);
}

/**
 * Medians over fresh processes.
 *
 * @param {number} reps
 * @returns {Fact[]}
 */
function coldStart(reps) {
  const script = fileURLToPath(new URL("start.mjs", import.meta.url));
  /** @type {Record<string, number>[]} */
  const runs = Array.from({ length: reps }, () =>
    JSON.parse(execFileSync(process.execPath, [script], { encoding: "utf8" })),
  );
  return Object.keys(runs[0] ?? {}).map((step) => ({
    name: `cold start: ${step}`,
    value: summarize(runs.map((run) => run[step] ?? NaN)).median,
    unit: "ms",
  }));
}

/** @returns {Fact[]} */
function shippedSizes() {
  return ["core.wasm", "core.single.wasm", "index.js"].flatMap((file) => {
    const bytes = readFileSync(new URL(`../dist/${file}`, import.meta.url));
    return [
      { name: file, value: bytes.length / 1024, unit: "KiB" },
      { name: `${file}, gzip`, value: gzipSync(bytes).length / 1024, unit: "KiB" },
    ];
  });
}

/** @returns {Promise<Fact[]>} */
async function memoryPerPage() {
  const engine = await Engine.create();
  const empty = engine.memoryUsage().bytes;
  const [dense, scattered] = [evenBed(engine, 0, GIB), scatteredBed(engine, 16 * GIB)];
  const facts = [
    {
      name: "tables per page, 1 GiB of pages",
      value: tableBytes(engine, mapPages(dense)) / N,
      unit: "bytes",
    },
    {
      name: "tables per page, 1 page in 16",
      value: tableBytes(engine, mapEveryPage(scattered)) / N,
      unit: "bytes",
    },
    { name: "engine without tables", value: empty / 1024, unit: "KiB" },
    { name: "engine at its peak", value: engine.memoryUsage().bytes / 1024, unit: "KiB" },
    { name: "table pages at the peak", value: engine.memoryUsage().peak * 4, unit: "KiB" },
  ];
  engine.dispose();
  return [...facts, ...(await vcpuMemory())];
}

/** Pages of a vCPU, with and without the default TLB. @returns {Promise<Fact[]>} */
async function vcpuMemory() {
  const engine = await Engine.create();
  const before = engine.memoryUsage().used;
  engine.vcpu(undefined, { tlb: false });
  const bare = engine.memoryUsage().used;
  engine.vcpu();
  const { used } = engine.memoryUsage();
  engine.dispose();
  return [
    { name: "vCPU without a TLB", value: (bare - before) * 4, unit: "KiB" },
    { name: "vCPU", value: (used - bare) * 4, unit: "KiB" },
  ];
}

/**
 * @param {Engine} engine
 * @param {(s2: import("stage2").Stage2) => void} fill
 */
function tableBytes(engine, fill) {
  const s2 = engine.stage2();
  fill(s2);
  const { bytes } = s2.memoryUsage();
  s2.dispose();
  return bytes;
}
