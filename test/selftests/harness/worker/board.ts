/** The memory that a test and the guest in its worker talk through while the guest runs. */

/** Words of the board. */
export const BOARD = {
  /** The guest ends when this is 1. */
  STOP: 0,
  /** Rounds that the guest has begun; wraps. */
  ROUNDS: 1,
  /** Who has come to the meeting point, and how often it was left. */
  ARRIVED: 2,
  MEETINGS: 3,
  /** What the guest saw last. */
  SEEN: 4,
} as const;
export const BOARD_WORDS = 8;

/** Milliseconds before one side takes the other for dead. */
const PATIENCE = 20_000;

/** Waits until the other side is here too. */
export function meet(board: Int32Array): void {
  const meeting = Atomics.load(board, BOARD.MEETINGS);
  if (Atomics.add(board, BOARD.ARRIVED, 1) === 1) {
    Atomics.store(board, BOARD.ARRIVED, 0);
    Atomics.add(board, BOARD.MEETINGS, 1);
    Atomics.notify(board, BOARD.MEETINGS);
    return;
  }
  const end = performance.now() + PATIENCE;
  while (Atomics.load(board, BOARD.MEETINGS) === meeting) {
    const left = end - performance.now();
    if (left <= 0) throw new Error("the other side did not come");
    Atomics.wait(board, BOARD.MEETINGS, meeting, left);
  }
}

/** Waits until the guest has begun and ended a whole round after this call. */
export function aRound(board: Int32Array): void {
  const end = performance.now() + PATIENCE;
  const from = Atomics.load(board, BOARD.ROUNDS);
  for (let seen = from; ((seen - from) | 0) < 2; seen = Atomics.load(board, BOARD.ROUNDS)) {
    if (performance.now() > end) throw new Error("the guest does not go on");
    Atomics.wait(board, BOARD.ROUNDS, seen, 50);
  }
}
