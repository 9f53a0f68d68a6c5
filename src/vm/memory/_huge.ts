/** Transparent huge pages: blocks made of pages, and pages made of blocks. */
import { type Area, areaAt } from "./_areas.ts";
import { placeBlock } from "./_fault.ts";
import type { HostRange } from "./_notify.ts";
import { BLOCK, STATE, WRITABLE, frameOf, isFilling, ownsFrame, stateOf } from "./_page.ts";
import type { Space } from "./_space.ts";

/** Splits every block that the range touches: how many. The pages stay where they are. */
export function splitHuge(space: Space, { hva, size }: HostRange): number {
  let splits = 0;
  for (const block of blocksOf(space, hva, hva + size, false)) {
    if (!isBlock(space, block)) continue;
    space.vms.around({ hva: block, size: blockSize(space) }, () => {
      space.eachStretch(block, block + blockSize(space), (stretch) => {
        if ((space.state.load(stretch.first) & BLOCK) !== 0) splits++;
        space.breakBlock(stretch);
      });
    });
  }
  return splits;
}

/**
 * Moves the pages of every block that lies in the range as a whole into a block of frames (khugepaged): how many were made.
 * Left out: what is a block, where nothing is, with poisoned pages, with pages that a hook is or would have to be asked for,
 * areas of other kinds, and where no frames in a row are free.
 */
export function collapse(space: Space, { hva, size }: HostRange): number {
  let made = 0;
  for (const block of blocksOf(space, hva, hva + size, true)) {
    if (!canCollapse(space, areaAt(space.areas.look().areas, block), block)) continue;
    const frame = space.frames.takeRun(space.state.blockPages);
    if (frame < 0) continue;
    let used = false;
    try {
      space.vms.around({ hva: block, size: blockSize(space) }, () => {
        used = moveTogether(space, block, frame);
      });
    } finally {
      if (!used) space.frames.give(frame, space.state.blockPages);
    }
    if (used) made++;
  }
  return made;
}

function blockSize(space: Space): number {
  return space.state.blockPages * space.state.page;
}

/** Blocks that touch the range, or lie in it. */
function* blocksOf(space: Space, from: number, to: number, inside: boolean): Generator<number> {
  const size = blockSize(space);
  const first = inside ? Math.ceil(from / size) : Math.floor(from / size);
  for (let at = first * size; inside ? at + size <= to : at < to; at += size) yield at;
}

/** Whether a block begins at the address. */
function isBlock(space: Space, hva: number): boolean {
  const area = areaAt(space.areas.look().areas, hva);
  if (area?.kind !== "anonymous" && area?.kind !== "thp") return false;
  return (space.state.load(space.index(area, hva)) & BLOCK) !== 0;
}

function canCollapse(space: Space, area: Area | undefined, block: number): area is Area {
  const { state } = space;
  if (area?.kind !== "anonymous" && area?.kind !== "thp") return false;
  if (block + blockSize(space) > area.end) return false;
  const first = space.index(area, block);
  let there = false;
  for (let index = first; index < first + state.blockPages; index++) {
    const word = state.load(index);
    if ((word & BLOCK) !== 0 || stateOf(word) === STATE.POISONED || isFilling(word)) return false;
    if (word === 0 && area.missing > 0) return false;
    there ||= word !== 0;
  }
  return there;
}

/** Under the lock, if it still can be done: copies the pages, gives their frames back, and writes the block. */
function moveTogether(space: Space, block: number, frame: number): boolean {
  const { state, bytes, frames } = space;
  const look = space.areas.look();
  const area = areaAt(look.areas, block);
  if (area === undefined) return false;
  const first = space.index(area, block);
  return space.locked(first, () => {
    if (!space.areas.still(look) || !canCollapse(space, area, block)) return false;
    for (let n = 0; n < state.blockPages; n++) {
      const word = state.load(first + n);
      if (!ownsFrame(word)) bytes.zero(frame + n, 1);
      else {
        bytes.copy(frameOf(word), frame + n, 1);
        frames.give(frameOf(word));
      }
    }
    placeBlock(space, first, frame, area.writable ? WRITABLE : 0);
    state.count("collapses");
    return true;
  });
}
