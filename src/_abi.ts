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
export interface Core {
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
  engine_detach(): void;
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
  WRITE: 40, //           level, a PA of the slot, b value, c base address of the entry
  WRITE_UNLINKED: 41, //  level, n index, a PA of the slot, b value
  BREAK_LOST: 42, //      level, a PA of the slot, b value found (or LOCKED already there)
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
