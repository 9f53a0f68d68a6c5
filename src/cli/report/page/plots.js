// Plots over time with uPlot, and bars.

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
