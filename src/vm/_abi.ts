/**
 * The part of the core's ABI that the KVM MMU uses (assembly/vm/index.ts). Conventions as in src/_abi.ts: `args[n]` are u64 words of the
 * argument block, `r[n]` its results; results are 0, a value, or -errno. gfn = IPA / page size of the VM's granule.
 *
 * Every operation that works on a range is a step: it does up to `pieces` pieces (cut at multiples of the largest block) under
 * one hold of the mmu_lock and says how far it came; between steps nothing is held.
 */
export interface VmCore {
  /** Width of VMIDs, 8 or 16 (the default): 0, -EINVAL, -EBUSY once a VM has run. */
  engine_set_vmid_bits(bits: number): number;

  // ---- VM -------------------------------------------------------------------------------------------------
  /** An object without a page table yet. `hostBits`: the largest IPA size of the host. Pointer, -EINVAL, -EMFILE, -ENOMEM. */
  vm_create(pageShift: number, hostBits: number, options: number): number;
  /** kvm_init_stage2_mmu. `type`: machine type of KVM_CREATE_VM. args[0], args[1]: MMFR0, MMFR1 as s2_init. `table`: OPTION bits of
   *  the page table, `events`: its event mask. 0 (r[0]..r[4] as s2_init, r[5] pointer of the page table), -EINVAL (M-1.1..1.6;
   *  already initialised), -ENOMEM, -EMFILE. `nested`: of an initialised one 0 and nothing. */
  vm_init(vm: number, type: number, table: number, events: number, nested: number): number;
  /** kvm_free_stage2_pgd, what the release notifier does: 0, also if it was done; -EDEADLK, -ETIMEDOUT (it is done all the same). */
  vm_teardown(vm: number): number;
  /** Everything: teardown, slots, bitmaps, rings, caches, vCPU contexts, the object. Results as vm_teardown. */
  vm_destroy(vm: number): number;
  /** The generation of the VM at this pointer; 0 if there is none. */
  vm_generation(vm: number): number;
  /** Its number in events. */
  vm_number(vm: number): number;
  /** Pointer of its page table; 0 before init and after teardown. r[0] IPA bits, r[1] host bits, r[2] VMID number in TLBs, r[3] VMID
   *  id (generation | number; 0 never ran), r[4] min table pages of one fault, r[5] largest block size B, r[6] VM_OPTION bits and
   *  those that caps have set, r[7] split chunk. */
  vm_describe(vm: number): number;
  /** r[0] invalidate_seq, r[1] invalidate_in_progress, r[2] active invalidations, r[3] slot generation (odd while publishing),
   *  r[4] slots, r[5] pages of all slots, r[6] recorded gfn range start, r[7] its end. */
  vm_state(vm: number): void;
  /** Which events of VM_EVENT the VM logs: bit (kind - 80). */
  vm_set_events(vm: number, mask: number): void;
  /** KVM_ENABLE_CAP. 0; -EINVAL, -E2BIG, -EPERM (unknown cap: -EINVAL). args[0]: the cap's argument. */
  vm_enable_cap(vm: number, cap: number, flags: number): number;

  // ---- memslots -------------------------------------------------------------------------------------------
  /** First part of KVM_SET_USER_MEMORY_REGION (`version` 1 or 2): args[0] guest_phys_addr, [1] memory_size, [2] userspace_addr.
   *  CHANGE: NONE is done. Else this thread has the slots_lock until vm_region_end; r[0] IPA, r[1] size of what DELETE and MOVE unmap.
   *  -errno of M-3.1..3.16; -EDEADLK this thread has a slots_lock or another lock; -EBUSY may not block; -ETIMEDOUT. */
  vm_region_begin(vm: number, slot: number, flags: number, version: number): number;
  /** DELETE, MOVE: publishes the old slot as INVALID; unmapping follows. 0; -EBUSY: an invalidation is in flight and this thread may not
   *  wait (r[0] word worth waiting on, r[1] its value); -EDEADLK: it is this thread's own; -ETIMEDOUT. */
  vm_region_invalidate(vm: number): number;
  /** Publishes the new set. `facts`: 1 part of the backing does not allow MTE, 2 part is PFN-mapped. 0; -EFAULT, -EINVAL (M-3.17..19),
   *  -ENOMEM; as vm_region_invalidate. On error the old slot is valid again. r[0] IPA, r[1] size of what is to be write-protected
   *  now (size 0: nothing), r[2] 1: then to be split (SPLIT step), r[3] 1: then its TLB range is to be flushed (before the split). */
  vm_region_commit(vm: number, facts: number): number;
  /** Gives the slots_lock back. Without a commit before: everything as it was, the old slot valid. */
  vm_region_end(vm: number): void;
  /** The slot of this id: r[0] base IPA, r[1] bytes, r[2] hva, r[3] flags, r[4] bitmap pointer or 0, r[5] 1 INVALID. 0: absent; -ETIMEDOUT. */
  vm_slot(vm: number, slot: number): number;
  /** The slot at place `index` in ascending gfn: its id, r as vm_slot; -ENOENT beyond the last. */
  vm_slot_at(vm: number, index: number): number;
  /** The slot that holds the gfn of this IPA: id or -ENOENT; r as vm_slot. */
  vm_slot_of(vm: number, ipa: number): number;
  /** The slot after `last` (-1: the first) in the order in which KVM visits all slots (hash order): its id, or -1. */
  vm_slot_hashed(vm: number, last: number): number;

  // ---- steps on ranges --------------------------------------------------------------------------------------
  /** Does up to `pieces` pieces of RANGE op on [ipa, ipa + size): bytes done, -errno. `resumed`: not the first step of its operation
   *  (no page table: then all is done; else -EINVAL). SPLIT cuts at multiples of the chunk (0: nothing to do) and tops its cache up. */
  vm_range(
    vm: number,
    op: number,
    ipa: number,
    size: number,
    pieces: number,
    resumed: number,
  ): number;
  /** kvm_tlb_flush_vmid_range. 0, -ETIMEDOUT. */
  vm_flush_tlb(vm: number, ipa: number, size: number): number;
  /** kvm_flush_remote_tlbs: the whole VMID. 0, -ETIMEDOUT. */
  vm_flush_all_tlb(vm: number): number;
  /** kvm_phys_addr_ioremap, page by page: args[0] IPA, [1] PA, [2] size. Bytes done in this step (of size + IPA mod page), -EPERM, -errno. */
  vm_ioremap(vm: number, writable: number, done: number, pieces: number): number;

  // ---- notifiers: args[0] hva of the first byte, [1] hva behind the last -------------------------------------
  /** 0: no slot there. 1: all of it is unmapped. 2: more to do: r[0] order index for vm_hva_next, r[1] IPA, r[2] size of what is left
   *  of the current slot. In all three the active count is up and vm_invalidate_end must follow. -EINVAL: empty range; -EDEADLK. */
  vm_invalidate_start(vm: number, pieces: number): number;
  /** The next slot that overlaps, in ascending hva, from order index `index` on: 1, r[0] IPA, r[1] size, r[2] slot, r[3] next index;
   *  0: none. */
  vm_hva_next(vm: number, index: number): number;
  vm_invalidate_end(vm: number): number;
  /** AGE op. 1 young, 0 not; -errno. */
  vm_age(vm: number, op: number): number;

  // ---- dirty log ----------------------------------------------------------------------------------------------
  /** KVM_GET_DIRTY_LOG, its checks: 0 and this thread has the slots_lock; -ENXIO, -EINVAL, -ENOENT, -EDEADLK, -EBUSY, -ETIMEDOUT.
   *  r[0] pages, r[1] bitmap pointer, r[2] pointer of the snapshot (equally long), r[3] bytes of either, r[4] 1: manual protect. */
  vm_log_get(vm: number, slot: number): number;
  /** KVM_CLEAR_DIRTY_LOG, its checks: args[0] first page, [1] number of pages. The caller then writes its mask into the snapshot. */
  vm_log_clear(vm: number, slot: number): number;
  /** Words [word, word + words) of the log that this thread has: taken out into the snapshot (clear: those of its mask), protected,
   *  split where that is due. Number of pages taken; -errno: words before r[0] are done. */
  vm_log_take(vm: number, word: number, words: number): number;
  /** Puts the snapshot's words back into the bitmap: what was collected is not handed out. */
  vm_log_restore(vm: number, word: number, words: number): void;
  /** Flushes the slot's TLB range if anything was taken, gives the slots_lock back. 0, -ETIMEDOUT. */
  vm_log_end(vm: number): number;
  /** mark_page_dirty by the host or a device (kvm_write_guest). 1: it was logged, 0: not (no slot, no log). */
  vm_mark_dirty(vm: number, ipa: number): number;
  /** KVM_RESET_DIRTY_RINGS, whole: entries reset; -EINVAL without rings. Takes the slots_lock. r[0] 1: more to do (call again). */
  vm_rings_reset(vm: number, entries: number): number;

  // ---- vCPU contexts (struct kvm_vcpu) -------------------------------------------------------------------------
  /** Pointer; -EINVAL (id beyond 511), -EEXIST, -ENOMEM, -EMFILE. It belongs to the thread that made it. */
  vm_vcpu_create(vm: number, id: number): number;
  vm_vcpu_destroy(vcpu: number): void;
  /** Pointer of the context of this id, or 0. */
  vm_vcpu_at(vm: number, id: number): number;
  /** Tops the memory cache up: 0, -EIO (M-2.1), -ENOMEM. `capacity` 0: 40, as faults do. */
  vm_vcpu_topup(vcpu: number, min: number, capacity: number): number;
  /** Pages in its memory cache. */
  vm_vcpu_cache(vcpu: number): number;
  /** Gives its pages back; another capacity may follow. */
  vm_vcpu_cache_free(vcpu: number): void;
  /** kvm_arch_vcpu_load on the PE `cpu` (a vCPU object of this library): VMID, VTTBR_EL2, last-run check. 0: nothing new; 1: another VMID than
   *  before. -EINVAL without page table, -EBUSY it runs another context, -EMFILE CPUs
   *  run with all VMIDs there are. r[0] VMID, r[1] 1: EL1 TLB entries were dropped, r[2] 1: VMIDs rolled over. */
  vm_vcpu_load(vcpu: number, cpu: number): number;
  vm_vcpu_put(vcpu: number): void;
  /** r[0] ring pointer or 0, r[1] entries, r[2] soft limit, r[3] entries ever pushed, r[4] ever reset, r[5] overflowed (lost: a bug). */
  vm_vcpu_ring(vcpu: number): void;
  /** 1: used >= soft limit: KVM_RUN exits DIRTY_RING_FULL. */
  vm_vcpu_ring_full(vcpu: number): number;
  /** u64 counters at pointer, VM_COUNTER order. */
  vm_vcpu_counters(vcpu: number): number;
  /** Gives the PE that it is loaded on a buffer of 512 << size entries (HDBSS); `size` -1: takes it away. 0, -EINVAL, -ENOMEM. */
  vm_vcpu_hdbss(vcpu: number, size: number): number;
  /** Moves what HDBSS has recorded into the dirty log: entries. */
  vm_vcpu_harvest(vcpu: number): number;

  // ---- aborts ------------------------------------------------------------------------------------------------
  /** kvm_handle_guest_abort up to where the backing is asked: args[0] ESR_EL2, [1] FAR_EL2, [2] HPFAR_EL2. `flags`: ABORT_FLAG.
   *  ABORT, or -errno; see there for the results. After RESOLVE vm_abort_finish or vm_abort_cancel must follow; until then a second
   *  begin of this vCPU is -EBUSY. */
  vm_abort_begin(vcpu: number, flags: number): number;
  /** The rest, with what the backing says: args[0] PA of the page at the hva. `facts`: FACT bits; `vmaShift`: log2 of the page size
   *  of a hugetlb VMA, 0 of an ordinary one; `hostShift`: log2 of what the host maps there with one leaf (0: leaf is invalid).
   *  ABORT (RESUME, INJECT, POISONED), -EFAULT, -ENOMEM, ... . r[0] CALL, r[1] IPA, r[2] size, r[3] prot, r[4] its result (signed),
   *  r[5] 1: hostShift decided, r[6] 1: page is dirty to the host, r[7] 1: retried for an invalidation or a slot change. */
  vm_abort_finish(vcpu: number, facts: number, vmaShift: number, hostShift: number): number;
  vm_abort_cancel(vcpu: number): void;
}

/** Options of a VM, and what caps add. */
export const VM_OPTION = {
  PROTECTED: 1, //        pKVM: IPA size is the host's, no ioremap
  MTE: 2,
  DIC: 4, //              CTR_EL0.DIC: pages are executable from the start
  NISV_EXIT: 256, //      KVM_CAP_ARM_NISV_TO_USER
  MANUAL_PROTECT: 512,
  INITIALLY_SET: 1024,
  RING: 2048,
  BACKUP_BITMAP: 4096,
  HDBSS: 8192,
} as const;

export const CAP = {
  MANUAL_DIRTY_LOG_PROTECT2: 168,
  ARM_NISV_TO_USER: 177,
  DIRTY_LOG_RING: 192,
  DIRTY_LOG_RING_ACQ_REL: 223,
  DIRTY_LOG_RING_WITH_BITMAP: 225,
  ARM_EAGER_SPLIT_CHUNK_SIZE: 228,
  /** Ours: 1 on, 0 off; only while no slot exists. */
  HDBSS: 65536,
} as const;

export const CHANGE = { NONE: 0, CREATE: 1, DELETE: 2, MOVE: 3, FLAGS: 4 } as const;
export const RANGE = { UNMAP: 1, WRPROTECT: 2, FLUSH: 3, SPLIT: 4 } as const;
export const AGE = { CLEAR_FLUSH: 1, CLEAR: 2, TEST: 3 } as const;
export const SLOT_FLAG = { LOG_DIRTY_PAGES: 1, READONLY: 2 } as const;

/** What an abort comes to. KVM's handler returns 1 for all but MMIO, NISV (0). */
export const ABORT = {
  RESUME: 1, //   re-enter. After begin: r[0] CALL (MKYOUNG, or 0), r[1] IPA, r[2] 1 if a page was there, r[3] its PA
  INJECT: 2, //   r[0] ESR_EL1, r[1] FAR_EL1, r[2] 1: instruction abort
  SKIP: 3, //     PC += 4 and re-enter
  SERROR: 4, //   pend an SError with ISV = 1, unless host RAS claims it
  MMIO: 5, //     r[0] PA, r[1] bytes, r[2] 1 write, r[3] Rt, r[4] 1 sign-extend, r[5] 1 64-bit register
  NISV: 6, //     exit ARM_NISV: r[0] {CM, WnR, FSC} bits of ISS, r[1] fault IPA
  RESOLVE: 7, //  ask the backing: r[0] hva (IPA's page in the slot), r[1] ACCESS_KIND bits, r[2] gfn, r[3] slot, r[4] slot flags, r[5] fault IPA, r[6] logging
  POISONED: 8, // BUS_MCEERR_AR: r[0] hva, r[1] lsb
} as const;
export const ACCESS_KIND = { WRITE: 1, EXEC: 2, PERMISSION: 4 } as const;
export const ABORT_FLAG = { EL0: 1, PROTECTED: 2 } as const;
export const FACT = {
  NO_VMA: 1, //     nothing is mapped at the hva: -EFAULT
  ERROR: 2, //      error pfn, or a write to a read-only VMA: -EFAULT
  POISON: 4,
  WRITABLE: 8, //   the host could write the page now (write fault: it was made so)
  DEVICE: 16, //    not ordinary memory
  NORMAL_NC: 32, // device, and its VMA allows non-cacheable
  NO_MTE: 64, //    its VMA does not allow MTE
  CHANGED: 128, //  the embedder knows that the answer is void: retry
} as const;
export const CALL = { NONE: 0, MAP: 1, RELAX: 2, MKYOUNG: 3 } as const;

/** Events of VMs. aux: thread; n: VM's VMID-independent number << 16 | vCPU id (0xffff none) unless said otherwise. */
export const VM_EVENT = {
  FAULT: 80, //     level of the FSC; a fault IPA, b ESR, c what came out (ABORT, or -errno as i64)
  MAP: 81, //       library calls, each after it returned: level = -result; a IPA, b size, c prot | flags << 32
  RELAX: 82, //     a IPA, b 0, c prot
  MKYOUNG: 83, //   a IPA, c old entry
  UNMAP: 84, //     a IPA, b size
  WRPROTECT: 85, // a IPA, b size
  AGE: 86, //       a IPA, b size, c mkold | young << 1
  SPLIT: 87, //     a IPA, b size
  FLUSH: 88, //     a IPA, b size
  FLUSH_TLB: 89, // a IPA, b size
  DIRTY: 90, //     a gfn, b slot
  SLOT: 91, //      a IPA, b size, c slot | CHANGE << 32 | flags << 40
  INVALIDATE: 92, // a hva start, b hva end, c 1 start, 0 end
} as const;

/** u64 counters of a vCPU context. */
export const VM_COUNTER = {
  ABORTS: 0,
  MAPS: 1,
  RELAXES: 2,
  YOUNGS: 3,
  AGAIN: 4, //      the library said -EAGAIN
  RETRIES: 5, //    an invalidation, or a slot change
  MMIO: 6,
  INJECTED: 7,
  BLOCKS: 8, //     block mappings installed
  DIRTIED: 9, //    dirty bits or entries that were new
  HARVESTED: 10,
  TOPUPS: 11,
  LOADS: 12,
  ACCESS_FLAG: 13, // access-flag faults
  PERMISSION: 14,
  TRANSLATION: 15,
} as const;
export const VM_COUNTERS = 16;
