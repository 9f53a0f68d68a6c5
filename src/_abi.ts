/**
 * The ABI of the core (assembly/index.ts), as TypeScript sees it. Private to src/.
 *
 * Addresses and sizes cross as f64 (exact to 2^53), pointers and counts as i32, results as 0 / value / -errno
 * with errno in [1, 4095]; pointers may have the top bit set, so `>>> 0` them. Functions ending in `_u64` take
 * addresses, sizes, and prot from the argument block as raw 64-bit words (wrapping arithmetic, all prot bits).
 *
 *   argument block (per thread, at `args()`): 16 u64 words
 *     in:  [0] ia   [1] size   [2] pa   [3] prot
 *     out: [8] .. [15]        named below as r[0] .. r[7]
 */
import type { PkvmCore } from "./pkvm/_abi.ts";
import type { VmCore } from "./vm/_abi.ts";

export interface Core extends VmCore, PkvmCore {
  // ---- engine -------------------------------------------------------------------------------------------
  /** Bytes from the region's start to the first table page; the region is this plus 4096 * units. */
  engine_overhead(units: number, threads: number, objects: number, events: number): number;
  /** Lays out a region of `bytes` bytes at `base` (both multiples of 64 KiB); `phys` (1 MiB aligned) is the PA of
   *  the first table page. `growable`: the memory may grow until `units` pages are there. -EINVAL, -ENOMEM. */
  engine_init(
    base: number,
    bytes: number,
    phys: number,
    units: number,
    threads: number,
    objects: number,
    events: number,
    growable: number,
  ): number;
  /** Joins a live region: thread slot number, -EINVAL (not stage2 memory), -EPERM (another version), -EBUSY (no slot). */
  engine_attach(base: number): number;
  /** Leaves: 0, or -EDEADLK while this thread holds a lock. */
  engine_detach(): number;
  /** More threads may come: from now on sections are kept, grace periods and completion are waited for. */
  engine_share(): void;
  /** Frees the table pages that wait for a grace period: 0, -ETIMEDOUT (see `late`), -EDEADLK inside a section of its own. */
  engine_quiesce(): number;
  /** Units of table pages that wait for a grace period; part of `pool_used`. */
  engine_waiting(): number;

  // ---- threads ------------------------------------------------------------------------------------------
  /** This thread's slot, and how many there are. */
  thread_number(): number;
  thread_slots(): number;
  /** After attach: whether this thread may block, looks before it does, and its patience in ms (1 to 2^31 - 1). */
  thread_configure(mayBlock: number, spins: number, patience: number): void;
  /** 0: the slot is free. r[0] THREAD_FLAG bits, r[1] number of the vCPU inside its bracket or 0, r[2] pointer of the table
   *  whose lock it holds, claims or waits for, or 0. */
  thread_describe(slot: number): number;
  /** Releases everything of a thread that has ended: THREAD_FLAG bits of what it was in, or -EINVAL (free, or this thread). */
  thread_reclaim(slot: number): number;
  /** After -ETIMEDOUT: r[0] slot of the thread that did not answer, r[1] its vCPU or 0, r[2] LATE, r[3] bits of all that did not, of the first 64
   *  threads, r[4] what the operation itself came to (signed). */
  late(): void;

  // ---- mmu_lock of a page table ---------------------------------------------------------------------------
  /** 0; -EDEADLK: this thread holds a lock or is inside a bracket (r[0] its vCPU or 0); -EBUSY: it may not block; -ETIMEDOUT. */
  lock_read(pgt: number): number;
  lock_write(pgt: number): number;
  /** 0, -EBUSY (r[0] pointer of the word that is worth waiting on, r[1] its value), -EDEADLK. */
  lock_try_read(pgt: number): number;
  lock_try_write(pgt: number): number;
  /** 0, or -EPERM: this thread does not hold that side. */
  unlock_read(pgt: number): number;
  unlock_write(pgt: number): number;
  /** One step without waiting: 0 held, -EBUSY counted as a reader that waits, which goes before the next writer: call again
   *  (r[0], r[1] as above). -EDEADLK. */
  lock_claim_read(pgt: number): number;
  /** Waits no more. */
  lock_abandon_read(pgt: number): void;
  /** Keeps readers out and looks whether they have left, without waiting: 0 held, -EAGAIN claimed (call again), -EBUSY another
   *  writer, -EDEADLK. r[0] pointer of the word that is worth waiting on, r[1] its value. */
  lock_claim_write(pgt: number): number;
  /** Takes a claim back. */
  lock_abandon_write(pgt: number): void;
  /** r[0] slot + 1 of the thread that has or claims the write side, or 0; r[1] readers that wait. */
  lock_state(pgt: number): void;
  /** The engine's version word, and that found in the region at `base` (0 if it is none of ours). */
  engine_version(): number;
  engine_version_at(base: number): number;
  args(): number;
  /** The per-thread batch buffer: `batch_capacity()` records of 32 bytes. */
  batch(): number;
  batch_capacity(): number;

  // ---- pool (1 unit = 4 KiB) ----------------------------------------------------------------------------
  pool_pointer(): number;
  pool_phys(): number;
  pool_used(): number;
  pool_peak(): number;
  pool_capacity(): number;
  pool_budget(): number;
  /** Largest number of units that may be in use; allocations beyond it fail with -ENOMEM. */
  pool_set_budget(units: number): void;
  /** Reference count of the table page at this pointer. */
  pool_references(pointer: number): number;
  /** Allocates a zeroed page for an imported table (reference count 1): pointer or 0. Freed by destroy. */
  pool_alloc(pageShift: number): number;
  /** The same for what is no table: hardware walks find no memory there. */
  pool_alloc_private(pageShift: number): number;
  /** Gives back a page of `pool_alloc` that is in no table. */
  pool_free(pointer: number, pageShift: number): void;

  // ---- caches: pages set aside for table building -------------------------------------------------------
  cache_create(pageShift: number): number;
  /** Tops the cache up to `pages`: 0, or -ENOMEM with what could be had. */
  cache_topup(cache: number, pages: number): number;
  cache_count(cache: number): number;
  cache_destroy(cache: number): void;

  // ---- page tables --------------------------------------------------------------------------------------
  /** kvm_pgtable_stage2_init; mmfr0, mmfr1 in args[0], args[1]. Pointer, or -EINVAL, -ENOMEM, -EMFILE (no object slot).
   *  `events`: the event mask from the start (the root's ALLOC_EXACT included).
   *  r[0] VTCR_EL2, r[1] root bytes, r[2] ia bits, r[3] start level (signed), r[4] PA of the root. */
  s2_init(pageShift: number, ipaBits: number, options: number, events: number): number;
  /** kvm_pgtable_hyp_init. r[1]..r[4] as above. */
  hyp_init(pageShift: number, vaBits: number, options: number, events: number): number;
  /** An empty table of any shape, for a tree that is filled in from outside (then pgt_recount). VTCR in args[0] is kept as is.
   *  Pointer, or -EINVAL, -ENOMEM, -EMFILE; results as s2_init. */
  pgt_create(
    kind: number,
    pageShift: number,
    iaBits: number,
    startLevel: number,
    options: number,
    rootPages: number,
  ): number;
  /** Frees every page and the object's tables; a second call does nothing. Returns the sum of (count - 1) of the root pages. */
  pgt_destroy(pgt: number): number;
  /** Gives the object slot back (after pgt_destroy). */
  pgt_release(pgt: number): void;
  /** Which events this table logs: EVENT_MASK bits. 0: none, and the fast paths run. */
  pgt_set_events(pgt: number, mask: number): void;
  /** Pointer to the root's first page (0 after destroy). */
  pgt_root(pgt: number): number;
  /** Tells the table from others that had its object slot before; 0 if no live table is at this pointer. */
  pgt_generation(pgt: number): number;
  /** Table pages of this table, root pages included. */
  pgt_pages(pgt: number): number;
  /** After entries were filled in from outside: sets the reference count of every table page (1 + counted entries) and the
   *  object's page count, which is returned. */
  pgt_recount(pgt: number): number;

  // ---- stage 2: kvm_pgtable_stage2_*; cache: CACHE_NONE, CACHE_UNLIMITED or a cache ------------------------
  s2_map(
    pgt: number,
    ia: number,
    size: number,
    pa: number,
    prot: number,
    flags: number,
    cache: number,
  ): number;
  s2_set_owner(pgt: number, ia: number, size: number, owner: number, cache: number): number;
  s2_unmap(pgt: number, ia: number, size: number): number;
  s2_wrprotect(pgt: number, ia: number, size: number): number;
  s2_flush(pgt: number, ia: number, size: number): number;
  /** 1 young, 0 old, -ERANGE. */
  s2_test_clear_young(pgt: number, ia: number, size: number, mkold: number): number;
  s2_relax_perms(pgt: number, ia: number, prot: number): number;
  /** 1 if a valid leaf was there (the old entry in r[0]), 0 if not (r[0] = 0). -ERANGE, -EINVAL, -EPERM, -EAGAIN also leave r[0] = 0. */
  s2_mkyoung(pgt: number, ia: number): number;
  s2_split(pgt: number, ia: number, size: number, cache: number): number;
  /** Pointer of the new, unlinked table, or -errno. */
  s2_create_unlinked(
    pgt: number,
    pa: number,
    level: number,
    prot: number,
    cache: number,
    forcePages: number,
  ): number;
  s2_free_unlinked(pgt: number, table: number, level: number): void;
  /** kvm_pgtable_get_leaf: 0 with r[0] entry, r[1] level (signed); -ERANGE, -EINVAL. */
  s2_get_leaf(pgt: number, ia: number): number;
  /** PA that `ia` maps to, or -1 if there is no valid leaf (or ia is out of range). No permission or AF check. */
  s2_lookup(pgt: number, ia: number): number;
  /** Pointer to the non-table entry that decides `ia`, r[1] its level; 0 if out of range. */
  s2_entry(pgt: number, ia: number): number;
  /** kvm_pgtable_walk with a recording visitor. Visit number `stopAt` (from 1; 0: none) returns `stopRet`. Records of visits
   *  skip .. skip + batch_capacity() - 1 go to the batch buffer, r[0] = visits made in all. Returns as the walk does. */
  s2_walk(
    pgt: number,
    ia: number,
    size: number,
    flags: number,
    skip: number,
    stopAt: number,
    stopRet: number,
  ): number;
  /** kvm_tlb_flush_vmid_range: the helper alone. */
  s2_tlb_flush_range(pgt: number, ia: number, size: number): number;
  /** Resumable listing. Cursor in args: [0] next address, [1] end, [2] level floor (start with -2); updated in place.
   *  `want`: LIST_* bits. Number of records put into the batch buffer (0: done), or -ERANGE / -EINVAL. */
  pgt_list(pgt: number, want: number): number;
  /** The same over a table page that is in no tree (level = level of its entries), addresses from 0. */
  pgt_list_unlinked(pgt: number, table: number, level: number, want: number): number;

  hyp_map(pgt: number, ia: number, size: number, pa: number, prot: number, cache: number): number;
  /** Bytes unmapped. */
  hyp_unmap(pgt: number, ia: number, size: number): number;

  // ---- the same with raw 64-bit arguments in the argument block ------------------------------------------
  s2_map_u64(pgt: number, flags: number, cache: number): number;
  s2_set_owner_u64(pgt: number, owner: number, cache: number): number;
  s2_unmap_u64(pgt: number): number;
  s2_wrprotect_u64(pgt: number): number;
  s2_flush_u64(pgt: number): number;
  s2_test_clear_young_u64(pgt: number, mkold: number): number;
  s2_relax_perms_u64(pgt: number): number;
  s2_mkyoung_u64(pgt: number): number;
  s2_split_u64(pgt: number, cache: number): number;
  s2_create_unlinked_u64(pgt: number, level: number, cache: number, forcePages: number): number;
  s2_get_leaf_u64(pgt: number): number;
  s2_entry_u64(pgt: number): number;
  s2_walk_u64(pgt: number, flags: number, skip: number, stopAt: number, stopRet: number): number;
  s2_tlb_flush_range_u64(pgt: number): number;
  hyp_map_u64(pgt: number, cache: number): number;
  /** Bytes unmapped in r[0]; returns 0. */
  hyp_unmap_u64(pgt: number): number;

  // ---- operations on the one entry that decides `ia` (page or block) ---------------------------------
  /** stage2_ptep_test_and_clear_young: 1 was young and is old now, 0 was not (no store), -ERANGE / -ENOENT: no valid leaf.
   *  `exclusive`: 1 = load-exclusive / store-exclusive loop instead of compare-exchange. */
  entry_test_and_clear_young(pgt: number, ia: number, exclusive: number): number;
  /** kvm_set_s2pte_readonly: 0, -ERANGE, -ENOENT. */
  entry_set_readonly(pgt: number, ia: number, exclusive: number): number;
  /** kvm_s2pte_readonly: 1 / 0, -ERANGE, -ENOENT. */
  entry_readonly(pgt: number, ia: number): number;
  /** kvm_s2pte_mkwrite, pure: args[0] in, r[0] out. */
  pte_mkwrite(): void;
  /** Makes about one store-exclusive in `oneIn` of this thread fail for no reason (0: none); `seed` for repeatability. */
  monitor_set_spurious(oneIn: number, seed: number): void;
  /** Store-exclusives of this thread that failed, since the last call. */
  monitor_failures(): number;

  // ---- pure -----------------------------------------------------------------------------------------------
  /** mmfr0, mmfr1 in args[0], args[1]; options LPA2, PA52, AC03 matter. r[0] vtcr, r[1] root bytes, r[2] levels, r[3] start level, r[4] PARange. */
  pure_vtcr(pageShift: number, physShift: number, options: number): void;
  /** entry in args[0]: r[0] = prot (kernel bits, as KVM decodes it), r[1] = DEVICE or NORMAL_NC of a leaf. kind: KIND_STAGE2 or KIND_HYP. */
  pure_pte_prot(kind: number, options: number): void;
  /** args[0] = pa, args[1] = pte: r[0] = address field for pa, r[1] = output address of pte. */
  pure_address(pageShift: number, options: number): void;
  /** r[0] shift, r[1] leaf allowed, r[2] OR of leaf sizes. */
  pure_granule(pageShift: number, level: number): void;

  // ---- physical memory map: segment 0 is the table-page pool ---------------------------------------------
  /** Adds [pa, pa + bytes) at `pointer` of this memory. All three multiples of 4096. -EINVAL: misaligned, empty, outside the memory or above
   *  2^52, or over the engine's own region; -EEXIST: overlaps a segment; -EMFILE: all 7 are taken. */
  map_add(pa: number, pointer: number, bytes: number): number;
  /** 0, or -ENOENT: no segment starts there. */
  map_remove(pa: number): number;
  /** 1 and r[0] first PA, r[1] bytes (0: free), r[2] pointer of segment `index` (0: the pool); 0: there are no more. */
  map_segment(index: number): number;
  /** Pointer to a physical address; 0: nothing there. */
  map_pointer(pa: number): number;

  // ---- vCPU: one PE. `v` is the pointer to its state page (STATE offsets) --------------------------------
  /** `sets` a power of two up to 4096 and `ways` 1, 2, 4 or 8, at most 16384 entries, or both 0: no TLB. Pointer, -EINVAL, -ENOMEM, -EMFILE. */
  vcpu_create(sets: number, ways: number): number;
  vcpu_destroy(v: number): void;
  /** Number that its events carry, from 1. */
  vcpu_number(v: number): number;
  /** Tells the vCPU from others that had its place; 0 if none is there. */
  vcpu_generation(v: number): number;
  /** Takes over registers and settings that were written to the state page. Must follow every such write. */
  vcpu_configure(v: number): void;
  /** PA, or -1 - FSC (FAULT record in the state page). `va` signed: kernel addresses are negative. `access`: ACCESS bits. */
  vcpu_translate(v: number, va: number, access: number): number;
  /** The same, VA in args[0]. */
  vcpu_translate_u64(v: number, access: number): number;
  /** `count` f64 addresses at `from` to PAs or negative fault codes at `to`. How many failed; their records are not kept. */
  vcpu_translate_many(v: number, from: number, to: number, count: number, access: number): number;
  /** Translation without any effect: no TLB, no update, no statistics; PROBE words of the state page say what was found. VA in args[0]. */
  vcpu_probe(v: number, access: number): number;
  /** Loads 1, 2 or 4 bytes; value, or a negative fault code. */
  vcpu_read(v: number, va: number, size: number): number;
  vcpu_write(v: number, va: number, size: number, value: number): number;
  /** Any access: OP, size 1, 2, 4, 8 (16: a pair, READ and WRITE only). args[0] VA, args[1] value or operand, args[2] compare value (or high half).
   *  0 with r[0] loaded or old value (r[1] high half), r[2] the PA; STXR: 0 stored, 1 not; or a negative fault code. `flags`: ACCESS.UNPRIVILEGED. */
  vcpu_access(v: number, op: number, size: number, flags: number): number;
  vcpu_clear_exclusive(v: number): void;
  /** Address translation instruction AT_OP on args[0]. 0: PAR_EL1 in the state page; negative: taken to EL2 as a fault. */
  vcpu_at(v: number, op: number): number;
  /** TLBI_OP of this vCPU's VMID. args[0] address, args[1] pages of a range, args[2] ASID. `level`: leaf level or LEVEL_UNKNOWN.
   *  0; of a broadcast also -EDEADLK (another vCPU of this thread is inside its bracket), -ETIMEDOUT. */
  vcpu_tlbi(v: number, op: number, level: number, broadcast: number): number;
  /** A broadcast by software outside every guest, for this VMID. Arguments as above. 0, -EDEADLK (inside a bracket), -ETIMEDOUT. */
  engine_tlbi(op: number, vmid: number, level: number): number;
  /** Opens and closes the bracket in which a translation is good; poll applies what was invalidated meanwhile. Number of TLBIs
   *  applied. enter: -EBUSY if another vCPU of this thread is inside, r[0] its number; -EDEADLK if the thread has a lock. */
  vcpu_enter(v: number): number;
  vcpu_exit(v: number): void;
  vcpu_poll(v: number): number;
  /** HACDBS: cleans what its buffer lists until its end, a stop mark or an error. Entries processed. */
  vcpu_hacdbs(v: number): number;
  /** 0: anybody's; 1: a hypervisor's, changed by hypercalls only; 2: the same of a guest that el1_create (or a VM over pKVM) made. */
  pgt_guarded(pgt: number): number;
  /** OPTION bits that it was made with, and those that the core adds. */
  pgt_options(pgt: number): number;
  /** VMID that TLB invalidations of this table carry. */
  pgt_vmid(pgt: number): number;

  // ---- events ---------------------------------------------------------------------------------------------
  events_pointer(): number;
  events_capacity(): number;
  /** Records written and not yet consumed; the oldest is number `events_tail()` modulo the capacity. */
  events_count(): number;
  events_tail(): number;
  events_consume(count: number): void;
  /** Records dropped because the ring was full; reset by the call. */
  events_lost(): number;
}

/** What a thread is in the middle of. */
export const THREAD_FLAG = {
  HARDWARE: 1,
  WALK: 2,
  READS: 4,
  WRITES: 8,
  CLAIMS: 16,
  BRACKET: 32,
  WAITS: 64,
} as const;
/** What was waited for in vain. */
export const LATE = {
  HARDWARE: 1,
  BRACKET: 2,
  WALK: 3,
  READ_SIDE: 4,
  WRITE_SIDE: 5,
  INVALIDATION: 6,
} as const;

/** 32 bytes: the records that `s2_walk` and `pgt_list` write, and those of the event ring. */
export const RECORD_BYTES = 32;
/**
 * Batch record: u64 address (walk: current address; list: base of the entry), u64 entry, i8 level, u8 visit (walk: 1 leaf,
 * 2 pre, 4 post; list: 1 leaf or invalid, 2 table), u16 zero, u32 references (list, table: of the child), u32 slot pointer, u32 zero.
 */
export const BATCH = {
  ADDRESS: 0,
  ENTRY: 8,
  LEVEL: 16,
  VISIT: 17,
  REFERENCES: 20,
  SLOT: 24,
} as const;
/** Event record: u8 kind, i8 level (127 = unknown), u16 aux, u32 n, u64 a, u64 b, u64 c. */
export const EVENT_RECORD = { KIND: 0, LEVEL: 1, AUX: 2, N: 4, A: 8, B: 16, C: 24 } as const;
export const LEVEL_UNKNOWN = 127;

/** Event kinds: what the fields hold. Slots and tables are given as PAs (poolPhys + offset). */
export const EVENT = {
  ALLOC: 1, //            a PA of the new table page
  NOMEM: 2,
  FREE: 3, //             a PA
  ALLOC_EXACT: 4, //      a PA, n pages (root)
  FREE_EXACT: 5, //       a PA, n pages
  UNLINK: 6, //           a PA of the detached table, level of the entry that pointed at it, b pointer of the page table, n its generation
  GET: 7, //              a PA of the entry (or of the table page itself)
  PUT: 8, //              likewise
  TLBI_VMID: 16,
  TLBI_IPA: 17, //        a IPA, level
  TLBI_IPA_NSH: 18, //    a IPA, level; local CPU
  TLBI_RANGE: 19, //      a IPA, b pages
  TLBI_VAE2IS: 20, //     a VA, level
  TLBI_VALE2IS: 21, //    a VA, level
  TLB_FLUSH_RANGE: 22, // a IPA, b bytes: the generic entry, followed by TLBI_RANGE or TLBI_VMID records
  DCACHE_CLEAN: 24, //    a PA, b bytes
  ICACHE_INVAL: 25, //    a PA, b bytes
  DSB_ISHST: 32,
  DSB_ISH: 33,
  ISB: 34,
  WRITE: 40, //           level, aux thread slot number, a PA of the slot, b value, c base address of the entry
  WRITE_UNLINKED: 41, //  level, aux thread, n index, a PA of the slot, b value
  BREAK_LOST: 42, //      level, aux thread, a PA of the slot, b value found (or LOCKED already there)
  VISIT: 48, //           level, aux visit (1 leaf, 2 pre, 4 post), a PA of the slot, b old, c current address
  VISIT_END: 49, //       level, aux visit, n result (i32), a PA of the slot, b value read back, c current address
} as const;

/** `pgt_set_events` bits: groups of kinds. */
export const EVENT_MASK = {
  TABLES: 1, //      ALLOC .. UNLINK
  REFERENCES: 2, //  GET, PUT
  MAINTENANCE: 4, // TLBI_*, DCACHE_CLEAN, ICACHE_INVAL
  FLUSH_CALLS: 8, // TLB_FLUSH_RANGE
  BARRIERS: 16,
  WRITES: 32, //     WRITE, WRITE_UNLINKED, BREAK_LOST
  VISITS: 64,
} as const;

export const KIND_STAGE2 = 1;
export const KIND_HYP = 2;
export const CACHE_NONE = 0;
export const CACHE_UNLIMITED = 1;

/** Options of a page table. */
export const OPTION = {
  NOFWB: 1, //             KVM_PGTABLE_S2_NOFWB
  IDMAP: 2, //             KVM_PGTABLE_S2_IDMAP
  FWB: 4,
  LPA2: 8,
  PA52: 16,
  TLBI_RANGE: 32,
  NVHE: 64, //             hypervisor context: shared walks are refused
  NO_DCACHE: 128, //       no data-cache callback
  NO_ICACHE: 256, //       no instruction-cache callback
  NO_PAGE_COUNT: 512, //   hyp: no page_count callback
  HVHE: 1024,
  BTI: 2048,
  AC03: 4096, //           erratum: VTCR.HA stays off
  NO_HA: 8192, //          VTCR.HA off (no hardware access flag)
  KEEP_PERMISSIONS: 16384,
  NON_ATOMIC: 32768, //    load and store without compare-exchange
  PARITY: 65536, //        hyp: keep the reference library's leaked reference
  KEEP_UNLINKED: 131072, // map leaves detached tables to the caller (UNLINK event), who frees them with s2_free_unlinked
  PAGES_ONLY: 262144, //   no block mappings
  LOCKING: 524288, //      operations take the table's mmu_lock themselves
  LOCKLESS_AGING: 1048576, // test_clear_young takes no lock
  OWN_VMID: 2097152, //    of a VM, which gets its VMID when it runs; the core sets it
} as const;

/** enum kvm_pgtable_walk_flags, and the page-only hook's answer for one call. */
export const WALK = {
  LEAF: 1,
  TABLE_PRE: 2,
  TABLE_POST: 4,
  SHARED: 8,
  HANDLE_FAULT: 16,
  SKIP_BBM_TLBI: 32,
  SKIP_CMO: 64,
  FORCE_PAGES: 128,
} as const;

/** `pgt_list` wants. */
export const LIST = { LEAVES: 1, TABLES: 2, INVALID: 4, EMPTY: 8 } as const;

/** Prot as it crosses in an i32: X 1, W 2, R 4, DEVICE 8, NORMAL_NC 16, SW0..SW3 32..256. */
export const PROT_KNOWN = 511;

// ---- vCPU --------------------------------------------------------------------------------------------------

/** Bits of an access. A read-modify-write is READ | WRITE. UNPRIVILEGED: as EL0, whatever PSTATE says (LDTR, STTR). */
export const ACCESS = { READ: 1, WRITE: 2, FETCH: 4, UNPRIVILEGED: 8 } as const;

/** `vcpu_access`. */
export const OP = {
  READ: 1,
  WRITE: 2,
  FETCH: 3,
  ADD: 4, // LDADD
  CLR: 5, // LDCLR
  EOR: 6,
  SET: 7,
  SWP: 8,
  CAS: 9,
  LDXR: 10,
  STXR: 11,
} as const;

/** `vcpu_at`. */
export const AT_OP = {
  S1E1R: 0,
  S1E1W: 1,
  S1E0R: 2,
  S1E0W: 3,
  S12E1R: 4,
  S12E1W: 5,
  S12E0R: 6,
  S12E0W: 7,
  S1E2R: 8,
  S1E2W: 9,
} as const;

/** `vcpu_tlbi`, `engine_tlbi`. */
export const TLBI_OP = {
  IPAS2E1: 1,
  IPAS2LE1: 2,
  RIPAS2E1: 3,
  RIPAS2LE1: 4,
  VMALLE1: 5,
  VMALLS12E1: 6,
  ALLE1: 7,
  VAE1: 8,
  VALE1: 9,
  VAAE1: 10,
  VAALE1: 11,
  ASIDE1: 12,
  RVAE1: 13,
  RVALE1: 14,
  RVAAE1: 15,
  RVAALE1: 16,
} as const;

/** Byte offsets in a vCPU's state page. Registers are u64. */
export const STATE = {
  HCR_EL2: 0,
  VTCR_EL2: 8,
  VTTBR_EL2: 16,
  SCTLR_EL1: 24,
  TCR_EL1: 32,
  TTBR0_EL1: 40,
  TTBR1_EL1: 48,
  MAIR_EL1: 56,
  SCTLR_EL2: 64,
  TCR_EL2: 72,
  TTBR0_EL2: 80,
  MAIR_EL2: 88,
  ID_AA64MMFR0_EL1: 96,
  ID_AA64MMFR1_EL1: 104,
  ID_AA64MMFR2_EL1: 112,
  /** EL in 3:2, PAN in 22. */
  PSTATE: 120,
  HDBSSBR_EL2: 128,
  HDBSSPROD_EL2: 136,
  HACDBSBR_EL2: 144,
  HACDBSCONS_EL2: 152,
  PAR_EL1: 160,
  /** Settings, u32: KNOB bits; events (VCPU_EVENTS bits); log2 of the exclusives granule; one spurious failure in so many (0: none); seed. */
  KNOBS: 168,
  EVENTS: 172,
  ERG_SHIFT: 176,
  SPURIOUS: 180,
  SEED: 184,
  /** One speculative walk in so many translations (0: none). */
  SPECULATE: 188,
  // the last fault: u32 FSC, i32 level, u32 stage, u32 FAULT_FLAG bits, u64 ESR, FAR, HPFAR, IPA
  FSC: 192,
  LEVEL: 196,
  STAGE: 200,
  FLAGS: 204,
  ESR: 208,
  FAR: 216,
  HPFAR: 224,
  IPA: 232,
  // what vcpu_probe (and AT) found: u64 PA; u8 ATTR (as in MAIR), u8 SH (as in PAR), i8 stage-1 level, i8 stage-2 level (127: stage off);
  // u8 log2 of what the stage-1, stage-2 leaf maps, u8 ACCESS bits allowed in all, u8 zero; u64 IPA
  PROBE_PA: 240,
  PROBE_ATTR: 248,
  PROBE_SH: 249,
  PROBE_LEVEL1: 250,
  PROBE_LEVEL2: 251,
  PROBE_SHIFT1: 252,
  PROBE_SHIFT2: 253,
  PROBE_ALLOWED: 254,
  /** u64 counters, COUNTER order. */
  COUNTERS: 256,
  PROBE_IPA: 504,
} as const;

/** Counters, by number. Reads per level: -1, 0, 1, 2, 3. QUICK[n]: walks of 1 + n stage-2 descriptors, from level 1 on. */
export const COUNTER = {
  READS_STAGE2: 0,
  READS_STAGE1: 5,
  QUICK: 10,
  AF_STAGE1: 13,
  DIRTY_STAGE1: 14,
  AF_STAGE2: 15,
  DIRTY_STAGE2: 16,
  TLB_HITS: 17,
  TLB_MISSES: 18,
  TLB_STALE: 19,
  RESTARTS: 20,
  WALK_CACHE_HITS: 21,
  STAGE2_TLB_HITS: 22,
  FAULTS: 23,
  SPURIOUS_FAULTS: 24,
  TLBI_APPLIED: 25,
  TLB_CONFLICTS: 26,
  HDBSS_ENTRIES: 27,
  SPECULATIVE: 28,
} as const;
export const COUNTERS = 30;

/** Freedoms of the architecture that a bit takes the other way (HW model knobs K-1 .. K-13), and modes. */
export const KNOB = {
  BASE_KEPT: 1, //            K-1  low bits of a table base count
  SH_OUTER: 2, //             K-2  SH=01 is outer shareable
  CONTIGUOUS_CONFLICT: 4, //  K-3  an inconsistent contiguous group is a TLB conflict abort
  WNR_WALK: 8, //             K-4  WnR of an S1PTW fault is the direction of the walk's own access
  HPFAR_POISON: 16, //        K-5  HPFAR of a permission fault is poisoned
  EXEC_NEEDS_R: 32, //        K-6
  MEMATTR_BITS: 64, //        K-7  reserved MemAttr goes by its bits (FWB: Device-nGnRnE; else no say over the inner half)
  AF_ON_PERMISSION: 128, //   K-8
  CAS_FAIL_CLEAN: 256, //     K-9  a failed CAS leaves the page clean
  STXR_FAIL_DIRTY: 512, //    K-9  a failed STXR makes the page dirty
  NO_ATOMIC_UPDATE: 1024, //  K-10 tables lie in memory without atomics
  AT_UPDATES: 2048, //        K-11 AT sets AF, and its write forms dirty state
  KEEP_ON_FAULT: 4096, //     K-12 a permission fault leaves the TLB entry
  OWN_STORE_CLEARS: 8192, //  K-13
  STRICT_MONITOR: 16384,
  CHECKER: 32768,
} as const;

export const FAULT_FLAG = {
  S1PTW: 1,
  WRITE: 2, //     WnR
  FETCH: 4,
  CM: 8,
  TO_EL2: 16,
  HDBSSF: 32,
  DIRTY_BIT: 64, // ISS2.DirtyBit
  FROM_TLB: 128, // decided on a cached entry
} as const;

/** Event kinds of vCPUs. aux: number of the vCPU << 4 | what is said here. */
export const VCPU_EVENT = {
  HW_READ: 64, //     aux stage; level, a PA of the descriptor, b value, c input address of that stage
  HW_UPDATE: 65, //   aux stage; n 1 AF, 2 dirty, 3 both, 4 made clean; a PA of the descriptor, b new value, c input address
  TLB_FILL: 66, //    aux TLB_KIND; n VMID | ASID << 16, a input address, b output word, c IPA
  TLB_STALE: 67, //   aux TLB_KIND; a input address, b PA that the entry gives, c PA that memory gives now (2^64 - 1: none)
  TLB_CONFLICT: 68, // aux TLB_KIND; a input address, b PA of the new entry, c PA of the other
  CONTIGUOUS: 69, //  aux stage; level, a PA of the descriptor, b value, c value of a member that disagrees
  TLBI: 70, //        aux TLBI_OP below 32 with the vCPU's number << 5 (2047: no vCPU); level, n VMID | ASID << 16, a address, b pages, c 1 broadcast
} as const;
export const VCPU_EVENTS = { WALKS: 1, UPDATES: 2, TLB: 4 } as const;
export const TLB_KIND = { COMBINED: 1, STAGE2: 2, WALK_STAGE2: 3, WALK_STAGE1: 4 } as const;
