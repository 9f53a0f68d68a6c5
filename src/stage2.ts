/** A guest's stage-2 page table: the `kvm_pgtable_stage2_*` operations, listing, accounting. */
import { KIND_STAGE2, WALK } from "./_abi.ts";
import type { Context } from "./_context.ts";
import type { Event } from "./_event_record.ts";
import { eventMask, idRegisters, pageShift } from "./_options.ts";
import { type Stage2Options, stage2Bits } from "./_stage2_options.ts";
import { type Shape, TableCore, checkPointer, reportedShape } from "./_table.ts";
import { outcome, outcomeOrAgain } from "./_outcome.ts";
import { UnlinkedTable } from "./_unlinked.ts";
import { type Stage2Handle, Stage2View, checkedTableHandle } from "./_view.ts";
import { Stage2Error } from "./errors.ts";
import { MmuLock } from "./mmu_lock.ts";
import { walkFlags } from "./prot.ts";
import {
  type Address,
  type Range,
  address,
  fields,
  flagOption,
  integerOption,
  knownOptions,
  protection,
  span,
} from "./range.ts";
import { RawStage2 } from "./raw.ts";
import type {
  ForcePages,
  MapRequest,
  OwnerRequest,
  RelaxRequest,
  SplitRequest,
  UnlinkedRequest,
} from "./requests.ts";

export { type Stage2Handle } from "./_view.ts";
export type { Stage2Options } from "./_stage2_options.ts";

/** How a thread attaches to a page table. */
export interface AttachedOptions {
  /** This object destroys the table when it is disposed: the thread that made it has ended. Default false. */
  own?: boolean;
}

/**
 * A guest's stage-2 page table. Threads that attach to it use it together, under its {@link mmuLock}: `map` with
 * {@link WalkFlag.SHARED}, {@link relaxPerms} and {@link mkyoung} under the read side, everything else that changes it under
 * the write side. Hardware walks, lookups and listings need no lock.
 *
 * What invalidates TLB entries returns when no vCPU of another thread uses them any more. One that is inside its bracket and
 * does not poll is waited for, then named: `ETIMEDOUT`, the operation is complete then. Nothing that changes a table or
 * invalidates is done inside a bracket of the own thread (`EDEADLK`): it would wait for itself.
 *
 * All operations throw `DISPOSED` after {@link dispose}, `BAD_ADDRESS`, `BAD_SIZE` or `BAD_PROT` for values that are
 * none, and `ERANGE` for a range that leaves the input space; the table is unchanged then. {@link tlbFlushRange}, flushes
 * that have nothing to do, listings and {@link lookup} do not mind such a range.
 */
export class Stage2 extends Stage2View {
  /** The same operations with plain numbers and plain errnos. */
  readonly raw: RawStage2;
  /** The lock that threads use the table under, see there and {@link Stage2Options.locking}. */
  readonly mmuLock: MmuLock;
  /** Asked once per {@link map} that does not say `forcePages` itself. */
  forcePages: ForcePages | undefined;
  readonly #table: TableCore;

  private constructor(table: TableCore, forcePages?: ForcePages) {
    super(table);
    this.#table = table;
    this.mmuLock = new MmuLock(table);
    this.raw = new RawStage2(table);
    this.forcePages = forcePages;
  }

  /** `kvm_pgtable_stage2_init`. @internal */
  static create(context: Context, options: Stage2Options): Stage2 {
    const bits = stage2Bits(options);
    const mask = eventMask(options.events ?? []);
    const ipaBits = integerOption("ipaBits", options.ipaBits ?? 40, 32, 52);
    const [mmfr0, mmfr1] = idRegisters(ipaBits, options);
    const shift = pageShift(options.granule);
    context.setArgument(0, mmfr0);
    context.setArgument(1, mmfr1);
    const pointer = checkPointer(
      context.core.s2_init(shift, ipaBits, bits, mask),
      "stage2",
      options,
    );
    const shape = reportedShape(context, { kind: KIND_STAGE2, pageShift: shift, bits });
    return new Stage2(new TableCore(context, pointer, shape, true), options.forcePages);
  }

  /** @internal */
  static attach(context: Context, handle: Stage2Handle, options: AttachedOptions): Stage2 {
    knownOptions("attachStage2", options, ["own"]);
    const own = flagOption("own", options.own ?? false);
    const { pointer, shape } = checkedTableHandle(context, handle);
    return new Stage2(new TableCore(context, pointer, shape, own));
  }

  /** An object over a page table that the core already has, for instance an imported one. @internal */
  static over(context: Context, pointer: number, shape: Shape, owned = true): Stage2 {
    return new Stage2(new TableCore(context, pointer, shape, owned));
  }

  /** Names this table's translations in TLBs: at least 1, and no other live table of the engine has it. 0 is the host's. */
  get vmid(): number {
    return this.#table.context.core.pgt_vmid(this.pointer) >>> 0;
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
  map(request: MapRequest): "ok" | "again" {
    const { ipa, size } = span(request);
    const pa = address(request.pa, "pa");
    const prot = protection(request.prot);
    const flags = this.#mapFlags(request, ipa, size);
    const cache = this.raw.cache(request.cache);
    return this.#tried(this.raw.map(ipa, size, pa, prot, flags, cache), "map", request);
  }

  /**
   * Writes who owns the range into its entries, which become invalid (`kvm_pgtable_stage2_set_owner`). Pages only;
   * valid leaves are broken and their tables built.
   * @throws Stage2Error `EINVAL` for an owner above 1; `ENOMEM` as {@link map}.
   */
  setOwner(request: OwnerRequest): void {
    const { ipa, size } = span(request);
    const owner = integerOption("owner", request.owner, 0, 255);
    this.#done(
      this.raw.setOwner(ipa, size, owner, this.raw.cache(request.cache)),
      "setOwner",
      request,
    );
  }

  /**
   * Removes every mapping and annotation of the range, and the tables that became empty (`kvm_pgtable_stage2_unmap`).
   * A block that lies in the range only in part goes as a whole.
   */
  unmap(range: Range): void {
    const { ipa, size } = span(range);
    this.#done(this.raw.unmap(ipa, size), "unmap", range);
  }

  /**
   * Takes the write permission from every leaf of the range (`kvm_pgtable_stage2_wrprotect`); blocks as a whole.
   * The TLB invalidation is the caller's duty, as in KVM: {@link tlbFlushRange}.
   */
  wrprotect(range: Range): void {
    const { ipa, size } = span(range);
    this.#done(this.raw.wrprotect(ipa, size), "wrprotect", range);
  }

  /** Cleans the data cache for every normal leaf of the range (`kvm_pgtable_stage2_flush`); nothing to do with FWB. */
  flush(range: Range): void {
    const { ipa, size } = span(range);
    this.#done(this.raw.flush(ipa, size), "flush", range);
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
    return this.#done(this.raw.testClearYoung(ipa, size, clear), "testClearYoung", range) === 1;
  }

  /**
   * Adds permissions to the leaf at `ipa` (`kvm_pgtable_stage2_relax_perms`) and invalidates this CPU's TLB entry.
   * "again" if there is no valid leaf.
   * @throws Stage2Error `EINVAL` for software bits; `EPERM` in an nvhe table.
   */
  relaxPerms(request: RelaxRequest): "ok" | "again" {
    const ipa = address(fields(request).ipa, "ipa");
    const prot = protection(request.prot);
    return this.#tried(this.raw.relaxPerms(ipa, prot), "relaxPerms", request);
  }

  /**
   * Sets the access flag of the leaf at `ipa` (`kvm_pgtable_stage2_mkyoung`). Whether a valid leaf was there: what it
   * held before is then `raw.entry()`.
   */
  mkyoung(ipa: Address): boolean {
    const status = this.raw.mkyoung(address(ipa, "ipa"));
    return status >= 0 ? status === 1 : this.#tried(status, "mkyoung", { ipa }) === "ok";
  }

  /**
   * Replaces every block that the range meets by tables of smaller leaves (`kvm_pgtable_stage2_split`). They are normal
   * memory, young, with the block's R, W, X and software bits.
   * @throws Stage2Error `ENOMEM`: what lies before is split.
   */
  split(request: SplitRequest): "ok" | "again" {
    const { ipa, size } = span(request);
    return this.#tried(this.raw.split(ipa, size, this.raw.cache(request.cache)), "split", request);
  }

  /** Invalidates the TLB for the range (`kvm_tlb_flush_vmid_range`): by range if the CPU can, else the whole VMID. */
  tlbFlushRange(range: Range): void {
    const { ipa, size } = span(range);
    this.#done(this.raw.tlbFlushRange(ipa, size), "tlbFlushRange", range);
  }

  /**
   * Builds a table that maps what a block at `level` would (`kvm_pgtable_stage2_create_unlinked`). No entry points at it.
   * @throws Stage2Error `EINVAL` for level 3, or a `pa` that is not aligned to what an entry of `level` covers; `ENOMEM`.
   */
  createUnlinked(request: UnlinkedRequest): UnlinkedTable {
    const pa = address(fields(request).pa, "pa");
    const prot = protection(request.prot);
    const level = integerOption("level", request.level, -1, 3);
    const cache = this.raw.cache(request.cache);
    const { context, pointer: pgt } = this.#table;
    const forced = flagOption("forcePages", request.forcePages ?? false) ? 1 : 0;
    const status = context.core.s2_create_unlinked(pgt, pa, level, prot, cache, forced);
    const found = checkPointer(status, "createUnlinked", request);
    return new UnlinkedTable(this.#table, found, level);
  }

  /**
   * A table that {@link map} detached, from the `unlink` event that told of it: only with the option `keepUnlinked`, only
   * at this page table, and once. The caller keeps it as long as somebody may still walk it, then frees it.
   * @throws Stage2Error `BAD_OPTION` if it is no such event, or its table was adopted; `FOREIGN` if another page table
   *   detached it.
   */
  adoptUnlinked(event: Event): UnlinkedTable {
    return UnlinkedTable.adopt(this.#table, event);
  }

  /** Frees an unlinked table and all below it (`kvm_pgtable_stage2_free_unlinked`). @throws Stage2Error `FOREIGN`. */
  freeUnlinked(table: UnlinkedTable): void {
    if (!(table instanceof UnlinkedTable) || !table.belongsTo(this.#table)) {
      throw new Stage2Error("FOREIGN", "the unlinked table belongs to another page table");
    }
    table.free();
  }

  #done(status: number, operation: string, details: object): number {
    return outcome(this.#table.context, status, operation, details);
  }

  #tried(status: number, operation: string, details: object): "ok" | "again" {
    return outcomeOrAgain(this.#table.context, status, operation, details);
  }

  #mapFlags(request: MapRequest, ipa: number, size: number): number {
    const { flags, forcePages } = request;
    const answer = forcePages ?? (this.forcePages !== undefined && this.forcePages(ipa, size));
    const pages = flagOption("forcePages", answer);
    return (flags === undefined ? 0 : walkFlags(flags)) | (pages ? WALK.FORCE_PAGES : 0);
  }
}
