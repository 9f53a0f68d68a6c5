/**
 * Stretches of last-level entries at once. Vectors find the entries worth touching, eight at a time on a 64-byte line;
 * each is then changed by its own atomic step, decided on what it holds at that moment.
 */
import { VALID } from "./descriptor";
import * as slots from "./slot";

// @ts-ignore: decorator
@inline const LINE: usize = 64;

/** Clears `bit` in a valid entry that has it. Whether it did. */
// @ts-ignore: decorator
@inline function clearBit(slot: usize, bit: u64): bool {
  let old = slots.read(slot);
  while ((old & (VALID | bit)) == (VALID | bit)) {
    const found = slots.compareExchange(slot, old, old & ~bit);
    if (found == old) return true;
    old = found; // lost to hardware or another thread: decide anew on what is there now
  }
  return false;
}

/** Clears `bit` in every valid entry from `slot` to `stop` that has it. Whether there was one. */
export function clearBits(slot: usize, stop: usize, bit: u64): bool {
  const bits = i64x2.splat(VALID | bit);
  let any = false;
  while (slot < stop) {
    if (slot & (LINE - 1) || stop - slot < LINE) {
      if (clearBit(slot, bit)) any = true;
      slot += 8;
      continue;
    }
    let hits = slots.matching8(slot, bits, bits);
    while (hits) {
      if (clearBit(slot + (<usize>ctz(hits) << 3), bit)) any = true;
      hits &= hits - 1;
    }
    slot += LINE;
  }
  return any;
}

/** Whether any entry from `slot` to `stop` is valid and has `bit`. */
export function anyWith(slot: usize, stop: usize, bit: u64): bool {
  const bits = i64x2.splat(VALID | bit);
  while (slot < stop) {
    if (slot & (LINE - 1) || stop - slot < LINE) {
      if ((slots.read(slot) & (VALID | bit)) == (VALID | bit)) return true;
      slot += 8;
    } else {
      if (slots.matching8(slot, bits, bits)) return true;
      slot += LINE;
    }
  }
  return false;
}
