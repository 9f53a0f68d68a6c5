/**
 * MMU notifiers: what the host does to its own mappings of guest memory (kvm_mmu_notifier_ops). Faults read the sequence number before
 * they ask for a page; an invalidation in between makes them start anew:
 *
 *   invalidate_start    active + 1 … in_progress + 1, unmap        under the write side, if a slot overlaps
 *   … the host changes its mapping …
 *   invalidate_end      seq + 1, then in_progress - 1              so a fault sees one of the two, or neither and the new mapping
 */
import { EDEADLK, EINVAL, EPERM } from "../errno";
import { setResult, thread, T_IN_PROGRESS } from "../layout";
import * as operate from "../operate";
import { refuse, vcpuInside, WRITE_SIDE } from "../operation";
import { Pgt } from "../pgt";
import { holdsNothing } from "../sync/lock";
import { beginWaiting } from "../sync/wait";
import { enterActive, hasStarted, leaveActive, locked, lockTable, NO_TABLE, unlockTable } from "./locks";
import * as mmu from "./mmu";
import { applyLocked, UNMAP } from "./range";
import { base, hva, id, overlapping, pages } from "./slots";
import * as trace from "./trace";
import { IN_PROGRESS, INVALIDATE_SEQ, RANGE_END, RANGE_START, Vm } from "./vm";

// @ts-ignore: decorator
@inline export const CLEAR_FLUSH: u32 = 1;
// @ts-ignore: decorator
@inline export const CLEAR: u32 = 2;
// @ts-ignore: decorator
@inline export const TEST: u32 = 3;

// @ts-ignore: decorator
@inline export function sequenceOf(vm: Vm): u64 { return atomic.load<u64>(vm.word(INVALIDATE_SEQ)); }
// @ts-ignore: decorator
@inline export function inProgress(vm: Vm): u32 { return atomic.load<u32>(vm.word(IN_PROGRESS)); }

// The part of a slot that a range of hva meets, in guest addresses: every page that it touches.
let ipaStart: u64 = 0;
let ipaEnd: u64 = 0;

function clip(vm: Vm, start: u64, end: u64): void {
  const from = max(start, hva) - hva;
  const to = min(end - hva, pages << vm.pageShift);
  const page = vm.pageSize - 1;
  ipaStart = (base << vm.pageShift) + (from & ~page);
  ipaEnd = (base << vm.pageShift) + ((to + page) & ~page);
}

function door(start: u64, end: u64): i32 {
  if (start >= end) return -EINVAL;
  if (vcpuInside()) return refuse();
  return holdsNothing() ? 0 : -EDEADLK;
}

/** 0 no slot, 1 done, 2 more to do (index of the next look, IPA and size of what is left of this slot in the results), -errno. */
export function invalidateStart(vm: Vm, start: u64, end: u64, pieces: u32): i32 {
  const refused = door(start, end);
  if (refused != 0) return refused;
  const counted = enterActive(vm);
  if (counted != 0) return counted;
  const first = overlapping(vm, start, end, 0);
  if (first <= 0) return first < 0 ? giveUp(vm, first) : 0;
  const result = lockTable(vm, WRITE_SIDE);
  if (result == NO_TABLE) {
    raise(vm); // slots without a table: a fault that comes later must notice all the same
    return 1;
  }
  if (result != 0) return giveUp(vm, result);
  raise(vm);
  trace.log(vm, trace.INVALIDATE, 0, trace.NOBODY, start, end, 1);
  const left = unmapSlots(vm, start, end, first, pieces);
  unlockTable(WRITE_SIDE);
  return left;
}

/** The invalidation does not take place. */
function giveUp(vm: Vm, result: i32): i32 {
  leaveActive(vm);
  return result;
}

function raise(vm: Vm): void {
  atomic.store<u32>(thread, load<u32>(thread, T_IN_PROGRESS) + 1, T_IN_PROGRESS);
  const others = atomic.add<u32>(vm.word(IN_PROGRESS), 1);
  if (others == 0) {
    atomic.store<u64>(vm.word(RANGE_START), u64.MAX_VALUE);
    atomic.store<u64>(vm.word(RANGE_END), 0);
  }
}

/** The range that invalidations in progress have met, in pages: what a debugger wants to know. */
function note(vm: Vm): void {
  atomic.store<u64>(vm.word(RANGE_START), min(atomic.load<u64>(vm.word(RANGE_START)), ipaStart >> vm.pageShift));
  atomic.store<u64>(vm.word(RANGE_END), max(atomic.load<u64>(vm.word(RANGE_END)), ipaEnd >> vm.pageShift));
}

function unmapSlots(vm: Vm, start: u64, end: u64, first: i32, pieces: u32): i32 {
  let next = first;
  for (; next > 0; next = overlapping(vm, start, end, <u32>next)) {
    clip(vm, start, end);
    note(vm);
    const size = ipaEnd - ipaStart;
    const needed = piecesOf(vm);
    const done = applyLocked(vm, UNMAP, ipaStart, size, min(pieces, needed));
    if (done < 0) return 2 + tell(<u32>next, ipaStart, size); // whoever goes on meets the same, and says so
    if (<u64>done < size) return 2 + tell(<u32>next, ipaStart + done, size - done);
    pieces -= needed;
    given = <u32>next;
  }
  return next < 0 ? 2 + tell(given, ipaEnd, 0) : 1; // who is in the middle of an edition did not end it: go on from there
}

let given: u32 = 0;

function piecesOf(vm: Vm): u32 { return <u32>(((ipaEnd - 1) / vm.block) - ipaStart / vm.block) + 1; }

function tell(next: u32, ipa: u64, size: u64): i32 {
  setResult(0, next);
  setResult(1, ipa);
  setResult(2, size);
  return 0;
}

/** The next slot from order index `index` on: its part of the range, id and next index in the results. 1, 0 none, -ETIMEDOUT. */
export function nextInRange(vm: Vm, start: u64, end: u64, index: u32): i32 {
  if (start >= end) return -EINVAL;
  const found = overlapping(vm, start, end, index);
  if (found <= 0) return found;
  clip(vm, start, end);
  setResult(0, ipaStart);
  setResult(1, ipaEnd - ipaStart);
  setResult(2, id);
  setResult(3, <u64>found);
  return 1;
}

/** 0; -EPERM: this thread has started none. */
export function invalidateEnd(vm: Vm, start: u64, end: u64): i32 {
  if (start >= end) return -EINVAL;
  if (!hasStarted(vm)) return -EPERM;
  beginWaiting();
  const met = overlapping(vm, start, end, 0); // the set is what it was at the start: publications wait
  if (met < 0) return met;
  if (met > 0) {
    const result = lockTable(vm, WRITE_SIDE);
    if (result < 0) return result;
    atomic.add<u64>(vm.word(INVALIDATE_SEQ), 1); // before the count: who sees the count down sees this too
    atomic.sub<u32>(vm.word(IN_PROGRESS), 1);
    atomic.store<u32>(thread, load<u32>(thread, T_IN_PROGRESS) - 1, T_IN_PROGRESS);
    trace.log(vm, trace.INVALIDATE, 0, trace.NOBODY, start, end, 0);
    if (result == 0) unlockTable(WRITE_SIDE);
  }
  leaveActive(vm);
  return 0;
}

/** clear_flush_young, clear_young, test_young: 1 young, 0 not, -errno. */
export function ageRange(vm: Vm, op: u32, start: u64, end: u64): i32 {
  const refused = door(start, end);
  if (refused != 0) return refused;
  let next = overlapping(vm, start, end, 0);
  if (next <= 0) return next;
  const result = lockTable(vm, WRITE_SIDE);
  if (result != 0) return result == NO_TABLE ? 0 : result;
  let young: i32 = 0;
  for (; next > 0; next = overlapping(vm, start, end, <u32>next)) {
    clip(vm, start, end);
    const size = ipaEnd - ipaStart;
    const found = mmu.testClearYoung(changetype<Pgt>(locked), ipaStart, size, op != TEST);
    trace.log(vm, trace.AGE, found < 0 ? -found : 0, trace.NOBODY, ipaStart, size, <u64>(op != TEST) | <u64>(found == 1) << 1);
    if (found < 0) {
      young = found;
      break;
    }
    young |= found;
  }
  // Under the same lock: who cannot get it must not have taken the flags either.
  const late = young == 1 && op == CLEAR_FLUSH ? operate.tlbFlush(changetype<Pgt>(locked)) : 0;
  unlockTable(WRITE_SIDE);
  if (young != 1 && next < 0) return next;
  return late != 0 ? late : young;
}
