/**
 * The report of a replay: one HTML file that needs nothing else. The numbers are in its markup; the plots are drawn by
 * the script in it, from the JSON in it.
 */
import uplotStyle from "uplot/dist/uPlot.min.css?raw";
import uplotScript from "uplot/dist/uPlot.iife.min.js?raw";
import type { ReplayResult } from "../../replay/result.ts";
import { type Run, traceData } from "./data.ts";
import addressSpace from "./page/address_space.js?raw";
import baseScript from "./page/base.js?raw";
import baseStyle from "./page/base.css?raw";
import plots from "./page/plots.js?raw";
import traceScript from "./page/trace.js?raw";
import traceStyle from "./page/trace.css?raw";

export type { Run } from "./data.ts";

/** The whole document. */
export function renderReport(runs: readonly Run[]): string {
  const results = runs.map(({ result }) => result);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>stage2 replay</title>
<style>${uplotStyle}</style>
<style>${baseStyle}${traceStyle}</style>
</head>
<body>
<header>
<h1>Replay of recorded KVM page-table traffic</h1>
<p>Every call of the recorded hosts was made again on stage2's tables. Return codes, every visit and store in order,
TLB invalidations, cache maintenance, allocations and references were compared, and the whole tree with every memory
dump.</p>
</header>
<main>
${verdict(results)}
${summaryTable(runs)}
<section id="detail" aria-live="polite"></section>
</main>
<script type="application/json" id="data">${embed(runs.map(traceData))}</script>
<script>${uplotScript}</script>
<script>${[baseScript, plots, addressSpace, traceScript].join("\n")}</script>
</body>
</html>
`;
}

function verdict(results: readonly ReplayResult[]): string {
  const total = (count: (result: ReplayResult) => number): number =>
    results.reduce((sum, result) => sum + count(result), 0);
  const differing = total((result) => result.differing);
  const tiles = [
    ["traces", results.length],
    ["calls compared", total((result) => result.compared)],
    ["facts compared", total((result) => result.facts)],
    ["dump entries compared", total((result) => result.entries)],
    ["differing", differing],
  ] as const;
  const mood = differing === 0 ? "good" : "bad";
  const items = tiles.map(
    ([label, value]) =>
      `<div class="tile${label === "differing" ? ` ${mood}` : ""}"><b>${count(value)}</b><span>${label}</span></div>`,
  );
  return `<section class="tiles">${items.join("")}</section>`;
}

const COLUMNS = [
  ["calls", "Calls of the page-table library"],
  ["pages", "Pages mapped, over all calls"],
  ["-EAGAIN", "Calls that answered: try again"],
  ["overlapping", "Calls that overlapped with one of another CPU"],
  ["compared", "Calls that were compared"],
  ["undecided", "Facts that were not, under a named cause: see the trace"],
  ["dumps", "Memory dumps compared"],
  ["calls/s", "Replayed and compared, in a second"],
  ["differing", "Calls and dumps in which anything differed"],
] as const;

function summaryTable(runs: readonly Run[]): string {
  const head = COLUMNS.map(([name, title]) => `<th title="${title}">${name}</th>`).join("");
  const rows = runs.map(({ header, result }, index) => {
    const undecided = Object.values(result.undecided).reduce((sum, value) => sum + value, 0);
    const cells = [
      result.calls,
      result.pages,
      result.again,
      result.grouped,
      result.compared,
      undecided,
      result.checkpoints,
      Math.round(result.callsPerSecond),
    ].map((value) => `<td class="${value === 0 ? "zero" : ""}">${count(value)}</td>`);
    const mark = `<td><span class="pill ${result.ok ? "good" : "bad"}">${count(result.differing)}</span></td>`;
    const machine = `${header.cpuModel.split(/[, ]/)[0]}, ${2 ** header.pageShift / 1024}K`;
    return `<tr data-trace="${index}" tabindex="0"><th scope="row">${escape(result.trace)}<small>${escape(machine)}</small></th>${cells.join("")}${mark}</tr>`;
  });
  return `<section class="card scroll"><table class="summary"><thead><tr><th>trace</th>${head}</tr></thead>
<tbody>${rows.join("\n")}</tbody></table></section>`;
}

function count(value: number): string {
  return value.toLocaleString("en-US");
}

function escape(text: string): string {
  return text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
}

/** JSON that cannot end the script element it stands in. */
function embed(value: unknown): string {
  return JSON.stringify(value).replaceAll("<", "\\u003c");
}
