/**
 * Every run as a column of cells, one for each who may have it: host, hypervisor, guests. Widths grow with the logarithm of the
 * size, so that a page is as readable as a GiB:
 *
 *     0x8000_0000   0x8010_0000   0x8010_1000
 *     +------------+------------+-------------
 *     | OWNED      | SO         |               host
 *     |            | SB         | OWNED         hypervisor
 *     |            |            |               guest 0x1000
 *       1 MiB        4 KiB        15 MiB
 */
import type { KindOfRun } from "./category.ts";
import type { GuestInfo, OwnershipRun, PageState } from "./map.ts";
import { element, rect, text, titled } from "./svg.ts";
import { address, bytes, counted, hex, whose } from "./words.ts";

/** Where things are. */
export const WIDTH = 1120;
export const LEFT = 140;
const LANE = 40;
const GAP = 3;
/** Stripes along the lower edge of what its owner shares. */
const BAND = 8;
const ABOVE = 18;
const BELOW = 30;
/** Room for `BORROWED`. */
const NARROWEST = 90;
const WIDEST = 190;
const PER_DOUBLING = 7;
/** A row that is not full is not drawn wider than so many times. */
const MOST_STRETCH = 1.6;
/** Widths of a letter in the widest of the fonts: of states, of addresses, of what is small. */
const LETTER = 10;
const MONO_LETTER = 6.7;
const SMALL_LETTER = 6.6;
const MARGIN = 10;
const MOST_GUEST_LANES = 6;

/** One who may have a page: what its cell says of a run. */
interface Lane {
  readonly actor: "host" | "hyp" | "guest";
  readonly label: string;
  cell(run: OwnershipRun): { state: PageState; detail: string };
}

interface Placed extends KindOfRun {
  readonly x: number;
  readonly width: number;
}

/** A drawing and how high it is; `tops` is where the first row's blocks are. */
export interface Drawn {
  readonly markup: string;
  readonly height: number;
  readonly first: readonly Placed[];
}

/** The runs in rows, from `y` on. */
export function drawBlocks(
  runs: readonly KindOfRun[],
  guests: readonly GuestInfo[],
  pageSize: number,
  y: number,
): Drawn {
  const lanes = lanesOf(guests);
  const rows = rowsOf(runs, lanes, pageSize);
  const rowHeight = ABOVE + lanes.length * (LANE + GAP) + BELOW;
  const markup = rows.map((row, i) => drawRow(row, lanes, y + i * rowHeight)).join("\n");
  return { markup, height: rows.length * rowHeight, first: rows[0] ?? [] };
}

function lanesOf(guests: readonly GuestInfo[]): Lane[] {
  const own = guests.slice(0, MOST_GUEST_LANES).map(({ handle, protected: hidden }) => ({
    actor: "guest" as const,
    label: `${hidden ? "protected" : "guest"} ${hex(handle)}`,
    cell: (run: OwnershipRun) => guestCell(run, (other) => other === handle),
  }));
  const rest = new Set(guests.slice(MOST_GUEST_LANES).map(({ handle }) => handle));
  const others: Lane = {
    actor: "guest",
    label: counted(rest.size, "more guest"),
    cell: (run) => guestCell(run, (handle) => rest.has(handle)),
  };
  return [
    { actor: "host", label: "host", cell: hostCell },
    { actor: "hyp", label: "hypervisor", cell: hypCell },
    ...own,
    ...(rest.size > 0 ? [others] : []),
  ];
}

function hostCell({ host, count }: OwnershipRun) {
  return { state: host, detail: count > 0 ? `count ${count}` : "" };
}

function hypCell({ hyp, references }: OwnershipRun) {
  return { state: hyp, detail: references > 0 ? `references ${references}` : "" };
}

function guestCell(run: OwnershipRun, mine: (handle: number) => boolean) {
  const shares = run.guests.filter(({ handle }) => mine(handle));
  const [share] = shares;
  if (share === undefined) return { state: "NOPAGE" as const, detail: "" };
  const leaves = shares.reduce((sum, each) => sum + each.leaves, 0);
  const { gfn } = share;
  return { state: share.state, detail: placesOf(leaves, gfn) };
}

/** Where a guest has each page of a run. */
function placesOf(leaves: number, gfn: number | undefined): string {
  if (leaves > 1) return `at ${leaves} gfns`;
  return gfn === undefined ? "scattered gfns" : `gfn ${hex(gfn)}`;
}

/** Greedy rows, stretched to the whole width. */
function rowsOf(runs: readonly KindOfRun[], lanes: readonly Lane[], pageSize: number): Placed[][] {
  const room = WIDTH - LEFT;
  const rows: (KindOfRun & { width: number })[][] = [[]];
  let used = 0;
  for (const each of runs) {
    const width = widthOf(each.run, lanes, pageSize);
    if (used + width > room) {
      rows.push([]);
      used = 0;
    }
    rows.at(-1)?.push({ ...each, width });
    used += width;
  }
  return rows.map((row) => {
    const total = row.reduce((sum, { width }) => sum + width, 0);
    const stretch = Math.min(room / total, MOST_STRETCH);
    let x = LEFT;
    return row.map((each) => {
      const placed = { ...each, x, width: each.width * stretch };
      x += placed.width;
      return placed;
    });
  });
}

/** By size, but never narrower than what is written there. */
function widthOf(run: OwnershipRun, lanes: readonly Lane[], pageSize: number): number {
  const doublings = Math.log2(run.size / pageSize);
  const details = lanes.map((lane) => lane.cell(run).detail.length);
  return Math.max(
    Math.min(WIDEST, NARROWEST + PER_DOUBLING * doublings),
    address(run.pa).length * MONO_LETTER + MARGIN,
    Math.max(...details) * SMALL_LETTER + MARGIN,
  );
}

function drawRow(row: readonly Placed[], lanes: readonly Lane[], y: number): string {
  const top = y + ABOVE;
  const laneY = (i: number): number => top + i * (LANE + GAP);
  const labels = lanes.map(({ label }, i) =>
    text("lane end", LEFT - 12, laneY(i) + LANE / 2 + 4, label),
  );
  const blocks = row.map((each) => {
    const { run, x } = each;
    const cells = lanes.map((lane, i) => drawCell(lane, each, laneY(i)));
    const under = text("dim small", x + 1, laneY(lanes.length) + 11, bytes(run.size));
    const above = text("mono", x + 1, y + 12, address(run.pa));
    const title = `${address(run.pa)} … ${address(run.pa + run.size)}, ${bytes(run.size)}: ${whose(run)}`;
    return titled(title, above, ...cells, under);
  });
  return [...labels, ...blocks].join("\n");
}

function drawCell(lane: Lane, { run, category, x, width: whole }: Placed, y: number): string {
  const { state, detail } = lane.cell(run);
  const width = whole - GAP;
  const box = { x, y, width, height: LANE, rx: 4 };
  if (state === "NOPAGE") {
    const dot = text("dim mid", x + width / 2, y + LANE / 2 + 4, "–");
    return element("rect", { ...box, class: "cell empty" }) + dot;
  }
  const borrowed = state === "SHARED_BORROWED";
  const words = width >= state.length * LETTER ? state : SHORT_STATE[state];
  const ink = borrowed ? "" : lane.actor === "host" ? " on-host" : " on";
  const first = y + (detail === "" ? 24 : 18) - (state === "SHARED_OWNED" ? 3 : 0);
  return [
    element("rect", { ...box, class: `cell ${lane.actor}${borrowed ? " borrowed" : ""}` }),
    ...(state === "SHARED_OWNED" ? [rect(`k-${category}`, x, y + LANE - BAND, width, BAND)] : []),
    text(`mid${ink || " lane"}`, x + width / 2, first, words),
    ...(detail === "" ? [] : [text(`mid small${ink}`, x + width / 2, first + 13, detail)]),
  ].join("");
}

const SHORT_STATE: Readonly<Record<PageState, string>> = {
  OWNED: "OWNED",
  SHARED_OWNED: "SHARED",
  SHARED_BORROWED: "BORROWED",
  NOPAGE: "–",
};
