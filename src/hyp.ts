/** A hypervisor's own stage-1 page table: the `kvm_pgtable_hyp_*` operations. Addresses are virtual (VA). */
import { KIND_HYP, OPTION } from "./_abi.ts";
import type { Context } from "./_context.ts";
import {
  type EventGroup,
  type Granule,
  TABLE_OPTIONS,
  type TableOptions,
  eventMask,
  granuleOf,
  optionBit,
  pageShift,
  tableBits,
} from "./_options.ts";
import {
  type Counters,
  type Shape,
  TableCore,
  type TableUsage,
  checkPointer,
  reportedShape,
} from "./_table.ts";
import { type TableCache, cachePointer } from "./cache.ts";
import type { Entry, Leaf } from "./decode.ts";
import type { DumpDocument, EntryRange } from "./dump.ts";
import { outcome } from "./_outcome.ts";
import { type EntryFilter, only } from "./iterate.ts";
import {
  type Address,
  address,
  byteCount,
  fields,
  integerOption,
  knownOptions,
  protection,
} from "./range.ts";

/** What a hypervisor page table is made with. */
export interface HypOptions extends TableOptions {
  /** Input size, 32 to 52 bits. Default 48. */
  vaBits?: number;
  /** EL2 with the EL2&0 layout of permissions (VHE machines). Default off. */
  hvhe?: boolean;
  /** Guarded pages for what is executable (FEAT_BTI). Default off. */
  bti?: boolean;
  /** Tables are counted, so that `unmap` works. Default on. */
  pageCount?: boolean;
  /** Keep the reference library's leak of one table page when a block gives way to a table. Default off. */
  parity?: boolean;
}

/** A stretch of virtual address space. */
export interface VirtualRange {
  /** First address, rounded down to a page. */
  va: Address;
  /** Bytes, more than 0. */
  size: Address;
}

/** {@link HypStage1.map} */
export interface HypMapRequest extends VirtualRange {
  /** First output address. */
  pa: Address;
  /** {@link Prot} bits: R is needed; W and X exclude each other, and X excludes DEVICE. */
  prot: number;
  /** The stock for new tables; `null` is no page at all. Default: the engine's pool. */
  cache?: TableCache | null | undefined;
}

/** An entry of kind K with its first input address as `va`. */
type Virtual<T> = T extends { readonly ipa: number }
  ? Omit<T, "ipa"> & { readonly va: number }
  : never;

/** As {@link Entry}, by virtual address. */
export type HypEntry = Virtual<Entry>;
/** As {@link EntryRange}, by virtual address. */
export type HypEntryRange = Virtual<EntryRange>;

const NAMES = [...TABLE_OPTIONS, "vaBits", "hvhe", "bti", "pageCount", "parity"];

/** A hypervisor's stage-1 page table. Errors as for {@link Stage2}. */
export class HypStage1 implements Disposable {
  readonly #table: TableCore;

  private constructor(table: TableCore) {
    this.#table = table;
  }

  /** `kvm_pgtable_hyp_init`. @internal */
  static create(context: Context, options: HypOptions): HypStage1 {
    const bits = hypBits(options);
    const vaBits = integerOption("vaBits", options.vaBits ?? 48, 32, 52);
    const shift = pageShift(options.granule);
    const mask = eventMask(options.events ?? []);
    const status = context.core.hyp_init(shift, vaBits, bits, mask);
    const pointer = checkPointer(status, "hyp", options);
    const shape = reportedShape(context, { kind: KIND_HYP, pageShift: shift, bits });
    return new HypStage1(new TableCore(context, pointer, { ...shape, vtcr: 0n }, true));
  }

  /**
   * Maps a range (`kvm_pgtable_hyp_map`). Mapping the same again changes nothing.
   * @throws Stage2Error `EINVAL` for a protection that stage 1 cannot express, or a page that is mapped differently;
   *   `ENOMEM`: what lies before is mapped.
   */
  map(request: HypMapRequest): void {
    const [va, size] = span(request);
    const pa = address(request.pa, "pa");
    const prot = protection(request.prot);
    const { context, pointer } = this.#table;
    const cache = cachePointer(context, this.#table.shape.pageShift, request.cache);
    outcome(context, context.core.hyp_map(pointer, va, size, pa, prot, cache), "map", request);
  }

  /**
   * Removes mappings (`kvm_pgtable_hyp_unmap`) up to the first hole or partly covered block. Bytes unmapped.
   */
  unmap(range: VirtualRange): number {
    const [va, size] = span(range);
    const { context, pointer } = this.#table;
    return outcome(context, context.core.hyp_unmap(pointer, va, size), "unmap", range);
  }

  /** Entries of the range (default: all); lazy as {@link Stage2.entries}. */
  entries(range?: VirtualRange, filter: EntryFilter = {}): Generator<HypEntry, void, undefined> {
    const [start, size] = optionalSpan(range);
    return virtual(this.#table.entries(start, size, filter));
  }

  /** Valid leaves of the range (default: all). */
  leaves(range?: VirtualRange): Generator<Virtual<Leaf>, void, undefined> {
    const [start, size] = optionalSpan(range);
    const entries = this.#table.entries(start, size, { tables: false, invalid: false });
    return virtual(only(entries, "leaf"));
  }

  /** Neighbouring leaves that look alike, as one. */
  ranges(range?: VirtualRange): Generator<HypEntryRange, void, undefined> {
    const [start, size] = optionalSpan(range);
    return virtual(this.#table.ranges(start, size));
  }

  /** The entry, whatever it is, that decides `va` (`kvm_pgtable_get_leaf`). */
  getLeaf(va: Address): Exclude<HypEntry, { kind: "table" }> {
    return byVirtualAddress(this.#table.getLeaf(address(va, "va")));
  }

  /** The range (default: all) as text for people. */
  dump(range?: VirtualRange): string {
    const [start, size] = optionalSpan(range);
    return this.#table.dump(start, size);
  }

  /** The range (default: all) as a JSON-able document; its `ipa` are virtual addresses. */
  dumpDocument(range?: VirtualRange): DumpDocument {
    const [start, size] = optionalSpan(range);
    return this.#table.dumpDocument(start, size);
  }

  /** Counts all entries by kind. */
  counters(): Counters {
    return this.#table.counters();
  }

  /** Table pages of this page table. */
  memoryUsage(): TableUsage {
    return this.#table.usage();
  }

  /** Chooses which groups of events this table logs from now on. */
  setEvents(groups: readonly EventGroup[]): void {
    this.#table.setEvents(groups);
  }

  /** Input size in bits. */
  get vaBits(): number {
    return this.#table.shape.iaBits;
  }

  /** Page size. */
  get granule(): Granule {
    return granuleOf(this.#table.shape.pageShift);
  }

  /** Level of the root: -1 to 3. */
  get startLevel(): number {
    return this.#table.shape.startLevel;
  }

  /** Frees every table page (`kvm_pgtable_hyp_destroy`). A second call does nothing. */
  dispose(): void {
    this.#table.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** The core's pointer. @internal */
  get pointer(): number {
    return this.#table.pointer;
  }

  /** @internal */
  get shape(): Shape {
    return this.#table.shape;
  }
}

function hypBits(options: HypOptions): number {
  knownOptions("hyp", options, NAMES);
  return (
    tableBits(options) |
    optionBit(options, "hvhe", OPTION.HVHE) |
    optionBit(options, "bti", OPTION.BTI) |
    optionBit(options, "parity", OPTION.PARITY) |
    (OPTION.NO_PAGE_COUNT & ~optionBit(options, "pageCount", OPTION.NO_PAGE_COUNT, true))
  );
}

/** The checked first address and size of a range. */
function span(range: VirtualRange): [va: number, size: number] {
  const va = address(fields(range).va, "va");
  return [va, byteCount(range.size, va)];
}

/** The same of a range that may be left out; no size means up to the end. */
function optionalSpan(range: VirtualRange | undefined): [va: number, size: number | undefined] {
  return range === undefined ? [0, undefined] : span(range);
}

function byVirtualAddress<T extends { readonly ipa: number }>({ ipa, ...rest }: T): Virtual<T> {
  return { ...rest, va: ipa } as unknown as Virtual<T>;
}

function* virtual<T extends { readonly ipa: number }>(
  source: Iterable<T>,
): Generator<Virtual<T>, void, undefined> {
  for (const entry of source) yield byVirtualAddress(entry);
}
