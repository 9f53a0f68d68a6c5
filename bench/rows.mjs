// @ts-check
import { GOALS } from "./goals.mjs";
import { summarize } from "./statistics.mjs";

/**
 * One line of the result. In the JSON form `nsPerOp` is the median; the keys after `unit` go beyond the fixed form.
 *
 * @typedef {object} Row
 * @property {string} name
 * @property {number} opsPerSec
 * @property {number} nsPerOp
 * @property {string} unit
 * @property {number} min
 * @property {number} max
 * @property {number} [yardstick] median of the native limit
 * @property {number} [yardstickMin]
 * @property {number} [ratio] ours over the yardstick's, as the goal compares them: medians or minima
 * @property {number} [goal] ns, scaled to this machine where there is a yardstick
 * @property {boolean} [ok]
 */

/**
 * @param {{ name: string, unit: string }} workload
 * @param {number[]} samples ns per unit
 * @param {Map<string, number[]> | undefined} native samples of the yardstick by row
 * @returns {Row}
 */
export function toRow({ name, unit }, samples, native) {
  const { median, min, max } = summarize(samples);
  const row = { name, opsPerSec: 1e9 / median, nsPerOp: median, unit, min, max };
  const goal = GOALS[name];
  if (!goal) return row;

  const compared = goal.minima ? "min" : "median";
  const ours = { median, min }[compared];
  const theirs = native?.has(name) ? summarize(native.get(name) ?? []) : undefined;
  const scaler = native?.get(goal.scaleBy ?? name);
  const scaled = goal.goal * (scaler ? summarize(scaler)[compared] / goal.yardstick : 1);
  return {
    ...row,
    ...(theirs && {
      yardstick: theirs.median,
      yardstickMin: theirs.min,
      ratio: ours / theirs[compared],
    }),
    goal: scaled,
    ok: ours <= scaled,
  };
}

/** @type {[string, (row: Row) => string][]} */
const COLUMNS = [
  ["workload", (row) => row.name],
  ["unit", (row) => row.unit],
  ["ours ns", (row) => figure(row.nsPerOp)],
  ["min", (row) => figure(row.min)],
];

/** @type {[string, (row: Row) => string][]} */
const NATIVE_COLUMNS = [
  ["yardstick ns", (row) => figure(row.yardstick)],
  ["min", (row) => figure(row.yardstickMin)],
  ["ratio", (row) => (row.ratio === undefined ? "-" : `${figure(row.ratio)}x`)],
];

/** @type {[string, (row: Row) => string][]} */
const GOAL_COLUMNS = [
  ["goal ns", (row) => figure(row.goal)],
  ["", (row) => (row.ok === undefined ? "" : row.ok ? "ok" : "over")],
];

/** Columns that no row fills are left out. @param {readonly Row[]} rows */
export function formatRows(rows) {
  const columns = [
    ...COLUMNS,
    ...(rows.some((row) => row.yardstick !== undefined) ? NATIVE_COLUMNS : []),
    ...(rows.some((row) => row.goal !== undefined) ? GOAL_COLUMNS : []),
  ];
  const head = columns.map(([title]) => title);
  return formatTable([head, ...rows.map((row) => columns.map(([, cell]) => cell(row)))]);
}

/** Three significant digits, never in exponent form. @param {number | undefined} value */
export function figure(value) {
  if (value === undefined) return "-";
  return value >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3)));
}

/**
 * Columns as wide as their widest cell: the first two to the left, figures to the right.
 *
 * @param {readonly (readonly string[])[]} lines
 */
export function formatTable(lines) {
  const widths = (lines[0] ?? []).map((_, i) =>
    Math.max(...lines.map((line) => line[i]?.length ?? 0)),
  );
  return lines
    .map((line) =>
      line
        .map((cell, i) => (i < 2 ? cell.padEnd(widths[i]) : cell.padStart(widths[i])))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
