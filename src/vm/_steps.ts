/** Operations on a range of guest addresses, piece by piece: between pieces the mmu_lock is free. */
import { EINVAL, ETIMEDOUT, Stage2Error } from "../errors.ts";
import { type Range, span } from "../range.ts";
import { RANGE } from "./_abi.ts";
import type { VmPlace } from "./_place.ts";
import { type Work, type WorkPhase, tried } from "./_work.ts";

/** What is done to a range. */
export interface RangeTask {
  readonly op: (typeof RANGE)[keyof typeof RANGE];
  readonly operation: string;
  readonly phase: WorkPhase;
}

export const UNMAP: RangeTask = { op: RANGE.UNMAP, operation: "unmapRange", phase: "unmap" };
export const WRPROTECT: RangeTask = {
  op: RANGE.WRPROTECT,
  operation: "wrprotectRange",
  phase: "protect",
};
export const FLUSH: RangeTask = { op: RANGE.FLUSH, operation: "flushRange", phase: "flush" };
export const SPLIT: RangeTask = { op: RANGE.SPLIT, operation: "splitRange", phase: "split" };

/**
 * Does it to all of the range. Returned is the refusal of a piece that another thread was late for: such a piece is done, and
 * so are those behind it. `resumed`: it is no error that there is no page table.
 */
export function* rangeSteps(
  place: VmPlace,
  task: RangeTask,
  ipa: number,
  size: number,
  resumed = false,
): Work<Stage2Error | undefined> {
  const { op, operation, phase } = task;
  let late: Stage2Error | undefined;
  let done = 0;
  const step = (): number =>
    place.core.vm_range(place.pointer, op, ipa + done, size - done, 1, resumed || done > 0 ? 1 : 0);
  while (done < size) {
    const status = yield* tried(place, operation, step);
    done += status < 0 ? place.context.resultNumber(0) : status;
    if (status < 0) late = lateness(place, status, operation, late);
    if (status <= 0 && late === undefined) break; // nothing more to do
    yield { phase, done, size };
  }
  return late;
}

/** The refusal of a piece that is done nevertheless; any other is thrown. */
function lateness(
  place: VmPlace,
  status: number,
  operation: string,
  before: Stage2Error | undefined,
): Stage2Error {
  const past = place.context.resultNumber(0); // asking who was late takes its place
  const error = place.refusal(status, operation);
  if (status === -ETIMEDOUT && past > 0) return before ?? error;
  throw error;
}

/** The same; who was late is thrown in the end. */
export function* wholeRange(place: VmPlace, task: RangeTask, range: Range): Work<void> {
  const { ipa, size } = span(range);
  if (task.op === RANGE.UNMAP && size % place.pageSize !== 0) {
    const message = `${task.operation}: whole pages only`;
    throw new Stage2Error("EINVAL", message, { ipa, size }, EINVAL);
  }
  const late = yield* rangeSteps(place, task, ipa, size);
  if (late !== undefined) throw late;
}

/** `kvm_tlb_flush_vmid_range`. */
export function* flushTlbSteps(place: VmPlace, range: Range): Work<void> {
  const { ipa, size } = span(range);
  const flush = (): number => place.core.vm_flush_tlb(place.pointer, ipa, size);
  place.done(yield* tried(place, "flushTlb", flush), "flushTlb", { ipa, size });
}
