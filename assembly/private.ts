/**
 * Private pages of the pool: state of objects that are more than a slot. They are no tables to hardware walks. The object's slot names
 * its state page, and the first word of the page names the slot.
 */
import { H_OBJECTS, header, OBJECT_BYTES, objects, pool as poolStart, UNIT_SHIFT } from "./layout";
import { poolBytes } from "./memory";
import { Pgt } from "./pgt";
import * as pool from "./pool";

/** Of an object slot: kind, then the state page. */
// @ts-ignore: decorator
@inline export const STATE_PAGE: usize = 8;
// @ts-ignore: decorator
@inline const MAX_UNITS: u32 = 1 << 15;

/** Units (a power of two) that hold so many bytes. */
export function unitsFor(bytes: u64): u32 {
  const units = (bytes + 0xfff) >> UNIT_SHIFT;
  return units <= 1 ? 1 : <u32>1 << (64 - <u32>clz<u64>(units - 1));
}

/** Zeroed, contiguous; a power of two of them. 0: there are none. */
export function privatePages(units: u32): usize {
  if (units > MAX_UNITS) return 0;
  const page = pool.allocate(UNIT_SHIFT, units);
  if (page) pool.setPrivate(page, UNIT_SHIFT, units);
  return page;
}

export function freePrivate(page: usize, units: u32): void { pool.free(page, UNIT_SHIFT, units); }

/** Tells the object of this kind whose state is at this pointer from others that were there; 0: there is none. */
export function stateGeneration(page: usize, kind: u32): u32 {
  if (<u64>(page - poolStart) >= poolBytes() || page & 0xfff) return 0;
  const slot = <usize>load<u32>(page);
  const offset = slot - objects;
  if (offset >= <usize>load<u32>(header, H_OBJECTS) * OBJECT_BYTES || offset % OBJECT_BYTES) return 0;
  const isThere = atomic.load<u32>(slot) == kind && atomic.load<u32>(slot, STATE_PAGE) == <u32>page;
  return isThere ? load<u32>(slot, offsetof<Pgt>("generation")) : 0;
}
