/** Tables that are in no tree: built aside to replace a block, or detached by a map. */
import { OPTION } from "./_abi.ts";
import { disposed } from "./_context.ts";
import type { Event } from "./_event_record.ts";
import type { TableCore } from "./_table.ts";
import { type Entry, levelShift } from "./decode.ts";
import { Stage2Error } from "./errors.ts";
import { forgetUnlinked, unlinkedBy } from "./events.ts";
import { batches, entries, wantBits } from "./iterate.ts";

/**
 * A table page, with what hangs below it, that no entry points at. Free it with {@link Stage2.freeUnlinked}; one that is
 * open when its page table is disposed is freed with it.
 */
export class UnlinkedTable {
  /** Level of the entry that pointed at it or could; its own entries are one level down. */
  readonly level: number;
  readonly #table: TableCore;
  #pointer: number;

  /** @internal */
  constructor(table: TableCore, pointer: number, level: number) {
    this.#table = table;
    this.#pointer = pointer;
    this.level = level;
    table.aside.add(this);
  }

  /** The table that an `unlink` event tells of: it can be taken once. @internal */
  static adopt(table: TableCore, event: Event): UnlinkedTable {
    const { context, shape, pointer } = table; // refuses a disposed table first
    if ((shape.bits & OPTION.KEEP_UNLINKED) === 0) {
      throw new Stage2Error("BAD_OPTION", "without keepUnlinked the tables are freed already");
    }
    const found = unlinkedBy(event);
    if (found === undefined) {
      throw new Stage2Error("BAD_OPTION", "this is no unlink event, or its table was adopted");
    }
    const generation = context.core.pgt_generation(pointer);
    if (found.engine !== context.id || found.table !== pointer || found.generation !== generation) {
      throw new Stage2Error("FOREIGN", "another page table detached it");
    }
    forgetUnlinked(event);
    return new UnlinkedTable(table, context.pointer(found.pa), found.level);
  }

  /** Physical address of the table page. */
  get pa(): number {
    return this.#table.context.physical(this.pointer);
  }

  /** Its entries, with addresses from 0; lazy as {@link Stage2.entries}. */
  entries(): Generator<Entry, void, undefined> {
    const { context, shape, decoder } = this.#table;
    const end = 2 ** levelShift(shape.pageShift, this.level);
    const list = (): number =>
      context.core.pgt_list_unlinked(
        this.#table.pointer,
        this.pointer,
        this.level + 1,
        wantBits({}),
      );
    return entries(batches(context, 0, end, list), decoder);
  }

  /** @internal */
  get pointer(): number {
    if (this.#pointer === 0) throw disposed("unlinked table");
    return this.#pointer;
  }

  /** Whether it was taken off this page table. @internal */
  belongsTo(table: TableCore): boolean {
    return this.#table === table;
  }

  /** @internal */
  free(): void {
    const { context, pointer, aside } = this.#table;
    context.core.s2_free_unlinked(pointer, this.pointer, this.level);
    this.#pointer = 0;
    aside.delete(this);
  }
}
