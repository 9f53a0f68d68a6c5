/** What a page is, for VMs and for people. */
import type { BackingAnswer, HostPage } from "../backing.ts";
import { type Area, type AreaKind, areaAt } from "./_areas.ts";
import type { Found } from "./_fault.ts";
import { BLOCK, COW, STATE, WRITABLE, frameOf, isFilling, ownsFrame, stateOf } from "./_page.ts";
import type { Page } from "./_pager.ts";
import type { Space } from "./_space.ts";

/**
 * `absent`: nothing there yet. `filling`: a hook is being asked. `zero`: the shared page of zeros, read-only. `readOnly`,
 * `readWrite`: a frame of its own. `thp`, `hugetlb`: a huge page. `cached`: in the page cache, not mapped.
 */
export type PageStateName =
  | "unmapped"
  | "absent"
  | "filling"
  | "zero"
  | "readOnly"
  | "readWrite"
  | "thp"
  | "hugetlb"
  | "cached"
  | "poisoned"
  | "device";

/** What is at an address. */
export interface PageState {
  readonly state: PageStateName;
  readonly kind: AreaKind | undefined;
  /** The host can write it now, without a fault. */
  readonly writable: boolean;
  /** Bytes that one leaf of the host maps, or would map. 0 if unmapped. */
  readonly size: number;
  /** Physical address of the page at the address, if it has one. */
  readonly pa: number | undefined;
  /** Somebody else has the frame too: the first write copies it. */
  readonly shared: boolean;
  readonly dirty: boolean;
  readonly accessed: boolean;
}

/** The page as a VM is told, or why there is none. */
export function answerFor(space: Space, page: Page, hva: number): BackingAnswer {
  if (typeof page === "string") return page;
  if (page.kind === "found") return hostPage(space, page, hva);
  const { kind, unit } = page.area;
  return kind === "hugetlb" ? { poisoned: true, vmaPageSize: unit } : "poisoned";
}

function hostPage(space: Space, { area, word }: Found, hva: number): HostPage {
  if (area.kind === "device") return devicePage(space, area, hva);
  const pa = physical(space, area, word, hva);
  const writable = area.writable && (word & WRITABLE) !== 0;
  const page = { pa, writable, hostSize: leafSize(space, area, word) };
  if (area.kind !== "hugetlb") return area.noMte ? { ...page, noMte: true } : page;
  return { ...page, vmaPageSize: area.unit, ...(area.noMte ? { noMte: true } : {}) };
}

function devicePage(space: Space, area: Area, hva: number): HostPage {
  const { page } = space.state;
  const start = hva - (hva % page);
  const pa = area.pa + (start - area.start);
  const block = start - (start % area.leaf);
  const fits = block >= area.start && block + area.leaf <= area.end;
  const hostSize = fits && (pa - start) % area.leaf === 0 ? area.leaf : page;
  const { writable, normalNc, noMte } = area;
  return { pa, writable, hostSize, device: true, normalNc, noMte };
}

/** Physical address of the page at `hva`. */
function physical(space: Space, area: Area, word: number, hva: number): number {
  const { page } = space.state;
  const inside = Math.floor((hva - space.unitAt(area, hva).hva) / page);
  return space.state.physical(frameOf(word) + inside);
}

function leafSize({ state }: Space, area: Area, word: number): number {
  return (word & BLOCK) !== 0 ? state.blockPages * state.page : area.unit;
}

/** What is at an address. */
export function pageState(space: Space, hva: number): PageState {
  const area = areaAt(space.areas.look().areas, hva);
  const none = { pa: undefined, shared: false, dirty: false, accessed: false };
  if (area === undefined) {
    return { ...none, state: "unmapped", kind: undefined, writable: false, size: 0 };
  }
  const { kind } = area;
  if (kind === "device") {
    const { pa, writable, hostSize } = devicePage(space, area, hva);
    return { ...none, state: "device", kind, writable, size: hostSize ?? 0, pa };
  }
  const word = space.state.load(space.index(area, hva));
  const state = stateName(area, word);
  const framed = ownsFrame(word);
  const pa = framed || state === "zero" ? physical(space, area, word, hva) : undefined;
  const frame = pa === undefined ? -1 : space.frames.at(pa);
  return {
    state,
    kind,
    writable: area.writable && (word & WRITABLE) !== 0,
    size: leafSize(space, area, word),
    pa,
    shared: (word & COW) !== 0,
    dirty: framed && space.frames.marked("dirty", frame),
    accessed: framed && space.frames.marked("accessed", frame),
  };
}

function stateName(area: Area, word: number): PageStateName {
  if (isFilling(word)) return "filling";
  switch (stateOf(word)) {
    case STATE.ABSENT:
      return "absent";
    case STATE.ZERO:
      return "zero";
    case STATE.CACHED:
      return "cached";
    case STATE.POISONED:
      return "poisoned";
    default:
      if (area.kind === "hugetlb") return "hugetlb";
      if ((word & BLOCK) !== 0) return "thp";
      return (word & WRITABLE) !== 0 ? "readWrite" : "readOnly";
  }
}
