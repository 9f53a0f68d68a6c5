// @ts-check
/** `npm run bench -- --vm`: what a virtual machine monitor asks of the KVM MMU, phase by phase. */
import { Engine } from "stage2";
import { selects } from "../options.mjs";
import { figure, formatTable } from "../rows.mjs";
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

const SCENARIOS = [...MIGRATIONS, ...AGINGS, ...PAGINGS, ...CHURNS];

/**
 * The scenarios that `only` selects.
 *
 * @param {string} only
 * @param {number} reps
 * @param {(done: number, total: number) => void} progress
 * @returns {Promise<{ rows: PhaseRow[], facts: Fact[] }>}
 */
export async function vmRows(only, reps, progress) {
  const selected = SCENARIOS.filter(({ name }) => selects(only, name));
  const rows = [];
  for (const [i, { measure }] of selected.entries()) {
    progress(i, selected.length);
    // An engine for each: none finds memory as another one has left it.
    const engine = await Engine.create({ maxTablePages: TABLE_PAGES, patience: 20_000 });
    rows.push(...(await measure(engine, Math.min(reps, MOST_REPS))));
    engine.dispose();
  }
  progress(selected.length, selected.length);
  if (!"memory".startsWith(only)) return { rows, facts: [] };
  const engine = await Engine.create({ maxTablePages: TABLE_PAGES });
  const facts = memoryFacts(engine);
  engine.dispose();
  return { rows, facts };
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
