/** The machine against the model: the host's stage 2, as far as it is determined, and the hypervisor's stage 1. */
import { type Difference, hex } from "./compare.ts";
import { frameOf, isHypRw, isValid, pagesOf, protOf, wordOf } from "./entry.ts";
import type { Entry, Machine } from "./machine.ts";
import { NOPAGE, OWNED, type Page, SHARED_BORROWED } from "./model/memory.ts";
import type { State } from "./model/state.ts";

const RWX = 7;
const RW = 6;

/** What the host's and the hypervisor's tables have for a page. */
export function comparePage(machine: Machine, state: State, page: Page): Difference {
  const pa = page.pfn * 2 ** state.world.pageShift;
  const host = hostEntry(state, page, machine.entry(machine.host, pa));
  const hypEntry = machine.entry(machine.hyp, pa - state.world.hypOffset);
  return host ?? compareHyp(state, page, hypEntry);
}

function hostEntry(state: State, page: Page, entry: Entry): Difference {
  const where = `host stage 2, page ${hex(page.pfn)}`;
  if (isValid(entry)) {
    if (page.annotation !== 0n) return `${where}: is mapped, and is not the host's`;
    return identity(state, entry, page.pfn);
  }
  if (page.host === SHARED_BORROWED) return `${where}: is not mapped, and the host has borrowed it`;
  const found = wordOf(entry);
  return found === page.annotation
    ? undefined
    : `${where}: ${hex(found)}, expected ${hex(page.annotation)}`;
}

/** A leaf of the host maps what it is at, with the rights that such memory has, and nothing beside its region. */
function identity(state: State, entry: Entry, pfn: number): Difference {
  const pages = pagesOf(entry);
  const first = pfn - (pfn % pages);
  const where = `host stage 2, leaf at ${hex(first)}`;
  if (frameOf(entry) !== first) return `${where}: maps ${hex(frameOf(entry))}`;
  const met = state.memory.regions.filter(
    (region) => region.first < first + pages && region.end > first,
  );
  const [region] = met;
  if (region !== undefined && (region.first > first || region.end < first + pages))
    return `${where}: goes beyond a region`;
  const prot = region === undefined ? RW : RWX;
  return protOf(entry) === prot ? undefined : `${where}: rights ${protOf(entry)}, expected ${prot}`;
}

const isInHyp = (state: State, { hyp, references }: Page): boolean =>
  hyp === OWNED || (hyp === SHARED_BORROWED && (references > 0 || state.has("MAP_SHARED_HYP")));

function compareHyp(state: State, page: Page, entry: Entry): Difference {
  const where = `hypervisor stage 1, page ${hex(page.pfn)}`;
  if (!isInHyp(state, page)) return isValid(entry) ? `${where}: is mapped` : undefined;
  if (!isValid(entry)) return `${where}: is not mapped`;
  const pages = pagesOf(entry);
  if (frameOf(entry) !== page.pfn - (page.pfn % pages))
    return `${where}: maps ${hex(frameOf(entry))}`;
  return isHypRw(entry) ? undefined : `${where}: ${hex(wordOf(entry))} is not read-write`;
}

/** Every entry of the host's table, and every annotation that has to be there. */
export function compareHost(machine: Machine, state: State): Difference {
  const shift = state.world.pageShift;
  let annotations = 0;
  for (const entry of machine.entries(machine.host, 2 ** state.world.paBits)) {
    const first = entry.address / 2 ** shift;
    if (isValid(entry)) {
      const difference = identity(state, entry, first) ?? notOthers(state, first, pagesOf(entry));
      if (difference !== undefined) return difference;
      continue;
    }
    annotations++;
    const page = state.memory.page(first);
    if (page?.annotation !== wordOf(entry) || entry.level !== 3)
      return `host stage 2 at ${hex(first)}: ${hex(wordOf(entry))} on level ${entry.level}, expected ${hex(page?.annotation ?? 0n)}`;
  }
  const expected = state.memory.pages.filter(({ annotation }) => annotation !== 0n).length;
  if (annotations !== expected)
    return `host stage 2: ${annotations} annotations, expected ${expected}`;
  return undefined;
}

function notOthers(state: State, first: number, pages: number): Difference {
  const inside = state.memory.regionAt(first)?.pages.length ? pages : 0;
  for (let pfn = first; pfn < first + inside; pfn++)
    if (state.memory.page(pfn)?.host === NOPAGE)
      return `host stage 2 maps ${hex(pfn)}, which is not the host's`;
  return undefined;
}

/** Every leaf of the hypervisor's table. */
export function compareHypTable(machine: Machine, state: State): Difference {
  let mapped = 0;
  const { pageShift, hypOffset, paBits } = state.world;
  for (const entry of machine.entries(machine.hyp, 2 ** paBits)) {
    const first = (entry.address + hypOffset) / 2 ** pageShift;
    for (let pfn = first; pfn < first + pagesOf(entry); pfn++) {
      const page = state.memory.page(pfn);
      if (page === undefined) return `hypervisor stage 1 maps ${hex(pfn)}`;
      const difference = compareHyp(state, page, entry);
      if (difference !== undefined) return difference;
      mapped++;
    }
  }
  const expected = state.memory.pages.filter((page) => isInHyp(state, page)).length;
  return mapped === expected
    ? undefined
    : `hypervisor stage 1: ${mapped} pages, expected ${expected}`;
}
