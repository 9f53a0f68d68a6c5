/** Kinds of ownership that pictures tell apart: who owns a page, and with whom it is shared. */
import type { OwnershipMap, OwnershipRun } from "./map.ts";

export type Category =
  | "host"
  | "host-hyp"
  | "host-guest"
  | "host-secure"
  | "hyp"
  | "guest"
  | "guest-host"
  | "nobody"
  | "closed";

/** In the order of legends, from what is mostly there to what is rare. */
export const CATEGORIES: Readonly<Record<Category, string>> = {
  host: "host",
  "host-hyp": "host, shared with the hypervisor",
  "host-guest": "host, shared with guests",
  "host-secure": "host, shared with the secure world",
  hyp: "hypervisor",
  guest: "guest",
  "guest-host": "guest, shared with the host",
  nobody: "nobody",
  closed: "not to be mapped",
};

/** For one character of a terminal. */
export const GLYPHS: Readonly<Record<Category, string>> = {
  host: "░",
  "host-hyp": "h",
  "host-guest": "s",
  "host-secure": "f",
  hyp: "█",
  guest: "G",
  "guest-host": "g",
  nobody: " ",
  closed: "×",
};

/** The kind of a run; `closed`: it lies in memory that nobody may map. */
export function categoryOf(run: OwnershipRun, closed: boolean): Category {
  if (closed) return "closed";
  if (run.owner === "guest") return run.host === "SHARED_BORROWED" ? "guest-host" : "guest";
  if (run.owner !== "host" || run.host === "OWNED") return run.owner;
  if (run.guests.length > 0) return "host-guest";
  return run.hyp === "SHARED_BORROWED" ? "host-hyp" : "host-secure";
}

export interface KindOfRun {
  readonly run: OwnershipRun;
  readonly category: Category;
}

/** The runs of a region, with their kinds. */
export function runsOf(
  { runs }: OwnershipMap,
  region: OwnershipMap["regions"][number],
): KindOfRun[] {
  const end = region.pa + region.size;
  return runs
    .filter(({ pa }) => pa >= region.pa && pa < end)
    .map((run) => ({ run, category: categoryOf(run, region.noMap) }));
}

/** Bytes of each kind that there is, in the order of legends. */
export function totalsOf(map: OwnershipMap): [Category, number][] {
  const totals = new Map<Category, number>();
  for (const { run, category } of map.regions.flatMap((region) => runsOf(map, region)))
    totals.set(category, (totals.get(category) ?? 0) + run.size);
  return (Object.keys(CATEGORIES) as Category[])
    .filter((category) => totals.has(category))
    .map((category) => [category, totals.get(category) as number]);
}
