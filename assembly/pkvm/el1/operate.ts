/**
 * The helpers as callers have them (pkvm_pgtable_*): one for each operation of a page table, with the same door and the same mmu_lock. A
 * fault takes its read side only in the generation whose mappings have a lock of their own.
 */
import { EINVAL, ESTALE, ETIMEDOUT } from "../../errno";
import { shared } from "../../layout";
import { AGING, begin, beginLast, end, READ_SIDE, settleLast, WRITE_SIDE } from "../../operation";
import { OWN_LOCK, Pgt } from "../../pgt";
import { SHARED } from "../../walk";
import { flushGuest } from "../guest";
import { destroyGuest, settleMachine } from "./life";
import { mapGuest, relaxOf, youngOf } from "./map";
import { el1Of } from "./object";
import { ageGuest, describeBehind, flushMemory, protectGuest, unmapGuest } from "./range";

/** Which side of the mmu_lock a fault needs. */
export function faultSide(pgt: Pgt): u32 { return pgt.has(OWN_LOCK) ? READ_SIDE : WRITE_SIDE; }

/** -ESTALE: another thread has ended the guest. */
function enter(pgt: Pgt, side: u32): i32 {
  const refused = begin(pgt, side);
  if (refused != 0) return refused;
  return pgt.el1 ? 0 : end(pgt, -ESTALE);
}

function finish(pgt: Pgt, result: i32): i32 {
  const machine = el1Of(pgt).machine;
  const status = end(pgt, result);
  settleMachine(machine);
  return status;
}

export function map(pgt: Pgt, ia: u64, size: u64, pa: u64, prot: u64, flags: u32, source: usize, vcpu: u32): i32 {
  const refused = enter(pgt, flags & SHARED ? faultSide(pgt) : WRITE_SIDE);
  if (refused != 0) return refused;
  return finish(pgt, mapGuest(pgt, ia, size, pa, prot, source, vcpu));
}

export function unmap(pgt: Pgt, ia: u64, size: u64): i32 {
  const refused = enter(pgt, WRITE_SIDE);
  if (refused != 0) return refused;
  return finish(pgt, unmapGuest(pgt, ia, size));
}

export function writeProtect(pgt: Pgt, ia: u64, size: u64): i32 {
  const refused = enter(pgt, WRITE_SIDE);
  if (refused != 0) return refused;
  return end(pgt, protectGuest(pgt, ia, size));
}

export function flush(pgt: Pgt, ia: u64, size: u64): i32 {
  const refused = enter(pgt, WRITE_SIDE);
  if (refused != 0) return refused;
  return end(pgt, flushMemory(pgt, ia, size));
}

export function testClearYoung(pgt: Pgt, ia: u64, size: u64, clear: bool): i32 {
  const refused = enter(pgt, AGING);
  if (refused != 0) return refused;
  return end(pgt, ageGuest(pgt, ia, size, clear));
}

export function relaxPermissions(pgt: Pgt, ia: u64, prot: u64, vcpu: u32): i32 {
  const refused = enter(pgt, READ_SIDE);
  if (refused != 0) return refused;
  return end(pgt, relaxOf(pgt, ia, prot, vcpu));
}

export function makeYoung(pgt: Pgt, ia: u64, vcpu: u32): i32 {
  const refused = enter(pgt, READ_SIDE);
  if (refused != 0) return refused;
  return end(pgt, youngOf(pgt, ia, vcpu));
}

/** The first mapping that ends behind an address: 1, or 0. */
export function mappingBehind(pgt: Pgt, ia: u64): i32 {
  const refused = enter(pgt, READ_SIDE);
  if (refused != 0) return refused;
  return end(pgt, describeBehind(pgt, ia));
}

/** tlb_flush_vmid by handle: there is no other. */
export function tlbFlush(pgt: Pgt): i32 {
  const refused = enter(pgt, READ_SIDE); // the guest does not end meanwhile
  if (refused != 0) return refused;
  flushGuest(el1Of(pgt).vm);
  return end(pgt, 0);
}

/** What has no hypercall. */
export function unsupported(pgt: Pgt): i32 {
  if (pgt.el1) el1Of(pgt).warn();
  return -EINVAL;
}

/** 0; -EBUSY: a vCPU is loaded by hand, and nothing has changed. The object of the table is the caller's to release. */
export function destroy(pgt: Pgt): i32 {
  const refused = beginLast(pgt);
  if (refused != 0) return refused;
  if (!pgt.el1) return end(pgt, -ESTALE);
  const machine = el1Of(pgt).machine;
  const result = end(pgt, destroyGuest(pgt));
  if (!shared) return result;
  settleMachine(machine);
  return pgt.root || settleLast(pgt) ? result : -ETIMEDOUT;
}
