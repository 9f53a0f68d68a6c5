/** The books of a page table: reference counts, table pages, and that pages nobody has are clean. Looked at in peace, unscheduled. */
import type { Agent } from "../../../src/explorer/litmus.ts";
import { type Bed, BIT, LOCKED, PAGE } from "./support.ts";

const ENTRIES = 512;
const LAST_LEVEL = 3;
const TABLE = BIT.VALID | BIT.TYPE;
const ADDRESS = 0x0000_ffff_ffff_f000n;

/** What the books are kept of. */
export type Booked = Pick<Bed, "lab" | "s2" | "pgt">;

/** Pages of the pool that are no tables of this page table: a constant of a test, taken at its start. */
export class Accounts {
  readonly #bed: Booked;
  readonly #clerk: Agent;
  readonly #stock: () => number;
  readonly #others: number;

  /** Of a 4 KiB table; `clerk` asks the core, when no agent is in a call. `stock`: pages of caches that may become tables; a cache by its pointer. */
  constructor(bed: Booked, clerk: Agent, stock: number | (() => number) = () => 0) {
    this.#bed = bed;
    this.#clerk = clerk;
    this.#stock = typeof stock === "number" ? () => clerk.core.cache_count(stock) : stock;
    this.#others = this.#outside();
  }

  /** What does not add up, as a sentence. Pages that wait for a grace period are given back first. */
  wrong(): string | undefined {
    const { core } = this.#clerk;
    const { pgt } = this.#bed;
    const late = core.engine_quiesce();
    if (late !== 0) return `freed tables wait for a thread that is in no section (${late})`;
    const tables = new Map<number, number>();
    for (const root of this.#roots()) {
      const astray = this.#count(root, this.#startLevel, tables);
      if (astray !== undefined) return astray;
    }
    for (const [page, references] of tables) {
      const kept = core.pool_references(page);
      if (kept !== references)
        return `a table page has ${kept} references in place of ${references}`;
    }
    const pages = core.pgt_pages(pgt);
    if (pages !== tables.size) return `the table counts ${pages} pages and has ${tables.size}`;
    const astray = this.#outside() - this.#others;
    if (astray !== 0) return `${astray} table pages are in no tree (leaked, or given back twice)`;
    return this.untouched();
  }

  /** Table pages that the tree has now, by its own count. */
  get tables(): number {
    return this.#clerk.core.pgt_pages(this.#bed.pgt);
  }

  /** Pages in use that are no tables and in no stock. */
  #outside(): number {
    const { core } = this.#clerk;
    return core.pool_used() - core.pgt_pages(this.#bed.pgt) - this.#stock();
  }

  get #startLevel(): number {
    return this.#bed.s2.handle.shape.startLevel;
  }

  #roots(): number[] {
    const root = this.#clerk.core.pgt_root(this.#bed.pgt) >>> 0;
    const pages = this.#bed.s2.handle.shape.rootBytes / PAGE;
    return Array.from({ length: pages }, (_, index) => root + index * PAGE);
  }

  /** Counts what a table and those below it hold; a sentence if an entry points at what can be no table. */
  #count(table: number, level: number, tables: Map<number, number>): string | undefined {
    const { lab } = this.#bed;
    if (tables.has(table)) return "two entries point at one table";
    let references = 1;
    tables.set(table, references);
    for (let index = 0; index < ENTRIES; index++) {
      if (lab.read32(table + index * 8) === 0 && lab.read32(table + index * 8 + 4) === 0) continue;
      const entry = lab.read64(table + index * 8);
      if (entry === LOCKED) return `a marker is left at entry ${index} of level ${level}`;
      references++;
      if (level === LAST_LEVEL || (entry & TABLE) !== TABLE) continue;
      const below = this.#tableOf(entry);
      if (below === undefined) return `entry ${index} of level ${level} points at no table`;
      const astray = this.#count(below, level + 1, tables);
      if (astray !== undefined) return astray;
    }
    tables.set(table, references);
    return undefined;
  }

  /** Pointer of the table that an entry points at, if it lies in the pool. */
  #tableOf(entry: bigint): number | undefined {
    const { core } = this.#clerk;
    const offset = Number(entry & ADDRESS) - core.pool_phys();
    if (offset < 0 || offset >= core.pool_capacity() * PAGE) return undefined;
    return (core.pool_pointer() >>> 0) + offset;
  }

  /** Whether pages that nobody has are clean; a sentence if not. */
  untouched(): string | undefined {
    const { core } = this.#clerk;
    const pool = core.pool_pointer() >>> 0;
    const words = new Int32Array(this.#bed.lab.memory.buffer);
    for (let unit = 0; unit < core.pool_capacity(); unit++) {
      const page = pool + unit * PAGE;
      if (page + PAGE > words.byteLength || core.pool_references(page) !== 0) continue;
      const first = page / 4;
      for (let word = first; word < first + PAGE / 4; word++) {
        if (words[word] !== 0) return `a free page was written to, at entry ${(word - first) >> 1}`;
      }
    }
    return undefined;
  }
}
