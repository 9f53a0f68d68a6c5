/** The threads of an engine: what each is in the middle of, and what to do about one that has ended in the middle of it. */
import { THREAD_FLAG } from "./_abi.ts";
import type { Context } from "./_context.ts";
import type { LockSide } from "./_lock_later.ts";
import { Stage2Error } from "./errors.ts";
import { integerOption } from "./range.ts";

/** An mmu_lock that a thread has. */
export interface ThreadLock {
  readonly side: LockSide;
  /** {@link Stage2.vmid} of the table whose lock it is. */
  readonly vmid: number;
  /** It does not have it yet: a writer that waits until the readers have left, a reader that waits for a writer. */
  readonly waiting: boolean;
}

/** What a thread is in the middle of. Of a thread that runs, it may have changed by the time it is read. */
export interface ThreadState {
  /**
   * `hardware`: a walk of a vCPU, or its access through the page that it found. `walk`: a walk of software that runs beside
   * others (lookups, listings, shared walks, a read side).
   */
  readonly section: "hardware" | "walk" | undefined;
  /** Number of the vCPU that is inside its bracket, {@link Vcpu.enter} to {@link Vcpu.exit}. */
  readonly vcpu: number | undefined;
  readonly lock: ThreadLock | undefined;
}

/** A thread that is attached to the engine: {@link Engine.threads}. */
export interface ThreadInfo extends ThreadState {
  /** Number of its slot: {@link Engine.thread} there. */
  readonly number: number;
  /** Whether it is the one that asks. */
  readonly self: boolean;
}

/** What a thread was in the middle of when it ended: {@link Engine.reclaimThread}. */
export type ReclaimedThread = ThreadState;

/** What the thread with this number is in the middle of; `undefined` if the slot is free. */
function describe(context: Context, number: number): ThreadState | undefined {
  const { core } = context;
  if (core.thread_describe(number) === 0) return undefined;
  const [flags, vcpu, pointer] = [0, 1, 2].map((index) => context.resultNumber(index)) as [
    number,
    number,
    number,
  ];
  const section =
    flags & THREAD_FLAG.HARDWARE ? "hardware" : flags & THREAD_FLAG.WALK ? "walk" : undefined;
  return { section, vcpu: vcpu || undefined, lock: lockOf(context, flags, pointer) };
}

function lockOf(context: Context, flags: number, pointer: number): ThreadLock | undefined {
  const { READS, CLAIMS, WAITS } = THREAD_FLAG;
  if (pointer === 0) return undefined;
  return {
    side: flags & (READS | WAITS) ? "read" : "write",
    vmid: context.core.pgt_vmid(pointer) >>> 0,
    waiting: (flags & (CLAIMS | WAITS)) !== 0,
  };
}

/** Every thread that is attached. */
export function listThreads(context: Context): ThreadInfo[] {
  const { core } = context;
  const own = core.thread_number();
  const list: ThreadInfo[] = [];
  for (let number = 0; number < core.thread_slots(); number++) {
    const state = describe(context, number);
    if (state !== undefined) list.push({ number, self: number === own, ...state });
  }
  return list;
}

/** Releases what a thread that has ended still has. @throws Stage2Error `BAD_OPTION` */
export function reclaimThread(context: Context, thread: number): ReclaimedThread {
  const { core } = context;
  const number = integerOption("thread", thread, 0, core.thread_slots() - 1);
  if (number === core.thread_number()) {
    throw new Stage2Error("BAD_OPTION", "a thread cannot reclaim itself", { thread });
  }
  const state = describe(context, number);
  if (state === undefined || core.thread_reclaim(number) < 0) {
    throw new Stage2Error("BAD_OPTION", "no thread has this number", { thread });
  }
  return state;
}
