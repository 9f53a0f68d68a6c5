// What is shown of one trace, and the choice of the trace.

function title(trace) {
  const sizes = [...new Set(trace.shapes)].map((bits) => `${bits}-bit`).join(" and ");
  const facts = `${trace.cpu} · Linux ${trace.kernel} · ${bytes(2 ** trace.pageShift)} pages · ${sizes} guest addresses`;
  return make("div", { class: "title" }, make("h2", {}, trace.name), make("span", {}, facts));
}

function differences({ result }) {
  if (result.differing === 0) return [];
  const items = result.differences.map((sentence) => make("li", {}, sentence));
  const note = `${count(result.differing)} calls or dumps differ; the first:`;
  return [card("Differences", note, make("ol", { class: "differences" }, ...items))];
}

function causes({ undecided }) {
  if (undecided.length === 0) return [];
  const items = undecided.map(({ cause, count: n, meaning }) =>
    make("li", {}, make("b", {}, count(n)), make("code", {}, cause), make("span", {}, meaning)),
  );
  const note = "What hardware keeps a recording from telling, and what is not there.";
  return [card("Not compared", note, make("ul", { class: "causes" }, ...items))];
}

function faultCard({ faults: found }) {
  const { touched, faults, mmio } = found;
  const note = `Pages that faulted so many times (logarithmic). ${count(faults)} faults, of these ${count(mmio)} device accesses; the others on ${count(touched)} pages.`;
  return card("Faults per page", note, faultColumns(found));
}

/** Cards with the holders of the plots over time, and the bars. */
function plotCards(trace, [mapped, tables, calls]) {
  return make(
    "div",
    { class: "grid" },
    card("Mapped guest memory", "By the size of the leaves that map it.", mapped),
    card("Table pages", "Memory of the page tables themselves, detached tables included.", tables),
    card("Calls over time", "In 60 equal stretches of time.", calls),
    card("Calls by kind", `${count(trace.result.calls)} calls.`, kindBars(trace)),
  );
}

/** Draws the plots over time into their holders, which must be on the page: their width counts. */
function drawPlots(trace, [mapped, tables, calls]) {
  const levels = levelsOf(trace);
  const names = levels.map((level) => `${leafName(trace, level)}s`);
  const sizes = levels.map((level) => trace.mapped[level - 1]);
  const colours = levels.map((level) => `--c${3 - level}`);
  const kinds = kindsOf(trace).filter(({ kind }) => kind !== "init" && kind !== "destroy");
  const columns = kinds.map(({ column }) => column);
  const bins = binned(trace, columns, 60);
  const kindNames = kinds.map(({ kind }) => kind);
  return [
    stackedPlot(mapped, trace, names, sizes, bytes, { steps: BYTE_STEPS, colours }),
    stackedPlot(tables, trace, ["tables"], [trace.tables], bytes, {
      steps: BYTE_STEPS,
      colours: ["--c3"],
    }),
    stackedPlot(calls, { ...trace, time: bins.time }, kindNames, bins.columns, count, {
      bars: true,
      colours: kindNames.map(kindColour),
    }),
  ];
}

let plots = [];

function showTrace(index) {
  const trace = traces[index];
  for (const plot of plots) plot.destroy();
  for (const row of document.querySelectorAll("[data-trace]"))
    row.classList.toggle("chosen", Number(row.dataset.trace) === index);
  const holders = [0, 1, 2].map(() => make("div", {}));
  const tip = make("div", { id: "tip" });
  const map = addressSpace(trace, tip);
  detail.replaceChildren(
    title(trace),
    ...differences(trace),
    ...causes(trace),
    plotCards(trace, holders),
    faultCard(trace),
    map.element,
    tip,
  );
  map.draw();
  plots = drawPlots(trace, holders);
}

for (const row of document.querySelectorAll("[data-trace]")) {
  const choose = () => showTrace(Number(row.dataset.trace));
  row.onclick = choose;
  row.onkeydown = (event) => {
    if (event.key === "Enter") choose();
  };
}

const chosen = () => Number(document.querySelector(".chosen")?.dataset.trace ?? 0);
matchMedia("(prefers-color-scheme: dark)").onchange = () => showTrace(chosen());
let resizing = 0;
addEventListener("resize", () => {
  clearTimeout(resizing);
  resizing = setTimeout(() => showTrace(chosen()), 150);
});
if (traces.length > 0) showTrace(0);
