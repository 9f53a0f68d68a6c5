// @ts-check
/** `npm run bench -- --vm`: what a virtual machine monitor asks of the KVM MMU, phase by phase. */
import { figure, formatTable } from "../rows.mjs";
import { scenarioRows } from "../scenarios.mjs";
import { AGINGS } from "./aging.mjs";
import { CHURNS, memoryFacts } from "./churn.mjs";
import { MIGRATIONS } from "./migration.mjs";
import { PAGINGS } from "./paging.mjs";

/** @typedef {import("./clock.mjs").PhaseRow} PhaseRow */
/** @typedef {{ name: string, value: number, unit: string }} Fact */

/** A round of 16 GiB takes seconds. */
const MOST_REPS = 3;
/** Tables of 16 GiB in pages, of 4 KiB, and what is beside them. */
const TABLE_PAGES = 16_384;

const SUITE = {
  scenarios: [...MIGRATIONS, ...AGINGS, ...PAGINGS, ...CHURNS],
  memoryFacts,
  tablePages: TABLE_PAGES,
};

/**
 * The scenarios that `only` selects.
 *
 * @param {string} only
 * @param {number} reps
 * @param {(done: number, total: number) => void} progress
 * @returns {Promise<{ rows: PhaseRow[], facts: Fact[] }>}
 */
export function vmRows(only, reps, progress) {
  return scenarioRows(SUITE, only, Math.min(reps, MOST_REPS), progress);
}

/** @param {{ rows: readonly PhaseRow[], facts: readonly Fact[] }} found */
export function formatVm({ rows, facts }) {
  const head = ["workload: phase", "unit", "units", "ms", "ns/unit", "min", "units/s"];
  const lines = [
    head,
    ...rows.map(({ name, unit, operations, ms, nsPerOp, min, opsPerSec }) => [
      name,
      unit,
      String(operations),
      figure(ms),
      figure(nsPerOp),
      figure(min),
      figure(opsPerSec),
    ]),
  ];
  const memory = facts.map(({ name, unit, value }) => [name, unit, figure(value)]);
  return [rows.length > 0 ? formatTable(lines) : "", formatTable(memory)]
    .filter((text) => text !== "")
    .join("\n\n");
}
