/** An ownership map as text: a bar for each region, and a table of its runs. */
import { CATEGORIES, type Category, GLYPHS, runsOf, totalsOf } from "./category.ts";
import { type Cell, cellsOf } from "./cells.ts";
import type { OwnershipMap, Region } from "./map.ts";
import { SHORT, address, bytes, counted, guestWords, whose } from "./words.ts";

const BAR = 64;
/** Runs that are listed; more are counted. */
const MOST_RUNS = 64;
const SHORTHAND = "SO: SHARED_OWNED, SB: SHARED_BORROWED, ·: NOPAGE";

/** The map for a terminal. */
export function ownershipText(map: OwnershipMap): string {
  const bars = map.regions.flatMap((region) => [title(region), `│${bar(map, region)}│`]);
  return [...bars, legend(map), "", ...table(map), SHORTHAND].join("\n");
}

function title({ pa, size, noMap }: Region): string {
  return `${address(pa)} … ${address(pa + size)}  ${bytes(size)}${noMap ? ", not to be mapped" : ""}`;
}

/** Cells of equal size; each shows the rarest kind that lies in it, so that no page disappears in a GiB. */
function bar(map: OwnershipMap, region: Region): string {
  const runs = runsOf(map, region);
  const totals = new Map<Category, number>();
  for (const { run, category } of runs)
    totals.set(category, (totals.get(category) ?? 0) + run.size);
  const rarest = (cell: Cell): Category =>
    [...cell.keys()].reduce((a, b) => ((totals.get(b) ?? 0) < (totals.get(a) ?? 0) ? b : a));
  return cellsOf(region, runs, BAR, map.pageSize)
    .map((cell) => GLYPHS[rarest(cell)])
    .join("");
}

function legend(map: OwnershipMap): string {
  return totalsOf(map)
    .map(([category, size]) => `${GLYPHS[category]} ${CATEGORIES[category]} ${bytes(size)}`)
    .join("   ");
}

function table(map: OwnershipMap): string[] {
  const runs = map.regions.flatMap((region) => runsOf(map, region));
  const shown = runs.slice(0, MOST_RUNS);
  const rows = shown.map(({ run, category }) => [
    address(run.pa),
    bytes(run.size),
    SHORT[run.host],
    SHORT[run.hyp],
    run.guests.map((share) => `${SHORT[share.state]} ${guestWords(share)}`).join(", ") || "·",
    category === "closed" ? CATEGORIES.closed : whose(run),
  ]);
  const left = runs.length - shown.length;
  const lines = box(["physical memory", "size", "host", "hyp", "guests", "owner"], rows);
  return left > 0 ? [...lines, `and ${counted(left, "more run")}`] : lines;
}

/** A table with lines of box characters. */
export function box(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const all = [head, ...rows];
  const widths = head.map((_, i) => Math.max(...all.map((row) => (row[i] as string).length)));
  const rule = (left: string, middle: string, right: string): string =>
    left + widths.map((width) => "─".repeat(width + 2)).join(middle) + right;
  const line = (row: readonly string[]): string =>
    `│ ${row.map((cell, i) => cell.padEnd(widths[i] as number)).join(" │ ")} │`;
  return [
    rule("┌", "┬", "┐"),
    line(head),
    rule("├", "┼", "┤"),
    ...rows.map(line),
    rule("└", "┴", "┘"),
  ];
}
