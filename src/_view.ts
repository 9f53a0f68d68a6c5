/** What a stage-2 page table shows of itself: entries, dumps, counts, shape. Nothing here changes it. */
import { OPTION } from "./_abi.ts";
import type { Context } from "./_context.ts";
import { type EventGroup, type Granule, granuleOf } from "./_options.ts";
import type { Counters, Shape, TableCore, TableUsage } from "./_table.ts";
import { type Visitor, type WalkRequest, walk, walkResult } from "./_walk.ts";
import type { Entry, Leaf, Table } from "./decode.ts";
import type { DumpDocument, EntryRange } from "./dump.ts";
import { type EntryFilter, only } from "./iterate.ts";
import { Stage2Error } from "./errors.ts";
import {
  type Address,
  type Range,
  address,
  flagOption,
  integerOption,
  knownOptions,
  span,
} from "./range.ts";

/** What another thread needs to use the page table: {@link Engine.attachStage2}. It can be posted. */
export interface Stage2Handle {
  readonly kind: "stage2-table";
  readonly engine: string;
  readonly pointer: number;
  /** Tells the table from others that had its place before. */
  readonly generation: number;
  readonly shape: Shape;
}

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

  /** The address that `ipa` maps to, or `undefined` if no valid leaf maps it. Permissions do not matter. */
  lookup(ipa: Address): number | undefined {
    const pa = this.#table.context.core.s2_lookup(this.#table.pointer, address(ipa, "ipa"));
    return pa < 0 ? undefined : pa;
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

  /**
   * Walks the range with a visitor (`kvm_pgtable_walk`): depth first, ascending. The visits are recorded first, a few
   * hundred at a time, then reported: changes that the visitor makes do not change what it is shown.
   *
   * @returns "again" if the visitor's -EAGAIN ended the walk (HANDLE_FAULT).
   * @throws Stage2Error any other errno that the visitor returned; `BAD_OPTION` for a negative number that is none.
   */
  walk(request: WalkRequest, visitor: Visitor): "ok" | "again" {
    return walkResult(walk(this.#table, request, visitor), request);
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

  /** VTCR_EL2 for this table (Arm ARM D24.2, VTCR_EL2). */
  get vtcr(): bigint {
    return this.#table.shape.vtcr;
  }

  /** VTTBR_EL2 for this table (Arm ARM D24.2, VTTBR_EL2): VMID, root address, common-not-private bit. */
  vttbr(options: { vmid?: number; cnp?: boolean } = {}): bigint {
    knownOptions("vttbr", options, ["vmid", "cnp"]);
    const tag = BigInt(integerOption("vmid", options.vmid ?? 0, 0, 0xffff)) << 48n;
    const cnp = flagOption("cnp", options.cnp ?? false) ? 1n : 0n;
    return tag | BigInt(this.#table.shape.rootPhysical) | cnp;
  }

  /**
   * For {@link Engine.attachStage2} in another thread. What is only looked at here cannot be attached to: a VM's table, a pKVM
   * machine's. Other threads look at it through the VM, or the machine.
   */
  get handle(): Stage2Handle {
    const { context, shape, pointer } = this.#table;
    const generation = context.core.pgt_generation(pointer);
    return { kind: "stage2-table", engine: context.id, pointer, generation, shape };
  }

  /**
   * Frees every table page (`kvm_pgtable_stage2_destroy`) if this object made the page table; an attached object only
   * lets go. No other thread may be using the table, and no vCPU may be bound to it. A second call does nothing.
   * @throws Stage2Error `ETIMEDOUT` if another thread holds its lock: it stays as it is. `EDEADLK` if this thread holds a lock,
   *   or is inside a bracket.
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
  const { ipa, size } = span(range);
  return [ipa, size];
}

/** A handle that names a live page table of this engine. @throws Stage2Error `BAD_OPTION`, `FOREIGN`, `DISPOSED` */
export function checkedTableHandle(context: Context, handle: Stage2Handle): Stage2Handle {
  const candidate: Partial<Stage2Handle> | null | undefined = handle;
  const { kind, engine, pointer, generation, shape } = candidate ?? {};
  if (kind !== "stage2-table" || typeof shape !== "object" || shape === null) {
    throw new Stage2Error("BAD_OPTION", "this is no handle of a stage-2 page table");
  }
  if (engine !== context.id) {
    throw new Stage2Error("FOREIGN", "the page table belongs to another engine");
  }
  const found = isPointer(pointer) ? context.core.pgt_generation(pointer) : 0;
  if (found !== 0 && found === generation) return handle;
  throw new Stage2Error("DISPOSED", "the page table was disposed");
}

/** Whether a handle's pointer is one: the core would take what is longer for something else. */
export function isPointer(pointer: unknown): pointer is number {
  return Number.isInteger(pointer) && (pointer as number) >>> 0 === pointer;
}

/** Whose a page table is: nobody may change what is a VM's, or a hypervisor's, but through them. */
export function keeperOf(
  context: Context,
  pointer: number,
): "vm" | "guest" | "hypervisor" | "none" {
  if ((context.core.pgt_options(pointer) & OPTION.OWN_VMID) !== 0) return "vm";
  const guarded = context.core.pgt_guarded(pointer);
  if (guarded === 0) return "none";
  return guarded === 2 ? "guest" : "hypervisor";
}
