/** A guest's memory as its hypervisor reads and writes it (`kvm_read_guest`, `kvm_write_guest`): through memslots, by host addresses. */
import { EFAULT, Stage2Error } from "../errors.ts";
import { type Address, address, byteCount } from "../range.ts";
import { SLOT_FLAG } from "./_abi.ts";
import type { VmPlace } from "./_place.ts";

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

/** Writes the bytes; each page of a slot that is logged is dirty then. What comes before an error stays written. */
export function* writing(place: VmPlace, ipa: number, bytes: Uint8Array): Transfer {
  for (let at = 0; at < bytes.length;) {
    const stretch = stretchAt(place, ipa + at, bytes.length - at, true);
    const part = bytes.subarray(at, at + stretch.length);
    if ((yield place.memory?.write?.(stretch.hva, part) ?? false) !== true) {
      throw noMemory("writeGuest", ipa + at);
    }
    const end = ipa + at + stretch.length;
    const first = ipa + at - ((ipa + at) % place.pageSize);
    for (let page = first; page < end; page += place.pageSize) {
      place.done(place.core.vm_mark_dirty(place.pointer, page), "writeGuest", { ipa: page });
    }
    at += stretch.length;
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
    if (typeof answer !== "boolean") {
      Promise.resolve(answer).catch(() => {}); // what becomes of it nobody hears: this error comes in its place
      throw new Stage2Error("BAD_OPTION", "the backing is asynchronous: use the Async variant");
    }
    step = work.next(answer);
  }
}

/** Does it as the backing answers. */
export async function transferLater(work: Transfer): Promise<void> {
  let step = work.next();
  while (step.done !== true) step = work.next(await step.value);
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
