/** Physical memory: which pages there are, and what the host and the hypervisor are to each of them (one owner a page). */
import { PAGE_STATE } from "../../../src/pkvm/_abi.ts";
import type { Stretch, World } from "../world.ts";
import { EINVAL, EPERM } from "./words.ts";

export const { OWNED, SHARED_OWNED, SHARED_BORROWED, NOPAGE } = PAGE_STATE;

/** One of {@link PAGE_STATE}. */
export type State = number;

/** A page, as the rules see it. */
export interface Page {
  readonly pfn: number;
  host: State;
  hyp: State;
  /** Who in the hypervisor uses it: pins, and VMs. */
  references: number;
  /** Leaves of guests that map it: of meaning while the host has lent it. */
  guests: number;
  /** What the host's stage 2 says of a page that is not the host's; 0: nothing. */
  annotation: bigint;
}

/** A region of memory, in pages. */
export interface Region {
  readonly first: number;
  readonly end: number;
  readonly noMap: boolean;
  /** None of a region that nobody may have. */
  readonly pages: readonly Page[];
}

const fresh = (pfn: number): Page => ({
  pfn,
  host: OWNED,
  hyp: NOPAGE,
  references: 0,
  guests: 0,
  annotation: 0n,
});

export class Memory {
  readonly regions: readonly Region[];
  /** Every page that somebody may have, ascending. */
  readonly pages: readonly Page[];
  /** Page frames that the address space has. */
  readonly frames: number;
  /** Pages that changed since somebody last cleared it. */
  readonly changed = new Set<Page>();

  constructor({ pageShift, paBits, regions }: World) {
    this.frames = 2 ** (paBits - pageShift);
    this.regions = regions
      .map((region) => regionOf(region, 2 ** pageShift))
      .sort((a, b) => a.first - b.first);
    this.pages = this.regions.flatMap(({ pages }) => pages);
  }

  /** A page that somebody may have; undefined where there is none. */
  page(pfn: number): Page | undefined {
    const region = this.regionAt(pfn);
    return region?.pages[pfn - region.first];
  }

  regionAt(pfn: number): Region | undefined {
    return this.regions.find(({ first, end }) => pfn >= first && pfn < end);
  }

  /** The pages of a range, or what a hypercall says of one that is not memory (P-4.2). */
  range(pfn: bigint, count: bigint): readonly Page[] | number {
    if (count === 0n || pfn + count > BigInt(this.frames)) return -EINVAL;
    const [first, end] = [Number(pfn), Number(pfn + count)];
    const met = this.regions.filter((region) => region.first < end && region.end > first);
    const region = met[0];
    if (region === undefined) return -EPERM;
    if (region.first > first || region.end < end) return -EINVAL;
    if (region.noMap) return -EPERM;
    return region.pages.slice(first - region.first, end - region.first);
  }

  change(page: Page, to: Partial<Omit<Page, "pfn">>): void {
    Object.assign(page, to);
    this.changed.add(page);
  }
}

function regionOf({ pa, size, noMap = false }: Stretch, pageSize: number): Region {
  const first = pa / pageSize;
  const count = size / pageSize;
  const pages = noMap ? [] : Array.from({ length: count }, (_, index) => fresh(first + index));
  return { first, end: first + count, noMap, pages };
}
