/**
 * What the core answers. A refusal that has to do with other threads is told in full: which thread or vCPU did not answer,
 * what this thread is in the middle of. Everything else is an errno with its name.
 */
import { LATE, THREAD_FLAG } from "./_abi.ts";
import type { Context } from "./_context.ts";
import {
  EAGAIN,
  EBUSY,
  EDEADLK,
  ENOMEM,
  ESTALE,
  ETIMEDOUT,
  Stage2Error,
  errnoError,
} from "./errors.ts";

/** What was waited for in vain, by the core's numbers. */
const WAITED_FOR = {
  [LATE.HARDWARE]: "hardware section",
  [LATE.BRACKET]: "bracket",
  [LATE.WALK]: "walk section",
  [LATE.READ_SIDE]: "read side",
  [LATE.WRITE_SIDE]: "write side",
  [LATE.INVALIDATION]: "invalidation",
} as const;

/** What a thread was waited for: `details.waitingFor` of `ETIMEDOUT`. */
export type WaitedFor = (typeof WAITED_FOR)[keyof typeof WAITED_FOR];

/** Flags of a thread that has the read side or waits for it, and of one that waits for either. */
const READING = THREAD_FLAG.READS | THREAD_FLAG.WAITS;
const WAITING = THREAD_FLAG.CLAIMS | THREAD_FLAG.WAITS;

const FAILED_TO: Record<WaitedFor, string> = {
  "hardware section": "end an access of its hardware",
  bracket: "poll or exit",
  "walk section": "end a walk",
  "read side": "release the read side of the mmu_lock",
  "write side": "release the write side of the mmu_lock",
  invalidation: "end an invalidation",
};

/** Passes on a result of the core; a negative one is thrown. */
export function outcome(
  context: Context,
  status: number,
  operation: string,
  details?: object,
): number {
  if (status < 0) throw refusal(context, status, operation, details);
  return status;
}

/** Passes on whether an operation went through; -EAGAIN is "again", any other errno is thrown. */
export function outcomeOrAgain(
  context: Context,
  status: number,
  operation: string,
  details?: object,
): "ok" | "again" {
  if (status >= 0) return "ok";
  if (status === -EAGAIN) return "again";
  throw refusal(context, status, operation, details);
}

/** The error for a negative `status` of a call that may have to do with other threads. Asks the core: call it at once. */
export function refusal(
  context: Context,
  status: number,
  operation: string,
  details: object = {},
): Stage2Error {
  if (status === -ETIMEDOUT) {
    const late = lateOf(context);
    if (late !== undefined) return lateError(context, operation, { ...details, ...late });
  }
  if (status === -ENOMEM) return shortage(context, operation, details);
  if (status === -EDEADLK) return deadlock(context, operation, details);
  if (status === -ESTALE) return stale(operation, details);
  if (status !== -EBUSY) return errnoError(status, operation, details);
  const message = `${operation}: the mmu_lock is taken and this thread may not block: use readAsync or writeAsync`;
  return new Stage2Error("EBUSY", message, details, EBUSY);
}

/** The table came to its end while this thread waited: nothing was done. */
export function stale(operation: string, details: object): Stage2Error {
  const message = `${operation}: the page table was disposed while this waited for its lock`;
  return new Stage2Error("DISPOSED", message, details, ESTALE);
}

/** What an operation took away before it ran out of pages may be in use somewhere: that must be told too. */
function shortage(context: Context, operation: string, details: object): Stage2Error {
  const late = lateOf(context);
  if (late === undefined) return errnoError(-ENOMEM, operation, details);
  const who = `${failure(late, context.patience)}; ${IN_USE}`;
  const more = { ...details, ...late, patience: context.patience };
  return new Stage2Error("ENOMEM", `${operation}: ENOMEM; also ${who}`, more, ENOMEM);
}

/** Threads that did not answer this thread's last operation, as the core noted them: the first in full. */
function lateOf(context: Context): Late | undefined {
  context.core.late();
  const waitingFor = WAITED_FOR[context.resultNumber(2) as keyof typeof WAITED_FOR];
  if (waitingFor === undefined) return undefined;
  const threads = numbersOf(context.result(3));
  return {
    thread: context.resultNumber(0),
    vcpu: context.resultNumber(1) || undefined,
    ...(threads.length > 1 ? { threads } : {}),
    waitingFor,
  };
}

/** The bits that are set. */
function numbersOf(bits: bigint): number[] {
  const numbers: number[] = [];
  for (let rest = bits, number = 0; rest !== 0n; rest >>= 1n, number++) {
    if (rest & 1n) numbers.push(number);
  }
  return numbers;
}

/** Who did not answer. */
export interface Late {
  /** The first of them. */
  readonly thread: number;
  readonly vcpu?: number | undefined;
  readonly waitingFor: WaitedFor;
  /** All of them, if they are several. */
  readonly threads?: readonly number[];
}

/** `ETIMEDOUT` in words. */
export function lateError(
  context: Context,
  operation: string,
  details: Late,
  patience = context.patience,
): Stage2Error {
  const late = failure(details, patience);
  const message = `${operation}: ${late}; ${consequence(operation, details.waitingFor)}`;
  return new Stage2Error("ETIMEDOUT", message, { ...details, patience }, ETIMEDOUT);
}

function failure({ thread, vcpu, waitingFor, threads = [] }: Late, patience: number): string {
  const who = vcpu === undefined ? `thread ${thread}` : `vCPU ${vcpu} of thread ${thread}`;
  const others = threads.filter((number) => number !== thread);
  const nor = others.length === 0 ? "" : `, nor did thread ${others.join(", thread ")}`;
  return `${who} did not ${FAILED_TO[waitingFor]} within ${patience} ms${nor}`;
}

const IN_USE = "what it took away may still be in use there";
/** Operations that may ask to be called again: here they cannot. */
const MAY_LACK = ["map", "split"];

function consequence(operation: string, waitingFor: WaitedFor): string {
  const isLock = waitingFor === "read side" || waitingFor === "write side";
  if (isLock || waitingFor === "invalidation") return "nothing was done";
  if (operation === "quiesce") return "its table pages go on waiting";
  if (MAY_LACK.includes(operation)) return `${IN_USE}; call it again for what it may have left out`;
  return `the operation is complete, but ${IN_USE}`;
}

/**
 * Refuses what must not happen while this thread has a lock or waits for one: that of the table at `pointer`, or any.
 * @throws Stage2Error `EDEADLK`
 */
export function refuseLocked(context: Context, operation: string, pointer?: number): void {
  const { pointer: held } = ownState(context);
  if (held !== 0 && (pointer === undefined || held === pointer)) {
    throw deadlock(context, operation, {});
  }
}

/** What this thread is in the middle of, and must not be. */
function deadlock(context: Context, operation: string, details: object): Stage2Error {
  const { flags, vcpu, pointer } = ownState(context);
  const reasons: string[] = [];
  const more: { vcpu?: number; lock?: number; side?: string } = {};
  if (vcpu !== 0) {
    reasons.push("is inside the bracket of a vCPU");
    more.vcpu = vcpu;
  }
  if (pointer !== 0) {
    more.side = flags & READING ? "read" : "write";
    more.lock = context.core.pgt_vmid(pointer) >>> 0; // named by the VMID of its table
    const lock = `the ${more.side} side of the mmu_lock of the table with VMID ${more.lock}`;
    reasons.push(`${flags & WAITING ? "waits for" : "holds"} ${lock}`);
  }
  if (reasons.length === 0) return errnoError(-EDEADLK, operation, details);
  const message = `${operation}: this thread ${reasons.join(" and ")}`;
  return new Stage2Error("EDEADLK", message, { ...details, ...more }, EDEADLK);
}

function ownState(context: Context): { flags: number; vcpu: number; pointer: number } {
  const { core } = context;
  core.thread_describe(core.thread_number());
  const [flags, vcpu, pointer] = [0, 1, 2].map((index) => context.resultNumber(index));
  return { flags: flags ?? 0, vcpu: vcpu ?? 0, pointer: pointer ?? 0 };
}
