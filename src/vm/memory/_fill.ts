/** Putting pages where none are, from the side: what userfaultfd's copy, zeropage, continue and poison do. */
import { Stage2Error } from "../../errors.ts";
import { type Area, areaAt, existedAt } from "./_areas.ts";
import { noBytes } from "./_bytes.ts";
import { fresh } from "./_fault.ts";
import { STATE, WRITABLE, frameOf, ownsFrame, pageWord, stateOf } from "./_page.ts";
import type { Space } from "./_space.ts";

/** What can be put there. */
export type Content = Uint8Array | "zero" | "continue" | "poison";
/** "exists": there was a page already, and it stays. */
export type Filled = "filled" | "exists";

/**
 * Fills the paging unit that holds the address, if it is absent. With `birth`: what was asked for is a page of an area with that
 * number or a lower one; another area that was mapped there since gets nothing ("exists").
 * @throws Stage2Error `EFAULT`: nothing is mapped there, or a device. `ENOMEM`. `ENOSYS`: bytes, but frames have none.
 *   `BAD_SIZE`: more bytes than the unit has. `BAD_OPTION`: no content; `ENOENT`: "continue", but nothing is in the page cache.
 */
export function placePage(space: Space, hva: number, content: Content, birth?: number): Filled {
  for (;;) {
    const look = space.areas.look();
    const area = areaAt(look.areas, hva);
    if (area !== undefined && birth !== undefined && !existedAt(area, birth)) return "exists";
    if (area === undefined || area.kind === "device") throw notMapped(hva);
    checkContent(space, area, hva, content);
    const index = space.index(area, hva);
    const word = space.state.load(index);
    const place = placer(space, area, word, content);
    if (place === undefined) {
      space.state.count("exists");
      return "exists";
    }
    // Losing means that the page changed: whether it is still absent is to be seen.
    if (!space.changed(look, index, word, () => space.state.store(index, place()))) continue;
    Atomics.notify(space.state.words, index);
    space.state.count("filled");
    return "filled";
  }
}

/** What makes the page's new word; `undefined` if there is a page already. */
function placer(
  space: Space,
  area: Area,
  word: number,
  content: Content,
): (() => number) | undefined {
  const state = stateOf(word);
  const pages = space.unitPages(area);
  const writable = area.writable ? WRITABLE : 0;
  if (content === "continue") {
    if (state === STATE.CACHED || state === STATE.CONTINUING) {
      return () => pageWord(STATE.PRESENT, frameOf(word), writable);
    }
    if (state === STATE.ABSENT || state === STATE.FILLING) throw nothingCached();
    return undefined;
  }
  if (state !== STATE.ABSENT && state !== STATE.FILLING) return undefined;
  if (content === "poison") return () => pageWord(STATE.POISONED, 0);
  if (content === "zero" && (area.kind === "anonymous" || area.kind === "thp")) {
    return () => space.zeroWord();
  }
  return () => {
    const frame = fresh(space, pages);
    if (content !== "zero") space.bytes.view(frame, 0, content.length).set(content);
    return pageWord(STATE.PRESENT, frame, writable);
  };
}

/**
 * Writes bytes at the start of a unit through another mapping of the same file: they are in the page cache then, mapped or not.
 * @throws Stage2Error as {@link placePage}; `EINVAL` where there is no page cache; `EFAULT` for a poisoned page
 */
export function preloadPage(space: Space, hva: number, content: Uint8Array | "zero"): void {
  for (;;) {
    const look = space.areas.look();
    const area = areaAt(look.areas, hva);
    if (area === undefined) throw notMapped(hva);
    if (area.kind !== "file" && area.kind !== "hugetlb") throw noCache(area);
    checkContent(space, area, hva, content);
    const index = space.index(area, hva);
    const word = space.state.load(index);
    if (stateOf(word) === STATE.POISONED) throw notMapped(hva);
    if (space.changed(look, index, word, () => preload(space, area, index, word, content))) return;
  }
}

function preload(
  space: Space,
  area: Area,
  index: number,
  word: number,
  content: Uint8Array | "zero",
): void {
  const owned = ownsFrame(word);
  const frame = owned ? frameOf(word) : fresh(space, space.unitPages(area));
  if (content !== "zero") space.bytes.view(frame, 0, content.length).set(content);
  else if (owned) space.bytes.zero(frame, space.unitPages(area));
  if (owned) return;
  space.state.store(index, pageWord(STATE.CACHED, frame));
  Atomics.notify(space.state.words, index);
}

function checkContent(space: Space, area: Area, hva: number, content: unknown): void {
  if ((hva - area.start) % area.unit !== 0) {
    const message = "guest memory: pages are filled from their first byte on";
    throw new Stage2Error("EINVAL", message, { hva, unit: area.unit }, 22);
  }
  if (content instanceof Uint8Array) {
    if (!space.bytes.exist) throw noBytes();
    if (content.length <= area.unit) return;
    const details = { size: content.length, unit: area.unit };
    throw new Stage2Error("BAD_SIZE", "more bytes than a paging unit has", details);
  }
  if (content === "zero" || content === "continue" || content === "poison") return;
  const message = 'a page is filled with bytes, "zero", "continue" or "poison"';
  throw new Stage2Error("BAD_OPTION", message, { content });
}

function notMapped(hva: number): Stage2Error {
  return new Stage2Error("EFAULT", "guest memory: no memory is mapped there", { hva }, 14);
}

function nothingCached(): Stage2Error {
  return new Stage2Error("ENOENT", "guest memory: the page is not in the page cache", {}, 2);
}

function noCache({ kind }: Area): Stage2Error {
  return new Stage2Error(
    "EINVAL",
    "guest memory: only files and hugetlb have a cache",
    { kind },
    22,
  );
}
