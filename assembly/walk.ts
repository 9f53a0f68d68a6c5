/**
 * The one walker: depth first, ascending (kvm_pgtable_walk). Every operation is a walk with a small visitor that
 * decides from one snapshot of the entry. The visitor is a type parameter, so each operation is a specialised copy
 * with direct calls and there is no function table.
 *
 *   hook    when                                              asked for by
 *   pre     a table, on the way down                          TABLE_PRE
 *   leaf    anything that is not a table, invalid ones too    LEAF
 *   post    a table, on the way up                            TABLE_POST
 *   run     a stretch of last-level entries at once           `runs` (a quiet table only; same effect as `leaf` on each)
 *
 * A visitor returns 0 to go on, HANDLED to go on after the whole entry, anything else to stop with that result;
 * -EAGAIN ("the entry changed under you") stops only a walk that handles a fault.
 */
import { isTable, LAST_LEVEL, TABLE_ADDRESS } from "./descriptor";
import { EAGAIN, EINVAL, EPERM, ERANGE } from "./errno";
import { VISITS, WRITES } from "./events";
import * as events from "./events";
import { levelShift } from "./geometry";
import { delta, thisThread, toPhysical } from "./layout";
import { NON_ATOMIC, NVHE, Pgt } from "./pgt";
import * as slots from "./slot";

// Walk flags (enum kvm_pgtable_walk_flags).
// @ts-ignore: decorator
@inline export const LEAF: u32 = 1;
// @ts-ignore: decorator
@inline export const TABLE_PRE: u32 = 2;
// @ts-ignore: decorator
@inline export const TABLE_POST: u32 = 4;
// @ts-ignore: decorator
@inline export const SHARED: u32 = 8;
// @ts-ignore: decorator
@inline export const HANDLE_FAULT: u32 = 16;
// @ts-ignore: decorator
@inline export const SKIP_BBM_TLBI: u32 = 32;
// @ts-ignore: decorator
@inline export const SKIP_CMO: u32 = 64;
/** What a caller of map may say; the rest is the core's own. */
// @ts-ignore: decorator
@inline export const CALLER_FLAGS: u32 = 127;
/** Not a flag of the walk: the page-only hook's answer for one map. */
// @ts-ignore: decorator
@inline export const FORCE_PAGES: u32 = 128;
/** Not a flag of the walk either: looking is no event. */
// @ts-ignore: decorator
@inline export const SILENT: u32 = 256;

/** A visitor's result: nothing below this entry is left to do. */
// @ts-ignore: decorator
@inline export const HANDLED: i32 = 0x4000_0000;

/** State of one walk; visitors extend it with their own. Lives in the scratch of the thread. */
@unmanaged
export class Walk {
  pgt: Pgt;
  flags: u32;
  pageShift: u32;
  /** The table's event mask. */
  events: u32;
  /** Nobody sees the single steps, only the outcome: they may be taken many at a time. */
  quiet: bool;
  /** The tables walked are not linked into a tree yet. */
  unlinked: bool;
  start: u64;
  /** Current address: not rounded to the entry, it may lie inside a block. */
  addr: u64;
  end: u64;

  // @ts-ignore: decorator
  @inline get shared(): bool { return (this.flags & SHARED) != 0; }

  /** The one store of attribute changes: compare-exchange against the snapshot, logged if it worked. */
  // @ts-ignore: decorator
  @inline exchange(slot: usize, old: u64, next: u64, level: i32): bool {
    if (slots.update(slot, old, next, this.pgt.has(NON_ATOMIC)) != old) return false;
    this.wrote(slot, next, level);
    return true;
  }

  // @ts-ignore: decorator
  @inline wrote(slot: usize, value: u64, level: i32): void {
    if (this.events & WRITES) logWrite(this, slot, value, level);
  }
}

function logWrite(walk: Walk, slot: usize, value: u64, level: i32): void {
  const index = <u32>((slot & ((<usize>1 << walk.pageShift) - 1)) >> 3);
  const base = walk.addr & ~((<u64>1 << levelShift(walk.pageShift, level)) - 1);
  const kind = walk.unlinked ? events.WRITE_UNLINKED : events.WRITE;
  events.append(kind, level, thisThread(), index, toPhysical(slot), value, base);
}

function logVisit(walk: Walk, kind: u32, visit: u32, result: i32, slot: usize, value: u64, level: i32): void {
  events.append(kind, level, visit, result, toPhysical(slot), value, walk.addr);
}

/** Pointer to the table that this entry points at: 32 bits of the address suffice, as the rest cancels out. */
// @ts-ignore: decorator
@inline export function childOf(pte: u64): usize { return (<usize>pte & <usize>TABLE_ADDRESS) + <usize>delta; }

// @ts-ignore: decorator
@inline function goesOn(flags: u32, result: i32): bool {
  return result == 0 || (result == -EAGAIN && !(flags & HANDLE_FAULT));
}

function callPre<V extends Walk>(visitor: V, slot: usize, pte: u64, level: i32): i32 {
  if (visitor.events & VISITS) logVisit(visitor, events.VISIT, TABLE_PRE, 0, slot, pte, level);
  const result = visitor.pre(slot, pte, level);
  if (visitor.events & VISITS) {
    logVisit(visitor, events.VISIT_END, TABLE_PRE, result, slot, slots.read(slot), level);
  }
  return result;
}

// @ts-ignore: decorator
@inline function callLeaf<V extends Walk>(visitor: V, slot: usize, pte: u64, level: i32): i32 {
  if (visitor.events & VISITS) logVisit(visitor, events.VISIT, LEAF, 0, slot, pte, level);
  const result = visitor.leaf(slot, pte, level);
  if (visitor.events & VISITS) {
    logVisit(visitor, events.VISIT_END, LEAF, result, slot, slots.read(slot), level);
  }
  return result;
}

function callPost<V extends Walk>(visitor: V, slot: usize, pte: u64, level: i32): i32 {
  if (visitor.events & VISITS) logVisit(visitor, events.VISIT, TABLE_POST, 0, slot, pte, level);
  const result = visitor.post(slot, pte, level);
  if (visitor.events & VISITS) {
    logVisit(visitor, events.VISIT_END, TABLE_POST, result, slot, slots.read(slot), level);
  }
  return result;
}

/** One entry and all below it. Leaves `addr` behind the entry, or at the end of the walk. */
function visitEntry<V extends Walk>(visitor: V, slot: usize, level: i32, shift: u32): i32 {
  const flags = visitor.flags;
  let pte = slots.read(slot);
  let table = isTable(pte, level);
  if (flags & (table ? TABLE_PRE : LEAF)) {
    const result = table ? callPre<V>(visitor, slot, pte, level) : callLeaf<V>(visitor, slot, pte, level);
    if (!goesOn(flags, result)) {
      if (result != HANDLED) return result;
      visitor.addr = ((visitor.addr >> shift) + 1) << shift;
      return 0;
    }
    // The visitor may have put a table in place of a leaf, or the other way round: decide anew.
    if (level == LAST_LEVEL) table = false;
    else {
      pte = slots.read(slot);
      table = isTable(pte, level);
    }
  }
  if (!table) {
    visitor.addr = ((visitor.addr >> shift) + 1) << shift;
    return 0;
  }
  const entered = visitor.addr;
  const entries = <u32>1 << (visitor.pageShift - 3);
  const below = visitTable<V>(visitor, childOf(pte), level + 1, entries);
  if (below != 0) return below;
  if (!(flags & TABLE_POST)) return 0;
  const left = visitor.addr;
  visitor.addr = entered; // the address that the table was entered at
  const after = callPost<V>(visitor, slot, pte, level);
  visitor.addr = left;
  return goesOn(flags, after) ? 0 : after;
}

/** The entries of one table (or of the concatenated root) from `addr` on. */
function visitTable<V extends Walk>(visitor: V, table: usize, level: i32, entries: u32): i32 {
  const shift = levelShift(visitor.pageShift, level);
  const index = <u32>(visitor.addr >> shift) & (entries - 1);
  let slot = table + (<usize>index << 3);
  if (visitor.runs && level == LAST_LEVEL && visitor.quiet) {
    const count = <u32>min(<u64>(entries - index), (visitor.end - visitor.addr) >> shift);
    if (count > 1) {
      const result = visitor.run(slot, slot + (<usize>count << 3));
      visitor.addr += <u64>count << shift;
      return result;
    }
  }
  const stop = table + (<usize>entries << 3);
  while (slot < stop && visitor.addr < visitor.end) {
    const result = visitEntry<V>(visitor, slot, level, shift);
    if (result != 0) return result;
    slot += 8;
  }
  return 0;
}

// @ts-ignore: decorator
@inline function begin(walk: Walk, pgt: Pgt, start: u64, end: u64, flags: u32): void {
  walk.pgt = pgt;
  walk.flags = flags;
  walk.pageShift = pgt.pageShift;
  walk.events = flags & SILENT ? 0 : pgt.events;
  walk.quiet = pgt.quiet || (flags & SILENT && !pgt.has(NON_ATOMIC));
  walk.unlinked = false;
  walk.start = start;
  walk.addr = start;
  walk.end = end;
}

/** Walks [ia, ia + size), rounded to pages, modulo 2^64. -EPERM, -ERANGE, -EINVAL before any visit. */
export function walk<V extends Walk>(visitor: V, pgt: Pgt, ia: u64, size: u64, flags: u32): i32 {
  if (flags & SHARED && pgt.has(NVHE)) return -EPERM;
  const inPage = (<u64>1 << pgt.pageShift) - 1;
  const start = ia & ~inPage;
  const end = (start + size + inPage) & ~inPage;
  const limit = <u64>1 << pgt.iaBits;
  begin(visitor, pgt, start, end, flags);
  if (start > limit || end > limit) return -ERANGE;
  if (!pgt.root) return -EINVAL;
  if (start >= end) return 0;
  return visitTable<V>(visitor, pgt.root, pgt.startLevel, pgt.rootPages << (pgt.pageShift - 3));
}

/** A table that is in no tree: entries of `level`, addresses from `from` to what the table maps. */
export function beginUnlinked(walk: Walk, pgt: Pgt, level: i32, from: u64, flags: u32): void {
  begin(walk, pgt, from, <u64>1 << (levelShift(pgt.pageShift, level) + pgt.pageShift - 3), flags);
  walk.unlinked = true;
}

export function walkUnlinked<V extends Walk>(
  visitor: V, pgt: Pgt, table: usize, level: i32, from: u64, flags: u32,
): i32 {
  beginUnlinked(visitor, pgt, level, from, flags);
  if (visitor.addr >= visitor.end) return 0;
  return visitTable<V>(visitor, table, level, <u32>1 << (pgt.pageShift - 3));
}

// ---- one entry, without a walk -----------------------------------------------------------------------------------

/** What `find` answers: the pointer to an entry (8-byte aligned) with its level, modulo 8, in the bits below. */
export type Found = usize;

// @ts-ignore: decorator
@inline export function slotOf(found: Found): usize { return found & ~7; }

// @ts-ignore: decorator
@inline export function levelOf(found: Found): i32 { return <i32>(found << 29) >> 29; }

/**
 * Straight down to the non-table entry that decides `ia`; 0 if `ia` is out of range or there is no root. The hot path of
 * everything that touches one entry. In KVM's usual shape each level is one shift, one mask and one load.
 */
// @ts-ignore: decorator
@inline export function find(pgt: Pgt, ia: u64): Found {
  return ia < pgt.usualLimit ? findUsual(pgt, ia) : findAnywhere(pgt, ia);
}

/** The same for an `ia` below `usualLimit`. */
// @ts-ignore: decorator
@inline export function findUsual(pgt: Pgt, ia: u64): Found {
  let slot = pgt.root + (<usize>(ia >> 27) & ~7);
  let pte = slots.read(slot);
  if (!isTable(pte, 1)) return slot | 1;
  slot = childOf(pte) + (<usize>(ia >> 18) & 0xff8);
  pte = slots.read(slot);
  if (!isTable(pte, 2)) return slot | 2;
  return (childOf(pte) + (<usize>(ia >> 9) & 0xff8)) | 3;
}

/**
 * `find` with the value of the entry, in `seen`. Between the descent and the read a shared walk may have put a table
 * there: then it goes down again, so that what is seen is never a table.
 */
export function look(pgt: Pgt, ia: u64): Found {
  while (true) {
    const found = find(pgt, ia);
    if (!found) return 0;
    seen = slots.read(slotOf(found));
    if (!isTable(seen, levelOf(found))) return found;
  }
}

/** The entry that the last `look` of this thread found. */
export let seen: u64 = 0;

/** The same as `find` for every shape and address. */
export function findAnywhere(pgt: Pgt, ia: u64): Found {
  if (ia >= pgt.limit) return 0;
  const stride = pgt.pageShift - 3;
  const mask = (<usize>1 << stride) - 1;
  let level = pgt.startLevel;
  let shift = pgt.rootShift;
  let slot = pgt.root + (<usize>(ia >> shift) << 3);
  while (true) {
    const pte = slots.read(slot);
    if (!isTable(pte, level)) return slot | (level & 7);
    shift -= stride;
    level++;
    slot = childOf(pte) + ((<usize>(ia >> shift) & mask) << 3);
  }
}
