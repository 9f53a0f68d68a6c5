/**
 * Memslots as readers see them. A set is two sorted arrays of slot ids and a record for each; it is edited in place, between an odd
 * and an even sequence number, so a lookup that saw both sides of an edition looks again: it has the old set or the new one,
 * never a mix. Every word is read atomically, which keeps the reads in order; what was read half-way is an id or an address like
 * any other, never a wrong pointer.
 *
 *   record: +0 state  +4 flags  +8 base gfn  +16 pages  +24 hva  +32 bitmap  +36 units of it  +40 edition  +48 highest end (by hva)
 */
import { ETIMEDOUT } from "../errno";
import { awaitChange, blame, LATE_WRITER, spinWhile } from "../sync/wait";
import { RECORDS, SEQUENCE, SLOTS_LOCK, Vm } from "./vm";

// @ts-ignore: decorator
@inline export const MAX_SLOTS: u32 = 32767;
// States.
// @ts-ignore: decorator
@inline export const ABSENT: u32 = 0;
// @ts-ignore: decorator
@inline export const VALID_SLOT: u32 = 1;
/** KVM_MEMSLOT_INVALID: about to go, or to move; to guests it is not there. */
// @ts-ignore: decorator
@inline export const INVALID_SLOT: u32 = 2;
// Flags.
// @ts-ignore: decorator
@inline export const LOG_DIRTY: u32 = 1;
// @ts-ignore: decorator
@inline export const READONLY: u32 = 2;

// Fields of a record.
// @ts-ignore: decorator
@inline export const R_STATE: usize = 0;
// @ts-ignore: decorator
@inline export const R_FLAGS: usize = 4;
// @ts-ignore: decorator
@inline export const R_BASE: usize = 8;
// @ts-ignore: decorator
@inline export const R_PAGES: usize = 16;
// @ts-ignore: decorator
@inline export const R_HVA: usize = 24;
// @ts-ignore: decorator
@inline export const R_BITMAP: usize = 32;
// @ts-ignore: decorator
@inline export const R_UNITS: usize = 36;
// @ts-ignore: decorator
@inline export const R_EDITION: usize = 40;
// @ts-ignore: decorator
@inline export const R_HIGHEST: usize = 48;
// @ts-ignore: decorator
@inline const RECORD_SHIFT: usize = 6;

/** An order: pointer of its array, and in the low bits log2 of the ids that it has room for. */
// @ts-ignore: decorator
@inline export function arrayOf(order: u32): usize { return <usize>(order & ~0xfff); }
// @ts-ignore: decorator
@inline export function roomIn(order: u32): u32 { return order ? <u32>1 << (order & 31) : 0; }
// @ts-ignore: decorator
@inline export function idAt(order: u32, index: u32): u32 { return atomic.load<u16>(arrayOf(order) + (<usize>index << 1)); }

/** Record of a slot id, 0 if its page does not exist. */
export function recordOf(vm: Vm, id: u32): usize {
  if (id >= MAX_SLOTS) return 0;
  const page = <usize>atomic.load<u32>(vm.word(RECORDS) + (<usize>(id >> 6) << 2));
  return page ? page + (<usize>(id & 63) << RECORD_SHIFT) : 0;
}

// What the last lookup of this thread found.
export let id: u32 = 0;
export let state: u32 = 0;
export let flags: u32 = 0;
export let base: u64 = 0;
export let pages: u64 = 0;
export let hva: u64 = 0;
export let bitmap: usize = 0;
export let edition: u32 = 0;

// @ts-ignore: decorator
@inline export function logging(): bool { return bitmap != 0 || (flags & LOG_DIRTY) != 0; }

function readRecord(number: u32, record: usize): void {
  id = number;
  state = atomic.load<u32>(record, R_STATE);
  flags = atomic.load<u32>(record, R_FLAGS);
  base = atomic.load<u64>(record, R_BASE);
  pages = atomic.load<u64>(record, R_PAGES);
  hva = atomic.load<u64>(record, R_HVA);
  bitmap = <usize>atomic.load<u32>(record, R_BITMAP);
  edition = atomic.load<u32>(record, R_EDITION);
}

// ---- the sequence ---------------------------------------------------------------------------------------------------

/** An even number; u64.MAX_VALUE: somebody is in the middle of an edition and does not end it. */
export function beginRead(vm: Vm): u64 {
  const word = vm.word(SEQUENCE);
  while (true) {
    const sequence = atomic.load<u64>(word);
    if (!(sequence & 1)) return sequence;
    if (spinWhile(word, <u32>sequence) || awaitChange<u64>(word, sequence)) continue;
    blame(atomic.load<u32>(vm.word(SLOTS_LOCK)) - 1, LATE_WRITER);
    return u64.MAX_VALUE;
  }
}

// @ts-ignore: decorator
@inline export function isSame(vm: Vm, sequence: u64): bool { return atomic.load<u64>(vm.word(SEQUENCE)) == sequence; }

/** Between these two the set is in nobody's hands but this thread's. */
export function beginEdition(vm: Vm): void { atomic.add<u64>(vm.word(SEQUENCE), 1); }

export function endEdition(vm: Vm): void {
  atomic.add<u64>(vm.word(SEQUENCE), 1);
  atomic.notify(vm.word(SEQUENCE), -1);
}

// ---- lookups ----------------------------------------------------------------------------------------------------------

/** How many there are of an order whose array has this room: what is read half-way must not lead beyond it. */
// @ts-ignore: decorator
@inline function countIn(vm: Vm, order: u32): u32 {
  return min(atomic.load<u32>(changetype<usize>(vm), offsetof<Vm>("slots")), roomIn(order));
}

// @ts-ignore: decorator
@inline function gfnOrderOf(vm: Vm): u32 { return atomic.load<u32>(changetype<usize>(vm), offsetof<Vm>("gfnOrder")); }
// @ts-ignore: decorator
@inline function hvaOrderOf(vm: Vm): u32 { return atomic.load<u32>(changetype<usize>(vm), offsetof<Vm>("hvaOrder")); }

/** Places in ascending gfn that lie at or below `gfn`. */
function placesUpTo(vm: Vm, order: u32, gfn: u64): u32 {
  let low: u32 = 0;
  let high = countIn(vm, order);
  while (low < high) {
    const middle = (low + high) >> 1;
    const record = recordOf(vm, idAt(order, middle));
    if (record && atomic.load<u64>(record, R_BASE) <= gfn) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The slot that holds a gfn: 1, 0 none, -ETIMEDOUT. */
export function findSlot(vm: Vm, gfn: u64): i32 {
  while (true) {
    const sequence = beginRead(vm);
    if (sequence == u64.MAX_VALUE) return -ETIMEDOUT;
    const found = search(vm, gfn);
    if (isSame(vm, sequence)) return found;
  }
}

function search(vm: Vm, gfn: u64): i32 {
  const order = gfnOrderOf(vm);
  const places = placesUpTo(vm, order, gfn);
  if (!places) return 0;
  const number = idAt(order, places - 1);
  const record = recordOf(vm, number);
  if (!record) return 0;
  readRecord(number, record);
  return <i32>(gfn - base < pages);
}

/** The slot of an id: 1, 0 absent, -ETIMEDOUT. */
export function readSlot(vm: Vm, number: u32): i32 {
  const record = recordOf(vm, number);
  if (!record) return 0;
  while (true) {
    const sequence = beginRead(vm);
    if (sequence == u64.MAX_VALUE) return -ETIMEDOUT;
    readRecord(number, record);
    if (isSame(vm, sequence)) return <i32>(state != ABSENT);
  }
}

/** The slot at a place in ascending gfn: 1, 0 beyond the last, -ETIMEDOUT. */
export function slotAt(vm: Vm, index: u32): i32 {
  while (true) {
    const sequence = beginRead(vm);
    if (sequence == u64.MAX_VALUE) return -ETIMEDOUT;
    const order = gfnOrderOf(vm);
    let found = false;
    if (index < countIn(vm, order)) {
      const number = idAt(order, index);
      const record = recordOf(vm, number);
      if (record) readRecord(number, record);
      found = record != 0;
    }
    if (isSame(vm, sequence)) return <i32>found;
  }
}

/** First place in ascending hva, from `index` on, of a slot that has bytes of [start, end): the place + 1, 0 none, -ETIMEDOUT. */
export function overlapping(vm: Vm, start: u64, end: u64, index: u32): i32 {
  while (true) {
    const sequence = beginRead(vm);
    if (sequence == u64.MAX_VALUE) return -ETIMEDOUT;
    const found = searchHva(vm, start, end, index);
    if (isSame(vm, sequence)) return found;
  }
}

/**
 * No slot before the first place whose highest end so far lies above `start` reaches that far: the highest ends only grow. From there
 * on each is looked at until one begins at or above `end`.
 */
function searchHva(vm: Vm, start: u64, end: u64, index: u32): i32 {
  const order = hvaOrderOf(vm);
  const count = countIn(vm, order);
  let low = index;
  let high = count;
  while (low < high) {
    const middle = (low + high) >> 1;
    const record = recordOf(vm, idAt(order, middle));
    if (record && atomic.load<u64>(record, R_HIGHEST) <= start) low = middle + 1;
    else high = middle;
  }
  for (; low < count; low++) {
    const number = idAt(order, low);
    const record = recordOf(vm, number);
    if (!record) return 0;
    readRecord(number, record);
    if (hva >= end) return 0;
    if (hva + (pages << vm.pageShift) > start) return <i32>low + 1;
  }
  return 0;
}

/**
 * The order in which KVM visits all slots (its hash table of ids, 128 buckets): the id that follows `last` (-1 first), or -1.
 */
export function nextHashed(vm: Vm, last: i32): i32 {
  const from = last < 0 ? 0 : keyOf(<u32>last) + 1;
  let best: u64 = u64.MAX_VALUE;
  const order = gfnOrderOf(vm);
  const count = countIn(vm, order);
  for (let index: u32 = 0; index < count; index++) {
    const key = keyOf(idAt(order, index));
    if (key >= from && key < best) best = key;
  }
  return best == u64.MAX_VALUE ? -1 : <i32>(best & 0xffff);
}

/** Bucket by the golden ratio, then id. */
// @ts-ignore: decorator
@inline function keyOf(number: u32): u64 { return <u64>((number * 0x61c8_8647) >> 25) << 16 | number; }
