/** What a thread leaves that was ended in the middle of a change, put in order by another. */
import type { Area } from "./_areas.ts";
import { clearDying } from "./_change.ts";
import { HEADER } from "./_layout.ts";
import { BLOCK, isFilling, stopFilling } from "./_page.ts";
import type { Space } from "./_space.ts";

/**
 * Releases its locks, finishes what it was unmapping, and wakes who waits for its hooks. Frames that it had just taken, or was
 * about to give back, stay in use by nobody.
 */
export function reclaim(space: Space, thread: number): void {
  const { locks, state } = space;
  if (locks.holder(HEADER.AREA_LOCK) === thread) locks.release(HEADER.AREA_LOCK);
  for (let group = state.pages; group < state.words.length; group += state.blockPages) {
    const lock = state.lockOf(group);
    if (locks.holder(lock) !== thread) continue;
    repairGroup(space, group);
    locks.release(lock);
  }
  finishUnmapping(space, thread);
  forgetHooks(space);
}

/** A block may be half made or half split: what there is of it becomes pages. */
function repairGroup({ state }: Space, group: number): void {
  for (let index = group; index < group + state.blockPages; index++) {
    state.store(index, state.load(index) & ~BLOCK);
  }
}

/** The VMs were told before it began with the areas; none of them can have a page any more. */
function finishUnmapping(space: Space, thread: number): void {
  const isLeft = (area: Area): boolean => area.dying === thread + 1;
  let left: readonly Area[] = [];
  space.areas.edit((areas) => {
    left = areas.filter(isLeft);
    return areas;
  });
  for (const area of left) if (area.kind !== "device") clearDying(space, area);
  space.areas.edit((areas) => areas.filter((area) => !isLeft(area)));
}

/** Nobody says whose hooks are asked: those of live threads find that somebody else may be asked too. */
function forgetHooks({ state }: Space): void {
  for (let index = state.pages; index < state.words.length; index++) {
    const word = state.load(index);
    if (!isFilling(word)) continue;
    // Losing means that the page came, or went: nobody waits for it any more.
    Atomics.compareExchange(state.words, index, word, stopFilling(word));
    Atomics.notify(state.words, index);
  }
}
