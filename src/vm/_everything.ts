/** Operations on everything that a VM maps, slot by slot; and on devices. */
import { EINVAL, Stage2Error } from "../errors.ts";
import { type Address, address, byteCount, fields, flagOption, knownOptions } from "../range.ts";
import type { VmPlace } from "./_place.ts";
import { FLUSH, UNMAP, rangeSteps } from "./_steps.ts";
import { type Work, tried } from "./_work.ts";
import { asynchronous, isPromise } from "./bus.ts";
import { type Memslot, memslotResult } from "./memslots.ts";
import type { HostRange } from "./notifiers.ts";

/** Pages that one step maps. */
const STEP_PAGES = 4096;
/** Before the first slot. */
const FIRST = -1;

/** Memory of a device. */
export interface IoremapRequest {
  /** Guest address. It is rounded down to a page, the end up. */
  ipa: Address;
  /** Physical address. */
  pa: Address;
  /** Bytes. */
  size: Address;
  /** Default true. */
  writable?: boolean;
}

/** All slots in hash order, as it is when each is asked for: they may change between two. */
function* hashed(place: VmPlace): Generator<Memslot, void, undefined> {
  const { core } = place;
  let slot = core.vm_slot_hashed(place.pointer, FIRST);
  while (slot >= 0) {
    const after = slot;
    if (core.vm_slot(place.pointer, slot) === 1) yield memslotResult(place, slot);
    slot = core.vm_slot_hashed(place.pointer, after);
  }
}

/** `stage2_flush_vm`. */
export function* flushAllSteps(place: VmPlace): Work<void> {
  let late: Stage2Error | undefined;
  for (const slot of hashed(place)) {
    const task = { ...FLUSH, operation: "flushAll" };
    late = (yield* rangeSteps(place, task, slot.ipa, slot.size, true)) ?? late;
  }
  if (late !== undefined) throw late;
}

/** `stage2_unmap_vm`. */
export function* unmapAllSteps(place: VmPlace): Work<void> {
  let late: Stage2Error | undefined;
  for (const slot of hashed(place)) {
    for (const { ipa, size } of mappedParts(place, slot)) {
      const task = { ...UNMAP, operation: "unmapAll" };
      late = (yield* rangeSteps(place, task, ipa, size, true)) ?? late;
    }
  }
  if (late !== undefined) throw late;
}

/** The parts of a slot that are ordinary memory now, as guest addresses: whole pages. */
function mappedParts(place: VmPlace, slot: Memslot): { ipa: number; size: number }[] {
  const { memory, pageSize } = place;
  if (memory?.mapped === undefined) return [slot];
  const parts = place.callback(() => partsOf(memory.mapped?.(slot.hva, slot.size)));
  return parts.flatMap((part) => {
    const { hva, size } = fields(part);
    const first = address(hva, "hva");
    const start = Math.max(first, slot.hva);
    const end = Math.min(first + byteCount(size, first), slot.hva + slot.size);
    if (start >= end) return [];
    const from = start - slot.hva - ((start - slot.hva) % pageSize);
    const to = Math.ceil((end - slot.hva) / pageSize) * pageSize;
    return [{ ipa: slot.ipa + from, size: to - from }];
  });
}

/** @throws Stage2Error `BAD_OPTION` if they are none */
function partsOf(answer: unknown): HostRange[] {
  if (isPromise(answer)) throw asynchronous(answer, "mapped must tell the parts at once");
  if (typeof (answer as Iterable<HostRange> | undefined)?.[Symbol.iterator] === "function") {
    return [...(answer as Iterable<HostRange>)];
  }
  throw new Stage2Error("BAD_OPTION", "mapped must give something to iterate over", { answer });
}

/** `kvm_phys_addr_ioremap`. */
export function* ioremapSteps(place: VmPlace, request: IoremapRequest): Work<void> {
  knownOptions("ioremap", request, ["ipa", "pa", "size", "writable"]);
  const ipa = address(request.ipa, "ipa");
  const pa = address(request.pa, "pa");
  const size = byteCount(request.size, ipa);
  const writable = flagOption("writable", request.writable ?? true) ? 1 : 0;
  if (pa + size > place.outputLimit) {
    const message = `ioremap: pa must lie below 2^${Math.log2(place.outputLimit)}`;
    throw new Stage2Error("EINVAL", message, { pa, size }, EINVAL);
  }
  const whole = size + (ipa % place.pageSize);
  let done = 0;
  const step = (): number => {
    [ipa, pa, size].forEach((value, index) => place.context.setArgument(index, BigInt(value)));
    return place.core.vm_ioremap(place.pointer, writable, done, STEP_PAGES);
  };
  while (done < whole) {
    done = place.done(yield* tried(place, "ioremap", step), "ioremap", { ipa, pa, size });
    yield { phase: "ioremap", done, size: whole };
  }
}
