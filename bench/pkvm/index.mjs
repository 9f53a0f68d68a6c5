// @ts-check
/** `npm run bench -- --pkvm`: what it costs that a hypervisor owns the tables, beside a plain table in the same run. */
import { figure, formatTable } from "../rows.mjs";
import { scenarioRows } from "../scenarios.mjs";
import { COUNTS, ORDERS, TABLE_PAGES } from "./bed.mjs";
import { FAULTS } from "./faults.mjs";
import { MAPPINGS } from "./mappings.mjs";
import { memoryFacts } from "./memory.mjs";

/** @typedef {import("../vm/clock.mjs").PhaseRow} PhaseRow */
/** @typedef {import("./memory.mjs").Fact} Fact */
/** @typedef {{ rows: readonly PhaseRow[], facts: readonly Fact[] }} Found */

const SUITE = { scenarios: [...MAPPINGS, ...FAULTS], memoryFacts, tablePages: TABLE_PAGES };
/** Of what a plain fault costs: more is over. */
const GOAL = 2;
/** The phase in which a table is walked. */
const WALK = "lookup";

/**
 * The scenarios that `only` selects.
 *
 * @param {string} only
 * @param {number} reps
 * @param {(done: number, total: number) => void} progress
 * @returns {Promise<Found>}
 */
export function pkvmRows(only, reps, progress) {
  return scenarioRows(SUITE, only, reps, progress);
}

/** @param {Found} found */
export function formatPkvm({ rows, facts }) {
  return [compared(rows), growth(rows), memory(facts)].filter((text) => text !== "").join("\n\n");
}

/** Both kinds side by side; the ratio is of the minima, which neighbours on the machine disturb least. @param {readonly PhaseRow[]} rows */
function compared(rows) {
  const lines = rows
    .filter(({ name }) => name.includes("-pkvm: "))
    .map((ours) => {
      const plain = rows.find(({ name }) => name === ours.name.replace("-pkvm: ", "-plain: "));
      if (plain === undefined) throw new Error(`nothing to compare ${ours.name} with`);
      const ratio = ours.min / plain.min;
      const isGoal = /^faults.*: fault$/.test(ours.name);
      const mark = !isGoal ? "" : ratio <= GOAL ? "ok" : "over";
      const figures = [plain.nsPerOp, plain.min, ours.nsPerOp, ours.min].map(figure);
      return [ours.name.replace("-pkvm: ", ": "), ours.unit, ...figures, `${figure(ratio)}x`, mark];
    });
  const head = ["workload: phase", "unit", "plain ns", "min", "pkvm ns", "min", "ratio", ""];
  return lines.length === 0 ? "" : formatTable([head, ...lines]);
}

/**
 * How costs go with the number of mappings. Work that goes with the logarithm takes twice as long with a million as with a thousand; at
 * random every step costs a cache miss besides, as it does a walk of a plain table, whose work is always the same. So the last column has
 * the growth over that of such a walk.
 *
 * @param {readonly PhaseRow[]} rows
 */
function growth(rows) {
  const mappings = rows.filter(({ name }) => name.startsWith("mappings"));
  const phases = [...new Set(mappings.map(({ name }) => name.split(": ")[1] ?? ""))];
  const lines = ORDERS.flatMap((order) => {
    const walk = growthOf(rows, order, "plain", WALK);
    if (walk === undefined) return [];
    return ["plain", "pkvm"].flatMap((kind) =>
      phases.map((phase) => growthLine(rows, order, kind, phase, walk.growth)),
    );
  });
  const logarithm = COUNTS.map(Math.log2);
  const whole = ratioOf(logarithm);
  const head = [
    "minimum with so many mappings",
    "",
    ...COUNTS.map(String),
    "growth",
    "to a walk's",
    "",
  ];
  const last = ["the logarithm", "", ...logarithm.map(figure), `${figure(whole)}x`];
  return lines.length === 0 ? "" : formatTable([head, ...lines, last]);
}

/** @param {readonly PhaseRow[]} rows @param {string} order @param {string} kind @param {string} phase @param {number} walk */
function growthLine(rows, order, kind, phase, walk) {
  const found = growthOf(rows, order, kind, phase);
  if (found === undefined) throw new Error(`no ${phase} of ${order}, ${kind}`);
  const over = found.growth / walk;
  const ok = over <= ratioOf(COUNTS.map(Math.log2)) ? "ok" : "over";
  const figures = [...found.costs.map(figure), `${figure(found.growth)}x`, `${figure(over)}x`];
  return [`${order}, ${kind}: ${phase}`, "ns", ...figures, ok];
}

/** @param {readonly PhaseRow[]} rows @param {string} order @param {string} kind @param {string} phase */
function growthOf(rows, order, kind, phase) {
  const costs = COUNTS.flatMap((count) => {
    const row = rows.find(({ name }) => name === `mappings-${order}-${count}-${kind}: ${phase}`);
    return row === undefined ? [] : [row.min];
  });
  return costs.length < COUNTS.length ? undefined : { costs, growth: ratioOf(costs) };
}

/** The last over the first. @param {readonly number[]} values */
function ratioOf(values) {
  return values[values.length - 1] / values[0];
}

/** @param {readonly Fact[]} facts */
function memory(facts) {
  return formatTable(facts.map(({ name, unit, value }) => [name, unit, figure(value)]));
}
