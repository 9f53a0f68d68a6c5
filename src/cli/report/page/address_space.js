// The guest's address space as a map of cells.

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
