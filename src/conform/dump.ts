/**
 * The two listings that vectors digest: the dump of a whole table, and the visits of a walk.
 *
 *   P <n> <references>               n-th root page, before its entries
 *   T <level> <address> <references> table entry; the references are the child's; its entries follow
 *   L <level> <address> <entry>      valid leaf
 *   A <level> <address> <entry>      invalid, but not zero
 *   U <level> <references>           unlinked table, after the root pages
 *
 *   <leaf|pre|post> <level> <address> <entry|table>
 */
import { BATCH, LIST, RECORD_BYTES } from "../_abi.ts";
import { isTable } from "./events.ts";
import { type Lines, token } from "./lines.ts";
import type { Machine, Seat } from "./machine.ts";
import { ROW, type RowSink } from "./rows.ts";
import type { Table, Unlinked } from "./table.ts";

const WANT = LIST.LEAVES | LIST.TABLES | LIST.INVALID;
const VISITED = { LEAF: 1, PRE: 2, POST: 4 } as const;
const LISTED_TABLE = 2;
/** Below every level: where a listing starts. */
const FLOOR = -2n;

const TABLE = token(" table");
const VISIT_WORDS: Readonly<Record<number, Uint8Array>> = {
  [VISITED.LEAF]: token("leaf "),
  [VISITED.PRE]: token("pre "),
  [VISITED.POST]: token("post "),
};

/** Reads the batch buffer of a thread. */
class Batch {
  readonly #u8: Uint8Array;
  readonly #u32: Uint32Array;
  readonly #start: number;

  constructor(machine: Machine, seat: Seat) {
    this.#u8 = machine.u8;
    this.#u32 = machine.u32;
    this.#start = seat.core.batch() >>> 0;
  }

  at(index: number): number {
    return this.#start + index * RECORD_BYTES;
  }

  level(at: number): number {
    return ((this.#u8[at + BATCH.LEVEL] as number) << 24) >> 24;
  }

  visit(at: number): number {
    return this.#u8[at + BATCH.VISIT] as number;
  }

  word(at: number): number {
    return this.#u32[at >>> 2] as number;
  }

  putHex(lines: Lines, at: number): void {
    lines.space();
    lines.hex(this.word(at + 4), this.word(at));
  }
}

/** Hands on the rows of a table's dump, and those of its unlinked table if there is one. */
export function dumpTable(machine: Machine, table: Table, sink: RowSink): void {
  const { core } = machine.home;
  const root = core.pgt_root(table.pointer) >>> 0;
  if (root !== 0) dumpRoot(machine, table, root, sink);
  if (table.unlinked !== undefined) dumpUnlinked(machine, table, table.unlinked, sink);
}

function dumpRoot(machine: Machine, table: Table, root: number, sink: RowSink): void {
  const { core } = machine.home;
  const batch = new Batch(machine, machine.home);
  let page = 0;
  const announceRoots = (upTo: number): void => {
    for (; page <= upTo; page++) {
      const pointer = root + page * 2 ** table.pageShift;
      sink.row(ROW.ROOT, page, 0, 0, 0, core.pool_references(pointer | 0));
    }
  };
  const list = (): number => core.pgt_list(table.pointer, WANT);
  listAll(machine, batch, 1n << BigInt(table.iaBits), list, (at) => {
    if (batch.level(at) === table.startLevel)
      announceRoots((batch.word(at + BATCH.SLOT) - root) >>> table.pageShift);
    passEntry(batch, sink, at);
  });
  announceRoots(table.rootPages - 1);
}

function dumpUnlinked(machine: Machine, table: Table, unlinked: Unlinked, sink: RowSink): void {
  const { core } = machine.home;
  const { pointer, level } = unlinked;
  const batch = new Batch(machine, machine.home);
  sink.row(ROW.UNLINKED, level, 0, 0, 0, core.pool_references(pointer));
  const bits = table.pageShift + (3 - level) * (table.pageShift - 3);
  const list = (): number => core.pgt_list_unlinked(table.pointer, pointer, level + 1, WANT);
  listAll(machine, batch, 1n << BigInt(bits), list, (at) => passEntry(batch, sink, at));
}

/** Runs a resumable listing to its end. */
function listAll(
  machine: Machine,
  batch: Batch,
  end: bigint,
  list: () => number,
  each: (at: number) => void,
): void {
  const { home } = machine;
  home.give(0n, end, BigInt.asUintN(64, FLOOR));
  for (;;) {
    const [address, level] = [home.argument(0), home.argument(2)];
    const found = list();
    if (found === 0) return;
    if (found < 0) throw new Error(`the table cannot be listed: ${found}`);
    if (home.argument(0) === address && home.argument(2) === level)
      throw new Error("the listing does not move on");
    for (let i = 0; i < found; i++) each(batch.at(i));
  }
}

function passEntry(batch: Batch, sink: RowSink, at: number): void {
  const level = batch.level(at);
  const high = batch.word(at + BATCH.ADDRESS + 4);
  const low = batch.word(at + BATCH.ADDRESS);
  if (batch.visit(at) === LISTED_TABLE) {
    sink.row(ROW.TABLE, level, high, low, 0, batch.word(at + BATCH.REFERENCES));
    return;
  }
  const entry = batch.word(at + BATCH.ENTRY);
  const letter = (entry & 1) === 1 ? ROW.LEAF : ROW.INVALID;
  sink.row(letter, level, high, low, batch.word(at + BATCH.ENTRY + 4), entry);
}

/** What a recording walk answers, for `skip` records left out of the batch buffer. */
export type Walk = (skip: number) => number;

/** Repeats a recording walk, which changes nothing, until all its visits are written. Answers as the walk does. */
export function writeVisits(machine: Machine, walk: Walk, lines: Lines): number {
  const { seat } = machine;
  const batch = new Batch(machine, seat);
  const capacity = seat.core.batch_capacity();
  for (let skip = 0; ; skip += capacity) {
    const ret = walk(skip);
    const visits = seat.signed(0);
    const here = Math.min(visits - skip, capacity);
    for (let i = 0; i < here; i++) writeVisit(batch, lines, batch.at(i));
    if (visits <= skip + capacity) return ret;
  }
}

function writeVisit(batch: Batch, lines: Lines, at: number): void {
  const level = batch.level(at);
  lines.put(VISIT_WORDS[batch.visit(at)] as Uint8Array);
  lines.decimal(level);
  batch.putHex(lines, at + BATCH.ADDRESS);
  if (isTable(batch.word(at + BATCH.ENTRY), level)) lines.put(TABLE);
  else batch.putHex(lines, at + BATCH.ENTRY);
  lines.end();
}
