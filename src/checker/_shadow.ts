/** Page tables as the events tell of them: every entry's value, who wrote it, and which page hangs where. */
import { type Format, entrySize, isTable, isValid, tableAddress } from "./_bits.ts";
import type { Residue } from "./_residue.ts";
import type { Agent } from "./rules.ts";

/** A page table. */
export interface Tree {
  readonly root: number;
  readonly rootBytes: number;
  readonly format: Format;
  readonly vmid: number | undefined;
  /** Tables that were freed while linked: right if all of the page table goes, wrong otherwise. */
  readonly loose: { readonly page: TablePage; readonly by: Agent; readonly at: number }[];
}

/** An entry as it was written last. */
export interface Written {
  readonly value: bigint;
  readonly level: number | undefined;
  /** First input address, where it is known. */
  readonly address: number | undefined;
  readonly by: Agent;
  readonly at: number;
}

/** A page of a page table. */
export interface TablePage {
  readonly pa: number;
  /** The page table whose root it is part of. */
  readonly rootOf: Tree | undefined;
  /** What was written; an entry that is not here is zero, or unknown where the page was met half way. */
  readonly slots: Map<number, Written>;
  readonly known: boolean;
  /** The entry that points at it, or did before it was unlinked. */
  parent: number | undefined;
  /** What is left in TLBs of the entry that pointed at it; undefined while one does, or never did. */
  unlinked: Residue | undefined;
  freed: { readonly by: Agent; readonly at: number } | undefined;
}

/** Table pages start at multiples of their size, which is one of these. */
const PAGE_SIZES = [2 ** 12, 2 ** 14, 2 ** 16];
/** Longest way from a page to the root. */
const LEVELS = 5;

export class Shadow {
  readonly #pages = new Map<number, TablePage>();
  readonly #trees = new Map<number, Tree>();

  get trees(): Iterable<Tree> {
    return this.#trees.values();
  }

  /** A root of zeroes, or of what nobody knows. */
  addTree(tree: Tree, known: boolean): void {
    this.#trees.set(tree.root, tree);
    const step = 2 ** tree.format.pageShift;
    const end = tree.root + Math.max(step, tree.rootBytes);
    for (let pa = tree.root; pa < end; pa += step) this.#pages.set(pa, newPage(pa, tree, known));
  }

  /** A page table is gone, with all its pages. */
  dropTree(tree: Tree): void {
    const gone = [...this.#pages].filter(([, page]) => this.treeOf(page) === tree); // while all parents are there
    this.#trees.delete(tree.root);
    for (const [pa] of gone) this.#pages.delete(pa);
  }

  /** What the entries hold, and which pages there are, is unknown from now on. */
  forget(): void {
    this.#pages.clear();
    for (const tree of this.#trees.values()) {
      tree.loose.length = 0;
      this.addTree(tree, false);
    }
  }

  treeAt(root: number): Tree | undefined {
    return this.#trees.get(root);
  }

  /** A page that no entry points at yet: of zeroes, or met half way. */
  addPage(pa: number, known: boolean): TablePage {
    const page = newPage(pa, undefined, known);
    this.#pages.set(pa, page);
    return page;
  }

  pageAt(pa: number): TablePage | undefined {
    return this.#pages.get(pa);
  }

  /** The page that holds an entry. */
  pageOf(slot: number): TablePage | undefined {
    for (const size of PAGE_SIZES) {
      const page = this.#pages.get(slot - (slot % size));
      if (page !== undefined && (size === PAGE_SIZES[0] || this.#isAsLarge(page, size)))
        return page;
    }
    return undefined;
  }

  /** The page table that a page belongs or belonged to. */
  treeOf(page: TablePage | undefined): Tree | undefined {
    return this.#climb(page, () => false)?.rootOf;
  }

  /** What was unlinked on the way from the root to this page: the page itself, or a table above it. */
  unlinkedAbove(page: TablePage): Residue | undefined {
    return this.#climb(page, ({ unlinked }) => unlinked !== undefined)?.unlinked;
  }

  /** Whether a walk of hardware can come to this page. */
  isLinked(page: TablePage): boolean {
    const top = this.#climb(page, ({ unlinked }) => unlinked !== undefined);
    return top !== undefined && top.unlinked === undefined && top.rootOf !== undefined;
  }

  /** Whether any leaf hangs below a table. */
  hasLeaves(page: TablePage | undefined, format: Format): boolean {
    if (page === undefined) return false;
    for (const { value, level } of page.slots.values()) {
      if (!isValid(value, level)) continue;
      if (!isTable(value, level)) return true;
      if (this.hasLeaves(this.#pages.get(tableAddress(value, format)), format)) return true;
    }
    return false;
  }

  /** The entry that maps to this output address, whoever wrote it last. Slow: for reports. */
  leafTo(pa: number): { readonly slot: number; readonly written: Written } | undefined {
    for (const page of this.#pages.values()) {
      const format = this.treeOf(page)?.format;
      if (format === undefined) continue;
      for (const [slot, written] of page.slots) {
        const { value, level } = written;
        if (level === undefined || !isValid(value, level) || isTable(value, level)) continue;
        const first = tableAddress(value, format);
        if (pa >= first && pa < first + entrySize(format.pageShift, level))
          return { slot, written };
      }
    }
    return undefined;
  }

  /** Whether a page has this size. One that hangs in no tree yet may have. */
  #isAsLarge(page: TablePage, size: number): boolean {
    const tree = this.treeOf(page);
    return tree === undefined || 2 ** tree.format.pageShift >= size;
  }

  /** The first page on the way up for which `stop` holds, or the last one that is known. */
  #climb(page: TablePage | undefined, stop: (page: TablePage) => boolean): TablePage | undefined {
    let at = page;
    for (let up = 0; at !== undefined && up < LEVELS && !stop(at); up++) {
      if (at.rootOf !== undefined || at.parent === undefined) return at;
      at = this.pageOf(at.parent);
    }
    return at;
  }
}

function newPage(pa: number, rootOf: Tree | undefined, known: boolean): TablePage {
  const links = { parent: undefined, unlinked: undefined, freed: undefined };
  return { pa, rootOf, known, slots: new Map(), ...links };
}

/** What an entry of a page holds; `undefined` if nobody knows. */
export function valueIn(page: TablePage, slot: number): bigint | undefined {
  return page.slots.get(slot)?.value ?? (page.known ? 0n : undefined);
}
