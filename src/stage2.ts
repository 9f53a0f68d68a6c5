/** A guest's stage-2 page table: the `kvm_pgtable_stage2_*` operations, listing, accounting. */
import { KIND_STAGE2 } from "./_abi.ts";
import type { Context } from "./_context.ts";
import type { Event } from "./_event_record.ts";
import { Stage2Operations } from "./_operations.ts";
import { eventMask, idRegisters, pageShift } from "./_options.ts";
import { type Stage2Options, stage2Bits } from "./_stage2_options.ts";
import { type Shape, TableCore, checkPointer, reportedShape } from "./_table.ts";
import { UnlinkedTable } from "./_unlinked.ts";
import { type Stage2Handle, checkedTableHandle, keeperOf } from "./_view.ts";
import type { TableCache } from "./cache.ts";
import { Stage2Error } from "./errors.ts";
import {
  address,
  fields,
  flagOption,
  integerOption,
  knownOptions,
  protection,
  span,
} from "./range.ts";
import { RawStage2 } from "./raw.ts";
import type { ForcePages, OwnerRequest, UnlinkedRequest } from "./requests.ts";

export { type Stage2Handle } from "./_view.ts";
export type { Stage2Options } from "./_stage2_options.ts";

/** How a thread attaches to a page table. */
export interface AttachedOptions {
  /** This object destroys the table when it is disposed: the thread that made it has ended. Default false. */
  own?: boolean;
}

/** Why a page table cannot be attached to by itself. */
const KEPT = {
  vm: "the page table is a VM's: attachVm",
  guest: "the page table is of a pKVM machine: attachPkvmStage2",
  hypervisor: "a hypervisor changes the page table, by hypercalls: attachPkvm",
} as const;

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
export class Stage2 extends Stage2Operations<TableCache> {
  readonly raw: RawStage2;

  private constructor(table: TableCore, forcePages?: ForcePages) {
    super(table, forcePages);
    this.raw = new RawStage2(table);
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
    const keeper = keeperOf(context, pointer);
    if (keeper !== "none") throw new Stage2Error("BAD_OPTION", KEPT[keeper]);
    return new Stage2(new TableCore(context, pointer, shape, own));
  }

  /** An object over a page table that the core already has, for instance an imported one. @internal */
  static over(context: Context, pointer: number, shape: Shape, owned = true): Stage2 {
    return new Stage2(new TableCore(context, pointer, shape, owned));
  }

  /**
   * Writes who owns the range into its entries, which become invalid (`kvm_pgtable_stage2_set_owner`). Pages only;
   * valid leaves are broken and their tables built.
   * @throws Stage2Error `EINVAL` for an owner above 1; `ENOMEM` as {@link map}.
   */
  setOwner(request: OwnerRequest): void {
    const { ipa, size } = span(request);
    const owner = integerOption("owner", request.owner, 0, 255);
    this.done(
      this.raw.setOwner(ipa, size, owner, this.raw.cache(request.cache)),
      "setOwner",
      request,
    );
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
    const { context, pointer: pgt } = this.table;
    const forced = flagOption("forcePages", request.forcePages ?? false) ? 1 : 0;
    const status = context.core.s2_create_unlinked(pgt, pa, level, prot, cache, forced);
    const found = checkPointer(status, "createUnlinked", request);
    return new UnlinkedTable(this.table, found, level);
  }

  /**
   * A table that {@link map} detached, from the `unlink` event that told of it: only with the option `keepUnlinked`, only
   * at this page table, and once. The caller keeps it as long as somebody may still walk it, then frees it.
   * @throws Stage2Error `BAD_OPTION` if it is no such event, or its table was adopted; `FOREIGN` if another page table
   *   detached it.
   */
  adoptUnlinked(event: Event): UnlinkedTable {
    return UnlinkedTable.adopt(this.table, event);
  }

  /** Frees an unlinked table and all below it (`kvm_pgtable_stage2_free_unlinked`). @throws Stage2Error `FOREIGN`. */
  freeUnlinked(table: UnlinkedTable): void {
    if (!(table instanceof UnlinkedTable) || !table.belongsTo(this.table)) {
      throw new Stage2Error("FOREIGN", "the unlinked table belongs to another page table");
    }
    table.free();
  }
}
