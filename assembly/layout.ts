/**
 * The memory map: a chain of offsets from the start of the engine's region. Nothing else contains an address.
 *
 *   region (64 KiB aligned, never below 64 KiB)
 *   +0        header: identity, sizes, pointers; then the words that threads share, each on its own line
 *   +4 KiB    thread slots, 128 bytes each
 *             scratch, 16 KiB a thread: argument block, visitors, batch records
 *             objects, 256 bytes each: page tables and caches
 *             event ring, 32 bytes a record
 *             TLB invalidation log, 32 bytes a record
 *             granule versions of the strict exclusive monitor, 4 bytes each
 *             VMIDs: a bit each, then two words for every object (vmid.ts)
 *             page metadata, 8 bytes a unit: reference count, link of a free list or cache
 *   +overhead (64 KiB aligned) the table-page pool: unit 0 is physical address `phys`
 *
 * A unit is 4 KiB; a 16 KiB page is 4 aligned units, a 64 KiB page 16, the largest root (16 x 64 KiB) 256.
 * Mutable globals are per instance, that is per thread; they are set by `enter`, never initialised by data.
 */

// @ts-ignore: decorator
@inline export const MAGIC: u64 = 0x0032_4547_4154_53f7; // 0xf7 "STAGE2" 0
// @ts-ignore: decorator
@inline export const VERSION: u32 = 5;

// Header: identity (written once, MAGIC last) ------------------------------------------------------------
// @ts-ignore: decorator
@inline export const H_MAGIC: usize = 0;
// @ts-ignore: decorator
@inline export const H_VERSION: usize = 8;
// @ts-ignore: decorator
@inline export const H_THREADS: usize = 12;
// @ts-ignore: decorator
@inline export const H_OBJECTS: usize = 16;
// @ts-ignore: decorator
@inline export const H_EVENTS: usize = 20;
// @ts-ignore: decorator
@inline export const H_UNITS: usize = 24;
// @ts-ignore: decorator
@inline export const H_GROWABLE: usize = 28;
// @ts-ignore: decorator
@inline export const H_PHYS: usize = 32;
// @ts-ignore: decorator
@inline export const H_SHARED: usize = 40; // 1 once more than one thread may be there, for ever
// @ts-ignore: decorator
@inline export const H_SLOTS: usize = 44; // thread slots that were ever taken: none beyond is looked at

// Header: shared words, 64 bytes apart where threads contend ------------------------------------------------
// @ts-ignore: decorator
@inline export const H_FRONTIER: usize = 128; // units handed out at least once
// @ts-ignore: decorator
@inline export const H_COMMITTED: usize = 132; // units that the memory has today
// @ts-ignore: decorator
@inline export const H_COALESCE: usize = 136; // slot + 1 of the thread that merges free pages
// @ts-ignore: decorator
@inline export const H_RETIRED: usize = 140; // pages of destroyed tables that wait for a grace period: unit + 1 of the first
// @ts-ignore: decorator
@inline export const H_RETIRING: usize = 144; // units that wait, all in all
// @ts-ignore: decorator
@inline export const H_USED: usize = 192;
// @ts-ignore: decorator
@inline export const H_PEAK: usize = 196;
// @ts-ignore: decorator
@inline export const H_BUDGET: usize = 200;
// @ts-ignore: decorator
@inline export const H_FREE: usize = 256; // ORDERS list heads, u64 each: tag in the top half, unit + 1 below
// @ts-ignore: decorator
@inline export const H_EVENT_HEAD: usize = 384;
// @ts-ignore: decorator
@inline export const H_EVENT_TAIL: usize = 448;
// @ts-ignore: decorator
@inline export const H_EVENT_LOST: usize = 452;

// @ts-ignore: decorator
@inline export const H_TLBI_HEAD: usize = 512; // invalidations logged so far, modulo 2^32
// @ts-ignore: decorator
@inline export const H_WATCHERS: usize = 576; // vCPUs with a TLB
// @ts-ignore: decorator
@inline export const H_MAP: usize = 640; // physical memory map beside the pool: MAP_SEGMENTS of 32 bytes
// @ts-ignore: decorator
@inline export const MAP_SEGMENTS: u32 = 7;

// VMID allocation (vmid.ts)
// @ts-ignore: decorator
@inline export const H_VMID_LOCK: usize = 896; // thread slot + 1 of who allocates
// @ts-ignore: decorator
@inline export const H_VMID_BITS: usize = 900;
// @ts-ignore: decorator
@inline export const H_VMID_CURSOR: usize = 904;
// @ts-ignore: decorator
@inline export const H_VMID_GENERATION: usize = 912; // u64

// @ts-ignore: decorator
@inline export const HEADER_BYTES: usize = 4096;
// @ts-ignore: decorator
@inline export const THREAD_BYTES: usize = 128;
// @ts-ignore: decorator
@inline export const SCRATCH_BYTES: usize = 16384;
// @ts-ignore: decorator
@inline export const OBJECT_BYTES: usize = 256;
// @ts-ignore: decorator
@inline export const RECORD_BYTES: usize = 32;
// @ts-ignore: decorator
@inline export const META_BYTES: usize = 8;
// @ts-ignore: decorator
@inline export const TLBI_RECORDS: u32 = 1024;
// @ts-ignore: decorator
@inline export const GRANULES: u32 = 1024;
// @ts-ignore: decorator
@inline export const VMIDS: u32 = 65536;
/** Beside the bitmap, for every object: the VMID it runs with, and the one that is kept for it. */
// @ts-ignore: decorator
@inline export const VMID_WORDS: u32 = 2;
// @ts-ignore: decorator
@inline export const UNIT_SHIFT: u32 = 12;
// @ts-ignore: decorator
@inline export const ORDERS: u32 = 16; // 4 KiB .. 128 MiB
// @ts-ignore: decorator
@inline export const REGION_ALIGN: u64 = 65536;
// @ts-ignore: decorator
@inline export const PHYS_ALIGN: u64 = 1048576; // roots are aligned to their size, at most 1 MiB

// Thread slot ---------------------------------------------------------------------------------------------------
// @ts-ignore: decorator
@inline export const T_STATE: usize = 0; // 0 free, 1 attached
// @ts-ignore: decorator
@inline export const T_SPURIOUS: usize = 4; // one store-exclusive in so many fails for no reason; 0 none
// @ts-ignore: decorator
@inline export const T_RANDOM: usize = 8; // state of the generator behind it
// @ts-ignore: decorator
@inline export const T_FAILURES: usize = 12; // store-exclusives that failed
// @ts-ignore: decorator
@inline export const T_MONITOR: usize = 16; // address that the local monitor watches; 0 open
// @ts-ignore: decorator
@inline export const T_MONITOR_VALUE: usize = 24;
// What other threads look at (sync/): counters are odd inside and only ever grow, whoever has the slot.
// @ts-ignore: decorator
@inline export const T_HARDWARE: usize = 32; // hardware section
// @ts-ignore: decorator
@inline export const T_WALK: usize = 36; // walk section
// @ts-ignore: decorator
@inline export const T_BRACKET: usize = 40; // u64: position in the TLBI log, then number of the vCPU inside its bracket; 0 none
// @ts-ignore: decorator
@inline export const T_HOLDS: usize = 48; // mmu_lock, with HOLDS in the two lowest bits; 0 none
// @ts-ignore: decorator
@inline export const T_SPINS: usize = 52; // looks before it sleeps
// @ts-ignore: decorator
@inline export const T_PATIENCE: usize = 56; // ms
// @ts-ignore: decorator
@inline export const T_BLOCKS: usize = 60; // 1: may sleep
// What the thread has in its hands while it waits, for whoever has to clear up after it (reclaim.ts); links of pool.ts.
// @ts-ignore: decorator
@inline export const T_PAGES: usize = 64; // pages out of a tree
// @ts-ignore: decorator
@inline export const T_TREES: usize = 68; // sub-trees out of a tree
// @ts-ignore: decorator
@inline export const T_OWN: usize = 72; // a tree that no entry points at: about to be linked, or just unlinked
// @ts-ignore: decorator
@inline export const T_TABLE: usize = 76; // page table of the last two
// @ts-ignore: decorator
@inline export const T_GENERATION: usize = 80; // of that page table
// @ts-ignore: decorator
@inline export const T_HOLDS_TABLE: usize = 84; // 1: counted among the users of that page table (pgt.ts)
// @ts-ignore: decorator
@inline export const T_INVALIDATES: usize = 88; // invalidations (vm/notifier.ts) that it has started and not ended
// @ts-ignore: decorator
@inline export const T_CHANGES: usize = 92; // VM whose slots_lock it has; 0 none
// @ts-ignore: decorator
@inline export const T_INVALIDATED: usize = 96; // VM of these; 0 of several
// @ts-ignore: decorator
@inline export const T_IN_PROGRESS: usize = 100; // those of them that met a slot
// @ts-ignore: decorator
@inline export const T_LOADED: usize = 104; // vCPU of a hypervisor that is loaded here (pkvm/vcpus.ts); 0 none
// @ts-ignore: decorator
@inline export const T_MACHINE: usize = 112; // its machine
// @ts-ignore: decorator
@inline export const T_HELD: usize = 116; // VM of a hypervisor that a call of this thread refers to; 0 none
// @ts-ignore: decorator
@inline export const T_MAPPINGS: usize = 108; // lock of a guest's mappings that it has, with 1 for the read side (pkvm/el1/lock.ts)

// Scratch: what one call of one thread needs. Visitors that can be alive together have places of their own --------
// @ts-ignore: decorator
@inline export const S_ARGS: usize = 0; // 8 words in
// @ts-ignore: decorator
@inline export const S_RESULTS: usize = 64; // 8 words out
// @ts-ignore: decorator
@inline export const S_VISITOR: usize = 256; // the operation's own
// @ts-ignore: decorator
@inline export const S_BUILDER: usize = 512; // builds an unlinked table
// @ts-ignore: decorator
@inline export const S_REAPER: usize = 768; // frees an unlinked table
// @ts-ignore: decorator
@inline export const S_BATCH: usize = 4096;
// @ts-ignore: decorator
@inline export const BATCH_RECORDS: u32 = <u32>((SCRATCH_BYTES - S_BATCH) / RECORD_BYTES);

// This thread's view of the region ------------------------------------------------------------------------------
export let header: usize = 0;
export let thread: usize = 0;
export let scratch: usize = 0;
export let objects: usize = 0;
export let ring: usize = 0;
export let tlbiLog: usize = 0;
export let granules: usize = 0;
export let vmids: usize = 0;
export let meta: usize = 0;
export let pool: usize = 0;
/** pointer - physical address of every table page, modulo 2^64. */
export let delta: u64 = 0;
/** Physical address of the pool. */
export let poolPhys: u64 = 0;
/** Other threads are there, or may come: sections are kept, and waited for. */
export let shared: bool = false;
/** Operations have something to heed at their door: other threads, or a vCPU of this one inside its bracket. */
export let heedful: bool = false;

export function setInside(inside: bool): void { heedful = shared || inside; }

/** Number of the calling thread's slot. */
export function thisThread(): u32 { return <u32>((thread - header - HEADER_BYTES) / THREAD_BYTES); }

// @ts-ignore: decorator
@inline export function threadSlot(number: u32): usize { return header + HEADER_BYTES + <usize>number * THREAD_BYTES; }

/** From now on other threads may come. They attach to what a thread hands out, so none of ours is in the middle of anything. */
export function share(): void {
  atomic.store<u32>(header, 1, H_SHARED);
  shared = true;
  heedful = true;
}

/** Forgets the thread slot: what is left of this instance can neither free nor use it. */
export function leave(): void { thread = 0; }

/** Ring capacities are powers of two. */
export function ringCapacity(events: u32): u32 {
  return events <= 16 ? 16 : 1 << (32 - clz<u32>(events - 1));
}

/** Bytes from the region's start to the pool. */
export function overhead(units: u32, threads: u32, objectCount: u32, events: u32): u64 {
  const bytes =
    <u64>HEADER_BYTES +
    <u64>threads * (THREAD_BYTES + SCRATCH_BYTES) +
    <u64>objectCount * OBJECT_BYTES +
    <u64>ringCapacity(events) * RECORD_BYTES +
    <u64>TLBI_RECORDS * RECORD_BYTES +
    <u64>GRANULES * 4 +
    <u64>(VMIDS >> 3) + <u64>objectCount * VMID_WORDS * 8 +
    (<u64>units + 63 & ~63) * META_BYTES;
  return (bytes + REGION_ALIGN - 1) & ~(REGION_ALIGN - 1);
}

/** Points this thread at a region whose header is complete, as thread number `slot`. */
export function enter(base: usize, slot: usize): void {
  const threads = <usize>load<u32>(base, H_THREADS);
  const objectCount = <usize>load<u32>(base, H_OBJECTS);
  const events = load<u32>(base, H_EVENTS);
  const units = load<u32>(base, H_UNITS);
  header = base;
  thread = base + HEADER_BYTES + slot * THREAD_BYTES;
  const scratches = base + HEADER_BYTES + threads * THREAD_BYTES;
  scratch = scratches + slot * SCRATCH_BYTES;
  objects = scratches + threads * SCRATCH_BYTES;
  ring = objects + objectCount * OBJECT_BYTES;
  tlbiLog = ring + <usize>ringCapacity(events) * RECORD_BYTES;
  granules = tlbiLog + <usize>TLBI_RECORDS * RECORD_BYTES;
  vmids = granules + <usize>GRANULES * 4;
  meta = vmids + (VMIDS >> 3) + objectCount * VMID_WORDS * 8;
  pool = base + <usize>overhead(units, <u32>threads, <u32>objectCount, events);
  poolPhys = load<u64>(base, H_PHYS);
  delta = <u64>pool - poolPhys;
  shared = atomic.load<u32>(base, H_SHARED) != 0;
  heedful = shared;
}

// @ts-ignore: decorator
@inline export function toPhysical(pointer: usize): u64 { return <u64>pointer - delta; }

// @ts-ignore: decorator
@inline export function argument(index: u32): u64 { return load<u64>(scratch + S_ARGS + (<usize>index << 3)); }

// @ts-ignore: decorator
@inline export function setArgument(index: u32, value: u64): void {
  store<u64>(scratch + S_ARGS + (<usize>index << 3), value);
}

// @ts-ignore: decorator
@inline export function resultWord(index: u32): u64 { return load<u64>(scratch + S_RESULTS + (<usize>index << 3)); }

// @ts-ignore: decorator
@inline export function setResult(index: u32, value: u64): void {
  store<u64>(scratch + S_RESULTS + (<usize>index << 3), value);
}
