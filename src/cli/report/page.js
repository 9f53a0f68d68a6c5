// The script of the report: shows one trace at a time, and draws its plots with uPlot.
"use strict";

const traces = JSON.parse(document.getElementById("data").textContent);
const detail = document.getElementById("detail");
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const count = (value) => value.toLocaleString("en-US");
const hex = (value) => `0x${value.toString(16)}`;

/** Makes an element: `make("p", { class: "note" }, "text", child, …)`. */
function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function card(title, note, ...children) {
  return make(
    "div",
    { class: "card" },
    make("h3", {}, title),
    make("p", { class: "note" }, note),
    ...children,
  );
}

function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${Number.isInteger(value) ? value : value.toFixed(1)} ${units[unit]}`;
}

/** "4 KiB page", "2 MiB block". */
function leafName(trace, level) {
  const shift = trace.pageShift + (3 - level) * (trace.pageShift - 3);
  return `${bytes(2 ** shift)} ${level === 3 ? "page" : "block"}`;
}

// ---- plots over time

/** Round steps for an axis of bytes: powers of two. */
const BYTE_STEPS = Array.from({ length: 50 }, (_, i) => 2 ** i);

function axes(format, steps) {
  const common = { stroke: () => css("--dim"), grid: { stroke: () => css("--line"), width: 1 } };
  const ticks = { stroke: () => css("--line"), width: 1 };
  const y = { ...common, ticks, size: 76, values: (_, splits) => splits.map(format) };
  return [
    { ...common, ticks, values: (_, splits) => splits.map((value) => `${value} s`) },
    steps === undefined ? y : { ...y, incrs: steps },
  ];
}

/**
 * Areas on top of each other. The sum of all is drawn first, the lowest last, over it; the legend shows each by itself.
 */
function stackedPlot(holder, trace, names, columns, format, options) {
  const { colours } = options;
  const sums = [];
  columns.forEach((column, n) => {
    sums.push(column.map((value, i) => value + (n > 0 ? sums[n - 1][i] : 0)));
  });
  const order = columns.map((_, n) => columns.length - 1 - n);
  const series = order.map((n) => ({
    label: names[n],
    stroke: () => css(colours[n]),
    fill: () => css(colours[n]) + (options.bars ? "" : "cc"),
    width: options.bars ? 0 : 1,
    points: { show: false },
    paths: options.bars ? uPlot.paths.bars({ size: [0.9, 40] }) : uPlot.paths.stepped({ align: 1 }),
    value: (_, value, __, index) => (index === null ? "–" : format(columns[n][index])),
  }));
  return new uPlot(
    {
      width: holder.clientWidth,
      height: 240,
      cursor: { sync: { key: trace.name }, points: { show: false }, drag: { x: true, y: false } },
      scales: { x: { time: false }, y: { range: (_, __, most) => [0, (most || 1) * 1.06] } },
      axes: axes(format, options.steps),
      series: [
        { label: "time", value: (_, value) => (value === null ? "–" : `${value.toFixed(3)} s`) },
        ...series,
      ],
    },
    [trace.time, ...order.map((n) => sums[n])],
    holder,
  );
}

/** Levels at which anything was mapped, pages first. */
function levelsOf(trace) {
  return [3, 2, 1].filter((level) => trace.mapped[level - 1].some((value) => value > 0));
}

const KIND_COLOURS = {
  map: "--c0",
  relax_perms: "--c1",
  wrprotect: "--c2",
  unmap: "--c3",
  test_clear_young: "--c4",
  mkyoung: "--c6",
  flush: "--c7",
};
const kindColour = (kind) => KIND_COLOURS[kind] ?? "--c5";

/** Kinds of calls, most frequent first. */
function kindsOf(trace) {
  const total = (kind) => trace.calls[kind].reduce((sum, value) => sum + value, 0);
  const kinds = Object.keys(trace.calls).sort((a, b) => total(b) - total(a));
  return kinds.map((kind) => ({ kind, total: total(kind), column: trace.calls[kind] }));
}

/** The samples in a few wide bins, so that bars can be told apart. */
function binned(trace, columns, bins) {
  const last = trace.time.at(-1) || 1;
  const time = Array.from({ length: bins }, (_, i) => ((i + 0.5) * last) / bins);
  const out = columns.map(() => new Array(bins).fill(0));
  trace.time.forEach((at, i) => {
    const bin = Math.min(bins - 1, Math.floor((at / last) * bins));
    columns.forEach((column, n) => (out[n][bin] += column[i]));
  });
  return { time, columns: out };
}

// ---- bars

function kindBars(trace) {
  const kinds = kindsOf(trace);
  const most = kinds[0]?.total ?? 1;
  const rows = kinds.flatMap(({ kind, total }) => {
    const style = `width: ${(total / most) * 100}%; background: var(${kindColour(kind)})`;
    const bar = make("i", { style });
    return [make("span", {}, kind), make("div", {}, bar), make("span", {}, count(total))];
  });
  return make("div", { class: "bars" }, ...rows);
}

function faultColumns({ pages }) {
  const most = Math.max(...pages, 1);
  const scale = (value) => Math.log10(value + 1) / Math.log10(most + 1);
  return make(
    "div",
    { class: "columns" },
    ...pages.map((value, i) => {
      const bar = make("i", {
        style: `height: ${value === 0 ? 0 : Math.max(1, scale(value) * 140)}px`,
      });
      const label = i === pages.length - 1 ? `${i + 1}+` : `${i + 1}`;
      return make(
        "div",
        { title: `${count(value)} pages` },
        value === 0 ? "" : count(value),
        bar,
        label,
      );
    }),
  );
}

// ---- the address space

/** A cell's code: see address_map.ts. */
function decodeCell(code) {
  const rest = code - 1;
  return { prot: rest & 7, accessed: (rest & 8) !== 0, level: rest >> 4 };
}

const permissions = (prot) =>
  `${prot & 4 ? "r" : "-"}${prot & 2 ? "w" : "-"}${prot & 1 ? "x" : "-"}`;
const PERMISSION_COLOURS = { "r--": "--p-r", "rw-": "--p-rw", "r-x": "--p-rx", rwx: "--p-rwx" };

/** What the map can show: how a cell is named, and the variable of its colour. */
const VIEWS = {
  permissions: ({ prot }) => [permissions(prot), PERMISSION_COLOURS[permissions(prot)] ?? "--c6"],
  "leaf sizes": ({ level }, trace) => [leafName(trace, level), `--c${3 - level}`],
  "access flags": ({ accessed }) => (accessed ? ["accessed", "--c3"] : ["not accessed", "--c1"]),
};

/** Cells in a row, and their size: large ones as long as they fit. */
function gridOf(cells) {
  if (cells > 8192) return { columns: 256, side: 4 };
  return { columns: Math.min(128, cells), side: 8 };
}

function regionCanvas(trace, { start, cell, runs }, view, tip) {
  const cells = [];
  for (let i = 0; i < runs.length; i += 2)
    for (let n = 0; n < runs[i + 1]; n++) cells.push(runs[i]);
  const { columns, side } = gridOf(cells.length);
  const rows = Math.ceil(cells.length / columns);
  const scale = devicePixelRatio || 1;
  const [width, height] = [columns * side, rows * side];
  const canvas = make("canvas", {
    style: `width: min(100%, ${width}px); aspect-ratio: ${width} / ${height}`,
  });
  [canvas.width, canvas.height] = [width * scale, height * scale];
  const draw = canvas.getContext("2d");
  draw.scale(scale, scale);
  cells.forEach((code, i) => {
    draw.fillStyle = css(code === 0 ? "--none" : VIEWS[view](decodeCell(code), trace)[1]);
    // Pages are separate squares; a block is one unbroken stretch.
    const gap = code !== 0 && decodeCell(code).level < 3 ? 0 : side / 8;
    const [x, y] = [(i % columns) * side, Math.floor(i / columns) * side];
    draw.fillRect(x, y, side - gap, side - gap);
  });
  canvas.onmousemove = (event) => {
    const box = canvas.getBoundingClientRect();
    const column = Math.floor(((event.clientX - box.left) / box.width) * columns);
    const index = Math.floor(((event.clientY - box.top) / box.height) * rows) * columns + column;
    tip.textContent =
      cells[index] === undefined ? "" : describeCell(trace, start + index * cell, cells[index]);
    tip.style.left = `${Math.min(event.clientX + 14, innerWidth - 380)}px`;
    tip.style.top = `${event.clientY + 16}px`;
  };
  canvas.onmouseleave = () => (tip.textContent = "");
  return canvas;
}

function describeCell(trace, address, code) {
  if (code === 0) return `${hex(address)}  not mapped`;
  const { prot, accessed, level } = decodeCell(code);
  return `${hex(address)}  ${leafName(trace, level)}  ${permissions(prot)}  ${accessed ? "accessed" : "old"}`;
}

/** Bytes by name, in the view, of everything mapped. */
function legend(trace, view) {
  const totals = new Map();
  for (const { cell, runs } of trace.fullest.regions) {
    for (let i = 0; i < runs.length; i += 2) {
      if (runs[i] === 0) continue;
      const [name, colour] = VIEWS[view](decodeCell(runs[i]), trace);
      const before = totals.get(name)?.size ?? 0;
      totals.set(name, { colour, size: before + runs[i + 1] * cell });
    }
  }
  const items = [...totals].sort((a, b) => b[1].size - a[1].size);
  return make(
    "div",
    { class: "legend" },
    ...items.map(([name, { colour, size }]) =>
      make(
        "span",
        {},
        make("i", { style: `background: var(${colour})` }),
        make("b", {}, name),
        ` ${bytes(size)}`,
      ),
    ),
  );
}

function regionTitle({ start, cell, runs }) {
  const cells = runs.reduce((sum, value, i) => (i % 2 === 1 ? sum + value : sum), 0);
  const unit = `${bytes(cell)} a cell`;
  return `${hex(start)} … ${hex(start + cells * cell)}   ${bytes(cells * cell)}, ${unit}`;
}

function addressSpace(trace, tip) {
  const body = make("div", {});
  const buttons = Object.keys(VIEWS).map((view) => {
    const button = make("button", { type: "button" }, view);
    button.onclick = () => show(view);
    return button;
  });
  const show = (view) => {
    buttons.forEach((button) => button.classList.toggle("on", button.textContent === view));
    const regions = trace.fullest.regions.map((region) =>
      make(
        "div",
        { class: "region" },
        make("p", {}, regionTitle(region)),
        regionCanvas(trace, region, view, tip),
      ),
    );
    body.replaceChildren(legend(trace, view), ...regions);
  };
  const note = `When most was mapped, ${trace.fullest.time.toFixed(2)} s after the first call. Rows of cells, addresses ascending.`;
  const element = card(
    "Guest address space",
    note,
    make("div", { class: "switch" }, ...buttons),
    body,
  );
  return { element, draw: () => show(buttons[0].textContent) };
}

// ---- one trace

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
  const note = "What overlapping CPUs and hardware keep a recording from telling.";
  return [card("Compared in part", note, make("ul", { class: "causes" }, ...items))];
}

let plots = [];

function showTrace(index) {
  const trace = traces[index];
  for (const plot of plots) plot.destroy();
  for (const row of document.querySelectorAll("[data-trace]"))
    row.classList.toggle("chosen", Number(row.dataset.trace) === index);
  const holders = [0, 1, 2].map(() => make("div", {}));
  const tip = make("div", { id: "tip" });
  const { touched, faults, mmio } = trace.faults;
  const map = addressSpace(trace, tip);
  detail.replaceChildren(
    title(trace),
    ...differences(trace),
    ...causes(trace),
    make(
      "div",
      { class: "grid" },
      card("Mapped guest memory", "By the size of the leaves that map it.", holders[0]),
      card(
        "Table pages",
        "Memory of the page tables themselves, unlinked tables included.",
        holders[1],
      ),
      card("Calls over time", "In 60 equal stretches of time.", holders[2]),
      card("Calls by kind", `${count(trace.result.calls)} calls.`, kindBars(trace)),
    ),
    card(
      "Faults per page",
      `Pages that faulted so many times (logarithmic). ${count(faults)} faults, of these ${count(mmio)} device accesses; the others on ${count(touched)} pages.`,
      faultColumns(trace.faults),
    ),
    map.element,
    tip,
  );
  map.draw();
  const levels = levelsOf(trace);
  const kinds = kindsOf(trace).filter(({ kind }) => kind !== "init" && kind !== "destroy");
  const bins = binned(
    trace,
    kinds.map(({ column }) => column),
    60,
  );
  plots = [
    stackedPlot(
      holders[0],
      trace,
      levels.map((level) => `${leafName(trace, level)}s`),
      levels.map((level) => trace.mapped[level - 1]),
      bytes,
      { steps: BYTE_STEPS, colours: levels.map((level) => `--c${3 - level}`) },
    ),
    stackedPlot(holders[1], trace, ["tables"], [trace.tables], bytes, {
      steps: BYTE_STEPS,
      colours: ["--c3"],
    }),
    stackedPlot(
      holders[2],
      { ...trace, time: bins.time },
      kinds.map(({ kind }) => kind),
      bins.columns,
      count,
      { bars: true, colours: kinds.map(({ kind }) => kindColour(kind)) },
    ),
  ];
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
