/**
 * The operations with plain numbers and plain errnos: for hot loops and for replaying recordings.
 *
 * Addresses and sizes in bytes, exact to 2^53; protections as in {@link Prot}; results 0, a value, or a negative errno: the
 * reference's, and -110 (ETIMEDOUT), -35 (EDEADLK), -16 (EBUSY), -116 (the table was disposed while this waited for its lock).
 * Nothing is checked but that the table was not disposed: the core refuses what its reference refuses.
 */
import { CACHE_UNLIMITED, type Core } from "./_abi.ts";
import type { TableCore } from "./_table.ts";
import { type TableCache, cachePointer } from "./cache.ts";

/**
 * What can be asked of a guest's stage 2, whoever keeps its tables. Each kind has call sites of its own: one that is always the same
 * function of the core is compiled to a direct call.
 */
export abstract class RawOperations<Cache> {
  /** @internal */
  protected readonly core: Core;
  /** @internal */
  protected readonly table: TableCore;

  /** @internal */
  constructor(table: TableCore) {
    this.core = table.context.core;
    this.table = table;
  }

  /** The number that stands for a cache: `undefined` what the table has itself, `null` no page at all. */
  abstract cache(cache: Cache | null | undefined): number;

  abstract map(
    ipa: number,
    size: number,
    pa: number,
    prot: number,
    flags?: number,
    cache?: number,
  ): number;

  abstract unmap(ipa: number, size: number): number;

  abstract wrprotect(ipa: number, size: number): number;

  abstract flush(ipa: number, size: number): number;

  /** 1 if an entry was young, else 0. `clear` 1: and is old now. */
  abstract testClearYoung(ipa: number, size: number, clear: number): number;

  abstract relaxPerms(ipa: number, prot: number): number;

  abstract mkyoung(ipa: number): number;

  abstract split(ipa: number, size: number, cache?: number): number;

  abstract tlbFlushRange(ipa: number, size: number): number;

  /** 0 with {@link entry} and {@link level}. */
  getLeaf(ipa: number): number {
    return this.core.s2_get_leaf(this.table.pointer, ipa);
  }

  /** PA that `ipa` maps to, or -1 if no valid leaf maps it. */
  lookup(ipa: number): number {
    return this.core.s2_lookup(this.table.pointer, ipa);
  }

  /** The entry that the last {@link getLeaf} or {@link mkyoung} of this thread read. */
  entry(): bigint {
    return this.table.context.result(0);
  }

  /** The level that the last {@link getLeaf} of this thread read. */
  level(): number {
    return this.table.context.resultLevel(1);
  }
}

/** The operations of one {@link Stage2}, by the kernel's meanings (`kvm_pgtable_stage2_*`). */
export class RawStage2 extends RawOperations<TableCache> {
  cache(cache: TableCache | null | undefined): number {
    if (cache === undefined) return CACHE_UNLIMITED;
    return cachePointer(this.table.context, this.table.shape.pageShift, cache);
  }

  map(
    ipa: number,
    size: number,
    pa: number,
    prot: number,
    flags = 0,
    cache = CACHE_UNLIMITED,
  ): number {
    return this.core.s2_map(this.table.pointer, ipa, size, pa, prot, flags, cache);
  }

  setOwner(ipa: number, size: number, owner: number, cache = CACHE_UNLIMITED): number {
    return this.core.s2_set_owner(this.table.pointer, ipa, size, owner, cache);
  }

  unmap(ipa: number, size: number): number {
    return this.core.s2_unmap(this.table.pointer, ipa, size);
  }

  wrprotect(ipa: number, size: number): number {
    return this.core.s2_wrprotect(this.table.pointer, ipa, size);
  }

  flush(ipa: number, size: number): number {
    return this.core.s2_flush(this.table.pointer, ipa, size);
  }

  testClearYoung(ipa: number, size: number, clear: number): number {
    return this.core.s2_test_clear_young(this.table.pointer, ipa, size, clear);
  }

  relaxPerms(ipa: number, prot: number): number {
    return this.core.s2_relax_perms(this.table.pointer, ipa, prot);
  }

  /** 1 if a valid leaf was there ({@link entry} is what it held), 0 if not. */
  mkyoung(ipa: number): number {
    return this.core.s2_mkyoung(this.table.pointer, ipa);
  }

  split(ipa: number, size: number, cache = CACHE_UNLIMITED): number {
    return this.core.s2_split(this.table.pointer, ipa, size, cache);
  }

  tlbFlushRange(ipa: number, size: number): number {
    return this.core.s2_tlb_flush_range(this.table.pointer, ipa, size);
  }
}
