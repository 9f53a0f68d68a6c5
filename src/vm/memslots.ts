/** Memslots: which guest addresses are memory, and what is behind them (`KVM_SET_USER_MEMORY_REGION`). */
import { EBUSY, EDEADLK, ETIMEDOUT, Stage2Error } from "../errors.ts";
import { type Address, address, integerOption, knownOptions } from "../range.ts";
import { CHANGE, SLOT_FLAG } from "./_abi.ts";
import { harvest } from "./_harvest.ts";
import type { VmPlace } from "./_place.ts";
import { SPLIT, UNMAP, WRPROTECT, flushTlbSteps, rangeSteps } from "./_steps.ts";
import { FIRM, type Work, tried } from "./_work.ts";
import { inspected } from "./backing.ts";

/** Flags of a memslot. */
export const MemslotFlag = {
  /** Log which pages become dirty: {@link Vm.getDirtyLog}. */
  LOG_DIRTY_PAGES: SLOT_FLAG.LOG_DIRTY_PAGES,
  /** Writes are MMIO. */
  READONLY: SLOT_FLAG.READONLY,
} as const;

/** A memslot as it is asked for. Addresses are multiples of the page size. */
export interface MemslotRegion {
  /** Its id: 0 to 32,766. */
  slot: number;
  /** First guest address. */
  ipa: Address;
  /** Bytes: 0 deletes the slot, below 2^31 pages. */
  size: Address;
  /** Host virtual address of its first byte. Default 0, for deletion. */
  hva?: Address;
  /** {@link MemslotFlag} bits. Default 0. */
  flags?: number;
}

/** A memslot as it is. */
export interface Memslot {
  readonly slot: number;
  readonly ipa: number;
  readonly size: number;
  readonly hva: number;
  readonly flags: number;
  /** Its dirty pages are logged. */
  readonly logging: boolean;
  /** It is about to be deleted or moved: to guests it is not there. */
  readonly invalid: boolean;
}

/** What a call changed. */
export type MemslotChange = "none" | "create" | "delete" | "move" | "flags";

const CHANGES: readonly MemslotChange[] = ["none", "create", "delete", "move", "flags"];
const MOST_UNSIGNED = 2 ** 32 - 1;

/** A region whose values have the right types: whether they are a slot is the core's to say, in its order. */
export interface CheckedRegion {
  readonly slot: number;
  readonly ipa: bigint;
  readonly size: bigint;
  readonly hva: bigint;
  readonly flags: number;
}

/** Addresses of 64 bits here: what is too large is refused by errno, as by the ioctl. */
function word(value: Address | undefined, name: string): bigint {
  if (typeof value === "bigint" && value >= 0n && value < 2n ** 64n) return value;
  return BigInt(address(value ?? 0, name));
}

/** @throws Stage2Error `BAD_OPTION`, `BAD_ADDRESS` */
export function checkedRegion(region: MemslotRegion): CheckedRegion {
  knownOptions("setMemslot", region, ["slot", "ipa", "size", "hva", "flags"]);
  const { slot, ipa, size, hva, flags } = region;
  if (size === undefined) {
    throw new Stage2Error("BAD_OPTION", "setMemslot needs a size: 0 deletes", { slot });
  }
  return {
    slot: integerOption("slot", slot, 0, MOST_UNSIGNED),
    ipa: word(ipa, "ipa"),
    size: word(size, "size"),
    hva: word(hva, "hva"),
    flags: integerOption("flags", flags ?? 0, 0, MOST_UNSIGNED),
  };
}

/**
 * `__kvm_set_memory_region`, and what arm64 does before and after. DELETE and MOVE unmap the old slot first, while it is INVALID; then
 * the VMAs are looked at; then the new set is published; then a slot that is logged is write-protected and split.
 */
export function* changeMemslot(
  place: VmPlace,
  region: CheckedRegion,
  version: 1 | 2,
): Work<MemslotChange> {
  const { context, core, pointer } = place;
  const { slot, flags } = region;
  harvest(place, "setMemslot");
  const begin = (): number => {
    setRegion(place, region);
    return core.vm_region_begin(place.pointer, slot, flags, version);
  };
  const change = place.done(yield* tried(place, "setMemslot", begin), "setMemslot", region);
  if (change === CHANGE.NONE) return "none";
  let late: Stage2Error | undefined;
  try {
    if (change === CHANGE.DELETE || change === CHANGE.MOVE) {
      const [ipa, size] = [context.resultNumber(0), context.resultNumber(1)];
      late = yield* withdraw(place, ipa, size);
    }
    const facts = change === CHANGE.DELETE ? 0 : inspectedBy(place, region);
    late = (yield* publish(place, facts, region)) ?? late;
  } finally {
    if (place.isLive(pointer)) core.vm_region_end(pointer);
  }
  if (late !== undefined) throw late;
  return CHANGES[change] as MemslotChange;
}

function setRegion({ context }: VmPlace, { ipa, size, hva }: CheckedRegion): void {
  context.setArgument(0, ipa);
  context.setArgument(1, size);
  context.setArgument(2, hva);
}

function inspectedBy(place: VmPlace, { hva, size }: CheckedRegion): number {
  return place.callback(() => inspected(place.memory, Number(hva), Number(size)));
}

/** A refusal because an invalidation is in flight: no lock is what is waited for. */
function becauseInvalidated(error: Stage2Error): Stage2Error {
  const { errno, code } = error;
  if (errno !== EBUSY && errno !== EDEADLK) return error;
  const [whose, next] =
    errno === EBUSY
      ? ["another thread", ", and this thread may not block: use setMemslotAsync"]
      : ["this thread", ": end it first"];
  const message = `setMemslot: an invalidation of ${whose} is in flight${next}`;
  return new Stage2Error(code, message, { ...error.details, waitingFor: "invalidation" }, errno);
}

/** Passes on the result of what publishes; its only late ones are invalidations. */
function published(place: VmPlace, status: number, details: object = {}): void {
  if (status === -ETIMEDOUT) {
    const { patience } = place.context;
    const message = `setMemslot: an invalidation of another thread did not end within ${patience} ms`;
    const more = { ...details, waitingFor: "invalidation", patience };
    throw new Stage2Error("ETIMEDOUT", message, more, ETIMEDOUT);
  }
  place.done(status, "setMemslot", details);
}

/** The old slot is INVALID from now on, then empty. */
function* withdraw(place: VmPlace, ipa: number, size: number): Work<Stage2Error | undefined> {
  const invalidate = (): number => place.core.vm_region_invalidate(place.pointer);
  published(place, yield* tried(place, "setMemslot", invalidate, -EDEADLK, becauseInvalidated));
  return yield* rangeSteps(place, { ...UNMAP, operation: "setMemslot" }, ipa, size, true);
}

/** The new set is there from now on; what logging needs is done to it. */
function* publish(
  place: VmPlace,
  facts: number,
  region: CheckedRegion,
): Work<Stage2Error | undefined> {
  const { context, core } = place;
  const commit = (): number => core.vm_region_commit(place.pointer, facts);
  published(place, yield* tried(place, "setMemslot", commit, -EDEADLK, becauseInvalidated), region);
  const [ipa, size] = [context.resultNumber(0), context.resultNumber(1)];
  const [split, flush] = [context.resultNumber(2), context.resultNumber(3)];
  yield FIRM;
  if (size === 0) return undefined;
  let late = yield* rangeSteps(place, { ...WRPROTECT, operation: "setMemslot" }, ipa, size, true);
  if (flush !== 0) late = (yield* flushed(place, ipa, size)) ?? late;
  if (split === 0) return late;
  return (yield* rangeSteps(place, { ...SPLIT, operation: "setMemslot" }, ipa, size, true)) ?? late;
}

function* flushed(place: VmPlace, ipa: number, size: number): Work<Stage2Error | undefined> {
  try {
    yield* flushTlbSteps(place, { ipa, size });
    return undefined;
  } catch (error) {
    if (error instanceof Stage2Error && error.errno === ETIMEDOUT) return error;
    throw error;
  }
}

// ---- looking ----------------------------------------------------------------------------------------------------

/** The slot that the last call told of. */
export function memslotResult({ context }: VmPlace, slot: number): Memslot {
  const flags = context.resultNumber(3);
  return {
    slot,
    ipa: context.resultNumber(0),
    size: context.resultNumber(1),
    hva: context.resultNumber(2),
    flags,
    logging: (flags & SLOT_FLAG.LOG_DIRTY_PAGES) !== 0,
    invalid: context.resultNumber(5) === 1,
  };
}

/** All slots by the order that `at` gives, until there are no more. */
export function slotsBy(place: VmPlace, at: (index: number) => number): Memslot[] {
  const slots: Memslot[] = [];
  for (let index = 0; ; index++) {
    const slot = at(index);
    if (slot < 0) return slots;
    slots.push(memslotResult(place, slot));
  }
}
