/**
 * Where an agent can stop: before an access to the shared memory, before it waits, before it wakes others. What is told
 * is about to happen; it happens when the agent goes on.
 */
import { ACCESS, ATOMIC } from "../instrument/step.ts";

export interface Stop {
  readonly address: number;
  readonly bytes: number;
  /** One of `ACCESS` (src/instrument/step.ts). */
  readonly kind: number;
  readonly atomic: boolean;
  /** `COPY_TO` only: where the bytes come from. */
  readonly source: number;
  /** `WAIT` only: it waits if this is what it finds. */
  readonly expected: bigint;
  /** `WAIT` only: nanoseconds, below 0 for ever. */
  readonly timeout: bigint;
  /** `NOTIFY` only: how many it wakes at most. */
  readonly count: number;
}

// Literals, all of one shape: spreading a common part takes 4 us a stop (measured), ten times the stop itself.
export function accessStop(address: number, bytes: number, kind: number, source: number): Stop {
  const atomic = (kind & ATOMIC) !== 0;
  const access = kind & ~ATOMIC;
  return { address, bytes, kind: access, atomic, source, expected: 0n, timeout: 0n, count: 0 };
}

export function waitStop(address: number, bytes: number, expected: bigint, timeout: bigint): Stop {
  const kind = ACCESS.WAIT;
  return { address, bytes, kind, atomic: true, source: 0, expected, timeout, count: 0 };
}

export function notifyStop(address: number, most: number): Stop {
  const count = most >>> 0;
  const kind = ACCESS.NOTIFY;
  return { address, bytes: 4, kind, atomic: true, source: 0, expected: 0n, timeout: 0n, count };
}

/** Whether an access of this kind can change memory. */
export function mayWrite(kind: number): boolean {
  switch (kind & ~ATOMIC) {
    case ACCESS.STORE:
    case ACCESS.READ_MODIFY_WRITE:
    case ACCESS.COMPARE_EXCHANGE:
    case ACCESS.FILL:
    case ACCESS.COPY_TO:
      return true;
    default:
      return false;
  }
}

/** Answers of `memory.atomic.wait32` and `wait64`. */
export const WAIT_ANSWER = { WOKEN: 0, NOT_EQUAL: 1, TIMED_OUT: 2 } as const;
