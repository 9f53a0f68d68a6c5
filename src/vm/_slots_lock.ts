/** The slots_lock as one thread takes it: its asynchronous operations have it over several steps, one after another. */
import type { Context } from "../_context.ts";
import { Limit, Turns } from "../_turns.ts";
import { EDEADLK, ETIMEDOUT, Stage2Error } from "../errors.ts";
import { type VmPlace, slotsHolders } from "./_place.ts";
import { type Work, type WorkOptions, atOnce, checkedWork, inSlices } from "./_work.ts";

/** Milliseconds that a request waits for those before it, which may take as long as they need. */
const LONGEST = 600_000;

/** A thread has the slots_lock of one VM at a time. */
interface Queue {
  readonly turns: Turns;
  /** Who has it over several steps. */
  owner: string | undefined;
}

const queues = new WeakMap<Context, Queue>();

function queueOf(context: Context): Queue {
  const known = queues.get(context);
  if (known !== undefined) return known;
  const queue = { turns: new Turns(), owner: undefined };
  queues.set(context, queue);
  return queue;
}

/** Runs at once what takes the slots_lock. @throws Stage2Error `EDEADLK` while an asynchronous operation of this thread has it */
export function slotsAtOnce<T>(place: VmPlace, operation: string, work: Work<T>): T {
  void place.pointer; // refuses a VM that was disposed
  const { owner } = queueOf(place.context);
  if (owner === undefined) return atOnce(place, work);
  const message = `${operation}: ${owner} of this thread is not complete, and has the slots_lock`;
  throw new Stage2Error("EDEADLK", message, {}, EDEADLK);
}

/** Runs it in slices, when the asynchronous operations of this thread before it are complete. */
export async function slotsInSlices<T>(
  place: VmPlace,
  operation: string,
  work: Work<T>,
  options: WorkOptions,
): Promise<T> {
  const { signal } = checkedWork(options);
  const queue = queueOf(place.context);
  const limit = new Limit({ timeout: LONGEST, ...(signal && { signal }) }, LONGEST);
  if (!(await queue.turns.enter(limit))) {
    const message = `${operation}: an earlier operation of this thread has the slots_lock for ever`;
    throw new Stage2Error("ETIMEDOUT", message, {}, ETIMEDOUT);
  }
  queue.owner = operation;
  slotsHolders.set(place.context, place);
  try {
    return await inSlices(place, work, options);
  } finally {
    queue.owner = undefined;
    slotsHolders.delete(place.context);
    queue.turns.leave();
  }
}
