/**
 * The operations on a guest's stage 2 (`kvm_pgtable_stage2_*`), whoever keeps its tables: {@link Stage2} itself, or the hypervisor of a
 * pKVM machine. What they take is checked here, what they answer is told in words.
 */
import { WALK } from "./_abi.ts";
import { GuestTable } from "./_guest_table.ts";
import { outcome, outcomeOrAgain } from "./_outcome.ts";
import type { TableCore } from "./_table.ts";
import { MmuLock } from "./mmu_lock.ts";
import { walkFlags } from "./prot.ts";
import {
  type Address,
  type Range,
  address,
  fields,
  flagOption,
  knownOptions,
  protection,
  span,
} from "./range.ts";
import type { RawOperations } from "./raw.ts";
import type { ForcePages, MapRequest, RelaxRequest, SplitRequest } from "./requests.ts";

/**
 * What can be done to a guest's stage 2, of either kind. All operations throw `DISPOSED` after {@link dispose}, `BAD_ADDRESS`, `BAD_SIZE` or
 * `BAD_PROT` for values that are none, and `ERANGE` for a range that leaves the input space, with the exceptions that {@link Stage2} and
 * {@link PkvmStage2} name; the table is unchanged then. What else they differ in is said there.
 */
export abstract class Stage2Operations<Cache> extends GuestTable {
  /** The same operations with plain numbers and plain errnos. */
  abstract readonly raw: RawOperations<Cache>;
  /** The lock that threads use the table under, see there. */
  readonly mmuLock: MmuLock;
  /** Asked once per {@link map} that does not say `forcePages` itself. */
  forcePages: ForcePages | undefined;
  /** @internal */
  protected readonly table: TableCore;

  /** @internal */
  protected constructor(table: TableCore, forcePages?: ForcePages) {
    super(table);
    this.table = table;
    this.mmuLock = new MmuLock(table);
    this.forcePages = forcePages;
  }

  /**
   * Maps a range (`kvm_pgtable_stage2_map`): the largest leaves that fit, over whatever was there.
   *
   * An entry that differs from the wanted one at most in R, W and X is left alone and counts as "again"; so is an entry
   * that another walk is changing. Without HANDLE_FAULT such entries are passed over and the result is "ok".
   * A `pa` beyond the output size stores zero entries.
   *
   * @throws Stage2Error `ENOMEM`: what lies before is mapped, empty tables included. `EINVAL`: DEVICE with X or NORMAL_NC,
   *   NORMAL_NC with X, or `ipa != pa` in an identity-mapped table. `EPERM`: SHARED in an nvhe table.
   */
  map(request: MapRequest<Cache>): "ok" | "again" {
    const { ipa, size } = span(request);
    const pa = address(request.pa, "pa");
    const prot = protection(request.prot);
    const flags = this.#mapFlags(request, ipa, size);
    const cache = this.raw.cache(request.cache);
    return this.tried(this.raw.map(ipa, size, pa, prot, flags, cache), "map", request);
  }

  /**
   * Removes every mapping and annotation of the range, and the tables that became empty (`kvm_pgtable_stage2_unmap`).
   * A block that lies in the range only in part goes as a whole.
   */
  unmap(range: Range): void {
    const { ipa, size } = span(range);
    this.done(this.raw.unmap(ipa, size), "unmap", range);
  }

  /**
   * Takes the write permission from every leaf of the range (`kvm_pgtable_stage2_wrprotect`); blocks as a whole.
   * The TLB invalidation is the caller's duty, as in KVM: {@link tlbFlushRange}.
   */
  wrprotect(range: Range): void {
    const { ipa, size } = span(range);
    this.done(this.raw.wrprotect(ipa, size), "wrprotect", range);
  }

  /** Cleans the data cache for every normal leaf of the range (`kvm_pgtable_stage2_flush`); nothing to do with FWB. */
  flush(range: Range): void {
    const { ipa, size } = span(range);
    this.done(this.raw.flush(ipa, size), "flush", range);
  }

  /**
   * Whether any leaf of the range was used since its access flag was last cleared
   * (`kvm_pgtable_stage2_test_clear_young`). `clear` (default) also clears the flags, with no TLB invalidation: a vCPU
   * that still has a leaf in its TLB marks it again only after it misses.
   */
  testClearYoung(range: Range, options: { clear?: boolean } = {}): boolean {
    const { ipa, size } = span(range);
    knownOptions("testClearYoung", options, ["clear"]);
    const clear = flagOption("clear", options.clear ?? true) ? 1 : 0;
    return this.done(this.raw.testClearYoung(ipa, size, clear), "testClearYoung", range) === 1;
  }

  /**
   * Adds permissions to the leaf at `ipa` (`kvm_pgtable_stage2_relax_perms`) and invalidates this CPU's TLB entry.
   * "again" if there is no valid leaf.
   * @throws Stage2Error `EINVAL` for software bits; `EPERM` in an nvhe table.
   */
  relaxPerms(request: RelaxRequest): "ok" | "again" {
    const ipa = address(fields(request).ipa, "ipa");
    const prot = protection(request.prot);
    return this.tried(this.raw.relaxPerms(ipa, prot), "relaxPerms", request);
  }

  /**
   * Sets the access flag of the leaf at `ipa` (`kvm_pgtable_stage2_mkyoung`). Whether a valid leaf was there: what it
   * held before is then `raw.entry()`.
   */
  mkyoung(ipa: Address): boolean {
    const status = this.raw.mkyoung(address(ipa, "ipa"));
    return status >= 0 ? status === 1 : this.tried(status, "mkyoung", { ipa }) === "ok";
  }

  /**
   * Replaces every block that the range meets by tables of smaller leaves (`kvm_pgtable_stage2_split`). They are normal
   * memory, young, with the block's R, W, X and software bits.
   * @throws Stage2Error `ENOMEM`: what lies before is split.
   */
  split(request: SplitRequest<Cache>): "ok" | "again" {
    const { ipa, size } = span(request);
    return this.tried(this.raw.split(ipa, size, this.raw.cache(request.cache)), "split", request);
  }

  /** Invalidates the TLB for the range (`kvm_tlb_flush_vmid_range`): by range if the CPU can, else the whole VMID. */
  tlbFlushRange(range: Range): void {
    const { ipa, size } = span(range);
    this.done(this.raw.tlbFlushRange(ipa, size), "tlbFlushRange", range);
  }

  /** Passes on a result of the core; a negative one is thrown. @internal */
  protected done(status: number, operation: string, details: object): number {
    return outcome(this.context, status, operation, details);
  }

  /** The same; -EAGAIN is "again". @internal */
  protected tried(status: number, operation: string, details: object): "ok" | "again" {
    return outcomeOrAgain(this.context, status, operation, details);
  }

  #mapFlags(request: MapRequest<Cache>, ipa: number, size: number): number {
    const { flags, forcePages } = request;
    const answer = forcePages ?? (this.forcePages !== undefined && this.forcePages(ipa, size));
    const pages = flagOption("forcePages", answer);
    return (flags === undefined ? 0 : walkFlags(flags)) | (pages ? WALK.FORCE_PAGES : 0);
  }
}
