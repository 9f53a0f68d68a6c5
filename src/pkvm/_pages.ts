/** Reading the hypervisor's records of pages: one at a time, or as runs. */
import { ENOENT } from "../errors.ts";
import { PKVM_REGION } from "./_abi.ts";
import type { MachinePlace } from "./_place.ts";
import {
  NOBODYS,
  type PkvmPageState,
  type PkvmRange,
  type PkvmRegion,
  decodeRecord,
} from "./page_state.ts";

/** Words of 32 bits in a record, and the half of the first that has the host's state. */
const WORDS = 2;
const HOST_STATE = 0x3_0000;
const SHARED_OWNED = 0x1_0000;

export interface KnownRegion extends PkvmRegion {
  /** Index of the first record among 32-bit words. */
  readonly records: number;
}

/** Where a guest has a page. */
export interface GuestPlace {
  readonly handle: number;
  readonly gfn: number;
}

/** Says where which guest has the page at an address, if that can be told. */
export type FindGuest = (pa: number, state: PkvmPageState) => GuestPlace | undefined;

/** Regions of memory in ascending order. They never change. */
export function readRegions({ context, pointer }: MachinePlace): KnownRegion[] {
  const regions: KnownRegion[] = [];
  while (context.core.pkvm_region(pointer, regions.length) !== -ENOENT) {
    const word = (index: number): number => context.resultNumber(index);
    const noMap = (word(2) & PKVM_REGION.NOMAP) !== 0;
    regions.push({ pa: word(0), size: word(1), noMap, records: word(3) / 4 });
  }
  return regions;
}

/** The state of the page at an address. */
export function pageState(
  place: MachinePlace,
  regions: readonly KnownRegion[],
  pa: number,
): PkvmPageState {
  const region = regions.find((r) => pa >= r.pa && pa < r.pa + r.size);
  if (region === undefined || region.noMap) return NOBODYS;
  const at = recordAt(place, region, pa);
  const words = place.context.u32;
  return decodeRecord(words[at] as number, words[at + 1] as number);
}

/** Runs of pages of memory in [start, end), ascending. A run ends with its region. */
export function* pageRanges(
  place: MachinePlace,
  regions: readonly KnownRegion[],
  [start, end]: readonly [number, number],
  findGuest: FindGuest,
): Generator<PkvmRange, void, undefined> {
  for (const region of regions) {
    const from = Math.max(region.pa, start);
    const to = Math.min(region.pa + region.size, end);
    for (let pa = from; pa < to;) {
      void place.pointer; // a disposed machine has no records
      const run = runFrom(place, region, pa, to, findGuest);
      yield run;
      pa += run.size;
    }
  }
}

/** The pages from `pa` on that are in the state of the first. */
function runFrom(
  place: MachinePlace,
  region: KnownRegion,
  pa: number,
  end: number,
  findGuest: FindGuest,
): PkvmRange {
  if (region.noMap) return { pa, size: end - pa, ...NOBODYS };
  const { pageSize, context } = place;
  const words = context.u32;
  const first = recordAt(place, region, pa);
  const low = words[first] as number;
  const leaves = meant(low, words[first + 1] as number);
  const state = decodeRecord(low, leaves);
  const guest = state.owner === "guest" ? findGuest(pa, state) : undefined;
  let pages = 1;
  for (let at = first + WORDS; pa + pages * pageSize < end; at += WORDS, pages++) {
    if (words[at] !== low || meant(low, words[at + 1] as number) !== leaves) break;
    if (state.owner !== "guest") continue;
    if (!follows(guest, findGuest(pa + pages * pageSize, state), pages)) break;
  }
  return { pa, size: pages * pageSize, ...state, ...guest };
}

/** Whether a page is `pages` behind another of the same guest, or of neither is known whose it is. */
function follows(
  first: GuestPlace | undefined,
  next: GuestPlace | undefined,
  pages: number,
): boolean {
  if (first === undefined || next === undefined) return first === next;
  return first.handle === next.handle && first.gfn + pages === next.gfn;
}

/** The second word counts leaves only of what the host has shared. */
function meant(low: number, leaves: number): number {
  return (low & HOST_STATE) === SHARED_OWNED ? leaves : 0;
}

function recordAt(place: MachinePlace, region: KnownRegion, pa: number): number {
  return region.records + Math.floor((pa - region.pa) / place.pageSize) * WORDS;
}
