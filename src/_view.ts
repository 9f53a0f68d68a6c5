/** What a stage-2 page table shows of itself: entries, dumps, counts, shape. Nothing here changes it. */
import type { Context } from "./_context.ts";
import { type EventGroup, type Granule, granuleOf } from "./_options.ts";
import type { Counters, Shape, TableCore, TableUsage } from "./_table.ts";
import type { Entry, Leaf, Table } from "./decode.ts";
import type { DumpDocument, EntryRange } from "./dump.ts";
import { type EntryFilter, only } from "./iterate.ts";
import { type Address, type Range, address, byteCount } from "./range.ts";

/** The part of {@link Stage2} that looks and does not touch. */
export class Stage2View implements Disposable {
  readonly #table: TableCore;

  /** @internal */
  constructor(table: TableCore) {
    this.#table = table;
  }

  /** The entry, whatever it is, that decides `ipa` (`kvm_pgtable_get_leaf`). */
  getLeaf(ipa: Address): Exclude<Entry, Table> {
    return this.#table.getLeaf(address(ipa, "ipa"));
  }

  /** Valid leaves of the range (default: all), ascending; lazy, see {@link entries}. */
  leaves(range?: Range): Generator<Leaf, void, undefined> {
    return only(this.entries(range, { tables: false, invalid: false }), "leaf");
  }

  /** Tables of the range (default: all), each before those below it; lazy, see {@link entries}. */
  tables(range?: Range): Generator<Table, void, undefined> {
    return only(this.entries(range, { leaves: false, invalid: false }), "table");
  }

  /**
   * Entries of the range (default: all), ascending, a table before what it holds. Lazy, in batches: a batch shows the
   * table at one moment, the next goes on behind it. Leaving early and changing the table meanwhile are safe: no address
   * is met twice at one level, what did not change is met, what changed is met as it was or as it is.
   */
  entries(range?: Range, filter: EntryFilter = {}): Generator<Entry, void, undefined> {
    const [start, size] = checkedRange(range);
    return this.#table.entries(start, size, filter);
  }

  /** Neighbouring leaves, or annotations, that look alike, as one; lazy, see {@link entries}. */
  ranges(range?: Range): Generator<EntryRange, void, undefined> {
    const [start, size] = checkedRange(range);
    return this.#table.ranges(start, size);
  }

  /** The range (default: all) as text for people. */
  dump(range?: Range): string {
    const [start, size] = checkedRange(range);
    return this.#table.dump(start, size);
  }

  /** The range (default: all) as a JSON-able document. */
  dumpDocument(range?: Range): DumpDocument {
    const [start, size] = checkedRange(range);
    return this.#table.dumpDocument(start, size);
  }

  /** Counts all entries by kind. Reads the whole table. */
  counters(): Counters {
    return this.#table.counters();
  }

  /** Table pages of this page table. */
  memoryUsage(): TableUsage {
    return this.#table.usage();
  }

  /** Chooses which groups of events this table logs from now on; none lets the fast paths run. */
  setEvents(groups: readonly EventGroup[]): void {
    this.#table.setEvents(groups);
  }

  /** Input size in bits. */
  get ipaBits(): number {
    return this.#table.shape.iaBits;
  }

  /** Page size. */
  get granule(): Granule {
    return granuleOf(this.#table.shape.pageShift);
  }

  /** Level of the root: 0 to 2. */
  get startLevel(): number {
    return this.#table.shape.startLevel;
  }

  /** Bytes of the root: 1 to 16 contiguous table pages. */
  get rootBytes(): number {
    return this.#table.shape.rootBytes;
  }

  /**
   * Frees every table page (`kvm_pgtable_stage2_destroy`) if this object made the page table; an attached object only
   * lets go. No other thread may be using the table. A second call does nothing.
   */
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
  get context(): Context {
    return this.#table.context;
  }

  /** @internal */
  get shape(): Shape {
    return this.#table.shape;
  }
}

/** First address and size of a range that may be left out; no size means up to the end. */
function checkedRange(range: Range | undefined): [start: number, size: number | undefined] {
  if (range === undefined) return [0, undefined];
  const start = address(range.ipa, "ipa");
  return [start, byteCount(range.size, start)];
}
