// @ts-check
/** Faults per access with the prejudgement and without, as a table with bars. */
import { play } from "./scenario.mjs";

const STEPS = 400_000;
const UNMAP_EVERY = 500;
const SEED = 1;
const BAR = 30;
/** Histogram rows: one number of faults, or a stretch of them. @type {readonly [first: number, last: number][]} */
const ROWS = [
  [0, 0],
  [1, 1],
  [2, 2],
  [3, 3],
  [4, 7],
  [8, 15],
  [16, 31],
  [32, 63],
  [64, Infinity],
];

/** @type {readonly { title: string, writers: number, readers: number }[]} */
const SCENES = [
  { title: "one vCPU writes, one reads", writers: 1, readers: 1 },
  { title: "two write, two read", writers: 2, readers: 2 },
  { title: "four write, four read", writers: 4, readers: 4 },
];

/** @typedef {import("./scenario.mjs").Outcome & { scene: string, prejudgement: "on" | "off", most: number, perUnmap: number }} Figure */

/** @returns {Promise<{ figures: Figure[], text: string }>} */
export async function progressReport() {
  /** @type {Figure[]} */
  const figures = [];
  for (const { title, writers, readers } of SCENES) {
    for (const prejudgement of /** @type {const} */ (["on", "off"])) {
      const scenario = { writers, readers, steps: STEPS, unmapEvery: UNMAP_EVERY, seed: SEED };
      const outcome = await play(prejudgement, scenario);
      const histogram = Array.from(outcome.histogram, (times) => times ?? 0);
      const most = histogram.length - 1;
      const perUnmap = outcome.faults / outcome.unmaps / (writers + readers);
      figures.push({ ...outcome, histogram, scene: title, prejudgement, most, perUnmap });
    }
  }
  return { figures, text: figures.map(section).join("\n\n") };
}

/** @param {Figure} figure */
function section(figure) {
  const { scene, prejudgement, accesses, faults, unmaps, most, perUnmap, histogram, beyond } =
    figure;
  const head =
    `${scene}; prejudgement ${prejudgement}: ${accesses} accesses, ${unmaps} unmaps, ${faults} faults ` +
    `(${perUnmap.toFixed(2)} per vCPU and unmap, at most ${most} in one access; ` +
    `${beyond} accesses took more than two and two for each unmap that fell into them)`;
  const rows = ROWS.map(([first, last]) => {
    const times = histogram.slice(first, last + 1).reduce((sum, n) => sum + n, 0);
    return { label: label(first, last), times };
  });
  const largest = Math.max(...rows.map(({ times }) => Math.log10(times + 1)));
  const lines = rows
    .filter(({ times }, i) => times > 0 || i < 3)
    .map(({ label, times }) => {
      const bar = "#".repeat(Math.round((BAR * Math.log10(times + 1)) / largest));
      return `  ${label.padStart(7)} ${String(times).padStart(9)}  ${bar}`;
    });
  return [head, "   faults  accesses  (logarithmic)", ...lines].join("\n");
}

/** @param {number} first @param {number} last */
function label(first, last) {
  if (last === Infinity) return `${first}+`;
  return first === last ? String(first) : `${first}-${last}`;
}
