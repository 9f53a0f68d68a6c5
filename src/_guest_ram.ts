/** Guest memory that an engine is made with: where it is for guests, and where it lies. */
import type { Core } from "./_abi.ts";
import { type Place, UNIT } from "./_region.ts";
import { Stage2Error, check } from "./errors.ts";
import { type Address, address, byteCount, integerOption, knownOptions } from "./range.ts";

/** A bank of guest memory. */
export interface GuestRam {
  /** First physical address: a multiple of 4 KiB. */
  pa: Address;
  /** Bytes: a multiple of 4 KiB. */
  size: Address;
  /** With an embedder's memory only, and needed there: byte offset in it, a multiple of 4 KiB outside of the region. */
  pointer?: number;
}

/** A checked bank. In a memory of the engine's own, `pointer` is given when the place is known. */
export interface Bank {
  readonly pa: number;
  readonly size: number;
  readonly pointer: number;
}

/** Segments of the memory map beside the pool. */
const MOST_BANKS = 7;
const PHYSICAL_LIMIT = 2 ** 52;
const BANK_ALIGN = 65536;

/**
 * Checks what can be checked without a memory.
 * @throws Stage2Error `BAD_OPTION`, `BAD_ADDRESS`, `BAD_SIZE`
 */
export function checkedBanks(
  given: GuestRam | readonly GuestRam[] | undefined,
  adopted: boolean,
): readonly Bank[] {
  if (given === undefined) return [];
  const list: readonly GuestRam[] = Array.isArray(given) ? given : [given];
  if (list.length > MOST_BANKS)
    throw refused(`at most ${MOST_BANKS} banks`, { banks: list.length });
  let pointer = BANK_ALIGN;
  const banks = list.map((bank) => {
    const checked = checkedBank(bank, adopted, pointer);
    pointer += Math.ceil(checked.size / BANK_ALIGN) * BANK_ALIGN;
    return checked;
  });
  for (const [index, bank] of banks.entries()) {
    for (const other of banks.slice(0, index)) {
      if (overlap(bank.pa, bank.size, other.pa, other.size)) throw refused("banks overlap", bank);
    }
  }
  return banks;
}

function checkedBank(bank: GuestRam, adopted: boolean, next: number): Bank {
  knownOptions("guestRam", bank, ["pa", "size", "pointer"]);
  const pa = address(bank.pa, "guestRam.pa");
  const size = byteCount(bank.size, pa);
  if (pa % UNIT !== 0 || size % UNIT !== 0 || pa + size > PHYSICAL_LIMIT) {
    throw refused("guestRam lies at multiples of 4 KiB below 2^52", { pa, size });
  }
  if (!adopted && bank.pointer !== undefined) throw refused("a pointer needs a memory", bank);
  if (!adopted) return { pa, size, pointer: next };
  const pointer = integerOption("guestRam.pointer", bank.pointer, 0, 2 ** 32 - UNIT);
  if (pointer % UNIT === 0) return { pa, size, pointer };
  throw refused("guestRam.pointer must be a multiple of 4 KiB", { pointer });
}

/** First byte behind banks in a memory of the engine's own. */
export function endOfBanks(banks: readonly Bank[]): number {
  const last = banks.at(-1);
  if (last === undefined) return BANK_ALIGN;
  return Math.ceil((last.pointer + last.size) / BANK_ALIGN) * BANK_ALIGN;
}

/** Checks banks against where the engine lies and which physical addresses its table pages have. */
export function checkPlaces(banks: readonly Bank[], place: Place, physical: number): void {
  const end = place.memory.buffer.byteLength;
  for (const { pa, size, pointer } of banks) {
    const details = { pa, size, pointer };
    if (overlap(pa, size, physical, place.units * UNIT)) {
      throw refused("guestRam has physical addresses of table pages (tablePhysicalBase)", details);
    }
    if (pointer + size > end) throw refused("guestRam does not lie inside the memory", details);
    if (overlap(pointer, size, place.base, place.bytes)) {
      throw refused("guestRam lies in the engine's region", details);
    }
  }
}

/** Puts banks into the memory map of the engine that this thread is attached to. */
export function addBanks(core: Core, banks: readonly Bank[]): void {
  for (const { pa, size, pointer } of banks) {
    check(core.map_add(pa, pointer, size), "guestRam", { pa, size, pointer });
  }
}

function overlap(a: number, aSize: number, b: number, bSize: number): boolean {
  return a < b + bSize && b < a + aSize;
}

function refused(message: string, details: object): Stage2Error {
  return new Stage2Error("BAD_OPTION", message, details);
}
