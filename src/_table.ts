/** What every page-table object is and can do, whatever its regime: its shape, listing, dump, accounting, end. */
import { type Core, KIND_STAGE2 } from "./_abi.ts";
import { type Context, disposed } from "./_context.ts";
import { refusal, refuseLocked } from "./_outcome.ts";
import { type EventGroup, eventMask, granuleOf } from "./_options.ts";
import { type Encoding, Decoder, type Entry, type Table, isAccessed, isValid } from "./decode.ts";
import { type DumpDocument, type EntryRange, dumpText, ranges } from "./dump.ts";
import { ESTALE, type Stage2Error, check, errnoError } from "./errors.ts";
import { type Batch, type EntryFilter, batches, entries, wantBits } from "./iterate.ts";

/** Facts of a page table that never change. */
export interface Shape extends Encoding {
  readonly iaBits: number;
  readonly startLevel: number;
  readonly rootBytes: number;
  readonly rootPhysical: number;
  readonly vtcr: bigint;
}

/** How many entries of each kind a table holds. */
export interface Counters {
  /** Valid leaves, by level from the start level on (`leaves[3]` are pages), and all of them. */
  readonly leaves: Readonly<Record<number, number>>;
  readonly leafCount: number;
  /** Bytes that leaves map. */
  readonly mappedBytes: number;
  /** Leaves with the access flag set. */
  readonly accessed: number;
  /** Annotations and entries that are being changed. */
  readonly invalid: number;
  /** Pointers to tables. */
  readonly tables: number;
}

/** Memory that a page table takes. */
export interface TableUsage {
  /** Table pages of its granule, root pages included. */
  readonly tablePages: number;
  /** The same in bytes. */
  readonly bytes: number;
}

const ERRNO_LIMIT = -4095;

/** A pointer that the core returned, which may have its top bit set; a negative errno is thrown. */
export function checkPointer(status: number, operation: string, details: object): number {
  if (status < 0 && status >= ERRNO_LIMIT) throw errnoError(status, operation, details);
  return status >>> 0;
}

/** The shape that the core reports after an init. */
export function reportedShape(context: Context, encoding: Encoding): Shape {
  return {
    ...encoding,
    vtcr: context.result(0),
    rootBytes: context.resultNumber(1),
    iaBits: context.resultNumber(2),
    startLevel: context.resultLevel(3),
    rootPhysical: context.resultNumber(4),
  };
}

/** A table that is in no tree, as the page table that it was taken off knows it. */
interface Aside {
  free(): void;
}

/** How the core ends a page table: frees what is in it, the object itself is released afterwards. */
export type Ending = (core: Core, pointer: number) => number;

const destroyTable: Ending = (core, pointer) => core.pgt_destroy(pointer);

/** A page table's place in the engine: pointer while it is open, shape, ownership. */
export class TableCore {
  readonly context: Context;
  readonly shape: Shape;
  readonly decoder: Decoder;
  /** Tables aside that nobody has freed yet; they end with this object. */
  readonly aside = new Set<Aside>();
  /** While this object owns the table: nobody else destroys it. */
  #pointer = 0;
  /** What this object is attached to: the owner may destroy the table at any time, and another take its place. */
  #attached = { pointer: 0, generation: 0 };
  readonly #ending: Ending;

  /** `owned`: this object destroys the table when it is disposed. */
  constructor(
    context: Context,
    pointer: number,
    shape: Shape,
    owned: boolean,
    ending: Ending = destroyTable,
  ) {
    this.context = context;
    this.#ending = ending;
    this.shape = shape;
    this.decoder = new Decoder(context, shape);
    if (owned) this.#pointer = pointer;
    this.#attached = { pointer, generation: context.core.pgt_generation(pointer) };
    context.add(this);
  }

  /** The core's pointer. @throws Stage2Error `DISPOSED` */
  get pointer(): number {
    if (this.#pointer !== 0) return this.#pointer;
    if (this.isLive) return this.#attached.pointer;
    throw disposed("page table");
  }

  close(): void {
    this.#pointer = 0;
    this.#attached = { pointer: 0, generation: 0 };
  }

  /** Gives the table back if this object owns it, and lets go. What keeps it from being destroyed is thrown first. */
  dispose(): void {
    const late = this.isLive ? this.#give() : undefined;
    this.close();
    this.context.remove(this);
    if (late !== undefined) throw late;
  }

  /** The error if the table is destroyed, but another thread did not answer. */
  #give(): Stage2Error | undefined {
    const { context } = this;
    const { core } = context;
    refuseLocked(context, "dispose", this.#attached.pointer);
    for (const table of this.aside) table.free();
    const owned = this.#pointer;
    if (owned === 0) return undefined;
    const status = this.#ending(core, owned);
    if (status === -ESTALE) return undefined; // another owner has destroyed it while this one waited
    const error = status < 0 ? refusal(context, status, "dispose") : undefined;
    if (error !== undefined && core.pgt_root(owned) !== 0) throw error;
    core.pgt_release(owned);
    return error;
  }

  /** Whether the table is still the one that this object was made for: one that took it over may have destroyed it. */
  get isLive(): boolean {
    const { pointer, generation } = this.#attached;
    return generation !== 0 && this.context.core.pgt_generation(pointer) === generation;
  }

  setEvents(groups: readonly EventGroup[]): void {
    this.context.core.pgt_set_events(this.pointer, eventMask(groups));
  }

  usage(): TableUsage {
    const tablePages = this.context.core.pgt_pages(this.pointer);
    return { tablePages, bytes: tablePages * 2 ** this.shape.pageShift };
  }

  /** Batches of entries from `start` on; size `undefined` means up to the end of the input space. */
  batches(start: number, size: number | undefined, want: number): Iterable<Batch> {
    const end = size === undefined ? 2 ** this.shape.iaBits : start + size;
    const { context } = this;
    void this.pointer; // refuse a disposed table at the call, not at the first step
    return batches(context, start, end, () => context.core.pgt_list(this.pointer, want));
  }

  entries(
    start: number,
    size: number | undefined,
    filter: EntryFilter,
  ): Generator<Entry, void, undefined> {
    return entries(this.batches(start, size, wantBits(filter)), this.decoder);
  }

  ranges(start: number, size: number | undefined): Generator<EntryRange, void, undefined> {
    return ranges(this.entries(start, size, { tables: false }));
  }

  /** The entry, whatever it is, that decides `address`. */
  getLeaf(address: number): Exclude<Entry, Table> {
    const { context, decoder } = this;
    check(context.core.s2_get_leaf(this.pointer, address), "getLeaf", { address });
    const [pte, level] = [context.result(0), context.resultLevel(1)];
    const start = address - (address % decoder.size(level));
    return decoder.descriptor(start, level, pte, false) as Exclude<Entry, Table>;
  }

  counters(): Counters {
    const { startLevel } = this.shape;
    const leaves = new Array<number>(4 - startLevel).fill(0); // by level, from the start level on
    let [accessed, invalid, tables] = [0, 0, 0];
    for (const batch of this.batches(0, undefined, wantBits({}))) {
      for (let i = 0; i < batch.length; i++) {
        const low = batch.low(i);
        if (batch.isTable(i)) tables++;
        else if (!isValid(low)) invalid++;
        else {
          leaves[batch.level(i) - startLevel]!++;
          if (isAccessed(low)) accessed++;
        }
      }
    }
    const byLevel = leaves.map((count, i) => [i + startLevel, count] as const);
    return {
      leaves: Object.fromEntries(byLevel),
      leafCount: leaves.reduce((sum, count) => sum + count, 0),
      mappedBytes: byLevel.reduce((sum, [level, n]) => sum + n * this.decoder.size(level), 0),
      accessed,
      invalid,
      tables,
    };
  }

  dumpDocument(start: number, size: number | undefined): DumpDocument {
    const { kind, iaBits, pageShift, startLevel } = this.shape;
    return {
      regime: kind === KIND_STAGE2 ? "stage 2" : "hypervisor stage 1",
      inputBits: iaBits,
      granule: granuleOf(pageShift),
      startLevel,
      tablePages: this.usage().tablePages,
      ranges: [...this.ranges(start, size)],
    };
  }

  dump(start: number, size: number | undefined): string {
    return dumpText(this.dumpDocument(start, size));
  }
}
