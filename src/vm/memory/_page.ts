/**
 * Page words: what the host's own page table says about one page (of a hugetlb area: about one huge page).
 *
 *   31      7   6      5        4        3     2..0
 *  +---------+-----+-------+----------+-----+-------+
 *  |  frame  |  -  |  COW  | WRITABLE |BLOCK| state |
 *  +---------+-----+-------+----------+-----+-------+
 *
 * The word 0 is a page that is absent. In a block (a transparent huge page) every page has its own frame and BLOCK.
 */

/** What a page is. */
export const STATE = {
  /** Nothing there. */
  ABSENT: 0,
  /** The shared page of zeros, never writable. */
  ZERO: 1,
  /** A frame of its own. */
  PRESENT: 2,
  /** A frame of the page cache, that the host has not mapped. */
  CACHED: 3,
  /** Gone with a hardware error. */
  POISONED: 4,
  /** ABSENT, and a hook was asked for it. */
  FILLING: 5,
  /** CACHED, and a hook was asked about it. */
  CONTINUING: 6,
} as const;

const STATES = 7;
/** Part of a block. */
export const BLOCK = 8;
/** The host can write it now. */
export const WRITABLE = 16;
/** Somebody else has the frame too: the first write copies it. Never with WRITABLE. */
export const COW = 32;
const FRAME_SHIFT = 7;
/** Most frames: the field's width. */
export const MOST_FRAMES = 2 ** (32 - FRAME_SHIFT);

/** The word of a state and a frame. Signed, as the words of an Int32Array are. */
export function pageWord(state: number, frame: number, bits = 0): number {
  return (frame << FRAME_SHIFT) | bits | state;
}

export function stateOf(word: number): number {
  return word & STATES;
}

export function frameOf(word: number): number {
  return word >>> FRAME_SHIFT;
}

/** Whether a frame of its own belongs to it. */
export function ownsFrame(word: number): boolean {
  const state = word & STATES;
  return state === STATE.PRESENT || state === STATE.CACHED || state === STATE.CONTINUING;
}

/** Whether the host can access it without a fault. */
export function isMapped(word: number, write: boolean): boolean {
  const state = word & STATES;
  if (state === STATE.PRESENT) return !write || (word & WRITABLE) !== 0;
  return state === STATE.ZERO && !write;
}

/** Whether a write gets another frame than the one that readers may have mapped. */
export function breaksCow(word: number): boolean {
  return stateOf(word) === STATE.ZERO || (word & COW) !== 0;
}

/** Whether a hook was asked for it. */
export function isFilling(word: number): boolean {
  const state = word & STATES;
  return state === STATE.FILLING || state === STATE.CONTINUING;
}

/** The word while a hook is asked, and back. */
export function startFilling(word: number): number {
  return (word & ~STATES) | (stateOf(word) === STATE.CACHED ? STATE.CONTINUING : STATE.FILLING);
}

export function stopFilling(word: number): number {
  return (word & ~STATES) | (stateOf(word) === STATE.CONTINUING ? STATE.CACHED : STATE.ABSENT);
}
