/** A guest's memory as its hypervisor reads and writes it (`kvm_read_guest`, `kvm_write_guest`): through memslots, by host addresses. */
import { EFAULT, Stage2Error } from "../errors.ts";
import { type Address, address, byteCount } from "../range.ts";
import { SLOT_FLAG } from "./_abi.ts";
import type { VmPlace } from "./_place.ts";
import { asynchronous, isPromise } from "./bus.ts";

/** What the backing is asked to do with a stretch that lies in one slot. It answers now, or later. */
type Transfer = Generator<boolean | Promise<boolean>, void, boolean>;

/** Reads `length` bytes. */
export function* reading(place: VmPlace, ipa: number, into: Uint8Array): Transfer {
  for (let at = 0; at < into.length;) {
    const stretch = stretchAt(place, ipa + at, into.length - at, false);
    const part = into.subarray(at, at + stretch.length);
    if ((yield place.memory?.read?.(stretch.hva, part) ?? false) !== true) {
      throw noMemory("readGuest", ipa + at);
    }
    at += stretch.length;
  }
}

/**
 * Writes the bytes, page by page; each page of a slot that is logged is dirty then. What comes before an error stays written, and
 * part of the page where it came may be: that page is dirty too.
 */
export function* writing(place: VmPlace, ipa: number, bytes: Uint8Array): Transfer {
  const { memory, core, pageSize } = place;
  for (let at = 0; at < bytes.length;) {
    const here = ipa + at;
    const inPage = Math.min(bytes.length - at, pageSize - (here % pageSize));
    const { hva, length } = stretchAt(place, here, inPage, true);
    if (memory?.write === undefined) throw noMemory("writeGuest", here);
    let marked = 0;
    try {
      const answer = yield memory.write(hva, bytes.subarray(at, at + length));
      if (answer !== true) throw noMemory("writeGuest", here);
    } finally {
      if (place.isOpen) marked = core.vm_mark_dirty(place.pointer, here);
    }
    void place.pointer; // it may have come to its end meanwhile
    place.done(marked, "writeGuest", { ipa: here });
    at += length;
  }
}

/** How much from `ipa` on lies in its slot, and where. */
function stretchAt(
  place: VmPlace,
  ipa: number,
  length: number,
  write: boolean,
): { hva: number; length: number } {
  const { context, core } = place;
  const operation = write ? "writeGuest" : "readGuest";
  const found = core.vm_slot_of(place.pointer, ipa);
  if (found < 0) throw noMemory(operation, ipa);
  const [base, size, hva, flags] = [0, 1, 2, 3].map((index) => context.resultNumber(index));
  const isInvalid = context.resultNumber(5) === 1;
  if (isInvalid || (write && (flags! & SLOT_FLAG.READONLY) !== 0)) throw noMemory(operation, ipa);
  const offset = ipa - base!;
  return { hva: hva! + offset, length: Math.min(length, size! - offset) };
}

function noMemory(operation: string, ipa: number): Stage2Error {
  return new Stage2Error("EFAULT", `${operation}: no such memory`, { ipa }, EFAULT);
}

/** Does it at once. @throws Stage2Error `BAD_OPTION` if the backing answers later */
export function transfer(work: Transfer): void {
  let step = work.next();
  while (step.done !== true) {
    const answer = step.value;
    step = isPromise(answer) ? work.throw(asynchronous(answer, ASYNC)) : work.next(answer);
  }
}

const ASYNC = "the backing is asynchronous: use the Async variant";

/** Does it as the backing answers. */
export async function transferLater(work: Transfer): Promise<void> {
  let step = work.next();
  while (step.done !== true) {
    let answer: boolean;
    try {
      answer = await step.value;
    } catch (error) {
      step = work.throw(error);
      continue;
    }
    step = work.next(answer);
  }
}

/** A checked place of bytes. @throws Stage2Error `BAD_ADDRESS`, `BAD_SIZE`, `BAD_OPTION` */
export function checkedPlace(ipa: Address, bytes: unknown): number {
  const start = address(ipa, "ipa");
  if (!(bytes instanceof Uint8Array)) {
    throw new Stage2Error("BAD_OPTION", "bytes must be a Uint8Array", { bytes });
  }
  if (bytes.length > 0) byteCount(bytes.length, start);
  return start;
}
