/** Memslots and ranges of guest addresses, of a VM. */
import { ENOENT } from "../errors.ts";
import { type Address, type Range, address, integerOption } from "../range.ts";
import { flushAllSteps, ioremapSteps, type IoremapRequest, unmapAllSteps } from "./_everything.ts";
import { slotsAtOnce, slotsInSlices } from "./_slots_lock.ts";
import { FLUSH, SPLIT, UNMAP, WRPROTECT, flushTlbSteps, wholeRange } from "./_steps.ts";
import { type Work, type WorkOptions, atOnce, inSlices } from "./_work.ts";
import { VmCaps } from "./caps.ts";
import {
  type Memslot,
  type MemslotChange,
  type MemslotRegion,
  changeMemslot,
  checkedRegion,
  memslotResult,
  slotsBy,
} from "./memslots.ts";

export type { IoremapRequest } from "./_everything.ts";

const MOST = 2 ** 32 - 1;

/** The part of {@link Vm} that is about guest addresses. */
export class VmSlots extends VmCaps {
  /**
   * Makes, deletes, moves a memslot, or changes whether it is logged (`KVM_SET_USER_MEMORY_REGION2`): which of these it was. What is
   * deleted or moved is unmapped first. Waits until no invalidation is in flight.
   *
   * @throws Stage2Error `EINVAL` no multiples of the page size, an unknown flag, an id above 32,766, a change of what cannot be
   *   changed, ...; `EEXIST` another slot lies there; `EFAULT` beyond the IPA size; `ENOMEM`; `EDEADLK` an operation or an
   *   invalidation of this thread is not complete; `EBUSY`, `ETIMEDOUT` as every operation that takes locks; `BAD_OPTION`,
   *   `BAD_ADDRESS`. Nothing has changed then, but that a slot which was to be deleted or moved is unmapped, and faults in afresh.
   */
  setMemslot(region: MemslotRegion): MemslotChange {
    const checked = checkedRegion(region);
    return slotsAtOnce(this.place, "setMemslot", changeMemslot(this.place, checked, 2));
  }

  /**
   * The same in slices: other tasks of this thread run between them, aborts and invalidations too. An operation of this thread that
   * needs the slots_lock waits for it, or if it is synchronous is refused. The signal is heard until the new set is published; a slot
   * that was to be deleted is there then, but may be unmapped in part, and faults in afresh.
   * @throws Stage2Error as {@link setMemslot}; an aborted signal's reason.
   */
  async setMemslotAsync(region: MemslotRegion, options: WorkOptions = {}): Promise<MemslotChange> {
    const work = changeMemslot(this.place, checkedRegion(region), 2);
    return slotsInSlices(this.place, "setMemslot", work, options);
  }

  /** The same by the first ioctl (`KVM_SET_USER_MEMORY_REGION`), which checks its flags by itself. @throws Stage2Error as {@link setMemslot} */
  setUserMemoryRegion(region: MemslotRegion): MemslotChange {
    const checked = checkedRegion(region);
    return slotsAtOnce(this.place, "setMemslot", changeMemslot(this.place, checked, 1));
  }

  /** The memslot of this id. */
  memslot(slot: number): Memslot | undefined {
    const { place } = this;
    const id = integerOption("slot", slot, 0, MOST);
    const found = place.done(place.core.vm_slot(place.pointer, id), "memslot", { slot });
    return found === 0 ? undefined : memslotResult(place, id);
  }

  /** All memslots by ascending guest address. */
  memslots(): Memslot[] {
    const { core, pointer } = this.place;
    return slotsBy(this.place, (index) => core.vm_slot_at(pointer, index));
  }

  /** The memslot in which a guest address lies. */
  memslotOf(ipa: Address): Memslot | undefined {
    const { place } = this;
    const at = address(ipa, "ipa");
    const id = place.core.vm_slot_of(place.pointer, at);
    return id === -ENOENT ? undefined : memslotResult(place, place.done(id, "memslotOf", { ipa }));
  }

  // ---- ranges: in pieces of the largest block; between pieces the mmu_lock is free ---------------------------------

  /**
   * Unmaps whole pages (`kvm_unmap_stage2_range`).
   * @throws Stage2Error `EINVAL` without a page table, or for parts of pages; `ERANGE` beyond the IPA size; `BAD_OPTION`,
   *   `BAD_ADDRESS`, `BAD_SIZE`; `ETIMEDOUT` as every operation that invalidates: it
   *   is complete then; as every operation that takes the mmu_lock.
   */
  unmapRange(range: Range): void {
    atOnce(this.place, wholeRange(this.place, UNMAP, range));
  }

  /** The same in slices. A signal leaves what was done. @throws Stage2Error as {@link unmapRange}; an aborted signal's reason. */
  unmapRangeAsync(range: Range, options: WorkOptions = {}): Promise<void> {
    return this.#inSlices(wholeRange(this.place, UNMAP, range), options);
  }

  /** Write-protects (`stage2_wp_range`); the TLB is the caller's to flush. @throws Stage2Error as {@link unmapRange} */
  wrprotectRange(range: Range): void {
    atOnce(this.place, wholeRange(this.place, WRPROTECT, range));
  }

  /** The same in slices. @throws Stage2Error as {@link unmapRangeAsync} */
  wrprotectRangeAsync(range: Range, options: WorkOptions = {}): Promise<void> {
    return this.#inSlices(wholeRange(this.place, WRPROTECT, range), options);
  }

  /**
   * Splits blocks, chunk by chunk (`kvm_mmu_split_huge_pages`): nothing without {@link eagerSplitChunk}; where table pages run out
   * the rest stays blocks. @throws Stage2Error as {@link unmapRange}
   */
  splitRange(range: Range): void {
    slotsAtOnce(this.place, "splitRange", wholeRange(this.place, SPLIT, range));
  }

  /** The same in slices. @throws Stage2Error as {@link unmapRangeAsync} */
  async splitRangeAsync(range: Range, options: WorkOptions = {}): Promise<void> {
    return slotsInSlices(this.place, "splitRange", wholeRange(this.place, SPLIT, range), options);
  }

  /** Cleans the data cache for what is mapped; nothing to do with FWB. @throws Stage2Error as {@link unmapRange} */
  flushRange(range: Range): void {
    atOnce(this.place, wholeRange(this.place, FLUSH, range));
  }

  /** The same in slices. @throws Stage2Error as {@link unmapRangeAsync} */
  flushRangeAsync(range: Range, options: WorkOptions = {}): Promise<void> {
    return this.#inSlices(wholeRange(this.place, FLUSH, range), options);
  }

  /** Invalidates TLB entries of the range (`kvm_tlb_flush_vmid_range`). @throws Stage2Error `ETIMEDOUT`, ... */
  flushTlb(range: Range): void {
    atOnce(this.place, flushTlbSteps(this.place, range));
  }

  /** The same without blocking this thread. @throws Stage2Error likewise; an aborted signal's reason. */
  async flushTlbAsync(range: Range, options: WorkOptions = {}): Promise<void> {
    return this.#inSlices(flushTlbSteps(this.place, range), options);
  }

  /** {@link flushRange} on all memslots (`stage2_flush_vm`), in the order in which KVM visits them. @throws Stage2Error likewise */
  flushAll(): void {
    atOnce(this.place, flushAllSteps(this.place));
  }

  /** The same in slices. @throws Stage2Error as {@link unmapRangeAsync} */
  flushAllAsync(options: WorkOptions = {}): Promise<void> {
    return this.#inSlices(flushAllSteps(this.place), options);
  }

  /**
   * Unmaps what is ordinary memory in all memslots (`stage2_unmap_vm`): the parts that {@link Backing.mapped} names.
   * @throws Stage2Error as {@link unmapRange}, but for a missing page table: there is nothing then. What `mapped` throws; `BAD_OPTION`
   *   for what it tells that are no parts.
   */
  unmapAll(): void {
    atOnce(this.place, unmapAllSteps(this.place));
  }

  /** The same in slices. @throws Stage2Error as {@link unmapRangeAsync} */
  unmapAllAsync(options: WorkOptions = {}): Promise<void> {
    return this.#inSlices(unmapAllSteps(this.place), options);
  }

  /**
   * Maps memory of an in-kernel device (`kvm_phys_addr_ioremap`): page by page, never executable. What lies before an error stays.
   * @throws Stage2Error `EPERM` in protected mode; `EINVAL` a physical address that the page table cannot hold: nothing is done;
   *   `ENOMEM`; `EAGAIN` something else is mapped there; as {@link unmapRange}.
   */
  ioremap(request: IoremapRequest): void {
    atOnce(this.place, ioremapSteps(this.place, request));
  }

  /** The same in slices. @throws Stage2Error as {@link ioremap}; an aborted signal's reason. */
  ioremapAsync(request: IoremapRequest, options: WorkOptions = {}): Promise<void> {
    return this.#inSlices(ioremapSteps(this.place, request), options);
  }

  async #inSlices<T>(work: Work<T>, options: WorkOptions): Promise<T> {
    return inSlices(this.place, work, options);
  }
}
