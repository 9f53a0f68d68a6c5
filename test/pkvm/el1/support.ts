/**
 * What the tests of the host's side share: guests whose records are held against the hypervisor's table after every step.
 *
 *     const { s2, step } = guestOf(bed());
 *     step(() => s2.map(page(0, pfn))); // then: records = leaves, none overlap, every page counts its leaves (P-2.4)
 */
import { expect } from "vitest";
import {
  type Generation,
  type MapRequest,
  type HypMemcache,
  type Pkvm,
  type PkvmStage2,
  type PkvmStage2Options,
  Prot,
} from "../../../src/index.ts";
import { BLOCK, type Bed, PAGE } from "../support.ts";

export const GENERATIONS: readonly Generation[] = ["seed", "default", "newest"];

export const IPA = 0x4000_0000;
export const BLOCK_BYTES = BLOCK * PAGE;
/** Everything that a guest of 40 bits has. */
export const ALL = { ipa: 0, size: 2 ** 40 };

const DEFAULT_PROT = Prot.RW;

/** A map of one page: the `at`-th from {@link IPA} to `pfn`. */
export function page(
  at: number,
  pfn: number,
  prot: number = DEFAULT_PROT,
): MapRequest<HypMemcache> {
  return { ipa: IPA + at * PAGE, size: PAGE, pa: pfn * PAGE, prot };
}

/** A map of one block, from `pfn` on. */
export function block(
  at: number,
  pfn: number,
  prot: number = DEFAULT_PROT,
): MapRequest<HypMemcache> {
  return { ipa: IPA + at * BLOCK_BYTES, size: BLOCK_BYTES, pa: pfn * PAGE, prot };
}

/** What both sides hold, in units of a page. */
type Mapping = readonly [gfn: number, pfn: number, pages: number];

interface Placed {
  readonly ipa: number;
  readonly pa: number;
  readonly size: number;
}

const inPages = ({ ipa, pa, size }: Placed): Mapping => [ipa / PAGE, pa / PAGE, size / PAGE];

/** What the host notes. */
export function records(s2: PkvmStage2): Mapping[] {
  return [...s2.mappings()].map(inPages);
}

/** Whether they are what a test wants, as pages from {@link IPA}: `[0, 1, 5]`. */
export function pagesOf(s2: PkvmStage2): number[] {
  return records(s2).map(([gfn]) => gfn - IPA / PAGE);
}

/**
 * I1: the records of each guest are the valid leaves of its table. I2: they do not overlap. I3: every page of memory counts the records of
 * all guests that have it.
 */
export function expectMirrored(pkvm: Pkvm, guests: readonly PkvmStage2[]): void {
  const counted = new Map<number, number>();
  for (const s2 of guests) {
    const noted = records(s2);
    expect(noted, "I1: records are leaves").toEqual([...s2.leaves()].map(inPages));
    noted.reduce((end, [gfn, , pages]) => {
      expect(gfn, "I2: records do not overlap").toBeGreaterThanOrEqual(end);
      return gfn + pages;
    }, 0);
    expect(s2.statistics.mappings).toBe(noted.length);
    for (const [, first, pages] of noted) {
      for (let pfn = first; pfn < first + pages; pfn++)
        counted.set(pfn, (counted.get(pfn) ?? 0) + 1);
    }
  }
  const wanted = [...counted].sort(([a], [b]) => a - b);
  expect(sharedPages(pkvm), "I3: counts are those of the leaves").toEqual(wanted);
}

/** Pages that guests have leaves of, and how many. */
function sharedPages(pkvm: Pkvm): [pfn: number, leaves: number][] {
  const shared: [number, number][] = [];
  for (const { pa, size, guestMappings } of pkvm.ranges()) {
    if (guestMappings === 0) continue;
    for (let at = pa; at < pa + size; at += PAGE) shared.push([at / PAGE, guestMappings]);
  }
  return shared;
}

export interface Guests {
  readonly s2: PkvmStage2;
  /** Does something, and looks whether both sides still agree. */
  readonly step: <T>(action: () => T) => T;
}

/** A guest that is shared with, the first of its machine; `others` are looked at too. */
export function guestOf(
  bed: Bed,
  options: PkvmStage2Options = {},
  others: readonly PkvmStage2[] = [],
): Guests {
  const s2 = bed.keep(bed.pkvm.stage2(options));
  return {
    s2,
    step(action) {
      try {
        return action();
      } finally {
        expectMirrored(bed.pkvm, [s2, ...others]);
      }
    },
  };
}

/** Bytes of a page's record, and where in it the number of guests' leaves is. */
const RECORD = 8;
const LEAVES = 4;

/** Writes down another number of leaves for a page than there are: 0 makes `unshare_guest` of it fail (EINVAL). Gives what was there. */
export function forgeLeaves({ engine, pkvm }: Bed, pfn: number, leaves: number): number {
  const { context } = engine;
  const { pointer } = pkvm.place;
  const index = pkvm.regions.findIndex(
    ({ pa, size }) => pfn * PAGE >= pa && pfn * PAGE < pa + size,
  );
  expect(context.core.pkvm_region(pointer, index)).toBe(0);
  const [base, recordsAt] = [context.resultNumber(0), context.resultNumber(3)];
  const word = (recordsAt + (pfn - base / PAGE) * RECORD + LEAVES) / 4;
  const before = context.u32[word] as number;
  context.u32[word] = leaves;
  return before;
}
