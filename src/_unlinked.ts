/** Tables that are in no tree: built aside to replace a block, or detached by a map. */
import type { TableCore } from "./_table.ts";
import { disposed } from "./_context.ts";
import type { Entry } from "./decode.ts";
import { batches, entries, wantBits } from "./iterate.ts";
import { levelShift } from "./decode.ts";

/** A table page, with what hangs below it, that no entry points at. Free it with {@link Stage2.freeUnlinked}. */
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
  close(): void {
    this.#pointer = 0;
  }
}
