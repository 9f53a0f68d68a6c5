/**
 * Operations on one live entry, page or block, as the first hardware-access-flag patches for KVM named them
 * (kvm_mmu.h of Linux 4.7). Each comes as a compare-exchange loop and as a load-exclusive / store-exclusive loop.
 */
import { AF, isValid, S2AP, S2AP_R } from "./descriptor";
import { ENOENT, ERANGE } from "./errno";
import { loadExclusive, storeExclusive } from "./monitor";
import { NON_ATOMIC, Pgt } from "./pgt";
import * as slots from "./slot";
import { Found, look, seen, slotOf } from "./walk";

/** A valid leaf for `ia`, its value in `seen`; or -errno (as a pointer). */
function leafOf(pgt: Pgt, ia: u64): Found {
  if (ia >> pgt.iaBits) return -ERANGE;
  const found = look(pgt, ia);
  return found && isValid(seen) ? found : <Found>-ENOENT;
}

// @ts-ignore: decorator
@inline function failed(found: Found): bool { return found >= <Found>-4095; }

/** One atomic replacement of what was seen. False: the entry changed since, look again. */
function replaceSeen(pgt: Pgt, found: Found, next: u64, exclusive: bool): bool {
  const slot = slotOf(found);
  if (!exclusive) return slots.update(slot, seen, next, pgt.has(NON_ATOMIC)) == seen;
  return loadExclusive(slot) == seen && storeExclusive(slot, next);
}

/** stage2_ptep_test_and_clear_young: 1 if the flag was set and this call cleared it, else 0 without a store. */
export function testAndClearYoung(pgt: Pgt, ia: u64, exclusive: bool): i32 {
  while (true) {
    const found = leafOf(pgt, ia);
    if (failed(found)) return <i32>found;
    if (!(seen & AF)) return 0;
    if (replaceSeen(pgt, found, seen & ~AF, exclusive)) return 1;
  }
}

/** kvm_set_s2pte_readonly: S2AP becomes R, whatever else changes meanwhile stays. */
export function setReadonly(pgt: Pgt, ia: u64, exclusive: bool): i32 {
  while (true) {
    const found = leafOf(pgt, ia); // -ENOENT also once software has taken the entry away
    if (failed(found)) return <i32>found;
    if (replaceSeen(pgt, found, (seen & ~S2AP) | S2AP_R, exclusive)) return 0;
  }
}

/** kvm_s2pte_readonly. */
export function isReadonly(pgt: Pgt, ia: u64): i32 {
  const found = leafOf(pgt, ia);
  return failed(found) ? <i32>found : <i32>((seen & S2AP) == S2AP_R);
}

/** kvm_s2pte_mkwrite: on a value, never on a table. */
// @ts-ignore: decorator
@inline export function makeWritable(pte: u64): u64 { return pte | S2AP; }
