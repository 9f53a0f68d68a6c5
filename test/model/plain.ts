/**
 * A stage 2 as a plain Map from addresses to leaves, with no tables: what the operations mean, by the rules of the
 * page-table library, in the simplest words. Addresses and sizes are multiples of a page.
 */
import { Prot } from "../../src/index.ts";

/** A valid leaf, or a page that carries an owner. */
export type Cell =
  | { readonly size: number; readonly pa: number; readonly prot: number; readonly young: boolean }
  | { readonly size: number; readonly owner: number };

type LeafCell = Extract<Cell, { pa: number }>;

export interface MapArguments {
  ipa: number;
  size: number;
  pa: number;
  prot: number;
  forcePages: boolean;
  /** Stop at the first "again". */
  handleFault: boolean;
}

export interface Span {
  ipa: number;
  size: number;
}

const RIGHTS = Prot.R | Prot.W | Prot.X;
const SOFTWARE = Prot.SW0 | Prot.SW1 | Prot.SW2 | Prot.SW3;

const isLeaf = (cell: Cell): cell is LeafCell => "pa" in cell;

export class PlainStage2 {
  readonly cells = new Map<number, Cell>();
  readonly #page: number;
  readonly #block: number;

  /** Sizes of a page and of a block one level up; larger blocks are out of the model's reach. */
  constructor(page: number, block: number) {
    this.#page = page;
    this.#block = block;
  }

  map({ ipa, size, pa, prot, forcePages, handleFault }: MapArguments): "ok" | "again" {
    let done = 0;
    while (done < size) {
      const at = ipa + done;
      const fits = at % this.#block === 0 && (pa + done) % this.#block === 0;
      const useBlock = fits && !forcePages && size - done >= this.#block;
      const leaf = { size: useBlock ? this.#block : this.#page, pa: pa + done, prot, young: true };
      const kept = this.#keeps(at, leaf);
      if (kept && handleFault) return "again";
      if (!kept) this.#put(at, leaf);
      done += leaf.size;
    }
    return "ok";
  }

  setOwner({ ipa, size, owner }: Span & { owner: number }): void {
    for (let at = ipa; at < ipa + size; at += this.#page) {
      this.#put(at, { size: this.#page, owner });
      if (owner === 0) this.cells.delete(at);
    }
  }

  unmap(span: Span): void {
    for (const [at] of this.#touching(span)) this.cells.delete(at);
  }

  wrprotect(span: Span): void {
    for (const [at, leaf] of this.#leaves(span)) {
      this.cells.set(at, { ...leaf, prot: leaf.prot & ~Prot.W });
    }
  }

  relaxPerms({ ipa, prot }: { ipa: number; prot: number }): "ok" | "again" {
    for (const [at, leaf] of this.#leaves({ ipa, size: 1 })) {
      this.cells.set(at, { ...leaf, prot: leaf.prot | (prot & RIGHTS) });
      return "ok";
    }
    return "again";
  }

  mkyoung(ipa: number): boolean {
    for (const [at, leaf] of this.#leaves({ ipa, size: 1 })) {
      this.cells.set(at, { ...leaf, young: true });
      return true;
    }
    return false;
  }

  testClearYoung(span: Span, clear: boolean): boolean {
    let young = false;
    for (const [at, leaf] of this.#leaves(span)) {
      young ||= leaf.young;
      if (clear) this.cells.set(at, { ...leaf, young: false });
    }
    return young;
  }

  split(span: Span): void {
    for (const [at, leaf] of this.#leaves(span)) {
      if (leaf.size === this.#page) continue;
      const prot = leaf.prot & (RIGHTS | SOFTWARE);
      for (let inside = 0; inside < leaf.size; inside += this.#page) {
        this.cells.set(at + inside, { size: this.#page, pa: leaf.pa + inside, prot, young: true });
      }
    }
  }

  lookup(ipa: number): number | undefined {
    for (const [at, leaf] of this.#leaves({ ipa, size: 1 })) return leaf.pa + (ipa - at);
    return undefined;
  }

  /** Whether what is there stays: a young leaf of this size that differs at most in its rights. */
  #keeps(at: number, wanted: LeafCell): boolean {
    const old = this.cells.get(at);
    if (old === undefined || !isLeaf(old) || !old.young || old.size !== wanted.size) return false;
    return old.pa === wanted.pa && (old.prot & ~RIGHTS) === (wanted.prot & ~RIGHTS);
  }

  /** Puts a cell where others were: they are gone, a block that is met only in part as a whole. */
  #put(at: number, cell: Cell): void {
    for (const [old] of this.#touching({ ipa: at, size: cell.size })) this.cells.delete(old);
    this.cells.set(at, cell);
  }

  #touching({ ipa, size }: Span): [number, Cell][] {
    const found: [number, Cell][] = [];
    const first = ipa - (ipa % this.#page);
    const blockStart = ipa - (ipa % this.#block);
    const around = this.cells.get(blockStart);
    if (blockStart < first && around?.size === this.#block) found.push([blockStart, around]);
    for (let at = first; at < ipa + size; at += this.#page) {
      const cell = this.cells.get(at);
      if (cell !== undefined) found.push([at, cell]);
    }
    return found;
  }

  #leaves(span: Span): [number, LeafCell][] {
    return this.#touching(span).filter((entry): entry is [number, LeafCell] => isLeaf(entry[1]));
  }
}
