/** The operations on a pKVM guest's stage 2 with plain numbers and plain errnos; as {@link RawStage2}, and meant for the same. */
import { CACHE_NONE, CACHE_UNLIMITED, WALK } from "../_abi.ts";
import type { TableCore } from "../_table.ts";
import { EINVAL, Stage2Error } from "../errors.ts";
import { RawOperations } from "../raw.ts";
import { HypMemcache } from "./memcache.ts";

/** The operations of one {@link PkvmStage2}, by the kernel's meanings (`pkvm_pgtable_stage2_*`). */
export class RawPkvmStage2 extends RawOperations<HypMemcache> {
  readonly #machine: number;
  readonly #pageSize: number;

  /** @internal */
  constructor(table: TableCore, machine: number) {
    super(table);
    this.#machine = machine;
    this.#pageSize = 2 ** table.shape.pageShift;
  }

  /** The number that stands for a memcache: `undefined` one that the table has, which tops itself up; `null` none. */
  cache(cache: HypMemcache | null | undefined): number {
    if (cache === undefined) return CACHE_UNLIMITED;
    if (cache === null) return CACHE_NONE;
    const isOne = cache instanceof HypMemcache && cache.place.context === this.table.context;
    if (isOne && cache.place.pointer === this.#machine) return cache.pointer;
    throw new Stage2Error("FOREIGN", "the memcache belongs to another machine");
  }

  /** With FORCE_PAGES a block is refused (-22): one call shares one leaf. */
  map(
    ipa: number,
    size: number,
    pa: number,
    prot: number,
    flags = 0,
    cache = CACHE_UNLIMITED,
  ): number {
    if ((flags & WALK.FORCE_PAGES) !== 0 && size !== this.#pageSize) return -EINVAL;
    return this.core.el1_map(this.table.pointer, ipa, size, pa, prot, flags, cache);
  }

  unmap(ipa: number, size: number): number {
    return this.core.el1_unmap(this.table.pointer, ipa, size);
  }

  wrprotect(ipa: number, size: number): number {
    return this.core.el1_wrprotect(this.table.pointer, ipa, size);
  }

  flush(ipa: number, size: number): number {
    return this.core.el1_flush(this.table.pointer, ipa, size);
  }

  testClearYoung(ipa: number, size: number, clear: number): number {
    return this.core.el1_test_clear_young(this.table.pointer, ipa, size, clear);
  }

  relaxPerms(ipa: number, prot: number): number {
    return this.core.el1_relax_perms(this.table.pointer, ipa, prot);
  }

  /** 1 if a valid leaf was there, 0 if not; what it held is not told. */
  mkyoung(ipa: number): number {
    return this.core.el1_mkyoung(this.table.pointer, ipa);
  }

  /** -22 (EINVAL), and a warning. */
  split(): number {
    return this.core.el1_split(this.table.pointer);
  }

  /** The whole VMID, whatever the range: the hypervisor has no other call. */
  tlbFlushRange(): number {
    return this.core.el1_tlb_flush(this.table.pointer);
  }
}
