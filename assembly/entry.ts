/**
 * Operations on one live entry, page or block, as the first hardware-access-flag patches for KVM named them
 * (kvm_mmu.h of Linux 4.7). Each comes as a compare-exchange loop and as a load-exclusive / store-exclusive loop.
 */
import { AF, isValid, S2AP, S2AP_R } from "./descriptor";
import { ENOENT, ERANGE } from "./errno";
import { loadExclusive, storeExclusive } from "./monitor";
import { NON_ATOMIC, Pgt } from "./pgt";
import * as slots from "./slot";
import { find, slotOf } from "./walk";

/** The entry that decides `ia`, or -errno (as a pointer). */
function leafOf(pgt: Pgt, ia: u64): usize {
  if (ia >> pgt.iaBits) return -ERANGE;
  const slot = slotOf(find(pgt, ia));
  return slot && isValid(slots.read(slot)) ? slot : <usize>-ENOENT;
}

// @ts-ignore: decorator
@inline function failed(slot: usize): bool { return slot >= <usize>-4095; }

/** One atomic replacement of `old`. False: the entry changed meanwhile, look again. */
function replace(pgt: Pgt, slot: usize, old: u64, next: u64, exclusive: bool): bool {
  if (pgt.has(NON_ATOMIC)) {
    slots.storeNonAtomic(slot, next);
    return true;
  }
  return exclusive ? storeExclusive(slot, next) : slots.compareExchange(slot, old, next) == old;
}

// @ts-ignore: decorator
@inline function look(slot: usize, exclusive: bool): u64 { return exclusive ? loadExclusive(slot) : slots.read(slot); }

/** stage2_ptep_test_and_clear_young: 1 if the flag was set and this call cleared it, else 0 without a store. */
export function testAndClearYoung(pgt: Pgt, ia: u64, exclusive: bool): i32 {
  const slot = leafOf(pgt, ia);
  if (failed(slot)) return <i32>slot;
  while (true) {
    const old = look(slot, exclusive);
    if (!isValid(old) || !(old & AF)) return 0;
    if (replace(pgt, slot, old, old & ~AF, exclusive)) return 1;
  }
}

/** kvm_set_s2pte_readonly: S2AP becomes R, whatever else changes meanwhile stays. */
export function setReadonly(pgt: Pgt, ia: u64, exclusive: bool): i32 {
  const slot = leafOf(pgt, ia);
  if (failed(slot)) return <i32>slot;
  while (true) {
    const old = look(slot, exclusive);
    if (!isValid(old)) return -ENOENT; // software took the entry away: its marker must not become a permission
    if (replace(pgt, slot, old, (old & ~S2AP) | S2AP_R, exclusive)) return 0;
  }
}

/** kvm_s2pte_readonly. */
export function isReadonly(pgt: Pgt, ia: u64): i32 {
  const slot = leafOf(pgt, ia);
  if (failed(slot)) return <i32>slot;
  return <i32>((slots.read(slot) & S2AP) == S2AP_R);
}

/** kvm_s2pte_mkwrite: on a value, never on a table. */
// @ts-ignore: decorator
@inline export function makeWritable(pte: u64): u64 { return pte | S2AP; }
