/** Editing of the slot set: by the owner of the slots_lock, between beginEdition and endEdition. */
import { ENOMEM } from "../errno";
import { UNIT_SHIFT } from "../layout";
import * as pool from "../pool";
import { privatePages } from "../private";
import {
  ABSENT, arrayOf, beginEdition, endEdition, idAt, R_BASE, R_EDITION, R_HIGHEST, R_HVA, R_PAGES, R_STATE, recordOf, roomIn,
} from "./slots";
import { RECORDS, Vm } from "./vm";

// @ts-ignore: decorator
@inline const FIRST_ROOM: u32 = 11; // 2048 ids in a page

// ---- room: made before an edition begins, as it can fail ---------------------------------------------------------------

/** Makes sure that there is a record for the id and room for one more in both orders. 0, -ENOMEM. */
export function makeRoom(vm: Vm, number: u32): i32 {
  const word = vm.word(RECORDS) + (<usize>(number >> 6) << 2);
  if (!atomic.load<u32>(word)) {
    const page = privatePages(1);
    if (!page) return -ENOMEM;
    atomic.store<u32>(word, <u32>page);
  }
  if (vm.slots < roomIn(vm.gfnOrder)) return 0;
  const shift = vm.gfnOrder ? (vm.gfnOrder & 31) + 1 : FIRST_ROOM;
  const units: u32 = 1 << (shift - FIRST_ROOM);
  const gfns = privatePages(units);
  const hvas = gfns ? privatePages(units) : 0;
  if (!hvas) {
    if (gfns) pool.free(gfns, UNIT_SHIFT, units);
    return -ENOMEM;
  }
  const oldGfns = vm.gfnOrder;
  const oldHvas = vm.hvaOrder;
  beginEdition(vm); // who is still in an old array looks again, whatever it finds there
  replaceOrder(vm, changetype<usize>(vm) + offsetof<Vm>("gfnOrder"), <u32>gfns | shift);
  replaceOrder(vm, changetype<usize>(vm) + offsetof<Vm>("hvaOrder"), <u32>hvas | shift);
  endEdition(vm);
  if (oldGfns) {
    freeOrder(oldGfns);
    freeOrder(oldHvas);
  }
  return 0;
}

function replaceOrder(vm: Vm, word: usize, order: u32): void {
  const old = load<u32>(word);
  if (old) memory.copy(arrayOf(order), arrayOf(old), <usize>vm.slots << 1);
  atomic.store<u32>(word, order);
}

function freeOrder(order: u32): void { pool.free(arrayOf(order), UNIT_SHIFT, 1 << ((order & 31) - FIRST_ROOM)); }

/** All memory of the set, at the end of the VM. */
export function freeSet(vm: Vm): void {
  if (vm.gfnOrder) {
    freeOrder(vm.gfnOrder);
    freeOrder(vm.hvaOrder);
  }
  for (let word = vm.word(RECORDS); word < vm.word(RECORDS) + 2048; word += 4) {
    const page = load<u32>(word);
    if (page) pool.free(page, UNIT_SHIFT, 1);
  }
}

// ---- places ---------------------------------------------------------------------------------------------------------------

function firstPlace(vm: Vm, order: u32, field: usize, value: u64): u32 {
  let low: u32 = 0;
  let high = vm.slots;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (load<u64>(recordOf(vm, idAt(order, middle)) + field) < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

function placeOf(vm: Vm, order: u32, field: usize, number: u32): u32 {
  let place = firstPlace(vm, order, field, load<u64>(recordOf(vm, number) + field));
  while (idAt(order, place) != number) place++; // slots of one hva stand side by side
  return place;
}

function insertAt(vm: Vm, order: u32, place: u32, number: u32): void {
  const at = arrayOf(order) + (<usize>place << 1);
  memory.copy(at + 2, at, <usize>(vm.slots - place) << 1);
  atomic.store<u16>(at, <u16>number);
}

function removeAt(vm: Vm, order: u32, place: u32): void {
  const at = arrayOf(order) + (<usize>place << 1);
  memory.copy(at, at + 2, <usize>(vm.slots - place - 1) << 1);
}

/** The highest end of the slots up to each place, from `place` on until nothing changes any more (a new slot has none yet). */
function raiseHighest(vm: Vm, place: u32): void {
  let highest: u64 = place ? load<u64>(recordOf(vm, idAt(vm.hvaOrder, place - 1)), R_HIGHEST) : 0;
  for (; place < vm.slots; place++) {
    const record = recordOf(vm, idAt(vm.hvaOrder, place));
    highest = max(highest, load<u64>(record, R_HVA) + (load<u64>(record, R_PAGES) << vm.pageShift));
    if (load<u64>(record, R_HIGHEST) == highest) return;
    atomic.store<u64>(record, highest, R_HIGHEST);
  }
}

/** Puts the slot of a complete record into the set. */
export function insertSlot(vm: Vm, number: u32): void {
  const record = recordOf(vm, number);
  insertAt(vm, vm.gfnOrder, firstPlace(vm, vm.gfnOrder, R_BASE, load<u64>(record, R_BASE)), number);
  const place = firstPlace(vm, vm.hvaOrder, R_HVA, load<u64>(record, R_HVA));
  atomic.store<u64>(record, 0, R_HIGHEST);
  insertAt(vm, vm.hvaOrder, place, number);
  atomic.store<u32>(changetype<usize>(vm), vm.slots + 1, offsetof<Vm>("slots"));
  vm.totalPages += load<u64>(record, R_PAGES);
  raiseHighest(vm, place);
}

export function removeSlot(vm: Vm, number: u32): void {
  const record = recordOf(vm, number);
  removeAt(vm, vm.gfnOrder, placeOf(vm, vm.gfnOrder, R_BASE, number));
  const place = placeOf(vm, vm.hvaOrder, R_HVA, number);
  removeAt(vm, vm.hvaOrder, place);
  atomic.store<u32>(changetype<usize>(vm), vm.slots - 1, offsetof<Vm>("slots"));
  vm.totalPages -= load<u64>(record, R_PAGES);
  raiseHighest(vm, place);
  atomic.store<u32>(record, ABSENT, R_STATE);
}

/** Whether a slot other than `number` has any of these pages. */
export function overlapsOther(vm: Vm, number: u32, base: u64, pages: u64): bool {
  let place = firstPlace(vm, vm.gfnOrder, R_BASE, base);
  if (place) {
    const before = idAt(vm.gfnOrder, place - 1);
    const record = recordOf(vm, before);
    if (before != number && load<u64>(record, R_BASE) + load<u64>(record, R_PAGES) > base) return true;
    // The slot itself may lie between: it may overlap its own old place, the one before it counts too.
    if (before == number && place > 1) {
      const second = recordOf(vm, idAt(vm.gfnOrder, place - 2));
      if (load<u64>(second, R_BASE) + load<u64>(second, R_PAGES) > base) return true;
    }
  }
  if (place < vm.slots && idAt(vm.gfnOrder, place) == number) place++;
  return place < vm.slots && load<u64>(recordOf(vm, idAt(vm.gfnOrder, place)), R_BASE) < base + pages;
}

/** The record is another from now on: whoever saw it before does not go by it (abort.ts). */
export function nextEdition(record: usize): void { atomic.add<u32>(record, 1, R_EDITION); }
