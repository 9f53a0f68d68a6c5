/** What a hypervisor's stage-1 page table shows of itself: entries, dumps, counts, shape. Addresses are virtual (VA). */
import { type EventGroup, type Granule, granuleOf } from "./_options.ts";
import type { Counters, Shape, TableCore, TableUsage } from "./_table.ts";
import type { Entry, Leaf } from "./decode.ts";
import type { DumpDocument, EntryRange } from "./dump.ts";
import { type EntryFilter, only } from "./iterate.ts";
import { type Address, address, byteCount, fields } from "./range.ts";

/** A stretch of virtual address space. */
export interface VirtualRange {
  /** First address, rounded down to a page. */
  va: Address;
  /** Bytes, more than 0. */
  size: Address;
}

/** An entry of kind K with its first input address as `va`. */
export type Virtual<T> = T extends { readonly ipa: number }
  ? Omit<T, "ipa"> & { readonly va: number }
  : never;

/** As {@link Entry}, by virtual address. */
export type HypEntry = Virtual<Entry>;
/** As {@link EntryRange}, by virtual address. */
export type HypEntryRange = Virtual<EntryRange>;

/** The part of {@link HypStage1} that looks and does not touch. */
export class HypView implements Disposable {
  /** @internal */
  protected readonly table: TableCore;

  /** @internal */
  constructor(table: TableCore) {
    this.table = table;
  }

  /** Entries of the range (default: all); lazy as {@link Stage2.entries}. */
  entries(range?: VirtualRange, filter: EntryFilter = {}): Generator<HypEntry, void, undefined> {
    const [start, size] = optionalSpan(range);
    return virtual(this.table.entries(start, size, filter));
  }

  /** Valid leaves of the range (default: all). */
  leaves(range?: VirtualRange): Generator<Virtual<Leaf>, void, undefined> {
    const [start, size] = optionalSpan(range);
    const entries = this.table.entries(start, size, { tables: false, invalid: false });
    return virtual(only(entries, "leaf"));
  }

  /** Neighbouring leaves that look alike, as one. */
  ranges(range?: VirtualRange): Generator<HypEntryRange, void, undefined> {
    const [start, size] = optionalSpan(range);
    return virtual(this.table.ranges(start, size));
  }

  /** The entry, whatever it is, that decides `va` (`kvm_pgtable_get_leaf`). */
  getLeaf(va: Address): Exclude<HypEntry, { kind: "table" }> {
    return byVirtualAddress(this.table.getLeaf(address(va, "va")));
  }

  /** The range (default: all) as text for people. */
  dump(range?: VirtualRange): string {
    const [start, size] = optionalSpan(range);
    return this.table.dump(start, size);
  }

  /** The range (default: all) as a JSON-able document; its `ipa` are virtual addresses. */
  dumpDocument(range?: VirtualRange): DumpDocument {
    const [start, size] = optionalSpan(range);
    return this.table.dumpDocument(start, size);
  }

  /** Counts all entries by kind. */
  counters(): Counters {
    return this.table.counters();
  }

  /** Table pages of this page table. */
  memoryUsage(): TableUsage {
    return this.table.usage();
  }

  /** Chooses which groups of events this table logs from now on. */
  setEvents(groups: readonly EventGroup[]): void {
    this.table.setEvents(groups);
  }

  /** Input size in bits. */
  get vaBits(): number {
    return this.table.shape.iaBits;
  }

  /** Page size. */
  get granule(): Granule {
    return granuleOf(this.table.shape.pageShift);
  }

  /** Level of the root: -1 to 3. */
  get startLevel(): number {
    return this.table.shape.startLevel;
  }

  /** Frees every table page (`kvm_pgtable_hyp_destroy`). A second call does nothing. */
  dispose(): void {
    this.table.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** The core's pointer. @internal */
  get pointer(): number {
    return this.table.pointer;
  }

  /** @internal */
  get shape(): Shape {
    return this.table.shape;
  }
}

/** The checked first address and size of a range. */
export function virtualSpan(range: VirtualRange): [va: number, size: number] {
  const va = address(fields(range).va, "va");
  return [va, byteCount(range.size, va)];
}

/** The same of a range that may be left out; no size means up to the end. */
function optionalSpan(range: VirtualRange | undefined): [va: number, size: number | undefined] {
  return range === undefined ? [0, undefined] : virtualSpan(range);
}

function byVirtualAddress<T extends { readonly ipa: number }>({ ipa, ...rest }: T): Virtual<T> {
  return { ...rest, va: ipa } as unknown as Virtual<T>;
}

function* virtual<T extends { readonly ipa: number }>(
  source: Iterable<T>,
): Generator<Virtual<T>, void, undefined> {
  for (const entry of source) yield byVirtualAddress(entry);
}
