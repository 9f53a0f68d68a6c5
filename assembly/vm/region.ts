/**
 * KVM_SET_USER_MEMORY_REGION, in the parts that its caller drives: between them nothing but the slots_lock is held, and ranges are
 * unmapped or protected piece by piece.
 *
 *   begin       refuses what is wrong; what kind of change it is; memory
 *   invalidate  DELETE, MOVE: the old slot is INVALID to guests          … then its range is unmapped
 *   commit      the arch checks, then the new set at once                … then, where logging begins, the slot is protected
 *   end         without a commit the old slot is valid again
 */
import { EEXIST, EFAULT, EINVAL, ENOMEM, EPERM } from "../errno";
import { setResult } from "../layout";
import { createBitmap, freeBitmap, freeBitmapOf, unitsOf } from "./bitmap";
import { freeSplitCache } from "./eager_split";
import { beginPublishing, endPublishing, holdsSlots, lockSlots, unlockSlots } from "./locks";
import * as mmu from "./mmu";
import { insertSlot, makeRoom, nextEdition, overlapsOther, removeSlot } from "./slot_set";
import {
  ABSENT, beginEdition, endEdition, INVALID_SLOT, LOG_DIRTY, MAX_SLOTS, READONLY, recordOf, R_BASE, R_BITMAP, R_FLAGS, R_HVA, R_PAGES,
  R_STATE, R_UNITS, VALID_SLOT,
} from "./slots";
import * as trace from "./trace";
import { BACKUP_BITMAP, CHANGE, INITIALLY_SET, MTE, PROTECTED_GUEST, RING, Vm } from "./vm";

// Kinds of change.
// @ts-ignore: decorator
@inline export const NONE: u32 = 0;
// @ts-ignore: decorator
@inline export const CREATE: u32 = 1;
// @ts-ignore: decorator
@inline export const DELETE: u32 = 2;
// @ts-ignore: decorator
@inline export const MOVE: u32 = 3;
// @ts-ignore: decorator
@inline export const FLAGS: u32 = 4;

// What the caller knows of the backing.
// @ts-ignore: decorator
@inline const FORBIDS_MTE: u32 = 1;
// @ts-ignore: decorator
@inline const PFN_MAPPED: u32 = 2;

// @ts-ignore: decorator
@inline const MAX_PAGES: u64 = 0x7fff_ffff;
/** TASK_SIZE of a host with 48-bit addresses; above are tags and the kernel. */
// @ts-ignore: decorator
@inline const HVA_LIMIT: u64 = <u64>1 << 48;

@unmanaged
@final
class Change {
  kind: u32;
  slot: u32;
  flags: u32;
  /** Bitmap of the new slot: its own, kept, or 0; and whether this change made it. */
  bitmap: usize;
  units: u32;
  made: bool;
  /** The old slot is INVALID right now. */
  hidden: bool;
  base: u64;
  pages: u64;
  hva: u64;
}

// @ts-ignore: decorator
@inline function changeOf(vm: Vm): Change { return changetype<Change>(vm.word(CHANGE)); }

/** Kind of change, NONE included (then it is done), or -errno in the order of the kernel's checks. */
export function begin(vm: Vm, slot: u32, flags: u32, version: u32, gpa: u64, size: u64, hva: u64): i32 {
  const refused = checkRequest(vm, slot, flags, version, gpa, size, hva);
  if (refused != 0) return refused;
  const result = lockSlots(vm);
  if (result != 0) return result;
  const kind = prepare(vm, slot, flags, gpa >> vm.pageShift, size >> vm.pageShift, hva);
  if (kind > <i32>NONE) return kind;
  changeOf(vm).kind = NONE;
  unlockSlots(vm);
  return kind;
}

function checkRequest(vm: Vm, slot: u32, flags: u32, version: u32, gpa: u64, size: u64, hva: u64): i32 {
  const inPage = vm.pageSize - 1;
  if (flags & ~(LOG_DIRTY | READONLY) || (slot & 0xffff) >= MAX_SLOTS) return -EINVAL;
  if ((size | gpa | hva) & inPage) return -EINVAL;
  if (hva >= HVA_LIMIT || size > HVA_LIMIT - hva) return -EINVAL;
  if (slot >> 16) return -EINVAL;
  if (gpa + size < gpa || size >> vm.pageShift > MAX_PAGES) return -EINVAL;
  return 0;
}

function prepare(vm: Vm, slot: u32, flags: u32, base: u64, pages: u64, hva: u64): i32 {
  const record = recordOf(vm, slot);
  const exists = record != 0 && load<u32>(record, R_STATE) != ABSENT;
  const change = changeOf(vm);
  memory.fill(changetype<usize>(change), 0, offsetof<Change>());
  change.slot = slot;
  change.flags = flags;
  change.base = base;
  change.pages = pages;
  change.hva = hva;
  const kind = exists ? kindOf(record, flags, base, pages, hva) : pages ? <i32>CREATE : -EINVAL;
  if (kind <= <i32>NONE) return kind;
  if (vm.has(PROTECTED_GUEST) && !isKept(vm, kind, flags)) return -EPERM;
  change.kind = kind;
  if (kind == CREATE || kind == MOVE) {
    if (kind == CREATE && vm.totalPages + pages < vm.totalPages) return -EINVAL;
    if (overlapsOther(vm, slot, base, pages)) return -EEXIST;
    if (makeRoom(vm, slot) != 0) return -ENOMEM;
  }
  if (kind != DELETE && prepareBitmap(vm, change, exists ? record : 0) != 0) return -ENOMEM;
  if (exists) {
    setResult(0, load<u64>(record, R_BASE) << vm.pageShift);
    setResult(1, load<u64>(record, R_PAGES) << vm.pageShift);
  }
  return kind;
}

/** Memory that was given away does not come back at the host's will, and the host sees nothing of what is written there. */
function isKept(vm: Vm, kind: u32, flags: u32): bool {
  return kind == DELETE || kind == MOVE ? !mmu.hasRun(vm) : !(flags & (LOG_DIRTY | READONLY));
}

function kindOf(record: usize, flags: u32, base: u64, pages: u64, hva: u64): i32 {
  if (!pages) return DELETE;
  const old = load<u32>(record, R_FLAGS);
  if (pages != load<u64>(record, R_PAGES) || hva != load<u64>(record, R_HVA) || (flags ^ old) & READONLY) return -EINVAL;
  if (base != load<u64>(record, R_BASE)) return MOVE;
  return flags != old ? FLAGS : NONE;
}

/** Logging that goes on keeps its bitmap; a ring alone needs none. */
function prepareBitmap(vm: Vm, change: Change, record: usize): i32 {
  if (!(change.flags & LOG_DIRTY)) return 0;
  if (record && load<u32>(record, R_FLAGS) & LOG_DIRTY) {
    change.bitmap = load<u32>(record, R_BITMAP);
    change.units = load<u32>(record, R_UNITS);
    return 0;
  }
  if (vm.has(RING) && !vm.has(BACKUP_BITMAP)) return 0;
  change.units = unitsOf(change.pages);
  change.bitmap = createBitmap(change.pages, vm.has(INITIALLY_SET));
  change.made = true;
  return change.bitmap ? 0 : -ENOMEM;
}

/** DELETE, MOVE: from now on guests do not find the slot. 0, or as beginPublishing. */
export function invalidate(vm: Vm): i32 {
  const change = changeOf(vm);
  if (!holdsSlots(vm) || (change.kind != DELETE && change.kind != MOVE)) return -EINVAL;
  const result = beginPublishing(vm);
  if (result != 0) return result;
  setState(vm, change, INVALID_SLOT);
  endPublishing(vm);
  change.hidden = true;
  return 0;
}

function setState(vm: Vm, change: Change, state: u32): void {
  const record = recordOf(vm, change.slot);
  beginEdition(vm);
  nextEdition(record);
  atomic.store<u32>(record, state, R_STATE);
  endEdition(vm);
}

/** Publishes the new set. What is to be protected, and then split, is in the results. */
export function commit(vm: Vm, facts: u32): i32 {
  const change = changeOf(vm);
  if (!holdsSlots(vm) || !change.kind || change.kind != CREATE && change.kind != FLAGS && !change.hidden) return -EINVAL;
  const refused = change.kind == DELETE ? 0 : archCheck(vm, change, facts);
  if (refused != 0) return refused;
  const result = beginPublishing(vm);
  if (result != 0) return result;
  const kind = change.kind;
  const before = kind == CREATE ? 0 : load<u32>(recordOf(vm, change.slot), R_FLAGS);
  const ended = publish(vm, change);
  endPublishing(vm);
  if (ended) freeBitmap(ended, endedUnits);
  if (before & LOG_DIRTY && !(change.flags & LOG_DIRTY && kind != DELETE)) freeSplitCache(vm);
  trace.log(vm, trace.SLOT, 0, trace.NOBODY, change.base << vm.pageShift, change.pages << vm.pageShift,
    <u64>change.slot | <u64>kind << 32 | <u64>change.flags << 40);
  tellProtection(vm, change, kind, before);
  return 0;
}

function archCheck(vm: Vm, change: Change, facts: u32): i32 {
  if (change.base + change.pages > <u64>1 << (vm.ipaBits - vm.pageShift)) return -EFAULT;
  if (vm.has(MTE) && facts & FORBIDS_MTE) return -EINVAL;
  return facts & PFN_MAPPED && change.flags & LOG_DIRTY ? -EINVAL : 0;
}

let endedUnits: u32 = 0;

/** One edition. The bitmap that no slot names any more, or 0. */
function publish(vm: Vm, change: Change): usize {
  const record = recordOf(vm, change.slot);
  const old: usize = change.kind == CREATE ? 0 : load<u32>(record, R_BITMAP);
  endedUnits = load<u32>(record, R_UNITS);
  beginEdition(vm);
  if (change.kind == DELETE || change.kind == MOVE) removeSlot(vm, change.slot);
  nextEdition(record);
  const stays = change.kind != DELETE;
  atomic.store<u32>(record, stays ? <u32>change.bitmap : 0, R_BITMAP);
  if (stays) {
    atomic.store<u32>(record, change.flags, R_FLAGS);
    atomic.store<u64>(record, change.base, R_BASE);
    atomic.store<u64>(record, change.pages, R_PAGES);
    atomic.store<u64>(record, change.hva, R_HVA);
    store<u32>(record, change.units, R_UNITS);
    if (change.kind != FLAGS) insertSlot(vm, change.slot);
    atomic.store<u32>(record, VALID_SLOT, R_STATE);
  }
  change.kind = NONE; // from here on it has happened, whatever becomes of this thread
  endEdition(vm);
  const kept: usize = stays ? change.bitmap : 0;
  return old == kept ? 0 : old;
}

/** Logging begins, or goes on at another place: all that is mapped has to fault before it is written to. */
function tellProtection(vm: Vm, change: Change, kind: u32, before: u32): void {
  const begins = kind == FLAGS ? ((change.flags & ~before) & LOG_DIRTY) != 0 : kind != DELETE && (change.flags & LOG_DIRTY) != 0;
  const protects = begins && !vm.has(INITIALLY_SET);
  setResult(0, change.base << vm.pageShift);
  setResult(1, protects ? change.pages << vm.pageShift : 0);
  setResult(2, <u64>protects);
  setResult(3, <u64>protects);
}

/** Gives the slots_lock back; a change that was not committed did not happen. */
export function end(vm: Vm): void {
  if (!holdsSlots(vm)) return;
  revalidate(vm);
  unlockSlots(vm);
}

/** The change of an owner that has ended: it did not happen. */
export function revalidate(vm: Vm): void {
  const change = changeOf(vm);
  if (!change.kind) return;
  if (change.hidden) setState(vm, change, VALID_SLOT);
  if (change.made) freeBitmap(change.bitmap, change.units);
  change.kind = NONE;
}

/** Every bitmap, at the end of the VM. */
export function freeBitmaps(vm: Vm): void {
  for (let slot: u32 = 0; slot < MAX_SLOTS; slot++) {
    const record = recordOf(vm, slot);
    if (!record) slot |= 63; // nor its neighbours on that page
    else freeBitmapOf(record);
  }
}
