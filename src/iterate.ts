/**
 * Lazy listing of a page table.
 *
 * Entries come in ascending order, a table before what it holds. The core hands them over in batches; a batch is what the
 * table holds at one moment, and the next batch goes on behind it, reading the table as it is by then. So an iteration
 * never meets an address twice at one level, sees every entry that did not change meanwhile, and sees changes made ahead
 * of it by more than a batch. A block that appeared around the place where a batch goes on is shown whole. Nothing is
 * locked or held between steps: leaving early, or changing and disposing the table meanwhile, is safe (after dispose the
 * next batch throws DISPOSED).
 */
import { BATCH, LIST, RECORD_BYTES } from "./_abi.ts";
import type { Context } from "./_context.ts";
import type { Decoder, Entry, Leaf, Table } from "./decode.ts";
import { check } from "./errors.ts";
import { flagOption, knownOptions } from "./range.ts";

const WORDS = RECORD_BYTES / 4;
const VISIT_TABLE = 2;
const FIRST_LEVEL_FLOOR = -2;

/** One batch of records, copied out of the core's buffer. */
export class Batch {
  readonly length: number;
  readonly #words: Uint32Array;
  readonly #longs: BigUint64Array;

  constructor(context: Context, length: number) {
    const first = (context.core.batch() >>> 0) / 4;
    this.length = length;
    this.#words = context.u32.slice(first, first + length * WORDS);
    this.#longs = new BigUint64Array(this.#words.buffer);
  }

  address(index: number): number {
    return this.#word(index, BATCH.ADDRESS + 4) * 2 ** 32 + this.#word(index, BATCH.ADDRESS);
  }

  low(index: number): number {
    return this.#word(index, BATCH.ENTRY);
  }

  high(index: number): number {
    return this.#word(index, BATCH.ENTRY + 4);
  }

  level(index: number): number {
    return (this.#word(index, BATCH.LEVEL) << 24) >> 24;
  }

  visit(index: number): number {
    return (this.#word(index, BATCH.LEVEL) >>> 8) & 0xff;
  }

  isTable(index: number): boolean {
    return this.visit(index) === VISIT_TABLE;
  }

  references(index: number): number {
    return this.#word(index, BATCH.REFERENCES);
  }

  slot(index: number): number {
    return this.#word(index, BATCH.SLOT);
  }

  pte(index: number): bigint {
    return this.#longs[(index * RECORD_BYTES + BATCH.ENTRY) / 8] as bigint;
  }

  entry(index: number, decoder: Decoder): Entry {
    const place = {
      ipa: this.address(index),
      level: this.level(index),
      pte: this.pte(index),
      isTable: this.isTable(index),
      references: this.references(index),
    };
    return decoder.entry(place, this.low(index), this.high(index));
  }

  #word(index: number, offset: number): number {
    return this.#words[index * WORDS + offset / 4] as number;
  }
}

/** Lists what the cursor in the argument block points at; how many records, or -errno. */
export type ListCall = () => number;

/** Batches of a listing from `start` to `end`. `list` is asked again for every batch. */
export function* batches(
  context: Context,
  start: number,
  end: number,
  list: ListCall,
): Generator<Batch, void, undefined> {
  let [next, last, floor] = [
    BigInt(start),
    BigInt(end),
    BigInt.asUintN(64, BigInt(FIRST_LEVEL_FLOOR)),
  ];
  while (true) {
    const args = context.args64;
    args[0] = next;
    args[1] = last;
    args[2] = floor;
    const length = check(list(), "list", { start, end });
    if (length === 0) return;
    [next, last, floor] = context.args64 as unknown as [bigint, bigint, bigint];
    yield new Batch(context, length);
  }
}

/** What a listing includes. */
export interface EntryFilter {
  /** Valid blocks and pages. Default true. */
  leaves?: boolean;
  /** Pointers to tables. Default true. */
  tables?: boolean;
  /** Annotations and entries that are being changed. Default true. */
  invalid?: boolean;
  /** Entries of zero. Default false. */
  empty?: boolean;
}

/** The core's `want` bits of a filter. */
export function wantBits(filter: EntryFilter): number {
  knownOptions("filter", filter, ["leaves", "tables", "invalid", "empty"]);
  const { leaves = true, tables = true, invalid = true, empty = false } = filter;
  return (
    (flagOption("leaves", leaves) ? LIST.LEAVES : 0) |
    (flagOption("tables", tables) ? LIST.TABLES : 0) |
    (flagOption("invalid", invalid) ? LIST.INVALID : 0) |
    (flagOption("empty", empty) ? LIST.EMPTY : 0)
  );
}

/** Decoded entries of a listing. */
export function* entries(
  source: Iterable<Batch>,
  decoder: Decoder,
): Generator<Entry, void, undefined> {
  for (const batch of source) {
    for (let i = 0; i < batch.length; i++) yield batch.entry(i, decoder);
  }
}

/** A listing of leaves alone, or of tables alone, by what it asked for. */
export function* only<K extends "leaf" | "table">(
  source: Iterable<Entry>,
  kind: K,
): Generator<K extends "leaf" ? Leaf : Table, void, undefined> {
  for (const entry of source) {
    if (entry.kind === kind) yield entry as K extends "leaf" ? Leaf : Table;
  }
}
