/** What TLBs may still hold of an entry that was taken away, and how far its invalidation has come. */
import type { Invalidation } from "./_steps.ts";
import type { Tree } from "./_shadow.ts";
import type { Agent } from "./rules.ts";

/** Addresses from the first to before the second. */
export type Interval = readonly [from: number, to: number];

/** What is known when an entry goes. */
export interface Removal {
  /** The page table, if it is known. */
  readonly tree: Tree | undefined;
  readonly slot: number;
  readonly level: number | undefined;
  /** Input addresses that the entry translated. */
  readonly span: Interval;
  /** Output addresses of a leaf; where the next table is, for a table. */
  readonly output: Interval;
  readonly isTable: boolean;
  /** Leaves hung below the table when it went: all its addresses need invalidation, not one of them. */
  readonly wide: boolean;
  /** The entry stayed, with fewer rights: nothing need be invalidated before the next store. */
  readonly soft: boolean;
  /** Who took it away, when, and how many barriers it had logged by then. */
  readonly by: Agent;
  readonly at: number;
  readonly barriers: number;
}

/** A translation that is gone from memory. */
export class Residue implements Removal {
  readonly tree: Tree | undefined;
  readonly slot: number;
  readonly level: number | undefined;
  readonly span: Interval;
  readonly output: Interval;
  readonly isTable: boolean;
  readonly wide: boolean;
  readonly soft: boolean;
  readonly by: Agent;
  readonly at: number;
  readonly barriers: number;
  /** Whose invalidation was completed, and when; undefined while TLBs may hold it. */
  cleaned: { readonly by: Agent; readonly at: number } | undefined;
  /** A violation on it was reported: the same is not said twice. */
  reported = false;
  /** An invalidation of it is under way. */
  started = false;
  #left: Interval[];

  constructor(removal: Removal) {
    this.tree = removal.tree;
    this.slot = removal.slot;
    this.level = removal.level;
    this.span = removal.span;
    this.output = removal.output;
    this.isTable = removal.isTable;
    this.wide = removal.wide;
    this.soft = removal.soft;
    this.by = removal.by;
    this.at = removal.at;
    this.barriers = removal.barriers;
    this.#left = [removal.span];
  }

  /** The addresses that an invalidation takes care of, if any: of an entry all, of a table with leaves just its own. */
  coveredBy({ from, to, level, leaf }: Invalidation): Interval | undefined {
    const [first, end] = this.span;
    if (to <= first || from >= end) return undefined;
    if (level !== undefined && this.level !== undefined && level !== this.level) return undefined;
    if (leaf && this.isTable) return undefined;
    return this.wide ? [Math.max(first, from), Math.min(end, to)] : this.span;
  }

  /** An invalidation of these addresses is complete. True: that was the last of them. */
  clean([from, to]: Interval): boolean {
    this.#left = this.#left.flatMap(([first, end]) => {
      if (to <= first || from >= end) return [[first, end] as const];
      const rest: Interval[] = [];
      if (first < from) rest.push([first, from]);
      if (to < end) rest.push([to, end]);
      return rest;
    });
    return this.#left.length === 0;
  }

  overlaps([from, to]: Interval): boolean {
    return from < this.span[1] && to > this.span[0];
  }
}

/** Whether two may be the same page table: what is unknown may be any. */
export function sameTree(a: Tree | undefined, b: Tree | undefined): boolean {
  return a === undefined || b === undefined || a === b;
}
