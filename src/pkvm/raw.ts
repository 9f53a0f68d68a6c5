/** The operations on a pKVM guest's stage 2 with plain numbers and plain errnos; as {@link RawStage2}, and meant for the same. */
import { CACHE_NONE, CACHE_UNLIMITED, THREAD_FLAG, WALK } from "../_abi.ts";
import type { TableCore } from "../_table.ts";
import { EDEADLK, EINVAL, Stage2Error } from "../errors.ts";
import { RawOperations } from "../raw.ts";
import { PKVM_OPTION } from "./_abi.ts";
import { HypMemcache } from "./memcache.ts";

/** The operations of one {@link PkvmStage2}, by the kernel's meanings (`pkvm_pgtable_stage2_*`). */
export class RawPkvmStage2 extends RawOperations<HypMemcache> {
  readonly #machine: number;
  readonly #pageSize: number;
  readonly #thread: number;
  /** Flags of a map that runs beside others. */
  readonly #beside: number;

  /** @internal */
  constructor(table: TableCore, machine: number) {
    super(table);
    this.#machine = machine;
    this.#pageSize = 2 ** table.shape.pageShift;
    this.#thread = this.core.thread_number();
    this.core.pkvm_describe(machine);
    const features = table.context.resultNumber(3);
    this.#beside = (features & PKVM_OPTION.MAPPINGS_LOCK) === 0 ? 0 : WALK.SHARED;
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
    const { pointer } = this.table;
    if (this.#collides(pointer, (flags & this.#beside) !== 0)) return -EDEADLK;
    return this.core.el1_map(pointer, ipa, size, pa, prot, flags, cache);
  }

  unmap(ipa: number, size: number): number {
    const { pointer } = this.table;
    return this.#collides(pointer, false) ? -EDEADLK : this.core.el1_unmap(pointer, ipa, size);
  }

  wrprotect(ipa: number, size: number): number {
    const { pointer } = this.table;
    return this.#collides(pointer, false) ? -EDEADLK : this.core.el1_wrprotect(pointer, ipa, size);
  }

  flush(ipa: number, size: number): number {
    const { pointer } = this.table;
    return this.#collides(pointer, false) ? -EDEADLK : this.core.el1_flush(pointer, ipa, size);
  }

  testClearYoung(ipa: number, size: number, clear: number): number {
    const { pointer } = this.table;
    return this.#collides(pointer, false)
      ? -EDEADLK
      : this.core.el1_test_clear_young(pointer, ipa, size, clear);
  }

  relaxPerms(ipa: number, prot: number): number {
    const { pointer } = this.table;
    return this.#collides(pointer, true) ? -EDEADLK : this.core.el1_relax_perms(pointer, ipa, prot);
  }

  /** 1 if a valid leaf was there, 0 if not; what it held is not told. */
  mkyoung(ipa: number): number {
    const { pointer } = this.table;
    return this.#collides(pointer, true) ? -EDEADLK : this.core.el1_mkyoung(pointer, ipa);
  }

  /** -22 (EINVAL), and a warning. */
  split(): number {
    return this.core.el1_split(this.table.pointer);
  }

  /** The whole VMID, whatever the range: the hypervisor has no other call. */
  tlbFlushRange(): number {
    const { pointer } = this.table;
    return this.#collides(pointer, true) ? -EDEADLK : this.core.el1_tlb_flush(pointer);
  }

  /**
   * Whether this thread has a lock that the operation cannot do with: it takes the write side of its own table, or either (`reads`). Asked
   * here, as an engine with one thread takes none, and a second thread must change no answer.
   */
  #collides(pointer: number, reads: boolean): boolean {
    this.core.thread_describe(this.#thread);
    const { context } = this.table;
    const held = context.resultNumber(2);
    if (held === 0) return false;
    const suffices = reads ? THREAD_FLAG.READS | THREAD_FLAG.WRITES : THREAD_FLAG.WRITES;
    return held !== pointer || (context.resultNumber(0) & suffices) === 0;
  }
}
