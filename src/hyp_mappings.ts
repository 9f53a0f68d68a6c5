/**
 * What a host maps for the hypervisor at EL2 (`create_hyp_mappings` and its kin in arch/arm64/kvm/mmu.c): the kernel's objects at
 * addresses made from the kernel's own, devices, code and stacks at private ones, and pages shared with pKVM.
 *
 *     const hyp = HypMappings.create(engine, { vaBits: 48, idmap: { pa: 0x4020_0000 } });
 *     hyp.createMappings(0xffff_0000_8000_0000n, 0xffff_0000_8000_4000n, Prot.RW);
 *     hyp.table.getLeaf(hyp.toHypVa(0xffff_0000_8000_0000n));
 *
 * Kernel addresses are bigints with all bits from VA_BITS up set; the end of a range may be 2^64. Physical and private addresses
 * are as everywhere in this library: `number | bigint` below 2^53 in, `number` out. An object belongs to the thread that made it.
 */
import { disposed } from "./_context.ts";
import { HypLayout, denied, invalid } from "./_hyp_layout.ts";
import { type HypMappingsOptions, checkOptions, tableOptions } from "./_hyp_mappings_options.ts";
import { type HypStack, type PhysicalRange, PrivateRanges } from "./_hyp_private.ts";
import { SharedPages } from "./_hyp_shares.ts";
import type { TableCache } from "./cache.ts";
import type { Engine } from "./engine.ts";
import type { HypStage1 } from "./hyp.ts";
import { Prot } from "./prot.ts";
import { type Address, address, byteCount, fields, protection } from "./range.ts";

export type { HypMappingsOptions } from "./_hyp_mappings_options.ts";
export type { HypLayoutOptions, IdmapPage, LinearMap } from "./_hyp_layout.ts";
export type { HypStack, PhysicalRange } from "./_hyp_private.ts";
export type { Hypercall } from "./_hyp_shares.ts";

/** The EL2 stage-1 mappings of a host. */
export class HypMappings implements Disposable {
  readonly #engine: Engine;
  readonly #layout: HypLayout;
  readonly #table: HypStage1 | undefined;
  readonly #cache: TableCache | null | undefined;
  readonly #private: PrivateRanges;
  readonly #shared: SharedPages;
  readonly #protected: boolean;
  #handedOver = false;
  #open = true;

  private constructor(engine: Engine, options: HypMappingsOptions, layout: HypLayout) {
    this.#engine = engine;
    this.#layout = layout;
    this.#cache = options.cache;
    this.#protected = options.protected ?? false;
    this.#private = new PrivateRanges(layout);
    this.#shared = new SharedPages(options.hypercall);
    this.#table = options.vhe === true ? undefined : engine.hyp(tableOptions(options, layout));
  }

  /**
   * Lays the hypervisor's addresses out, makes its table, and maps the idmap page in it, to itself, RX (`kvm_mmu_init`).
   * @throws Stage2Error `EINVAL` if the linear map has the idmap page's address for something else, or something is unaligned or out
   *   of reach; `BAD_OPTION`, `BAD_ADDRESS`, `BAD_SIZE`; `ENOMEM`, `EMFILE`; `FOREIGN` for the cache. Nothing is left behind then.
   */
  static create(engine: Engine, options: HypMappingsOptions): HypMappings {
    checkOptions(options);
    const mappings = new HypMappings(engine, options, new HypLayout(options));
    try {
      mappings.#mapIdmap();
    } catch (error) {
      mappings.dispose();
      throw error;
    }
    return mappings;
  }

  /** Hypervisor address of a kernel address (`kern_hyp_va`): the same with VHE. @throws Stage2Error `BAD_ADDRESS`. */
  toHypVa(kernelVa: bigint): bigint {
    const va = this.#layout.toHyp(kernelVa);
    return this.isVhe ? kernelVa : va;
  }

  /**
   * Maps [from, to) of the kernel's addresses, widened to pages, page by page (`create_hyp_mappings`). With VHE nothing happens.
   * @throws Stage2Error `EPERM` after {@link handOver}; `EINVAL` for a page that is mapped differently, a protection that stage 1 does
   *   not have, addresses in both halves or outside of the linear map; `EFAULT` if vmalloc has no page there; `ENOMEM`. What lies
   *   before a page that could not be mapped is mapped.
   */
  createMappings(from: bigint, to: bigint, prot: number): void {
    this.#checkOpen();
    const range = this.#layout.pages(from, to);
    protection(prot);
    if (this.isVhe) return;
    const table = this.#own("createMappings");
    const size = this.#layout.pageBytes;
    let va = Number(this.#layout.toHyp(range.start));
    for (const pa of this.#layout.physical(range)) {
      table.map({ va, size, pa, prot, cache: this.#cache });
      va += size;
    }
  }

  /**
   * Sets private addresses aside, `size` rounded up to pages: the first one (`hyp_alloc_private_va_range`).
   * @throws Stage2Error `ENOMEM` if bit VA_BITS-1 would change; `EPERM` with VHE and after {@link handOver}; `BAD_SIZE`.
   */
  allocatePrivate(size: Address): number {
    this.#own("allocatePrivate");
    return this.#private.take(size);
  }

  /** The same from a given address up to {@link lowestPrivate}. @throws Stage2Error also `EINVAL` if it is unaligned, or not below. */
  allocatePrivateFrom(base: Address): number {
    this.#own("allocatePrivateFrom");
    return this.#private.takeFrom(base);
  }

  /**
   * Maps a page as a stack, RW, the upper one of a window of two (`create_hyp_stack`).
   * @throws Stage2Error as {@link allocatePrivate}; `BAD_ADDRESS`; `EINVAL` for an unaligned page; `ENOMEM` for tables: the addresses
   *   are lost then.
   */
  createStack(request: { pa: Address }): HypStack {
    const table = this.#own("createStack");
    const size = this.#layout.pageBytes;
    const pa = address(fields(request).pa, "pa");
    if (pa % size !== 0) throw invalid("createStack: a stack is a page", { pa });
    const guard = this.#private.takeAligned(2 * size);
    table.map({ va: guard + size, size, pa, prot: Prot.RW, cache: this.#cache });
    return { guard, page: guard + size, top: guard + 2 * size };
  }

  /**
   * Maps a device, DEVICE and RW, at private addresses: that of `pa` (`create_hyp_io_mappings`).
   * @throws Stage2Error `EPERM` in protected mode, from the start; else as {@link createStack}.
   */
  ioMapping(range: PhysicalRange): number {
    if (this.#protected) throw denied("ioMapping: the host maps no devices in protected mode");
    return this.#mapPrivate("ioMapping", range, Prot.RW | Prot.DEVICE);
  }

  /** Maps code, RX, at private addresses: that of `pa` (`create_hyp_exec_mappings`). @throws Stage2Error as {@link createStack}. */
  execMapping(range: PhysicalRange): number {
    return this.#mapPrivate("execMapping", range, Prot.RX);
  }

  /**
   * From here on pKVM owns the table, which may still be looked at: the host maps nothing any more, and shares pages by hypercall.
   * @throws Stage2Error `EINVAL` if not in protected mode. A second call does nothing.
   */
  handOver(): void {
    this.#checkOpen();
    if (!this.#protected) throw invalid("handOver: the hypervisor is not protected", {});
    this.#handedOver = true;
  }

  /**
   * Shares the pages of [from, to) with the hypervisor (`kvm_share_hyp`): counted, and asked for with the first share of a page. While
   * the host owns the table it maps them RW instead; with VHE nothing happens.
   * @throws Stage2Error `EINVAL` for anything but the linear map; what the hypercall refuses: pages before are shared then; `EDEADLK`
   *   inside a hypercall; what {@link createMappings} throws.
   */
  share(from: bigint, to: bigint): void {
    this.#checkOpen();
    const [pfn, pages] = this.#layout.frames(from, to);
    if (this.isVhe) return;
    if (this.#handedOver) this.#shared.share(pfn, pages);
    else this.createMappings(from, to, Prot.RW);
  }

  /**
   * Takes one share of every page back (`kvm_unshare_hyp`): the last one of a page is asked for. Nothing happens while the host owns
   * the table, nor with VHE.
   * @throws Stage2Error `ENOENT` if a page is not shared: nothing has changed; `EINVAL` and `EDEADLK` as {@link share}; what the
   *   hypercall refuses: that page, and those behind, are shared as before.
   */
  unshare(from: bigint, to: bigint): void {
    this.#checkOpen();
    const [pfn, pages] = this.#layout.frames(from, to);
    if (this.#handedOver) this.#shared.unshare(pfn, pages);
  }

  /** How often the page with this frame number is shared. */
  shareCount(pfn: number): number {
    return this.#shared.count(pfn);
  }

  /** Pages that are shared. */
  get sharedPages(): number {
    return this.#shared.size;
  }

  /** The table, to look at and to walk. @throws Stage2Error `EPERM` with VHE: there is none. */
  get table(): HypStage1 {
    if (this.#table !== undefined) return this.#table;
    throw denied("a kernel at EL2 has no table for a hypervisor");
  }

  /** Input size of the table: the bits of the idmap or of the kernel's addresses, whichever are more. */
  get hypVaBits(): number {
    return this.#layout.hypVaBits;
  }

  /** First address of the idmap page. */
  get idmap(): number {
    return this.#layout.idmap;
  }

  /** First address of the latest private range; at first the idmap page's. */
  get lowestPrivate(): number {
    return this.#private.lowest;
  }

  /** Whether the kernel itself runs at EL2. */
  get isVhe(): boolean {
    return this.#table === undefined;
  }

  /** Frees the table. A second call does nothing. */
  dispose(): void {
    this.#open = false;
    this.#table?.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #mapIdmap(): void {
    const { idmap, pageBytes } = this.#layout;
    const page = { va: idmap, size: pageBytes, pa: idmap, prot: Prot.RX };
    this.#table?.map({ ...page, cache: this.#cache });
  }

  #mapPrivate(operation: string, range: PhysicalRange, prot: number): number {
    const table = this.#own(operation);
    const pa = address(fields(range).pa, "pa");
    const { pageBytes } = this.#layout;
    const offset = pa % pageBytes;
    const size = Math.ceil((byteCount(range.size, pa) + offset) / pageBytes) * pageBytes;
    const va = this.#private.take(size);
    table.map({ va, size, pa: pa - offset, prot, cache: this.#cache });
    return va + offset;
  }

  /** The table if the host may change it. */
  #own(operation: string): HypStage1 {
    this.#checkOpen();
    if (this.#handedOver) throw denied(`${operation}: the hypervisor owns its table`);
    return this.table;
  }

  #checkOpen(): void {
    void this.#engine.core; // refuses a disposed engine
    if (!this.#open) throw disposed("hyp mappings");
  }
}
