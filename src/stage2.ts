/** A guest's stage-2 page table: the `kvm_pgtable_stage2_*` operations, listing, accounting. */
import { KIND_STAGE2, WALK } from "./_abi.ts";
import type { Context } from "./_context.ts";
import { eventMask, idRegisters, pageShift } from "./_options.ts";
import { type Stage2Options, stage2Bits } from "./_stage2_options.ts";
import { type Shape, TableCore, checkPointer, reportedShape } from "./_table.ts";
import { UnlinkedTable } from "./_unlinked.ts";
import { Stage2View } from "./_view.ts";
import { type Visitor, type WalkRequest, walk, walkResult } from "./_walk.ts";
import { Stage2Error, check, checkAgain } from "./errors.ts";
import { walkFlags } from "./prot.ts";
import {
  type Address,
  type Range,
  address,
  byteCount,
  integerOption,
  protection,
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

export type { Stage2Options } from "./_stage2_options.ts";

/** What another thread needs to use the page table: {@link Engine.attachStage2}. It can be posted. */
export interface Stage2Handle {
  readonly kind: "stage2-table";
  readonly engine: string;
  readonly pointer: number;
  /** Tells the table from others that had its place before. */
  readonly generation: number;
  readonly shape: Shape;
}

/**
 * A guest's stage-2 page table. Threads that attach to it use it together: walks with {@link WalkFlag.SHARED} may run
 * beside each other, everything else needs the table to itself.
 *
 * All operations throw `DISPOSED` after {@link dispose}, `BAD_ADDRESS`, `BAD_SIZE` or `BAD_PROT` for values that are
 * none, and `ERANGE` for a range that leaves the input space; the table is unchanged then.
 */
export class Stage2 extends Stage2View {
  /** The same operations with plain numbers and plain errnos. */
  readonly raw: RawStage2;
  /** Asked once per {@link map} that does not say `forcePages` itself. */
  forcePages: ForcePages | undefined;
  readonly #table: TableCore;

  private constructor(table: TableCore, forcePages?: ForcePages) {
    super(table);
    this.#table = table;
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
  static attach(context: Context, handle: Stage2Handle): Stage2 {
    if (typeof handle !== "object" || handle === null || handle.kind !== "stage2-table") {
      throw new Stage2Error("BAD_OPTION", "this is no handle of a stage-2 page table");
    }
    if (handle.engine !== context.id) {
      throw new Stage2Error("FOREIGN", "the page table belongs to another engine");
    }
    const { pointer, generation, shape } = handle;
    const found = Number.isInteger(pointer) ? context.core.pgt_generation(pointer) : 0;
    if (found === 0 || found !== generation) {
      throw new Stage2Error("DISPOSED", "the page table was disposed");
    }
    return new Stage2(new TableCore(context, pointer, shape, false));
  }

  /** An object over a page table that the core already has, for instance an imported one. @internal */
  static over(context: Context, pointer: number, shape: Shape, owned = true): Stage2 {
    return new Stage2(new TableCore(context, pointer, shape, owned));
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
    const ipa = address(request.ipa, "ipa");
    const size = byteCount(request.size, ipa);
    const pa = address(request.pa, "pa");
    const prot = protection(request.prot);
    const flags = this.#mapFlags(request, ipa, size);
    const cache = this.raw.cache(request.cache);
    return checkAgain(this.raw.map(ipa, size, pa, prot, flags, cache), "map", request);
  }

  /**
   * Writes who owns the range into its entries, which become invalid (`kvm_pgtable_stage2_set_owner`). Pages only;
   * valid leaves are broken and their tables built.
   * @throws Stage2Error `EINVAL` for an owner above 1; `ENOMEM` as {@link map}.
   */
  setOwner(request: OwnerRequest): void {
    const ipa = address(request.ipa, "ipa");
    const size = byteCount(request.size, ipa);
    const owner = integerOption("owner", request.owner, 0, 255);
    check(this.raw.setOwner(ipa, size, owner, this.raw.cache(request.cache)), "setOwner", request);
  }

  /**
   * Removes every mapping and annotation of the range, and the tables that became empty (`kvm_pgtable_stage2_unmap`).
   * A block that lies in the range only in part goes as a whole.
   */
  unmap(range: Range): void {
    const ipa = address(range.ipa, "ipa");
    check(this.raw.unmap(ipa, byteCount(range.size, ipa)), "unmap", range);
  }

  /**
   * Takes the write permission from every leaf of the range (`kvm_pgtable_stage2_wrprotect`); blocks as a whole.
   * The TLB invalidation is the caller's duty, as in KVM: {@link tlbFlushRange}.
   */
  wrprotect(range: Range): void {
    const ipa = address(range.ipa, "ipa");
    check(this.raw.wrprotect(ipa, byteCount(range.size, ipa)), "wrprotect", range);
  }

  /** Cleans the data cache for every normal leaf of the range (`kvm_pgtable_stage2_flush`); nothing to do with FWB. */
  flush(range: Range): void {
    const ipa = address(range.ipa, "ipa");
    check(this.raw.flush(ipa, byteCount(range.size, ipa)), "flush", range);
  }

  /**
   * Whether any leaf of the range was used since its access flag was last cleared
   * (`kvm_pgtable_stage2_test_clear_young`). `clear` (default) also clears the flags, with no TLB invalidation: a vCPU
   * that still has a leaf in its TLB marks it again only after it misses.
   */
  testClearYoung(range: Range, { clear = true }: { clear?: boolean } = {}): boolean {
    const ipa = address(range.ipa, "ipa");
    const size = byteCount(range.size, ipa);
    return check(this.raw.testClearYoung(ipa, size, clear ? 1 : 0), "testClearYoung", range) === 1;
  }

  /**
   * Adds permissions to the leaf at `ipa` (`kvm_pgtable_stage2_relax_perms`) and invalidates this CPU's TLB entry.
   * "again" if there is no valid leaf.
   * @throws Stage2Error `EINVAL` for software bits; `EPERM` in an nvhe table.
   */
  relaxPerms(request: RelaxRequest): "ok" | "again" {
    const ipa = address(request.ipa, "ipa");
    const prot = protection(request.prot);
    return checkAgain(this.raw.relaxPerms(ipa, prot), "relaxPerms", request);
  }

  /**
   * Sets the access flag of the leaf at `ipa` (`kvm_pgtable_stage2_mkyoung`). Whether a valid leaf was there: what it
   * held before is then `raw.entry()`.
   */
  mkyoung(ipa: Address): boolean {
    const status = this.raw.mkyoung(address(ipa, "ipa"));
    return status >= 0 ? status === 1 : checkAgain(status, "mkyoung", { ipa }) === "ok";
  }

  /**
   * Replaces every block that the range meets by tables of smaller leaves (`kvm_pgtable_stage2_split`). They are normal
   * memory, young, with the block's R, W, X and software bits.
   * @throws Stage2Error `ENOMEM`: what lies before is split.
   */
  split(request: SplitRequest): "ok" | "again" {
    const ipa = address(request.ipa, "ipa");
    const size = byteCount(request.size, ipa);
    return checkAgain(this.raw.split(ipa, size, this.raw.cache(request.cache)), "split", request);
  }

  /** Invalidates the TLB for the range (`kvm_tlb_flush_vmid_range`): by range if the CPU can, else the whole VMID. */
  tlbFlushRange(range: Range): void {
    const ipa = address(range.ipa, "ipa");
    check(this.raw.tlbFlushRange(ipa, byteCount(range.size, ipa)), "tlbFlushRange", range);
  }

  /**
   * Builds a table that maps what a block at `level` would (`kvm_pgtable_stage2_create_unlinked`). No entry points at it.
   * @throws Stage2Error `EINVAL` for level 3, a level without blocks or a `pa` that is not aligned; `ENOMEM`.
   */
  createUnlinked(request: UnlinkedRequest): UnlinkedTable {
    const pa = address(request.pa, "pa");
    const prot = protection(request.prot);
    const level = integerOption("level", request.level, -1, 3);
    const cache = this.raw.cache(request.cache);
    const { context, pointer: pgt } = this.#table;
    const forced = request.forcePages === true ? 1 : 0;
    const status = context.core.s2_create_unlinked(pgt, pa, level, prot, cache, forced);
    return new UnlinkedTable(this.#table, checkPointer(status, "createUnlinked", request), level);
  }

  /**
   * A table that {@link map} detached, from its `unlink` event: only with the option `keepUnlinked`. The caller keeps
   * it as long as somebody may still walk it, then frees it.
   * @throws Stage2Error `BAD_ADDRESS` if no table page in use is at `pa`.
   */
  adoptUnlinked({ pa, level }: { pa: Address; level: number }): UnlinkedTable {
    const physical = address(pa, "pa");
    const { context, shape } = this.#table;
    void this.#table.pointer; // refuse a disposed table
    const pointer = context.inPool(physical) ? context.pointer(physical) : 0;
    const aligned = physical % 2 ** shape.pageShift === 0;
    if (pointer === 0 || !aligned || context.core.pool_references(pointer) === 0) {
      throw new Stage2Error("BAD_ADDRESS", "there is no table page in use", { pa });
    }
    return new UnlinkedTable(this.#table, pointer, integerOption("level", level, -1, 2));
  }

  /** Frees an unlinked table and all below it (`kvm_pgtable_stage2_free_unlinked`). @throws Stage2Error `FOREIGN`. */
  freeUnlinked(table: UnlinkedTable): void {
    if (!(table instanceof UnlinkedTable) || !table.belongsTo(this.#table)) {
      throw new Stage2Error("FOREIGN", "the unlinked table belongs to another page table");
    }
    const pgt = this.#table.pointer;
    this.#table.context.core.s2_free_unlinked(pgt, table.pointer, table.level);
    table.close();
  }

  /** The address that `ipa` maps to, or `undefined` if no valid leaf maps it. Permissions do not matter. */
  lookup(ipa: Address): number | undefined {
    const pa = this.raw.lookup(address(ipa, "ipa"));
    return pa < 0 ? undefined : pa;
  }

  /**
   * Walks the range with a visitor (`kvm_pgtable_walk`): depth first, ascending. The visits are recorded first, in one
   * walk per few hundred of them, then reported: changes that the visitor makes do not change what it is shown.
   *
   * @returns "again" if the visitor's -EAGAIN ended the walk (HANDLE_FAULT).
   * @throws Stage2Error any other errno that the visitor returned.
   */
  walk(request: WalkRequest, visitor: Visitor): "ok" | "again" {
    return walkResult(walk(this.#table, request, visitor), request);
  }

  /** VTCR_EL2 for this table (Arm ARM D24.2, VTCR_EL2). */
  get vtcr(): bigint {
    return this.#table.shape.vtcr;
  }

  /** VTTBR_EL2 for this table (Arm ARM D24.2, VTTBR_EL2): VMID, root address, common-not-private bit. */
  vttbr({ vmid = 0, cnp = false }: { vmid?: number; cnp?: boolean } = {}): bigint {
    const tag = BigInt(integerOption("vmid", vmid, 0, 0xffff)) << 48n;
    return tag | BigInt(this.#table.shape.rootPhysical) | (cnp ? 1n : 0n);
  }

  /** For {@link Engine.attachStage2} in another thread. */
  get handle(): Stage2Handle {
    const { context, shape, pointer } = this.#table;
    const generation = context.core.pgt_generation(pointer);
    return { kind: "stage2-table", engine: context.id, pointer, generation, shape };
  }

  #mapFlags(request: MapRequest, ipa: number, size: number): number {
    const { flags, forcePages } = request;
    const pages = forcePages ?? (this.forcePages !== undefined && this.forcePages(ipa, size));
    return (flags === undefined ? 0 : walkFlags(flags)) | (pages ? WALK.FORCE_PAGES : 0);
  }
}
