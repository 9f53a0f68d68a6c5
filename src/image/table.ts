/** An imported regime: a page table in the pool, and where each of its pages came from. */
import { LIST } from "../_abi.ts";
import type { Engine } from "../engine.ts";
import { inputError } from "../_input.ts";
import type { Counters } from "../_table.ts";
import type { Stage2 } from "../stage2.ts";
import { type Page, type Regime, type TableImage, rootEntries } from "./format.ts";
import type { TableObject } from "./object.ts";
import { type ImageRange, imageRanges } from "./ranges.ts";
import { Descriptors } from "./relocate.ts";

/** What a pool page stands for. */
export interface Origin {
  /** Address of the page in the dumped machine (a guest physical one in a guest's stage 1). */
  readonly address: number;
  /** The dumped page; `undefined`: the table could not be dumped, and an empty page stands for it. */
  readonly page: Page | undefined;
  /** Where in its page the table begins: not 0 for a small stage-1 root. */
  readonly within: number;
  /** Bytes of the table: less than a page for a small stage-1 root. */
  readonly bytes: number;
  /** Level of the table's entries. */
  readonly level: number;
  /** Input address of its first entry. */
  readonly ia: number;
}

/** One regime of an image in an engine. Dispose it: its table pages belong to the engine's pool. */
export class ImportedTable implements Disposable {
  readonly image: TableImage;
  readonly regime: Regime;
  /** The page table with its operations, if the regime is a stage 2. It ends with this object. */
  readonly stage2: Stage2 | undefined;
  /** What each pool page stands for, by pointer. @internal */
  readonly origins: ReadonlyMap<number, Origin>;
  /** @internal */
  readonly descriptors: Descriptors;
  readonly #engine: Engine;
  readonly #object: TableObject;

  /** @internal Use `importRegime`. */
  constructor(
    engine: Engine,
    image: TableImage,
    regime: Regime,
    object: TableObject,
    origins: ReadonlyMap<number, Origin>,
  ) {
    this.image = image;
    this.regime = regime;
    this.stage2 = object.stage2;
    this.origins = origins;
    this.descriptors = new Descriptors(engine.context, regime);
    this.#engine = engine;
    this.#object = object;
  }

  /** Where a pool page of this table lay in the dumped machine; `undefined` for a page made since. */
  originalAddress(physical: number): number | undefined {
    const origin = this.origins.get(this.#engine.context.pointer(physical));
    return origin === undefined ? undefined : origin.address + origin.within;
  }

  /** Tables that the dump names but could not read: a guest's stage-1 table that stage 2 did not map then. */
  absent(): Origin[] {
    return [...this.origins.values()].filter(({ page }) => page === undefined);
  }

  /** Leaves and invalid entries, grouped, in ascending order. */
  ranges(): Generator<ImageRange, void, undefined> {
    const listing = this.#object.table.batches(0, undefined, LIST.LEAVES | LIST.INVALID);
    return imageRanges(listing, this.regime, this.descriptors);
  }

  /** How many entries of each kind it holds. */
  counters(): Counters {
    return this.#object.table.counters();
  }

  /** Pointer to the first root entry. @internal */
  get root(): number {
    return this.#engine.core.pgt_root(this.#object.table.pointer) >>> 0;
  }

  /** Bytes of the pool, now. @internal */
  get memory(): Uint8Array {
    return this.#engine.u8;
  }

  /** Settles reference counts after the entries were filled in. @internal */
  recount(): void {
    this.#engine.core.pgt_recount(this.#object.table.pointer);
  }

  /** Compares what the engine lists with what the dumper counted. @internal */
  checkSummary(): void {
    const { leaves, invalid, tables } = this.counters();
    const { regime } = this;
    for (let level = -1; level <= 3; level++) {
      this.#same(`leaves at level ${level}`, leaves[level] ?? 0, regime.leaves.get(level) ?? 0);
    }
    this.#same("invalid entries that are not zero", invalid, regime.annotations);
    const root = Math.max(1, (rootEntries(regime) * 8) / 2 ** regime.pageShift);
    this.#same("table pages", tables + root - this.absent().length, regime.tables);
  }

  #same(what: string, found: number, recorded: number): void {
    if (found === recorded) return;
    const { image, regime } = this;
    throw inputError(image.name, `${regime.name}: ${found} ${what}, but ${recorded} were recorded`);
  }

  dispose(): void {
    this.#object.table.dispose();
    this.stage2?.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
