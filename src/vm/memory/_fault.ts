/**
 * Bringing pages in: what a host's page-fault handler does for one access.
 *
 *   absent, cached     read                          write
 *     anonymous        page of zeros, read-only      frame of zeros
 *     thp              block if it fits, else as anonymous
 *     hugetlb          huge page of zeros            the same
 *     file             frame, read-only              frame
 *   page of zeros      -                             another frame, between start and end of an invalidation
 *   copied on write    -                             the same, with a copy of the bytes
 *   read-only          -                             made writable where it is
 *
 * Each step is made under the lock of the page's group, from a word that is looked at again there: of several threads that
 * meet the same absent page one brings it in, the others find it.
 */
import { type Area, type Look, areaAt } from "./_areas.ts";
import {
  BLOCK,
  COW,
  STATE,
  WRITABLE,
  breaksCow,
  frameOf,
  isFilling,
  isMapped,
  pageWord,
  stateOf,
} from "./_page.ts";
import type { Space } from "./_space.ts";

/** A page that the host can access now. */
export interface Found {
  readonly kind: "found";
  readonly area: Area;
  /** Its page word, and what it was. A device has none: -1. */
  readonly index: number;
  readonly word: number;
}

/** What is missing: a hook is to be asked. */
export interface Missing {
  readonly kind: "missing";
  readonly mode: MissingMode;
  readonly look: Look;
  readonly area: Area;
  /** First address of the paging unit. */
  readonly hva: number;
  readonly index: number;
  readonly word: number;
}

/** Somebody else is asked already. */
export interface Busy {
  readonly kind: "busy";
  readonly index: number;
  readonly word: number;
}

/** It is gone with a hardware error. */
export interface Poisoned {
  readonly kind: "poisoned";
  readonly area: Area;
}

/** `missing`: there is no page. `minor`: it is in the page cache, but not mapped. */
export type MissingMode = "missing" | "minor";
export type Unusable = "unmapped" | "error" | Poisoned;
export type Step = Found | Missing | Busy | Unusable;

/** Brings the page in as far as that goes without asking a hook. @throws Stage2Error `ENOMEM`, and what a VM's notifier throws */
export function bringIn(space: Space, hva: number, write: boolean): Step {
  for (;;) {
    const look = space.areas.look();
    const area = areaAt(look.areas, hva);
    if (area === undefined) return "unmapped";
    if (write && !area.writable) return "error";
    if (area.kind === "device") return { kind: "found", area, index: -1, word: 0 };
    const index = space.index(area, hva);
    const word = space.state.load(index);
    if (isMapped(word, write)) return { kind: "found", area, index, word };
    if (stateOf(word) === STATE.POISONED) return { kind: "poisoned", area };
    if (isFilling(word)) return { kind: "busy", index, word };
    const mode = hookFor(area, word);
    if (mode !== undefined) {
      const unit = space.unitAt(area, hva).hva;
      return { kind: "missing", mode, look, area, hva: unit, index, word };
    }
    const change = (): boolean =>
      space.changed(look, index, word, () => step(space, area, index, word, hva, write));
    // Whoever has the old page mapped must be told before it gets another.
    if (breaksCow(word)) space.vms.around(space.unitAt(area, hva), change);
    else change();
  }
}

function hookFor(area: Area, word: number): MissingMode | undefined {
  const state = stateOf(word);
  if (state === STATE.ABSENT && area.missing > 0) return "missing";
  if (state === STATE.CACHED && area.minor > 0) return "minor";
  return undefined;
}

function step(space: Space, area: Area, index: number, word: number, hva: number, write: boolean) {
  switch (stateOf(word)) {
    case STATE.ABSENT:
      return populate(space, area, index, hva, write);
    case STATE.CACHED:
      return mapCached(space, area, index, word, write);
    case STATE.ZERO:
      space.state.store(index, pageWord(STATE.PRESENT, fresh(space, 1), WRITABLE));
      return space.state.count("copies");
    default:
      return (word & COW) !== 0 ? copy(space, area, index, word) : upgrade(space, index, word);
  }
}

function populate(space: Space, area: Area, index: number, hva: number, write: boolean): void {
  const { state } = space;
  if (area.kind === "hugetlb") {
    const writable = area.writable ? WRITABLE : 0;
    state.store(index, pageWord(STATE.PRESENT, fresh(space, space.unitPages(area)), writable));
    return state.count("hugePages");
  }
  if (area.kind === "thp" && area.writable && populateBlock(space, area, hva)) return;
  if (!write && area.kind !== "file") {
    state.store(index, space.zeroWord());
    return state.count("zeroPages");
  }
  state.store(index, pageWord(STATE.PRESENT, fresh(space, 1), write ? WRITABLE : 0));
  state.count("pages");
}

/** A block for the page, if the area holds all of it, nothing of it is there, and there are frames in a row. */
function populateBlock(space: Space, area: Area, hva: number): boolean {
  const { state } = space;
  const size = state.blockPages * state.page;
  const start = hva - (hva % size);
  if (area.missing > 0 || start < area.start || start + size > area.end) return false;
  const first = space.index(area, start);
  for (let n = 0; n < state.blockPages; n++) if (state.load(first + n) !== 0) return false;
  const frame = space.frames.takeRun(state.blockPages);
  if (frame < 0) return false;
  space.bytes.zero(frame, state.blockPages);
  placeBlock(space, first, frame, WRITABLE);
  state.count("blocks");
  return true;
}

/** Writes the words of a block. Under the lock. */
export function placeBlock(space: Space, first: number, frame: number, bits: number): void {
  const { state } = space;
  for (let n = 0; n < state.blockPages; n++) {
    state.store(first + n, pageWord(STATE.PRESENT, frame + n, BLOCK | bits));
  }
}

/** Maps a page of the page cache. */
export function mapCached(
  space: Space,
  area: Area,
  index: number,
  word: number,
  write: boolean,
): void {
  const writable = write || (area.kind === "hugetlb" && area.writable);
  const bits = (word & COW) | (writable ? WRITABLE : 0);
  space.state.store(index, pageWord(STATE.PRESENT, frameOf(word), bits));
}

function copy(space: Space, area: Area, index: number, word: number): void {
  const pages = space.unitPages(area);
  const frame = space.run(pages);
  space.bytes.copy(frameOf(word), frame, pages);
  space.state.store(index, pageWord(STATE.PRESENT, frame, WRITABLE));
  space.frames.give(frameOf(word), pages);
  space.state.count("copies");
}

/** Nobody shares the frame: it becomes writable, a block as a whole. */
function upgrade(space: Space, index: number, word: number): void {
  const { state } = space;
  state.count("upgrades");
  if ((word & BLOCK) === 0) return state.store(index, word | WRITABLE);
  const first = state.groupOf(index);
  for (let n = 0; n < state.blockPages; n++) {
    state.store(first + n, state.load(first + n) | WRITABLE);
  }
}

/** Frames of zeros. */
export function fresh(space: Space, pages: number): number {
  const frame = space.run(pages);
  space.bytes.zero(frame, pages);
  return frame;
}
