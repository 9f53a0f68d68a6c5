/**
 * The part of the core's ABI that pKVM uses (assembly/pkvm/index.ts). Conventions as in src/_abi.ts: `args[n]` are u64 words of the
 * argument block, `r[n]` its results; results are 0, a value, or -errno. pfn and gfn count pages of the machine's granule.
 *
 * To the hypervisor a thread is a physical CPU: it has at most one vCPU loaded.
 */
export interface PkvmCore {
  // ---- the machine: physical memory, host stage 2, hypervisor stage 1 ---------------------------------------
  /** A machine without memory yet. `paBits` 32 to 48 (52 needs LPA2): PARange. Pointer, -EINVAL, -EMFILE, -ENOMEM. */
  pkvm_create(pageShift: number, paBits: number, options: number): number;
  /** Memory at args[0], args[1] bytes, page aligned; before pkvm_init. 0; -EINVAL (unaligned, empty, beyond PARange), -EEXIST (overlaps),
   *  -E2BIG (REGIONS are there), -EBUSY (after init), -ENOMEM. `flags`: PKVM_REGION. */
  pkvm_add_region(machine: number, flags: number): number;
  /** Makes both tables. args[0], args[1]: memory of one region that the host's kernel hands pages for the hypervisor out of (address, bytes;
   *  bytes 0: none); args[2]: VA of the hypervisor = PA - args[2]; args[3], args[4]: MMFR0, MMFR1. `table`: OPTION bits of the tables, `events`: their event mask. 0, -errno. */
  pkvm_init(machine: number, table: number, events: number): number;
  /** 0; -EBUSY: VMs are left (r[0] handle of one); -EDEADLK. */
  pkvm_destroy(machine: number): number;
  /** The generation of the machine at this pointer; 0 if there is none. */
  pkvm_generation(machine: number): number;
  /** r[0] page table of host stage 2, r[1] of hypervisor stage 1, r[2] PARange bits, r[3] PKVM_OPTION bits, r[4] regions, r[5] pages that the
   *  host's kernel has left, r[6] its pages in all, r[7] quota of table pages of the host's stage 2. Result: page shift. */
  pkvm_describe(machine: number): number;
  /** Region `index` in ascending order: r[0] address, r[1] bytes, r[2] PKVM_REGION flags, r[3] pointer of its page records. 0, -ENOENT.
   *  A record is 8 bytes: +0 u16 references, +2 u8 host state, +3 u8 hypervisor state XOR 3, +4 u32 guest leaves that map it (0 is
   *  meant unless the host state is SHARED_OWNED). */
  pkvm_region(machine: number, index: number): number;
  /** HYPERCALL `call` with args[0..7]: any words, from whoever. 0, a value, -errno, or NOT_SUPPORTED. */
  pkvm_call(machine: number, call: number): number;
  /** r[0] page table, r[1] vCPUs that may be made, r[2] that were made, r[3] references, r[4] 1 protected, 2 dying, r[5] pages
   *  admitted, r[6] of them in vCPUs' memcaches, r[7] spare. 0, -ENOENT. */
  pkvm_vm(machine: number, handle: number): number;
  /** Pages in a vCPU's memcache; r[0] slot + 1 of the thread that has it loaded. -ENOENT. */
  pkvm_vcpu(machine: number, handle: number, index: number): number;
  /** Handle of the vCPU that this thread has loaded, or 0; r[0] its index. */
  pkvm_loaded(machine: number): number;
  /** A page that the host's kernel has to give (its pfn), or -ENOMEM. */
  pkvm_host_page(machine: number): number;
  /** Takes it back; one that is not of that memory is ignored. */
  pkvm_host_page_free(machine: number, pfn: number): void;

  // ---- EL1: a guest's stage 2 by hypercalls (kvm_pgtable_stage2_* one to one). `pgt` is what `el1_create` gave; locks, listings,
  //      lookups, events and vCPUs take it as they take any page table -----------------------------------------
  /** Makes the VM with `vcpus` vCPUs (0: one a thread slot), in the hypervisor and here. `flags`: 1 protected. Pointer of its page table, -errno. r as s2_init. */
  el1_create(machine: number, vcpus: number, flags: number, table: number, events: number): number;
  /** Unshares what is mapped, tears the VM down. pgt_release follows. 0, -EBUSY (a vCPU is loaded elsewhere), -ETIMEDOUT, -EDEADLK. */
  el1_destroy(pgt: number): number;
  /** `cache`: a memcache, or 1: one that comes with the table and tops itself up. */
  el1_map(
    pgt: number,
    ia: number,
    size: number,
    pa: number,
    prot: number,
    flags: number,
    cache: number,
  ): number;
  el1_unmap(pgt: number, ia: number, size: number): number;
  el1_wrprotect(pgt: number, ia: number, size: number): number;
  el1_flush(pgt: number, ia: number, size: number): number;
  el1_test_clear_young(pgt: number, ia: number, size: number, mkold: number): number;
  el1_relax_perms(pgt: number, ia: number, prot: number): number;
  el1_mkyoung(pgt: number, ia: number): number;
  /** -EINVAL, and a warning. */
  el1_split(pgt: number): number;
  /** 0, and a warning; `el1_free_unlinked` warns too. */
  el1_create_unlinked(pgt: number): number;
  el1_free_unlinked(pgt: number): void;
  /** tlb_flush_vmid by handle: 0, -ETIMEDOUT. */
  el1_tlb_flush(pgt: number): number;
  /** The first mapping that ends behind `ia`: 1 and r[0] IPA, r[1] PA, r[2] bytes; or 0. */
  el1_mapping(pgt: number, ia: number): number;
  /** r[0] machine, r[1] handle, r[2] mappings, r[3] pages of their tree, r[4] its height, r[5] warnings, r[6] EPERMs told as EAGAIN (all), r[7] the same in a row on
   *  one gfn, at most. */
  el1_describe(pgt: number): void;
  /** More EPERMs than this in a row on one gfn are told as they are (EPERM_IS_AGAIN); 0, to begin with: any number is told as EAGAIN. */
  el1_set_retry_limit(pgt: number, limit: number): void;

  // ---- memcaches: pages for the hypervisor, and room for one mapping --------------------------------------------
  memcache_create(machine: number): number;
  /** At least `pages` pages (at most 14) and room for a mapping: 0, -ENOMEM with what could be had, -EINVAL. */
  memcache_topup(cache: number, pages: number): number;
  /** Pages; r[0] 1: has room for a mapping. */
  memcache_count(cache: number): number;
  memcache_destroy(cache: number): void;
}

/** Answer of pkvm_call to what it does not know, or not any more (SMCCC_RET_NOT_SUPPORTED). */
export const NOT_SUPPORTED = -0x8000_0000;
export const HANDLE_OFFSET = 0x1000;
export const MAX_VMS = 255;
export const REGIONS = 32;

export const PKVM_REGION = { NOMAP: 1 } as const;

export const PAGE_STATE = { OWNED: 0, SHARED_OWNED: 1, SHARED_BORROWED: 2, NOPAGE: 3 } as const;

/** Owners in annotations of the host's stage 2 (bits 9:2); a guest's has its gfn in 51:12 and handle - HANDLE_OFFSET in 63:56. */
export const OWNER = { HYP: 1, GUEST: 3 } as const;
/** A guest's entry whose page was taken back by force. */
export const POISON = 4 << 2;

export const PKVM_OPTION = {
  MAPPINGS_LOCK: 1, //       mappings under a lock of their own, faults under the read side of the mmu_lock
  PAGES: 2, //               no blocks
  GFN_ROUNDING: 4, //        range ends are rounded down to pages, blocks do not exist
  EPERM_IS_AGAIN: 8, //      map answers -EAGAIN where share_guest says -EPERM
  ERROR_IS_YOUNG: 16, //     a hypercall that fails counts as young
  MAP_SHARED_HYP: 32, //     share_hyp maps the page at once, not the first pin
  FFA_UNCHECKED: 128, //     unshare_ffa takes any SHARED_OWNED page for one of its own
  PROTECTED_GUESTS: 256, //  donate_guest, guest_share_host, guest_unshare_host, force_reclaim, reclaim, poison
  INJECT_HOST_ABORTS: 512, // an abort of the host on what it does not own comes back to it; else it is the end of the host
} as const;

/** Hypercalls. Arguments in args[0], args[1], …; pages are pfn or gfn, `n` counts pages. */
export const HYPERCALL = {
  // of the host
  SHARE_HYP: 1, //              pfn
  UNSHARE_HYP: 2, //            pfn
  SHARE_GUEST: 3, //            pfn, gfn, n, prot            on the loaded vCPU; memcache in the batch buffer: u64 count, then pfns
  UNSHARE_GUEST: 4, //          handle, gfn, n
  RELAX_PERMS_GUEST: 5, //      gfn, prot                    on the loaded vCPU
  WRPROTECT_GUEST: 6, //        handle, gfn, n
  TEST_CLEAR_YOUNG_GUEST: 7, // handle, gfn, n, mkold        1, 0
  MKYOUNG_GUEST: 8, //          gfn                          on the loaded vCPU
  TLB_FLUSH_VMID: 9, //         handle
  PROT_FINALIZE: 10, //         cpu 0..511
  RESERVE_VM: 11, //                                         handle
  UNRESERVE_VM: 12, //          handle
  INIT_VM: 13, //               handle (0: any), pfn of struct kvm (shared with hyp), pfn of VM struct, first pfn of entry table, vCPUs, flags
  //                            (1 protected)                                                          handle
  INIT_VCPU: 14, //             handle, pfn of vCPU struct   index
  VCPU_LOAD: 15, //             handle, index
  VCPU_PUT: 16,
  TEARDOWN_VM: 17, //           handle
  START_TEARDOWN: 18, //        handle
  RECLAIM_DYING_PAGE: 19, //    handle, gfn
  DONATE_GUEST: 20, //          pfn, gfn                     as SHARE_GUEST
  FORCE_RECLAIM: 21, //         pfn
  SHARE_FFA: 22, //             pfn, n
  UNSHARE_FFA: 23, //           pfn, n
  EARLY_DONATE_HYP: 24, //      pfn, n                       until PROT_FINALIZE
  // of the guest on the loaded vCPU
  GUEST_SHARE_HOST: 40, //      gfn
  GUEST_UNSHARE_HOST: 41, //    gfn
  // what the hypervisor does of its own accord; no host can call it
  DONATE_HYP: 64, //            pfn, n
  HYP_DONATE_HOST: 65, //       pfn, n
  PIN: 66, //                   pfn, n
  UNPIN: 67, //                 pfn, n
  RECLAIM_PAGE: 68, //          handle, gfn
  HOST_MAP: 69, //              pa, bytes, prot              host_stage2_idmap
  SET_OWNER: 70, //             pa, bytes, OWNER (0 host)    host_stage2_set_owner
  SHARE_GUEST_PAGE: 71, //      as SHARE_GUEST, DONATE_GUEST and UNSHARE_GUEST, but on a guest of either kind: what the hypervisor's own
  DONATE_GUEST_PAGE: 72, //     test of itself calls
  UNSHARE_GUEST_PAGE: 73,
  HOST_ABORT: 80, //            pa                           0 (r[0] 1: it was mapped already), -EPERM: not the host's (r[0] 1: inject it)
} as const;
