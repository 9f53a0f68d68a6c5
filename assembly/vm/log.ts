/**
 * KVM_GET_DIRTY_LOG and KVM_CLEAR_DIRTY_LOG: what was written to is taken out of the log, write-protected anew, and handed out. In that
 * order: a store that comes between the two finds its page writable, and is in the snapshot; one that comes after faults, and sets the
 * bit again. The TLB is flushed before the caller learns of anything.
 */
import { EINVAL, ENOENT, ENXIO, EPERM, ETIMEDOUT } from "../errno";
import { resultWord, setResult } from "../layout";
import { bytesOf, wordsOf } from "./bitmap";
import { WRITE_SIDE } from "../operation";
import { holdsSlots, holdsTable, lockSlots, lockTable, unlockSlots, unlockTable } from "./locks";
import { protectPages, splitPages, splitsWords } from "./protect";
import { flushTlb } from "./range";
import { base, bitmap, MAX_SLOTS, pages, readSlot } from "./slots";
import { BACKUP_BITMAP, CHANGE, MANUAL_PROTECT, RING, Vm } from "./vm";

/** The log that the owner of the slots_lock is at, where a change of a slot would be noted otherwise. */
@unmanaged
@final
class Log {
  /** CLEAR or GET; 0 none. */
  kind: u32;
  bitmap: usize;
  base: u64;
  pages: u64;
  /** Only these pages: of a clear. */
  first: u64;
  end: u64;
  /** Something was taken, so TLBs may hold what is protected now. */
  taken: bool;
}
// @ts-ignore: decorator
@inline const GET: u32 = 1;
// @ts-ignore: decorator
@inline const CLEAR: u32 = 2;

// @ts-ignore: decorator
@inline function logOf(vm: Vm): Log { return changetype<Log>(vm.word(CHANGE) + LOG); }
/** Behind the change of a slot. */
// @ts-ignore: decorator
@inline const LOG: usize = 256;

/** Takes the slots_lock, and looks at what both calls refuse. */
function open(vm: Vm, slot: u32, first: u64): i32 {
  const result = lockSlots(vm);
  if (result != 0) return result;
  const refused = check(vm, slot, first);
  if (refused != 0) unlockSlots(vm);
  return refused;
}

function check(vm: Vm, slot: u32, first: u64): i32 {
  if (vm.has(RING) && !vm.has(BACKUP_BITMAP)) return -ENXIO;
  if (slot >= MAX_SLOTS || first & 63) return -EINVAL;
  const found = readSlot(vm, slot);
  if (found < 0) return found;
  return found && bitmap ? 0 : -ENOENT;
}

function begin(vm: Vm, kind: u32, first: u64, end: u64): void {
  const log = logOf(vm);
  log.kind = kind;
  log.bitmap = bitmap;
  log.base = base;
  log.pages = pages;
  log.first = first;
  log.end = end;
  log.taken = false;
  setResult(0, pages);
  setResult(1, bitmap);
  setResult(2, bitmap + bytesOf(pages));
  setResult(3, bytesOf(pages));
  setResult(4, <u64>vm.has(MANUAL_PROTECT));
}

export function getLog(vm: Vm, slot: u32): i32 {
  const refused = open(vm, slot, 0);
  if (refused == 0) begin(vm, GET, 0, pages);
  return refused;
}

export function clearLog(vm: Vm, slot: u32, first: u64, count: u64): i32 {
  const refused = open(vm, slot, first);
  if (refused != 0) return refused;
  if (first > pages || count > pages - first || (count & 63 && first + count != pages)) {
    unlockSlots(vm);
    return -EINVAL;
  }
  begin(vm, CLEAR, first, first + count);
  return 0;
}

/**
 * Takes words of the log: pages taken, or -errno with the words done in result 0. With manual protection a get takes nothing: it is a
 * copy. Else nothing is taken without the write side, which is held over all words, but where each is split at once.
 */
export function takeWords(vm: Vm, word: u32, words: u32): i32 {
  const log = logOf(vm);
  if (!holdsSlots(vm) || !log.kind) return -EPERM;
  const count = <u32>min(<u64>word + words, wordsOf(log.pages));
  setResult(0, 0);
  if (log.kind == GET && vm.has(MANUAL_PROTECT)) return copyWords(log, word, count);
  return splitsWords(vm) ? takeAndSplit(vm, log, word, count) : takeStretch(vm, log, word, count);
}

/** Under one hold of the lock. */
function takeStretch(vm: Vm, log: Log, word: u32, count: u32): i32 {
  const holds = lockTable(vm, WRITE_SIDE);
  if (holds < 0) return holds;
  const total = protectWords(vm, log, word, count);
  if (holds == 0) unlockTable(WRITE_SIDE);
  return total;
}

/** Word by word: protected under the lock, then split without. */
function takeAndSplit(vm: Vm, log: Log, word: u32, count: u32): i32 {
  let total: i32 = 0;
  for (let at = word; at < count; at++) {
    const taken = takeStretch(vm, log, at, at + 1);
    if (taken < 0) {
      setResult(0, at - word + <u32>(taken == -ETIMEDOUT && resultWord(0) != 0));
      return taken;
    }
    total += taken;
    if (taken) splitPages(vm, log.base + (<u64>at << 6), load<u64>(log.bitmap + (<usize>at << 3) + bytesOf(log.pages)));
  }
  return total;
}

function copyWords(log: Log, word: u32, count: u32): i32 {
  let total: i32 = 0;
  for (let at = word; at < count; at++) {
    const slot = log.bitmap + (<usize>at << 3);
    const found = atomic.load<u64>(slot);
    store<u64>(slot + bytesOf(log.pages), found);
    total += <i32>popcnt(found);
  }
  return total;
}

function protectWords(vm: Vm, log: Log, word: u32, count: u32): i32 {
  const toSnapshot = bytesOf(log.pages);
  let total: i32 = 0;
  for (let at = word; at < count; at++) {
    const slot = log.bitmap + (<usize>at << 3);
    const snapshot = slot + toSnapshot;
    const taken = log.kind == CLEAR ? clearWord(log, slot, snapshot, at) : takeWord(slot);
    store<u64>(snapshot, taken);
    if (!taken) continue;
    log.taken = true;
    total += <i32>popcnt(taken);
    const status = holdsTable(vm) ? protectPages(vm, log.base + (<u64>at << 6), taken) : 0;
    if (status == 0) continue;
    setResult(0, at - word + 1); // late, but done
    return status;
  }
  return total;
}

// @ts-ignore: decorator
@inline function takeWord(slot: usize): u64 { return atomic.load<u64>(slot) ? atomic.xchg<u64>(slot, 0) : 0; }

/** The bits of the caller's mask that lie in the range and were set. */
function clearWord(log: Log, slot: usize, snapshot: usize, at: u32): u64 {
  const from = <u64>at << 6;
  if (from < log.first || from >= log.end) return 0;
  let mask = load<u64>(snapshot);
  if (log.end - from < 64) mask &= (<u64>1 << (log.end - from)) - 1;
  return mask ? atomic.and<u64>(slot, ~mask) & mask : 0;
}

/** What was taken is dirty again: its caller does not come to hand it out. */
export function restoreWords(vm: Vm, word: u32, words: u32): void {
  const log = logOf(vm);
  const end = min(<u64>word + words, wordsOf(log.pages));
  for (let at: u64 = word; at < end; at++) {
    const slot = log.bitmap + (<usize>at << 3);
    const taken = load<u64>(slot + bytesOf(log.pages));
    if (taken) atomic.or<u64>(slot, taken);
  }
}

/** Its owner has ended: what it may have taken is dirty again. */
export function abandonLog(vm: Vm): void {
  if (logOf(vm).kind) restoreWords(vm, 0, u32.MAX_VALUE);
  logOf(vm).kind = 0;
}

export function endLog(vm: Vm): i32 {
  const log = logOf(vm);
  if (!holdsSlots(vm) || !log.kind) return -EPERM;
  log.kind = 0;
  const result = log.taken ? flushTlb(vm, log.base << vm.pageShift, log.pages << vm.pageShift) : 0;
  if (result < 0) restoreWords(vm, 0, u32.MAX_VALUE); // somebody may still write unnoticed: none of it is clean
  unlockSlots(vm);
  return result;
}
