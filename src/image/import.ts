/**
 * Import: copies the pages of one regime into the pool and relocates its table pointers, so that the engine walks,
 * lists and edits the table as if it had built it.
 *
 *   image page ──copy──► pool page        one pool page for every place (level, input address) of a page
 *        │                   ▲
 *        └ table entry ──────┘ relocated
 *
 * The tree is checked against what the dumper wrote down: every table it reaches must be listed at that place, and
 * every listed place must be reached. A table of a guest's stage 1 that stage 2 did not map could not be dumped; an
 * empty page stands for it, and it is told apart as absent.
 */
import { levelShift } from "../decode.ts";
import { Stage2Error } from "../errors.ts";
import type { Engine } from "../engine.ts";
import { inputError } from "../_input.ts";
import { type Page, type Regime, type TableImage, regimeNamed, rootEntries } from "./format.ts";
import { createObject } from "./object.ts";
import { Descriptors } from "./relocate.ts";
import { ImportedTable, type Origin } from "./table.ts";

/** Entries are 8 bytes. */
const ENTRY_BYTES = 8;

/**
 * Imports one regime of an image.
 *
 * @throws Stage2Error  `BAD_INPUT` if the image has no such regime or contradicts itself, `ENOMEM` if the pool is full
 */
export function importRegime(engine: Engine, image: TableImage, name: string): ImportedTable {
  return new Importer(engine, image, regimeNamed(image, name)).run();
}

class Importer {
  readonly #engine: Engine;
  readonly #image: TableImage;
  readonly #regime: Regime;
  readonly #descriptors: Descriptors;
  readonly #pages = new Map<number, Page>();
  /** Places that the dumper listed and that were not reached yet. */
  readonly #unreached = new Set<string>();
  readonly #origins = new Map<number, Origin>();

  constructor(engine: Engine, image: TableImage, regime: Regime) {
    this.#engine = engine;
    this.#image = image;
    this.#regime = regime;
    this.#descriptors = new Descriptors(engine.context, regime);
    for (const page of image.pages) {
      for (const place of page.places) {
        if (place.regime !== regime.name) continue;
        if (page.size !== 2 ** regime.pageShift)
          this.#fail(`page ${hex(page.pa)} is not one granule`);
        this.#pages.set(place.address, page);
        this.#unreached.add(placeKey(place.address, place.level, place.ia));
      }
    }
  }

  run(): ImportedTable {
    const regime = this.#regime;
    const object = createObject(this.#engine, this.#image, regime);
    const table = new ImportedTable(this.#engine, this.#image, regime, object, this.#origins);
    try {
      this.#fillRoot(table.root);
      const [left] = this.#unreached;
      if (left !== undefined) this.#fail(`no entry points to ${left}`);
      table.recount();
      table.checkSummary();
    } catch (error) {
      table.recount();
      table.dispose();
      throw error;
    }
    return table;
  }

  /** A root is several pages, one page, or a part of one. */
  #fillRoot(pointer: number): void {
    const { root, pageShift, startLevel: level } = this.#regime;
    const pageBytes = 2 ** pageShift;
    const rootBytes = rootEntries(this.#regime) * ENTRY_BYTES;
    const bytes = Math.min(rootBytes, pageBytes);
    for (let done = 0; done < rootBytes; done += bytes) {
      const within = (root + done) % pageBytes;
      const address = root + done - within;
      const page = this.#page(address, level, 0); // all root pages are listed at input address 0
      if (page === undefined) this.#fail(`the root page ${hex(address)} is missing`);
      const ia = (done / ENTRY_BYTES) * 2 ** levelShift(pageShift, level);
      this.#fill(pointer + done, { address, page, within, bytes, level, ia });
    }
  }

  /** Copies one table and, below it, those that it points to. */
  #fill(pointer: number, origin: Origin): void {
    this.#origins.set(pointer, origin);
    const { page, within, bytes, level } = origin;
    if (page === undefined) return;
    const from = page.offset + within;
    const { context } = this.#engine;
    context.u8.set(this.#image.bytes.subarray(from, from + bytes), pointer);
    const first = pointer / ENTRY_BYTES;
    for (const [i, entry] of this.#takeTables(pointer, origin)) {
      const ia = origin.ia + i * 2 ** levelShift(this.#regime.pageShift, level);
      const child = this.#child(this.#descriptors.address(entry), level + 1, ia);
      const table = this.#allocate();
      context.u64[first + i] = this.#descriptors.relocate(entry, context.physical(table));
      this.#fill(table, child);
    }
  }

  /** Takes the table pointers out of a copied page: the engine must never meet one that is not relocated. */
  #takeTables(pointer: number, { bytes, level }: Origin): [index: number, entry: bigint][] {
    if (level === 3) return [];
    const first = pointer / ENTRY_BYTES;
    const entries = this.#engine.u64.subarray(first, first + bytes / ENTRY_BYTES);
    const taken: [number, bigint][] = [];
    entries.forEach((entry, i) => {
      if (!this.#descriptors.isTable(entry, level)) return;
      taken.push([i, entry]);
      entries[i] = 0n;
    });
    return taken;
  }

  #child(address: number, level: number, ia: number): Origin {
    const page = this.#page(address, level, ia);
    if (page === undefined && this.#regime.stage === 2)
      this.#fail(`table ${hex(address)} is missing`);
    return { address, page, within: 0, bytes: 2 ** this.#regime.pageShift, level, ia };
  }

  /** The dumped page at an address. It may stand only where it is listed: a table that points to itself ends here. */
  #page(address: number, level: number, ia: number): Page | undefined {
    const page = this.#pages.get(address);
    const key = placeKey(address, level, ia);
    if (page !== undefined && !this.#unreached.delete(key))
      this.#fail(`${key} is not listed there`);
    return page;
  }

  #allocate(): number {
    const pointer = this.#engine.core.pool_alloc(this.#regime.pageShift) >>> 0;
    if (pointer !== 0) return pointer;
    throw new Stage2Error("ENOMEM", `import of ${this.#regime.name}: the pool is full`);
  }

  #fail(message: string): never {
    throw inputError(this.#image.name, `${this.#regime.name}: ${message}`);
  }
}

/** Names a place, in messages and as a key. */
function placeKey(address: number, level: number, ia: number): string {
  return `table ${hex(address)} at level ${level} for input address ${hex(ia)}`;
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
