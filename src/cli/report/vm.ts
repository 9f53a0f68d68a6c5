/** The report of a replay at the level of VMs: one HTML file that needs nothing else, without a script. */
import type { VmReplayResult } from "../../replay/vm/result.ts";
import baseStyle from "./page/base.css?raw";

/** The whole document. */
export function renderVmReport(results: readonly VmReplayResult[]): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>stage2 replay, VMs</title>
<style>${baseStyle}</style>
</head>
<body>
<header>
<h1>Replay of recorded KVM hosts</h1>
<p>Memslots, guest aborts, notifiers and dirty logging of the recorded hosts were done again on a VM of stage2. Every
library call that came of them, every answer and every word of the dirty logs was predicted, and compared.</p>
</header>
<main>
${tiles(results)}
${summary(results)}
${details(results)}
</main>
</body>
</html>
`;
}

function tiles(results: readonly VmReplayResult[]): string {
  const total = (count: (result: VmReplayResult) => number): number =>
    results.reduce((sum, result) => sum + count(result), 0);
  const differing = total((result) => result.differing);
  const values: [string, number, string][] = [
    ["traces", results.length, ""],
    ["guest aborts", total((result) => result.aborts), ""],
    ["library calls compared", total((result) => result.compared), ""],
    ["dirty words compared", total((result) => result.words), ""],
    ["facts held", total((result) => result.facts.held), ""],
    ["differing", differing, differing === 0 ? " good" : " bad"],
  ];
  const items = values.map(
    ([label, value, mood]) =>
      `<div class="tile${mood}"><b>${count(value)}</b><span>${label}</span></div>`,
  );
  return `<section class="tiles">${items.join("")}</section>`;
}

const COLUMNS = [
  ["aborts", "Guest aborts", ({ aborts }) => aborts],
  ["call", "Aborts that called the library", ({ called }) => called],
  ["own", "Retried for a notifier inside the fault", ({ own }) => own],
  ["inside", "Retried inside a notifier of another thread", ({ inside }) => inside],
  ["either", "Retried beside a notifier that overlapped in part", ({ either }) => either],
  ["call-e", "Called, though a notifier had overlapped in part", (result) => result.eitherCalled],
  ["device", "Device accesses", ({ devices }) => devices],
  ["range", "Range calls predicted", ({ ranges }) => ranges],
  ["compared", "Library calls compared", ({ compared }) => compared],
  ["words", "Words of dirty logs compared", ({ words }) => words],
] as const satisfies readonly (readonly [string, string, (result: VmReplayResult) => number])[];

function summary(results: readonly VmReplayResult[]): string {
  const head = COLUMNS.map(([name, title]) => `<th title="${title}">${name}</th>`).join("");
  const rows = results.map((result) => {
    const cells = COLUMNS.map(([, , value]) => value(result)).map(
      (value) => `<td class="${value === 0 ? "zero" : ""}">${count(value)}</td>`,
    );
    const mood = result.ok ? "good" : "bad";
    const mark = `<td><span class="pill ${mood}">${count(result.differing)}</span></td>`;
    return `<tr><th scope="row">${escape(result.trace)}</th>${cells.join("")}${mark}</tr>`;
  });
  return `<section class="card scroll"><table class="summary"><thead><tr><th>trace</th>${head}<th>differing</th></tr></thead>
<tbody>${rows.join("\n")}</tbody></table></section>`;
}

/** What each cause means, for readers who meet it the first time. */
const CAUSES: Readonly<Record<string, string>> = {
  "either-or": "faults that overlapped with an invalidation in part, and could end either way",
  "lost-race": "faults that met an entry that another CPU was changing",
  "late-mark": "pages whose fault had not returned when the log was taken, and marked them later",
  "af-from-visits": "access flags that hardware had set, found by the next call",
};

/** Causes and differences of the traces that have any. */
function details(results: readonly VmReplayResult[]): string {
  return results
    .map(({ trace, undecided, differences }) => {
      const items = [
        ...Object.entries(undecided).map(
          ([cause, value]) => `${cause}: ${count(value)} ${CAUSES[cause] ?? ""}`,
        ),
        ...differences,
      ];
      if (items.length === 0) return "";
      const list = items.map((item) => `<li>${escape(item)}</li>`).join("");
      return `<section class="card"><h2>${escape(trace)}</h2><ul>${list}</ul></section>`;
    })
    .join("\n");
}

function count(value: number): string {
  return value.toLocaleString("en-US");
}

function escape(text: string): string {
  return text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
}
