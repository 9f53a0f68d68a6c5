/**
 * The ownership map as a picture: a strip to scale for each region, below it every run in readable size. One SVG
 * that needs nothing else, no script either; what its colours mean stands in the legend.
 */
import { type Drawn, LEFT, WIDTH, drawBlocks } from "./blocks.ts";
import { type Category, type KindOfRun, runsOf } from "./category.ts";
import { type Cell, cellsOf } from "./cells.ts";
import type { OwnershipMap, Region } from "./map.ts";
import { STYLE, patterns } from "./style.ts";
import { element, rect, text, titled } from "./svg.ts";
import { address, bytes, counted } from "./words.ts";

/** Runs of a region that are drawn one by one. */
const MOST_BLOCKS = 120;
const STRIP = 26;
const CELLS = 500;
/** What little there is of a kind in a cell is at least so high. */
const LEAST = 4;
const LINK = 26;

/** The picture. */
export function ownershipPicture(map: OwnershipMap): string {
  let y = 0;
  const regions = map.regions.map((region) => {
    const drawn = drawRegion(map, region, y);
    y += drawn.height;
    return drawn.markup;
  });
  const size = { width: "100%", viewBox: `0 0 ${WIDTH} ${Math.ceil(y)}` };
  const names = { xmlns: "http://www.w3.org/2000/svg", class: "ownership", role: "img" };
  const label = { "aria-label": "Who owns physical memory" };
  const parts = [element("style", {}, STYLE), patterns(), ...regions];
  return element("svg", { ...names, ...size, ...label }, ...parts);
}

function drawRegion(
  map: OwnershipMap,
  region: Region,
  y: number,
): Pick<Drawn, "markup" | "height"> {
  const { pa, size, noMap } = region;
  const runs = runsOf(map, region);
  const title = `${address(pa)} … ${address(pa + size)}`;
  const about = `${bytes(size)}${noMap ? ", not to be mapped" : ""}`;
  const head = element(
    "text",
    { class: "region", x: 0, y: y + 22 },
    title,
    element("tspan", { class: "dim small", dx: 10 }, about),
  );
  const strip = drawStrip(region, runs, cellsOf(region, runs, CELLS, map.pageSize), y + 34);
  const after = y + 34 + STRIP;
  if (noMap) return { markup: head + strip, height: after - y + 24 };
  const shown = runs.slice(0, MOST_BLOCKS);
  const blocks = drawBlocks(shown, map.guests, map.pageSize, after + LINK);
  const links = drawLinks(region, blocks.first, after);
  const left = runs.length - shown.length;
  const bottom = after + LINK + blocks.height;
  const more =
    left === 0
      ? ""
      : text("dim", LEFT, bottom + 4, `and ${counted(left, "more run")}, in the strip only`);
  const markup = [head, strip, links, blocks.markup, more].join("\n");
  return { markup, height: bottom - y + (left === 0 ? 8 : 24) };
}

/** The whole region to scale. Cells with several kinds in them are divided from top to bottom. */
function drawStrip(
  region: Region,
  runs: readonly KindOfRun[],
  cells: readonly Cell[],
  y: number,
): string {
  const width = (WIDTH - LEFT) / cells.length;
  const parts: string[] = [];
  for (let i = 0; i < cells.length;) {
    const cell = cells[i] as Cell;
    let until = i + 1;
    while (until < cells.length && alike(cell, cells[until] as Cell)) until++;
    parts.push(drawCells(cell, LEFT + i * width, y, (until - i) * width));
    i = until;
  }
  const label = text("lane end", LEFT - 12, y + STRIP / 2 + 4, "to scale");
  const title = `${counted(runs.length, "run")} in ${bytes(region.size)}, ${bytes(region.size / cells.length)} a column`;
  const frame = rect("frame", LEFT, y, WIDTH - LEFT, STRIP);
  return label + titled(title, ...parts, frame);
}

/** Whether both are of one and the same kind. */
function alike(a: Cell, b: Cell): boolean {
  const [kind] = a.keys();
  return a.size === 1 && b.size === 1 && b.has(kind as Category);
}

function drawCells(cell: Cell, x: number, y: number, width: number): string {
  const total = [...cell.values()].reduce((sum, size) => sum + size, 0);
  const least = Math.min(LEAST, STRIP / cell.size);
  const spare = STRIP - least * cell.size;
  let top = y;
  return [...cell]
    .map(([category, size]) => {
      const height = least + (spare * size) / total;
      top += height;
      return rect(`k-${category}`, x, top - height, width + 0.3, height);
    })
    .join("");
}

/** From where a run of the first row is to where it is drawn. */
function drawLinks(region: Region, first: Drawn["first"], y: number): string {
  const scale = (WIDTH - LEFT) / region.size;
  return first
    .map(({ run, x, width }) => {
      const from = LEFT + (run.pa - region.pa) * scale;
      const to = Math.max(from + 1, from + run.size * scale);
      const [low, high] = [y + LINK - 3, y + 2];
      const d = `M${from.toFixed(1)} ${high}L${to.toFixed(1)} ${high}L${(x + width - 3).toFixed(1)} ${low}L${x.toFixed(1)} ${low}Z`;
      return element("path", { class: "link", d });
    })
    .join("");
}
