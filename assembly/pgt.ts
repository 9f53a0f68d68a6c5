/**
 * The page-table object (struct kvm_pgtable) and the slots that such objects live in. One slot is 256 bytes of
 * shared memory, so a table can be used from every thread that is attached.
 */
import {
  header, objects, H_OBJECTS, H_SLOTS, OBJECT_BYTES, shared, thisThread, thread, threadSlot, toPhysical, T_GENERATION,
  T_HOLDS_TABLE, T_OWN, T_TABLE,
} from "./layout";
import { REFERENCES, TABLES } from "./events";
import * as events from "./events";
import * as pool from "./pool";
import { retire, treeLink } from "./retire";
import { awaitChange, blame, LATE_WALK } from "./sync/wait";

/** Beside the event groups in a table's mask: vCPUs with TLBs are there, invalidations reach them through the log. */
// @ts-ignore: decorator
@inline export const WATCHED: u32 = 1 << 31;
/** There too: a table without atomic updates, whose entries are taken one by one. */
// @ts-ignore: decorator
@inline export const STEPWISE: u32 = 1 << 30;
// @ts-ignore: decorator
@inline const NO_GROUPS: u32 = WATCHED | STEPWISE;

// Kinds of objects.
// @ts-ignore: decorator
@inline export const FREE_SLOT: u32 = 0;
// @ts-ignore: decorator
@inline export const STAGE2: u32 = 1;
// @ts-ignore: decorator
@inline export const HYP: u32 = 2;
// @ts-ignore: decorator
@inline export const CACHE: u32 = 3;
// @ts-ignore: decorator
@inline export const VCPU: u32 = 4;

// Options of a page table.
// @ts-ignore: decorator
@inline export const NOFWB: u32 = 1;
// @ts-ignore: decorator
@inline export const IDMAP: u32 = 2;
// @ts-ignore: decorator
@inline export const FWB: u32 = 4;
// @ts-ignore: decorator
@inline export const LPA2: u32 = 8;
// @ts-ignore: decorator
@inline export const PA52: u32 = 16;
// @ts-ignore: decorator
@inline export const TLBI_BY_RANGE: u32 = 32;
// @ts-ignore: decorator
@inline export const NVHE: u32 = 64;
// @ts-ignore: decorator
@inline export const NO_DCACHE: u32 = 128;
// @ts-ignore: decorator
@inline export const NO_ICACHE: u32 = 256;
// @ts-ignore: decorator
@inline export const NO_PAGE_COUNT: u32 = 512;
// @ts-ignore: decorator
@inline export const HVHE: u32 = 1024;
// @ts-ignore: decorator
@inline export const BTI: u32 = 2048;
// @ts-ignore: decorator
@inline export const AC03: u32 = 4096;
// @ts-ignore: decorator
@inline export const NO_HA: u32 = 8192;
// @ts-ignore: decorator
@inline export const KEEP_PERMISSIONS: u32 = 16384;
// @ts-ignore: decorator
@inline export const NON_ATOMIC: u32 = 32768;
// @ts-ignore: decorator
@inline export const PARITY: u32 = 65536;
// @ts-ignore: decorator
@inline export const KEEP_UNLINKED: u32 = 131072;
// @ts-ignore: decorator
@inline export const PAGES_ONLY: u32 = 262144;
// @ts-ignore: decorator
@inline export const LOCKING: u32 = 524288;
// @ts-ignore: decorator
@inline export const LOCKLESS_AGING: u32 = 1048576;

// Behind the fields of the object, on lines of their own.
// @ts-ignore: decorator
@inline const MMU_LOCK: usize = 128;
/** Pages out of the tree, and sub-trees, that wait for a grace period (retire.ts). */
// @ts-ignore: decorator
@inline const RETIRED: usize = 192;
// @ts-ignore: decorator
@inline const DETACHED: usize = 196;
/** Who frees what went out of the tree, and has left its lock; DYING: nobody may begin to. */
// @ts-ignore: decorator
@inline const USERS: usize = 204;
// @ts-ignore: decorator
@inline const DYING: u32 = 1 << 31;
/** Count of table pages, off the line that every operation reads. */
// @ts-ignore: decorator
@inline const TABLES_IN_USE: usize = 200;

@unmanaged
@final
export class Pgt {
  kind: u32;
  options: u32;
  pageShift: u32;
  startLevel: i32;
  iaBits: u32;
  rootPages: u32;
  /** log2 of the bytes that a root entry maps. */
  rootShift: u32;
  /** First root page; 0 before init and after destroy. */
  root: usize;
  /** Mask of the event groups that this table logs, and WATCHED. 0: nobody sees the steps of an operation. */
  events: u32;
  /** First input address out of range; 0 without a root. */
  limit: u64;
  /** The same for a table of KVM's usual shape (4 KiB pages, start level 1, 48-bit descriptors); else 0. */
  usualLimit: u64;
  /** First output address that no entry can hold. */
  paLimit: u64;
  vtcr: u64;
  /** Names this table's translations in TLBs. */
  vmid: u32;
  /** Tells this object from others that had its slot before; survives the clearing of the slot. */
  generation: u32;

  // @ts-ignore: decorator
  @inline has(option: u32): bool { return (this.options & option) != 0; }

  /** Whether forced write-back decides the memory type of this table's leaves. */
  // @ts-ignore: decorator
  @inline get forcedWriteBack(): bool { return (this.options & (FWB | NOFWB)) == FWB; }

  // @ts-ignore: decorator
  @inline get lpa2(): bool { return this.has(LPA2); }

  // @ts-ignore: decorator
  @inline logs(group: u32): bool { return (this.events & group) != 0; }

  /** Nobody sees the steps of an operation, only what comes out. */
  // @ts-ignore: decorator
  @inline get quiet(): bool { return (this.events & ~WATCHED) == 0; }

  /** Table pages in use, root included. */
  // @ts-ignore: decorator
  @inline get tables(): u32 { return atomic.load<u32>(changetype<usize>(this), TABLES_IN_USE); }
  // @ts-ignore: decorator
  @inline set tables(pages: u32) { atomic.store<u32>(changetype<usize>(this), pages, TABLES_IN_USE); }

  // @ts-ignore: decorator
  @inline get lock(): usize { return changetype<usize>(this) + MMU_LOCK; }
  // @ts-ignore: decorator
  @inline get retired(): usize { return changetype<usize>(this) + RETIRED; }
  // @ts-ignore: decorator
  @inline get detached(): usize { return changetype<usize>(this) + DETACHED; }
}

/** The page table that a lock is of. */
// @ts-ignore: decorator
@inline export function tableOf(lock: usize): usize { return lock ? lock - MMU_LOCK : 0; }

/** A zeroed slot of this kind, or 0 if all are taken. */
export function takeSlot(kind: u32): usize {
  const end = objects + <usize>load<u32>(header, H_OBJECTS) * OBJECT_BYTES;
  for (let slot = objects; slot < end; slot += OBJECT_BYTES) {
    if (atomic.cmpxchg<u32>(slot, FREE_SLOT, kind) != FREE_SLOT) continue; // taken: try the next one
    const generation = load<u32>(slot, offsetof<Pgt>("generation"));
    // The lock is left alone: who waits for a lock that was here still counts in it.
    memory.fill(slot + 4, 0, MMU_LOCK - 4);
    memory.fill(slot + RETIRED, 0, OBJECT_BYTES - RETIRED);
    store<u32>(slot, generation + 1, offsetof<Pgt>("generation"));
    return slot;
  }
  return 0;
}

/** The generation of the page table at this pointer; 0 if there is none, or it was destroyed. */
export function liveGeneration(pointer: usize): u32 {
  const offset = pointer - objects;
  if (offset >= <usize>load<u32>(header, H_OBJECTS) * OBJECT_BYTES || offset % OBJECT_BYTES) return 0;
  const pgt = changetype<Pgt>(pointer);
  return (pgt.kind == STAGE2 || pgt.kind == HYP) && pgt.root ? pgt.generation : 0;
}

/** Number of an object, from 1: no two that live have the same. */
export function numberOf(slot: usize): u32 { return <u32>((slot - objects) / OBJECT_BYTES) + 1; }

/** Tells every page table that vCPUs with TLBs are there, or that the last one is gone. */
export function setWatched(watched: bool): void {
  const end = objects + <usize>load<u32>(header, H_OBJECTS) * OBJECT_BYTES;
  for (let slot = objects; slot < end; slot += OBJECT_BYTES) {
    const kind = atomic.load<u32>(slot);
    if (kind != STAGE2 && kind != HYP) continue;
    if (watched) atomic.or<u32>(slot, WATCHED, offsetof<Pgt>("events"));
    else atomic.and<u32>(slot, ~WATCHED, offsetof<Pgt>("events"));
  }
}

/** Which event groups a table logs; who watches it stays. */
export function setEvents(pgt: Pgt, mask: u32): void {
  const word = changetype<usize>(pgt) + offsetof<Pgt>("events");
  let old = atomic.load<u32>(word);
  while (true) {
    const found = atomic.cmpxchg<u32>(word, old, (old & NO_GROUPS) | (mask & ~NO_GROUPS));
    if (found == old) return;
    old = found; // lost to a vCPU that came or went: keep what it says
  }
}

/**
 * Holds the object of a table although its lock is left, and notes that in the thread's slot. False: it is being destroyed.
 */
export function hold(pgt: Pgt): bool {
  const word = changetype<usize>(pgt) + USERS;
  let users = atomic.load<u32>(word);
  while (!(users & DYING)) {
    const found = atomic.cmpxchg<u32>(word, users, users + 1);
    if (found == users) {
      noteTable(pgt);
      store<u32>(thread, 1, T_HOLDS_TABLE);
      return true;
    }
    users = found; // lost to another that comes or goes
  }
  return false;
}

function noteTable(pgt: Pgt): void {
  store<u32>(thread, <u32>changetype<usize>(pgt), T_TABLE);
  store<u32>(thread, pgt.generation, T_GENERATION);
}

/** True: the table is destroyed and this was the last that held it, so what is left of it is the caller's to bury. */
export function unhold(pgt: Pgt, slot: usize): bool {
  store<u32>(slot, 0, T_HOLDS_TABLE);
  return letGoOf(pgt);
}

// @ts-ignore: decorator
@inline function letGoOf(pgt: Pgt): bool { return atomic.sub<u32>(changetype<usize>(pgt), 1, USERS) - 1 == DYING; }

/**
 * Nobody begins to hold the table from now on, and its destroyer holds it until `releaseTable`. False: somebody else does
 * and has not let go of it.
 */
export function holdLast(pgt: Pgt): bool {
  const word = changetype<usize>(pgt) + USERS;
  atomic.add<u32>(word, 1);
  for (let users = atomic.or<u32>(word, DYING) | DYING; users != (DYING | 1); users = atomic.load<u32>(word)) {
    if (awaitChange<u32>(word, users)) continue;
    blame(holderOf(pgt), LATE_WALK);
    return false;
  }
  return true;
}

/** A thread that holds the table. */
function holderOf(pgt: Pgt): u32 {
  const slots = atomic.load<u32>(header, H_SLOTS);
  let number: u32 = 0;
  for (; number < slots; number++) {
    const slot = threadSlot(number);
    if (load<u32>(slot, T_HOLDS_TABLE) && load<u32>(slot, T_TABLE) == <u32>changetype<usize>(pgt)) break;
  }
  return number;
}

/** Gives the object of a destroyed table up. False: another thread still holds it, and will bury it. */
export function releaseTable(pgt: Pgt): bool {
  const isHeld = (atomic.load<u32>(changetype<usize>(pgt), USERS) & DYING) != 0; // else no other thread was there
  return !isHeld || letGoOf(pgt);
}

export function releaseSlot(slot: usize): void { atomic.store<u32>(slot, FREE_SLOT); }

// ---- table pages of a page table, logged ----------------------------------------------------------------------

/** A grace period has passed: what is given back now, nobody is in. */
export let reaping: bool = false;

export function setReaping(on: bool): void { reaping = on; }

// @ts-ignore: decorator
@inline function log(kind: u32, pointer: usize): void { events.append(kind, 0, thisThread(), 0, toPhysical(pointer), 0, 0); }

/** Counts and logs a page that the table has just been given. */
export function adoptPage(pgt: Pgt, page: usize): void {
  atomic.add<u32>(changetype<usize>(pgt), 1, TABLES_IN_USE);
  if (pgt.logs(TABLES)) log(events.ALLOC, page);
}

/** One more reference on the page of this entry (or on the table page itself, if that is what `slot` is). */
export function getPage(pgt: Pgt, slot: usize): void {
  pool.addReferences(pool.pageOf(slot, pgt.pageShift), 1);
  if (pgt.logs(REFERENCES)) log(events.GET, slot);
}

/** One reference less. True: it was the last one, and the page is the caller's to pass on. */
export function dropPage(pgt: Pgt, slot: usize): bool {
  if (pgt.logs(REFERENCES)) log(events.PUT, slot);
  const page = pool.pageOf(slot, pgt.pageShift);
  if (pool.dropReferences(page, 1) != 0) return false;
  if (pgt.logs(TABLES)) log(events.FREE, page);
  forgetPages(pgt, 1);
  return true;
}

/** The table has so many pages less. */
export function forgetPages(pgt: Pgt, pages: u32): void {
  atomic.sub<u32>(changetype<usize>(pgt), pages, TABLES_IN_USE);
}

/** A page that was in the tree: at once where no other thread can be in it, else after a grace period. */
export function releasePage(pgt: Pgt, page: usize): void {
  if (shared && !reaping) retire(pgt.retired, page, pgt.pageShift, 1);
  else pool.free(page, pgt.pageShift, 1);
}

/** Notes a tree that no entry points at, below an entry of `level`: should this thread end while it waits, it can be found. */
export function keepTree(pgt: Pgt, table: usize, level: i32): void {
  if (!shared) return;
  noteTable(pgt);
  store<u32>(thread, treeLink(table, level), T_OWN);
}

/** The tree is about to be linked, or freed. */
export function letGo(): void {
  if (shared) store<u32>(thread, 0, T_OWN);
}

/** One reference less; the last one frees the page, which may still hold entries (a marker at least). */
export function putPage(pgt: Pgt, slot: usize): void {
  if (dropPage(pgt, slot)) releasePage(pgt, pool.pageOf(slot, pgt.pageShift));
}

/** The same for a page that never was in a tree: nobody can be in it. */
export function discardPage(pgt: Pgt, page: usize): void {
  if (dropPage(pgt, page)) pool.free(page, pgt.pageShift, 1);
}
