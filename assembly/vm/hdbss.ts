/**
 * Dirty state that hardware tracks (FEAT_HDBSS) as a source of the dirty log: the CPU makes pages writable itself where their leaf has
 * DBM, and notes each in a buffer; harvesting moves the notes into the log. What is not harvested yet is dirty in the page table all the
 * same: it is in the log after the next harvest, and its page is protected with that.
 */
import { EINVAL, ENOMEM } from "../errno";
import { levelShift } from "../geometry";
import { toPhysical, UNIT_SHIFT } from "../layout";
import * as pool from "../pool";
import { configure } from "../vcpu/configure";
import { Vcpu } from "../vcpu/state";
import { Context, count, HARVESTED } from "./context";
import { markDirty } from "./dirty";
import { Vm } from "./vm";

/** VTCR_EL2.HD and HDBSS. */
// @ts-ignore: decorator
@inline const TRACKS: u64 = 1 << 22 | <u64>1 << 45;
// HDBSSBR_EL2: base 55:12, size 3:0. HDBSSPROD_EL2: INDEX 18:0. An entry: IPA 55:12, level 3:1, valid.
// @ts-ignore: decorator
@inline const MAX_SIZE: i32 = 9;
// @ts-ignore: decorator
@inline const INDEX: u64 = 0x7_ffff;
// @ts-ignore: decorator
@inline const ADDRESS: u64 = 0x00ff_ffff_ffff_f000;

// @ts-ignore: decorator
@inline function cpuOf(c: Context): Vcpu { return changetype<Vcpu>(c.cpu); }

/** A buffer of 512 << size entries for the CPU that the context runs on; a negative size takes it away. 0, -EINVAL, -ENOMEM. */
export function setBuffer(c: Context, size: i32): i32 {
  if (size > MAX_SIZE) return -EINVAL;
  const units: u32 = size < 0 ? 0 : 1 << size;
  const buffer = units ? pool.allocate(UNIT_SHIFT, units) : 0;
  if (units && !buffer) return -ENOMEM;
  if (buffer) pool.setBuffer(buffer, units);
  harvest(c);
  if (c.cpu) takeBuffer(cpuOf(c));
  if (c.buffer) pool.free(c.buffer, UNIT_SHIFT, c.bufferUnits);
  c.buffer = buffer;
  c.bufferUnits = units;
  if (!c.cpu) return 0;
  useBuffer(c, cpuOf(c));
  configure(cpuOf(c));
  return 0;
}

/** Registers of a CPU that is about to run the context. */
export function useBuffer(c: Context, v: Vcpu): void {
  if (!c.buffer) return;
  v.hdbssbr = toPhysical(c.buffer) | <u64>ctz(c.bufferUnits);
  v.hdbssprod = 0;
  v.vtcr |= TRACKS;
}

/** Hardware dirty state without a buffer would go unnoticed: both end. */
export function takeBuffer(v: Vcpu): void {
  v.vtcr &= ~TRACKS;
  v.hdbssbr = 0;
  v.hdbssprod = 0;
}

/** Entries moved into the log; the buffer is empty then. */
export function harvest(c: Context): u32 {
  if (!c.cpu || !c.buffer) return 0;
  const v = cpuOf(c);
  const entries = <u32>min(v.hdbssprod & INDEX, <u64>c.bufferUnits << 9);
  for (let index: u32 = 0; index < entries; index++) {
    const entry = c.buffer + (<usize>index << 3);
    const value = load<u64>(entry);
    if (value & 1 && !markLeaf(c.vm, c, value)) return index; // the rest stays for the next time
    store<u64>(entry, 0);
  }
  v.hdbssprod = 0;
  return entries;
}

/** Every page of the leaf. False: the slots cannot be looked up right now. */
function markLeaf(vm: Vm, c: Context, entry: u64): bool {
  const pages = <u64>1 << (levelShift(vm.pageShift, <i32>(entry >> 1 & 0b111)) - vm.pageShift);
  const first = (entry & ADDRESS) >> vm.pageShift;
  for (let page: u64 = 0; page < pages; page++) {
    const marked = markDirty(vm, c, first + page);
    if (marked < 0) return false;
    if (marked > 0) count(c, HARVESTED);
  }
  return true;
}
