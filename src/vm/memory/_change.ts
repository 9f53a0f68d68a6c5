/**
 * What the host does to ranges: each change is made between start and end of an invalidation, so that no VM uses a page any
 * more when its frame is given back.
 */
import { EINVAL, Stage2Error } from "../../errors.ts";
import { type Area, areaAt, changeBetween, roomFor } from "./_areas.ts";
import { FreedFrames } from "./_frames.ts";
import { HEADER } from "./_layout.ts";
import type { HostRange } from "./_notify.ts";
import { COW, STATE, WRITABLE, frameOf, isFilling, ownsFrame, pageWord, stateOf } from "./_page.ts";
import type { Space, Stretch } from "./_space.ts";

/** An area to be: without what the table decides. */
export type NewArea = Omit<Area, "words" | "dying" | "missing" | "minor" | "birth">;

/** mmap. Nobody can have anything of it mapped. @throws Stage2Error `EEXIST`, `ENOMEM` */
export function addArea(space: Space, area: NewArea): void {
  const { blockPages, page, shape } = space.state;
  const count = (area.end - area.start) / area.unit;
  const phase = area.unit === page ? (area.start / page) % blockPages : 0;
  space.areas.edit((areas) => {
    const other = areas.find((o) => o.dying === 0 && o.start < area.end && area.start < o.end);
    if (other !== undefined) throw inTheWay(area, other);
    const device = area.kind === "device";
    const words = device ? 0 : roomFor(areas, count, phase, blockPages, shape.pages);
    const birth = (Atomics.add(space.state.words, HEADER.AREA_BIRTHS, 1) + 1) | 0;
    return [...areas, { ...area, words, dying: 0, missing: 0, minor: 0, birth }];
  });
}

/** munmap: holes do not matter. */
export function removeAreas(space: Space, from: number, to: number): void {
  const mapped = mappedParts(space, from, to);
  const [low, high] = [mapped[0], mapped.at(-1)];
  if (low === undefined || high === undefined) return;
  const told = space.widened(Math.max(from, low.start), Math.min(to, high.end));
  space.vms.around(told, () => {
    let dying: Area[] = [];
    space.areas.edit((areas) => {
      const owner = space.waiter.thread + 1;
      const next = changeBetween(areas, from, to, (area) => ({ ...area, dying: owner }));
      dying = next.filter((area) => area.dying !== 0 && !areas.includes(area));
      return next;
    });
    const mine = (area: Area): boolean =>
      area.dying !== 0 && dying.some((one) => one.start === area.start && one.words === area.words);
    try {
      for (const area of dying) if (area.kind !== "device") clearDying(space, area);
    } catch (error) {
      // A thread that does not go on has a group of pages: the areas stay, without some of their pages.
      const back = (area: Area): Area => (mine(area) ? { ...area, dying: 0 } : area);
      space.areas.edit((areas) => areas.map(back));
      throw error;
    }
    space.areas.edit((areas) => areas.filter((area) => !mine(area)));
  });
}

/** Drops the pages of an area that is being taken away. */
export function clearDying(space: Space, area: Area): void {
  space.eachDying(area, (stretch) => clear(space, stretch, false));
}

/** MADV_DONTNEED, or a hole in the file. `keepCache`: what the page cache has stays there, unmapped. */
export function punch(space: Space, range: HostRange, keepCache: boolean): void {
  onRange(space, range, (stretch) => clear(space, stretch, keepCache));
}

/** mprotect. */
export function protect(space: Space, { hva, size }: HostRange, writable: boolean): void {
  space.vms.around(space.widened(hva, hva + size), () => {
    space.areas.edit((areas) =>
      changeBetween(areas, hva, hva + size, (area) => ({ ...area, writable })),
    );
    space.eachStretch(hva, hva + size, (stretch) => {
      space.breakBlock(stretch, false);
      if (!writable) eachWord(space, stretch, (word) => word & ~WRITABLE);
    });
  });
}

/** fork or KSM: frames that somebody else has too; blocks become pages. */
export function share(space: Space, range: HostRange): void {
  onRange(space, range, (stretch) => {
    space.breakBlock(stretch);
    eachWord(space, stretch, (word) =>
      stateOf(word) === STATE.PRESENT ? (word & ~WRITABLE) | COW : word,
    );
  });
}

/** memory_failure: the page is gone, its frame is never used again. */
export function poison(space: Space, range: HostRange): void {
  onRange(space, range, (stretch) => {
    space.breakBlock(stretch);
    const { area, first } = stretch;
    const word = space.state.load(first);
    space.state.store(first, pageWord(STATE.POISONED, 0));
    if (ownsFrame(word)) space.frames.retire(frameOf(word), space.unitPages(area));
    if (isFilling(word)) Atomics.notify(space.state.words, first);
  });
}

/** Makes a change to all stretches of a range between start and end of an invalidation, blocks at its edges included. */
function onRange(space: Space, { hva, size }: HostRange, visit: (stretch: Stretch) => void): void {
  space.vms.around(space.widened(hva, hva + size), () => {
    space.eachStretch(hva, hva + size, visit);
  });
}

function clear(space: Space, stretch: Stretch, keepCache: boolean): void {
  const { state } = space;
  const { area, first, end } = stretch;
  const keep = keepCache && (area.kind === "file" || area.kind === "hugetlb");
  const freed = new FreedFrames(space.frames);
  space.breakBlock(stretch, false);
  for (let index = first; index < end; index++) {
    const word = state.load(index);
    if (word === 0) continue;
    const kept = keep && ownsFrame(word);
    state.store(index, kept ? pageWord(STATE.CACHED, frameOf(word), word & COW) : 0);
    if (!kept && ownsFrame(word)) freed.add(frameOf(word), space.unitPages(area));
    if (isFilling(word)) Atomics.notify(state.words, index);
  }
  freed.give();
}

function eachWord(space: Space, { first, end }: Stretch, next: (word: number) => number): void {
  for (let index = first; index < end; index++) {
    const word = space.state.load(index);
    const changed = next(word);
    if (changed !== word) space.state.store(index, changed);
  }
}

/** The parts of a range that are mapped. */
export function mappedParts(space: Space, from: number, to: number): readonly Area[] {
  return space.areas.look().areas.filter((area) => area.start < to && from < area.end);
}

/** Refuses a range that is not mapped as a whole, or in part a device. @throws Stage2Error `EFAULT`, `EINVAL` */
export function checkMemory(space: Space, { hva, size }: HostRange): void {
  const { areas } = space.areas.look();
  for (let at = hva; at < hva + size;) {
    const area = areaAt(areas, at);
    if (area === undefined) {
      throw new Stage2Error("EFAULT", "guest memory: not all of the range is mapped", { at }, 14);
    }
    if (area.kind === "device") throw invalid("a device has no pages of memory", { at });
    const aligned = (address: number): boolean => (address - area.start) % area.unit === 0;
    const last = Math.min(hva + size, area.end);
    if (!aligned(at) || !aligned(last)) {
      throw invalid("the range cuts a huge page of a hugetlb area", { at, pageSize: area.unit });
    }
    at = last;
  }
}

/** The error of values that no mapping can have. */
export function invalid(message: string, details: object): Stage2Error {
  return new Stage2Error("EINVAL", `guest memory: ${message}`, details, EINVAL);
}

function inTheWay(area: NewArea, other: Area): Stage2Error {
  const details = { hva: area.start, size: area.end - area.start, other: other.start };
  return new Stage2Error("EEXIST", "guest memory: something is mapped there", details, 17);
}
