/** Taking an mmu_lock without blocking: requests of a thread take turns, and the first of them looks now and then. */
import { THREAD_FLAG } from "./_abi.ts";
import type { Context } from "./_context.ts";
import { lateError, refusal, stale } from "./_outcome.ts";
import type { TableCore } from "./_table.ts";
import { type Limit, changed } from "./_turns.ts";
import { EAGAIN, EBUSY, ETIMEDOUT, Stage2Error } from "./errors.ts";

/** A side of the lock. */
export type LockSide = "read" | "write";

/**
 * Does `work` as soon as this thread has the lock, in the same step: nothing else of the thread runs between. `work` is given the
 * pointer of the table, and releases the lock.
 * @throws Stage2Error `ETIMEDOUT`, `EDEADLK`, `DISPOSED`; an aborted signal's reason.
 */
export async function workLater<T>(
  table: TableCore,
  side: LockSide,
  limit: Limit,
  work: (pointer: number) => T,
): Promise<T> {
  const { context } = table;
  if (!(await context.turns.enter(limit))) throw queuedTooLong(context, side, limit);
  try {
    return await look(table, side, limit, work);
  } finally {
    context.turns.leave();
  }
}

/**
 * Looks until the lock can be had. Between looks a reader counts as one that waits, which goes before the next writer; a writer
 * keeps new readers out from when no other writer has it.
 */
async function look<T>(
  table: TableCore,
  side: LockSide,
  limit: Limit,
  work: (pointer: number) => T,
): Promise<T> {
  const { context, pointer } = table;
  const { core, memory } = context;
  try {
    while (true) {
      limit.check();
      const status =
        side === "read" ? core.lock_claim_read(pointer) : core.lock_claim_write(pointer);
      if (status === 0 && table.isLive) return work(pointer);
      if (status === 0) {
        unlock(context, side, pointer); // the lock is that of the table which has the place now
        throw stale(`${side}Async`, {});
      }
      if (status !== -EAGAIN && status !== -EBUSY) throw refusal(context, status, `${side}Async`);
      const word = { pointer: context.resultNumber(0), value: context.resultNumber(1) };
      if (limit.left === 0) throw tooLate(context, pointer, side, limit);
      await changed(memory, word, limit);
      if (!table.isLive) throw stale(`${side}Async`, {});
    }
  } finally {
    // Nothing to take back if the lock was had.
    if (side === "read") core.lock_abandon_read(pointer);
    else core.lock_abandon_write(pointer);
  }
}

/** The lock of the table that is, or was, at `pointer`: the core knows what this thread holds. */
export function unlock({ core }: Context, side: LockSide, pointer: number): number {
  return side === "read" ? core.unlock_read(pointer) : core.unlock_write(pointer);
}

/** Who has the lock that was waited for: a writer, or for the write side one of the readers. */
function tooLate(context: Context, pointer: number, side: LockSide, limit: Limit): Stage2Error {
  const { core } = context;
  const self = core.thread_number();
  for (let thread = 0; thread < core.thread_slots(); thread++) {
    if (thread === self || core.thread_describe(thread) === 0) continue;
    if (context.resultNumber(2) !== pointer) continue;
    const reads = (context.resultNumber(0) & THREAD_FLAG.READS) !== 0;
    if (reads && side === "read") continue;
    const waitingFor = reads ? "read side" : "write side";
    return lateError(context, `${side}Async`, { thread, waitingFor }, limit.timeout);
  }
  // Released between the last look and this one: the next request may have more luck.
  const message = `${side}Async: the mmu_lock was not free when it was looked at, within ${limit.timeout} ms`;
  return new Stage2Error("ETIMEDOUT", message, { patience: limit.timeout }, ETIMEDOUT);
}

function queuedTooLong(context: Context, side: LockSide, limit: Limit): Stage2Error {
  const thread = context.core.thread_number();
  const message = `${side}Async: an earlier request of this thread waits for its lock since ${limit.timeout} ms`;
  return new Stage2Error("ETIMEDOUT", message, { thread, patience: limit.timeout }, ETIMEDOUT);
}
