/** Notifiers, dirty logs, and the guest's bytes, of a VM. */
import {
  type Address,
  address,
  fields,
  flagOption,
  integerOption,
  knownOptions,
} from "../range.ts";
import { AGE } from "./_abi.ts";
import { slotsAtOnce, slotsInSlices } from "./_slots_lock.ts";
import { VmSlots } from "./_vm_slots.ts";
import { type Work, type WorkOptions, atOnce, inSlices, tried } from "./_work.ts";
import { type ClearRequest, type DirtyLog, clearLog, getLog } from "./dirty_log.ts";
import { checkedPlace, reading, transfer, transferLater, writing } from "./guest_bytes.ts";
import {
  type HostRange,
  ageSteps,
  aroundChange,
  aroundChangeLater,
  checkedChange,
  endInvalidation,
  interval,
  startSteps,
} from "./notifiers.ts";

/** How a dirty log is handed out. */
export interface DirtyLogOptions {
  /** No copy is made: the bits are those of the engine's memory, good until the log of the slot is next got or cleared, is
   * turned off, or the slot or the VM goes. Default off. */
  view?: boolean;
}

/** Entries that one step resets, and bytes that one call reads at most. */
const STEP_ENTRIES = 4096;
const MOST_BYTES = 2 ** 32 - 1;

/** The part of {@link Vm} that follows what host and guest do to memory. */
export class VmDirty extends VmSlots {
  // ---- notifiers ---------------------------------------------------------------------------------------------------

  /**
   * The host begins to change what is behind host virtual addresses (`kvm_mmu_notifier_invalidate_range_start`): every slot there is
   * unmapped, and aborts begin anew until {@link invalidateEnd}, which must follow with the same range.
   * @throws Stage2Error `EDEADLK`, `EBUSY`, `ETIMEDOUT` as every operation that takes the mmu_lock: it has not begun then, unless
   *   the error says that it is complete; `BAD_ADDRESS`, `BAD_SIZE`.
   */
  invalidateStart(range: HostRange): void {
    atOnce(this.place, startSteps(this.place, interval(range)));
  }

  /** The same in slices. With a signal that is aborted it has not begun. @throws Stage2Error as {@link invalidateStart} */
  async invalidateStartAsync(range: HostRange, options: WorkOptions = {}): Promise<void> {
    return inSlices(this.place, startSteps(this.place, interval(range)), options);
  }

  /**
   * The change is made (`kvm_mmu_notifier_invalidate_range_end`).
   * @throws Stage2Error `EPERM` if this thread has begun none; `EBUSY`, `ETIMEDOUT`: it is to be called again.
   */
  invalidateEnd(range: HostRange): void {
    atOnce(this.place, endInvalidation(this.place, interval(range)));
  }

  /** The same in slices. @throws Stage2Error as {@link invalidateEnd} */
  async invalidateEndAsync(range: HostRange, options: WorkOptions = {}): Promise<void> {
    return inSlices(this.place, endInvalidation(this.place, interval(range)), options);
  }

  /** Start, the change, and the end, whatever happens. @throws Stage2Error as these; what `change` throws. */
  invalidate(range: HostRange, change: () => void): void {
    atOnce(this.place, aroundChange(this.place, interval(range), checkedChange(change)));
  }

  /** The same in slices; the change may be asynchronous. @throws Stage2Error as {@link invalidate}; an aborted signal's reason. */
  async invalidateAsync(
    range: HostRange,
    change: () => void | Promise<void>,
    options: WorkOptions = {},
  ): Promise<void> {
    return aroundChangeLater(this.place, interval(range), checkedChange(change), options);
  }

  /** Whether any page was used, which no longer counts; TLBs are flushed if so (`clear_flush_young`). @throws Stage2Error as {@link invalidateStart} */
  clearFlushYoung(range: HostRange): boolean {
    return atOnce(this.place, this.#age(AGE.CLEAR_FLUSH, "clearFlushYoung", range));
  }

  /** The same without blocking this thread. @throws Stage2Error likewise; an aborted signal's reason. */
  async clearFlushYoungAsync(range: HostRange, options: WorkOptions = {}): Promise<boolean> {
    return inSlices(this.place, this.#age(AGE.CLEAR_FLUSH, "clearFlushYoung", range), options);
  }

  /** The same without the flush: a page that a TLB holds may look idle (`clear_young`). @throws Stage2Error likewise */
  clearYoung(range: HostRange): boolean {
    return atOnce(this.place, this.#age(AGE.CLEAR, "clearYoung", range));
  }

  /** The same without blocking this thread. @throws Stage2Error likewise; an aborted signal's reason. */
  async clearYoungAsync(range: HostRange, options: WorkOptions = {}): Promise<boolean> {
    return inSlices(this.place, this.#age(AGE.CLEAR, "clearYoung", range), options);
  }

  /** Whether the page at this address was used; nothing changes (`test_young`). @throws Stage2Error likewise */
  testYoung(hva: Address): boolean {
    return atOnce(this.place, this.#age(AGE.TEST, "testYoung", { hva, size: 1 }));
  }

  /** The same without blocking this thread. @throws Stage2Error likewise; an aborted signal's reason. */
  async testYoungAsync(hva: Address, options: WorkOptions = {}): Promise<boolean> {
    return inSlices(this.place, this.#age(AGE.TEST, "testYoung", { hva, size: 1 }), options);
  }

  // ---- dirty logs --------------------------------------------------------------------------------------------------

  /**
   * Which pages of a slot were written to (`KVM_GET_DIRTY_LOG`). They are taken out of the log and protected again; in manual mode
   * they stay in it. A page that is written to meanwhile is in this log or in the next.
   * @throws Stage2Error `ENXIO` with a dirty ring and no bitmaps; `EINVAL` an id above 32,766; `ENOENT` no such slot, or it is not
   *   logged; `EDEADLK`, `EBUSY`, `ETIMEDOUT` as {@link setMemslot}. No page is lost to an error.
   */
  getDirtyLog(slot: number, options: DirtyLogOptions = {}): DirtyLog {
    return slotsAtOnce(this.place, "getDirtyLog", getLog(this.place, slot, viewOf(options)));
  }

  /** The same in slices. With a signal that is aborted all pages are in the log again. @throws Stage2Error as {@link getDirtyLog} */
  async getDirtyLogAsync(
    slot: number,
    options: DirtyLogOptions & WorkOptions = {},
  ): Promise<DirtyLog> {
    const { view, ...rest } = fields(options);
    const work = getLog(this.place, slot, viewOf({ view: view ?? false }));
    return slotsInSlices(this.place, "getDirtyLog", work, rest);
  }

  /**
   * Takes pages out of a log, and protects them again (`KVM_CLEAR_DIRTY_LOG`): how many were in it.
   * @throws Stage2Error as {@link getDirtyLog}; `EINVAL` also for a first page, or a number of pages up to another than the last,
   *   that is no multiple of 64, and for pages beyond the slot; `EFAULT` a bitmap that is too short; `BAD_OPTION`.
   */
  clearDirtyLog(slot: number, request: ClearRequest): number {
    return slotsAtOnce(this.place, "clearDirtyLog", clearLog(this.place, slot, request));
  }

  /** The same in slices. With a signal that is aborted all pages are in the log again. @throws Stage2Error as {@link clearDirtyLog} */
  async clearDirtyLogAsync(
    slot: number,
    request: ClearRequest,
    options: WorkOptions = {},
  ): Promise<number> {
    const work = clearLog(this.place, slot, request);
    return slotsInSlices(this.place, "clearDirtyLog", work, options);
  }

  /** The host, or a device, wrote to a page (`mark_page_dirty`): whether that is logged. @throws Stage2Error `BAD_ADDRESS` */
  markDirty(ipa: Address): boolean {
    const { place } = this;
    const at = address(ipa, "ipa");
    return place.done(place.core.vm_mark_dirty(place.pointer, at), "markDirty", { ipa }) === 1;
  }

  /**
   * Frees what was harvested from the dirty rings of all vCPUs, and protects those pages again (`KVM_RESET_DIRTY_RINGS`): how many
   * entries. @throws Stage2Error `EINVAL` without rings; as {@link getDirtyLog}.
   */
  resetDirtyRings(): number {
    return slotsAtOnce(this.place, "resetDirtyRings", this.#resetRings());
  }

  /** The same in slices. @throws Stage2Error as {@link resetDirtyRings}; an aborted signal's reason. */
  async resetDirtyRingsAsync(options: WorkOptions = {}): Promise<number> {
    return slotsInSlices(this.place, "resetDirtyRings", this.#resetRings(), options);
  }

  // ---- the guest's bytes -------------------------------------------------------------------------------------------

  /** Reads guest memory (`kvm_read_guest`). @throws Stage2Error `EFAULT` where there is none; `BAD_OPTION`, `BAD_ADDRESS`. */
  readGuest(ipa: Address, length: number): Uint8Array {
    const bytes = new Uint8Array(integerOption("length", length, 0, MOST_BYTES));
    transfer(reading(this.place, checkedPlace(ipa, bytes), bytes));
    return bytes;
  }

  /** The same where the backing answers with promises. @throws Stage2Error as {@link readGuest} */
  async readGuestAsync(ipa: Address, length: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(integerOption("length", length, 0, MOST_BYTES));
    await transferLater(reading(this.place, checkedPlace(ipa, bytes), bytes));
    return bytes;
  }

  /**
   * Writes guest memory, as the host or a device does (`kvm_write_guest`): its pages are dirty then.
   * @throws Stage2Error `EFAULT` where there is none, or it is read-only: what lies before is written, and dirty; what the backing throws: the page where it
   *   stopped is dirty too; `BAD_OPTION`, `BAD_ADDRESS`.
   */
  writeGuest(ipa: Address, bytes: Uint8Array): void {
    transfer(writing(this.place, checkedPlace(ipa, bytes), bytes));
  }

  /** The same where the backing answers with promises. @throws Stage2Error as {@link writeGuest} */
  async writeGuestAsync(ipa: Address, bytes: Uint8Array): Promise<void> {
    await transferLater(writing(this.place, checkedPlace(ipa, bytes), bytes));
  }

  #age(op: (typeof AGE)[keyof typeof AGE], operation: string, range: HostRange): Work<boolean> {
    return ageSteps(this.place, op, operation, interval(range));
  }

  *#resetRings(): Work<number> {
    const { place } = this;
    const step = (): number => place.core.vm_rings_reset(place.pointer, STEP_ENTRIES);
    for (let done = 0; ;) {
      done += place.done(yield* tried(place, "resetDirtyRings", step), "resetDirtyRings");
      if (place.context.resultNumber(0) !== 1) return done;
      const bytes = done * place.pageSize;
      yield { phase: "reset", done: bytes, size: bytes };
    }
  }
}

function viewOf(options: DirtyLogOptions): boolean {
  knownOptions("getDirtyLog", options, ["view"]);
  return flagOption("view", options.view ?? false);
}
