/** A guest as the hypervisor has it: life, vCPUs with their memcaches, what is mapped, and the pages that pay for it. */
import { HANDLE_OFFSET, OWNER } from "../../../src/pkvm/_abi.ts";
import { type Geometry, tablesTo } from "./geometry.ts";
import type { Page, State } from "./memory.ts";

/** What a guest maps. */
export interface Leaf {
  readonly gfn: number;
  readonly pfn: number;
  /** Pages: 1, or those of a block. */
  readonly pages: number;
  /** R 4, W 2, X 1. */
  prot: number;
  young: boolean;
  state: State;
}

/** A vCPU of the hypervisor. */
export interface Vcpu {
  readonly index: number;
  /** Pages admitted for tables, and in none yet. */
  memcache: number;
  /** The CPU that has it loaded. */
  loadedOn: number | undefined;
}

export interface VmStart {
  readonly handle: number;
  readonly isProtected: boolean;
  readonly created: number;
  /** The host's struct, which stays the host's; the pages of the VM. */
  readonly shared: Page;
  readonly donated: readonly Page[];
}

export class Vm {
  readonly handle: number;
  readonly isProtected: boolean;
  /** vCPUs that may be made, and those that were. */
  readonly created: number;
  readonly vcpus: Vcpu[] = [];
  readonly shared: Page;
  /** Every page that goes back to the host at the end. */
  readonly donated: Page[];
  /** By their first guest page. */
  readonly leaves = new Map<number, Leaf>();
  /** Guest pages that were taken back by force. */
  readonly poison = new Set<number>();
  references = 0;
  isDying = false;
  /** Pages of its tables that it does not need any more. */
  spare = 0;
  readonly #geometry: Geometry;
  /** Entries below a table; one that has none does not exist. */
  readonly #tables = new Map<string, number>();

  constructor(geometry: Geometry, start: VmStart) {
    this.#geometry = geometry;
    this.handle = start.handle;
    this.isProtected = start.isProtected;
    this.created = start.created;
    this.shared = start.shared;
    this.donated = [...start.donated];
  }

  /** What maps a guest page. */
  leafAt(gfn: number): Leaf | undefined {
    const page = this.leaves.get(gfn);
    if (page !== undefined) return page;
    const block = this.leaves.get(gfn - (gfn % this.#geometry.blockPages));
    return block !== undefined && block.gfn + block.pages > gfn ? block : undefined;
  }

  /** Every leaf that a range meets, ascending. */
  leavesIn(gfn: number, pages: number): Leaf[] {
    const found = new Set<Leaf>();
    for (let at = gfn; at < gfn + pages; at++) {
      const leaf = this.leafAt(at);
      if (leaf !== undefined) found.add(leaf);
    }
    return [...found];
  }

  /** Nothing is mapped there, and nothing was taken back by force. */
  isFree(gfn: number, pages: number): boolean {
    for (let at = gfn; at < gfn + pages; at++)
      if (this.poison.has(at) || this.leafAt(at) !== undefined) return false;
    return true;
  }

  /** Table pages that a leaf there needs and the VM does not have. */
  missingTables(gfn: number, pages: number): number {
    return this.#path(gfn, pages).filter((key) => !this.#tables.has(key)).length;
  }

  /** Puts a leaf, out of what is spare first and then out of a vCPU's memcache. There is room. */
  put(leaf: Leaf, vcpu: Vcpu): void {
    const missing = this.missingTables(leaf.gfn, leaf.pages);
    const spare = Math.min(missing, this.spare);
    this.spare -= spare;
    vcpu.memcache -= missing - spare;
    this.leaves.set(leaf.gfn, leaf);
    this.#count(leaf.gfn, leaf.pages, 1);
  }

  /** Takes it away; tables that are empty then are spare. */
  remove(leaf: Leaf): void {
    this.leaves.delete(leaf.gfn);
    this.spare += this.#count(leaf.gfn, leaf.pages, -1);
  }

  /** The page behind it is gone for good: nothing is ever mapped there again. */
  poisonAt(leaf: Leaf): void {
    this.leaves.delete(leaf.gfn);
    this.poison.add(leaf.gfn);
  }

  get tables(): number {
    return this.#tables.size;
  }

  /** What its pages carry in the host's stage 2. */
  annotation(gfn: number): bigint {
    const index = BigInt(this.handle - HANDLE_OFFSET);
    return (BigInt(OWNER.GUEST) << 2n) | (BigInt(gfn) << 12n) | (index << 56n);
  }

  #path(gfn: number, pages: number): string[] {
    return tablesTo(this.#geometry, gfn, pages === 1 ? 3 : 2);
  }

  /** How many tables went empty. */
  #count(gfn: number, pages: number, by: 1 | -1): number {
    let emptied = 0;
    for (const key of this.#path(gfn, pages)) {
      const entries = (this.#tables.get(key) ?? 0) + by;
      if (entries > 0) this.#tables.set(key, entries);
      else if (this.#tables.delete(key)) emptied++;
    }
    return emptied;
  }
}
