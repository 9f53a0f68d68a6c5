/**
 * The page-table object (struct kvm_pgtable) and the slots that such objects live in. One slot is 256 bytes of
 * shared memory, so a table can be used from every thread that is attached.
 */
import { header, objects, H_OBJECTS, OBJECT_BYTES } from "./layout";

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
/** A virtual machine, and a vCPU of one: the slot names its state page, as that of VCPU does (vm/). */
// @ts-ignore: decorator
@inline export const VM: u32 = 5;
// @ts-ignore: decorator
@inline export const CONTEXT: u32 = 6;
/** A hypervisor with the memory it guards (pkvm/). */
// @ts-ignore: decorator
@inline export const MACHINE: u32 = 7;

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
/** Of a VM, which gets its VMID when it runs. */
// @ts-ignore: decorator
@inline export const OWN_VMID: u32 = 2097152;
/** A hypervisor's: others look at it, and change it by hypercalls. */
// @ts-ignore: decorator
@inline export const GUARDED: u32 = 4194304;
/** Of those one whose mappings have a lock of their own: faults take the read side of the mmu_lock. */
// @ts-ignore: decorator
@inline export const OWN_LOCK: u32 = 8388608;

// Behind the fields of the object, on lines of their own.
// @ts-ignore: decorator
@inline const MMU_LOCK: usize = 128;
/** Pages out of the tree, and sub-trees, that wait for a grace period (retire.ts). */
// @ts-ignore: decorator
@inline const RETIRED: usize = 192;
// @ts-ignore: decorator
@inline const DETACHED: usize = 196;
/** Count of table pages, off the line that every operation reads. */
// @ts-ignore: decorator
@inline const TABLES_IN_USE: usize = 200;
/** Threads that hold the object although they have left its lock (holders.ts). */
// @ts-ignore: decorator
@inline const HOLDERS: usize = 204;

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
  /** Names this table's translations in TLBs: see `vmid`. */
  vmidWord: u32;
  /** Tells this object from others that had its slot before; survives the clearing of the slot. */
  generation: u32;
  /** What the host keeps of a guest whose table is the hypervisor's (pkvm/el1/object.ts); 0: the table is the host's own. */
  el1: usize;

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

  /**
   * VMID. That of a VM changes when it comes to run again after a rollover (vmid.ts): read after the entry was changed, it is the
   * one that whoever read the old entry runs with.
   */
  // @ts-ignore: decorator
  @inline get vmid(): u32 { return atomic.load<u32>(changetype<usize>(this), offsetof<Pgt>("vmidWord")); }
  // @ts-ignore: decorator
  @inline set vmid(number: u32) { atomic.store<u32>(changetype<usize>(this), number, offsetof<Pgt>("vmidWord")); }

  /** Table pages in use, root included. */
  // @ts-ignore: decorator
  @inline get tables(): u32 { return atomic.load<u32>(changetype<usize>(this), TABLES_IN_USE); }
  // @ts-ignore: decorator
  @inline set tables(pages: u32) { atomic.store<u32>(changetype<usize>(this), pages, TABLES_IN_USE); }
  // @ts-ignore: decorator
  @inline addTables(pages: i32): void { atomic.add<u32>(changetype<usize>(this), pages, TABLES_IN_USE); }

  // @ts-ignore: decorator
  @inline get lock(): usize { return changetype<usize>(this) + MMU_LOCK; }
  // @ts-ignore: decorator
  @inline get retired(): usize { return changetype<usize>(this) + RETIRED; }
  // @ts-ignore: decorator
  @inline get detached(): usize { return changetype<usize>(this) + DETACHED; }
  // @ts-ignore: decorator
  @inline get holders(): usize { return changetype<usize>(this) + HOLDERS; }
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

export function releaseSlot(slot: usize): void { atomic.store<u32>(slot, FREE_SLOT); }
