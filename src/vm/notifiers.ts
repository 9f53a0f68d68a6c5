/** MMU notifiers: what the host tells a VM about host virtual addresses whose mapping it changes or asks about. */
import { Stage2Error } from "../errors.ts";
import { type Address, address, byteCount, fields } from "../range.ts";
import { AGE } from "./_abi.ts";
import type { VmPlace } from "./_place.ts";
import { UNMAP, rangeSteps } from "./_steps.ts";
import { FIRM, type Work, type WorkOptions, atOnce, inSlices, tried } from "./_work.ts";

/** A stretch of host virtual addresses. */
export interface HostRange {
  /** First byte. Every page that the range touches is meant. */
  hva: Address;
  /** Bytes, more than 0. */
  size: Address;
}

/** The range as the core takes it. */
export interface Interval {
  readonly start: number;
  readonly end: number;
}

/** @throws Stage2Error `BAD_ADDRESS`, `BAD_SIZE` */
export function interval(range: HostRange): Interval {
  const start = address(fields(range).hva, "hva");
  return { start, end: start + byteCount(range.size, start) };
}

function setInterval({ context }: VmPlace, { start, end }: Interval): void {
  context.setArgument(0, BigInt(start));
  context.setArgument(1, BigInt(end));
}

const DONE = 1;

/**
 * `kvm_mmu_notifier_invalidate_range_start`. From the first step on the invalidation is in flight: if it does not come to its end, it
 * is ended at once. Returned is the refusal of what another thread was late for.
 */
export function* startInvalidation(place: VmPlace, range: Interval): Work<Stage2Error | undefined> {
  const begin = (): number => {
    setInterval(place, range);
    return place.core.vm_invalidate_start(place.pointer, 1);
  };
  const status = yield* tried(place, "invalidateStart", begin);
  place.done(status, "invalidateStart", range);
  if (status <= DONE) return undefined;
  let complete = false;
  try {
    const late = yield* unmapSlots(place, range);
    complete = true;
    return late;
  } finally {
    if (!complete && place.isOpen) yield* endInvalidation(place, range);
  }
}

/** The rest of the current slot, then of the others, in ascending hva. */
function* unmapSlots(place: VmPlace, range: Interval): Work<Stage2Error | undefined> {
  const { context, core } = place;
  const task = { ...UNMAP, operation: "invalidateStart" };
  let late: Stage2Error | undefined;
  let index = context.resultNumber(0);
  let [ipa, size] = [context.resultNumber(1), context.resultNumber(2)];
  while (true) {
    late = (yield* rangeSteps(place, task, ipa, size, true)) ?? late;
    setInterval(place, range);
    const found = core.vm_hva_next(place.pointer, index);
    if (place.done(found, "invalidateStart", range) === 0) return late;
    [ipa, size] = [context.resultNumber(0), context.resultNumber(1)];
    index = context.resultNumber(3);
  }
}

/** `kvm_mmu_notifier_invalidate_range_end`. */
export function* endInvalidation(place: VmPlace, range: Interval): Work<void> {
  const end = (): number => {
    setInterval(place, range);
    return place.core.vm_invalidate_end(place.pointer);
  };
  place.done(yield* tried(place, "invalidateEnd", end), "invalidateEnd", range);
}

/** @throws Stage2Error `BAD_OPTION` */
export function checkedChange<T>(change: T): T {
  if (typeof change === "function") return change;
  throw new Stage2Error("BAD_OPTION", "the change must be a function", { change });
}

/** Start alone; who was late is thrown, the invalidation is in flight all the same. */
export function* startSteps(place: VmPlace, range: Interval): Work<void> {
  const late = yield* startInvalidation(place, range);
  if (late !== undefined) throw late;
}

/** Both, and the change between them. What the change throws comes first. */
export function* aroundChange(place: VmPlace, range: Interval, change: () => void): Work<void> {
  const late = yield* startInvalidation(place, range);
  yield FIRM;
  try {
    const result: unknown = place.callback(change);
    if (typeof (result as { then?: unknown } | undefined)?.then === "function") {
      Promise.resolve(result).catch(() => {}); // what becomes of it nobody hears: this error comes in its place
      const message = "a change that is asynchronous needs invalidateAsync";
      throw new Stage2Error("BAD_OPTION", message, range);
    }
  } finally {
    yield* endInvalidation(place, range);
  }
  if (late !== undefined) throw late;
}

/** The same with a change that takes its time; other work of the thread goes on meanwhile. */
export async function aroundChangeLater(
  place: VmPlace,
  range: Interval,
  change: () => void | Promise<void>,
  options: WorkOptions,
): Promise<void> {
  const late = await inSlices(place, startInvalidation(place, range), options);
  let hasEnded = false;
  const part = {
    close(): void {
      hasEnded = true; // the VM ends here, or the engine: others must not wait for this thread
      if (place.isOpen) atOnce(place, endInvalidation(place, range));
    },
  };
  place.add(part);
  try {
    await change();
  } finally {
    place.remove(part);
    if (!hasEnded) await inSlices(place, endInvalidation(place, range));
  }
  if (late !== undefined) throw late;
}

/** `clear_flush_young`, `clear_young`, `test_young`: whether any page of the range was used. */
export function* ageSteps(
  place: VmPlace,
  op: (typeof AGE)[keyof typeof AGE],
  operation: string,
  range: Interval,
): Work<boolean> {
  const age = (): number => {
    setInterval(place, range);
    return place.core.vm_age(place.pointer, op);
  };
  return place.done(yield* tried(place, operation, age), operation, range) === 1;
}
