/** The report of a hypercall script: one HTML file that needs nothing else, without a script. */
import { ownershipLegend } from "../ownership/legend.ts";
import { ownershipPicture } from "../ownership/picture.ts";
import { escape } from "../ownership/svg.ts";
import { address, bytes, counted, hex, whose } from "../ownership/words.ts";
import type { OwnershipMap } from "../ownership/map.ts";
import { guestWordsOf, pageFacts } from "../pkvm_script/change_words.ts";
import type { GuestChange, PageChange, ScriptResult, Step } from "../pkvm_script/document.ts";
import baseStyle from "./page/base.css?raw";
import pkvmStyle from "./page/pkvm.css?raw";

/** Runs that are listed under the picture. */
const MOST_RUNS = 400;
/** Changes that are listed for a statement. */
const MOST_CHANGES = 24;

/** The whole document. */
export function renderPkvmReport(result: ScriptResult): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>stage2 pkvm: ${escape(result.script)}</title>
<style>${baseStyle}${pkvmStyle}</style>
</head>
<body>
<header>
<h1>Who owns what</h1>
<p>Hypercalls of ${escape(result.script)}, made on a pKVM machine of stage2: what each answered, the states of the pages it was
about before and after, and at the end the ownership of all physical memory.</p>
</header>
<main>
${tiles(result)}
<section class="card"><h2>Physical memory at the end</h2>
<p class="note">Every column is a run of pages with the same states; widths are not to scale, the strip above is. Point at a run
to read it. Solid: owned. Striped: owned, and shared. Dashed: borrowed.</p>
${picture(result.ownership)}
${guestsTable(result.ownership)}
${runsTable(result.ownership)}</section>
<section class="card steps"><h2>Call by call</h2>
${result.steps.map(step).join("\n")}
</section>
</main>
</body>
</html>
`;
}

function picture(map: OwnershipMap): string {
  return `${ownershipLegend(map)}<div class="picture">${ownershipPicture(map)}</div>`;
}

function tiles({ calls, held, differing, ownership }: ScriptResult): string {
  const memory = ownership.regions.reduce((sum, { size }) => sum + size, 0);
  const guests = ownership.guests.length;
  const values: [string, string, string][] = [
    [calls === 1 ? "hypercall" : "hypercalls", String(calls), ""],
    ["memory", bytes(memory), ""],
    [guests === 1 ? "guest" : "guests", String(guests), ""],
    [held === 1 ? "expectation holds" : "expectations hold", String(held), ""],
    [differing === 1 ? "differs" : "differ", String(differing), differing === 0 ? " good" : " bad"],
  ];
  const items = values.map(
    ([label, value, mood]) => `<div class="tile${mood}"><b>${value}</b><span>${label}</span></div>`,
  );
  return `<section class="tiles">${items.join("")}</section>`;
}

function guestsTable({ guests }: OwnershipMap): string {
  if (guests.length === 0) return "";
  const rows = guests.map(({ handle, protected: hidden, dying, leaves, poisoned }) => {
    const kind = `${hidden ? "protected" : "not protected"}${dying ? ", dying" : ""}`;
    const gone =
      poisoned.length === 0 ? "none" : poisoned.map((gfn) => `gfn ${hex(gfn)}`).join(", ");
    return `<tr><th scope="row">${hex(handle)}</th><td>${kind}</td><td>${leaves}</td><td>${gone}</td></tr>`;
  });
  return `<table class="plain"><thead><tr><th>guest</th><th>kind</th><th>mappings</th><th>taken back by force</th></tr></thead>
<tbody>${rows.join("\n")}</tbody></table>`;
}

function runsTable({ runs }: OwnershipMap): string {
  const rows = runs.slice(0, MOST_RUNS).map((run) => {
    const cells = [address(run.pa), bytes(run.size), run.host, run.hyp, whose(run)];
    return `<tr>${cells.map((cell) => `<td>${escape(cell)}</td>`).join("")}</tr>`;
  });
  const left = runs.length - rows.length;
  const more = left > 0 ? `<p class="note">and ${left} more</p>` : "";
  return `<details><summary>${counted(runs.length, "run")} in words</summary><table class="plain"><thead><tr><th>address</th><th>size</th>
<th>host</th><th>hypervisor</th><th>owner</th></tr></thead><tbody>${rows.join("\n")}</tbody></table>${more}</details>`;
}

function step(each: Step): string {
  if (each.kind === "note") return `<h3>${escape(each.text.replace(/^note\s+/, ""))}</h3>`;
  if (each.ownership !== undefined)
    return `<div class="step"><span class="line">${each.line}</span>${picture(each.ownership)}</div>`;
  const wrong = each.checks.filter(({ ok }) => !ok);
  const mood = wrong.length > 0 ? " bad" : each.checks.length > 0 ? " good" : "";
  const marks = wrong.map(
    ({ expected, found }) =>
      `<p class="wrong">expected ${escape(expected)}, found ${escape(found)}</p>`,
  );
  const [statement] = each.text.split("->") as [string];
  const code = `<code>${escape(each.kind === "call" ? statement.trim() : each.text)}</code>`;
  return `<div class="step${mood}"><span class="line">${each.line}</span>${code}${answer(each)}${marks.join("")}${changes(each)}</div>`;
}

/** What came back: of a call its result, of claims whether they hold, of several calls each. */
function answer({ kind, calls, checks }: Step): string {
  if (kind === "value") return "";
  if (kind === "expect") return pill(checks.every(({ ok }) => ok) ? "holds" : "differs", checks);
  if (kind === "call") return pill(calls[0]?.resultName ?? "", checks);
  const items = calls.map(
    ({ call, resultName }) => `<li><code>${escape(call)}</code> → ${escape(resultName)}</li>`,
  );
  return `<ul class="calls">${items.join("")}</ul>`;
}

function pill(text: string, checks: Step["checks"]): string {
  const mood = checks.length === 0 ? "" : checks.every(({ ok }) => ok) ? " good" : " bad";
  return `<span class="pill${mood}">${escape(text)}</span>`;
}

function changes({ pages, guests }: Step): string {
  const all = [...guests.map(guestLine), ...pages.map(pageLine)];
  if (all.length === 0) return "";
  const left = all.length - MOST_CHANGES;
  const more = left > 0 ? `<li>and ${left} more</li>` : "";
  return `<ul class="changes">${all.slice(0, MOST_CHANGES).join("")}${more}</ul>`;
}

function pageLine(change: PageChange): string {
  const facts = pageFacts(change).map(({ what, before, after }) => fact(what, before, after));
  return `<li><b>${address(change.pa)}</b> <small>${bytes(change.size)}</small>${facts.join("")}</li>`;
}

function guestLine(change: GuestChange): string {
  const { before, after } = guestWordsOf(change);
  return `<li><b>gfn ${hex(change.gfn)}</b> <small></small>${fact(`guest ${hex(change.handle)}`, before, after)}</li>`;
}

function fact(what: string, before: string, after: string): string {
  const name = `<i>${escape(what)}</i>`;
  if (before === after) return `<span>${name} ${escape(after)}</span>`;
  return `<span class="new">${name} ${escape(before)} → <b>${escape(after)}</b></span>`;
}
