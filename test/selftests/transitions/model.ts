/**
 * What stage 2 must hold, page by page and block by block, by the rules alone (M-5, M-6.1, M-7, M-8): no page tables, one guest.
 * Which page the host has, it is told; so also which ranges the host invalidates.
 */

/** A leaf: its rights beside reading. */
export interface Rights {
  readonly w: boolean;
  readonly x: boolean;
}

/** A block of the guest's memory: one leaf, or pages of which some are mapped. */
type Block = { leaf: Rights } | { leaf: undefined; pages: Map<number, Rights> };

export interface Access {
  readonly page: number;
  readonly write: boolean;
  readonly exec: boolean;
}

/** What the host has at a page, once the fault got it. */
export interface HostLeaf {
  readonly writable: boolean;
  /** It maps the page with a block. */
  readonly block: boolean;
}

export class Model {
  readonly #each: number;
  readonly #blocks: Block[];
  #logging = false;
  readonly #dirty = new Set<number>();

  /** `each`: pages of a block. */
  constructor(blocks: number, each: number) {
    this.#each = each;
    this.#blocks = Array.from({ length: blocks }, () => empty());
  }

  /** Whether the access would fault, and whether for its rights. */
  fault({ page, write, exec }: Access): "none" | "translation" | "permission" {
    const rights = this.#rights(page);
    if (rights === undefined) return "translation";
    return (write && !rights.w) || (exec && !rights.x) ? "permission" : "none";
  }

  /** The fault was handled, with this page of the host's. */
  handled(access: Access, kind: "translation" | "permission", host: HostLeaf): void {
    const { page, write, exec } = access;
    const number = Math.floor(page / this.#each);
    const block = this.#blocks[number] as Block;
    const rights = { w: host.writable && (write || !this.#logging), x: exec };
    if (this.#logging && rights.w) this.#dirty.add(page);
    if (block.leaf !== undefined) {
      // A permission fault: the block keeps its size, unless its pages are logged one by one.
      if (this.#logging) this.#blocks[number] = pages([[page, rights]]);
      else block.leaf = union(block.leaf, rights);
    } else if (host.block && !this.#logging) {
      this.#blocks[number] = { leaf: rights }; // over what pages there are
    } else {
      block.pages.set(page, kind === "permission" ? union(this.#rights(page), rights) : rights);
    }
  }

  /** Pages [first, end) are unmapped: every leaf that they meet is gone. */
  unmap(first: number, end: number): void {
    this.#visit(first, end, (block, number) => {
      if (block.leaf !== undefined) this.#blocks[number] = empty();
      else
        for (const page of [...block.pages.keys()])
          if (page >= first && page < end) block.pages.delete(page);
    });
  }

  /** Pages [first, end) lose W, and so does a block that they meet. */
  protect(first: number, end: number): void {
    this.#visit(first, end, (block) => {
      if (block.leaf !== undefined) block.leaf = { ...block.leaf, w: false };
      else
        for (const [page, rights] of block.pages)
          if (page >= first && page < end) block.pages.set(page, { ...rights, w: false });
    });
  }

  /** `eager`: blocks are split at once. */
  logOn(eager: boolean): void {
    this.#logging = true;
    this.#dirty.clear();
    this.protect(0, this.#blocks.length * this.#each);
    if (!eager) return;
    this.#blocks.forEach((block, number) => {
      const { leaf } = block;
      if (leaf === undefined) return;
      const numbers = Array.from({ length: this.#each }, (_, n) => number * this.#each + n);
      this.#blocks[number] = pages(numbers.map((page) => [page, leaf]));
    });
  }

  logOff(): void {
    this.#logging = false;
  }

  /** What a get of the log gives; it protects from the first to the last bit of every word. */
  takeLog(): number[] {
    const taken = [...this.#dirty].sort((a, b) => a - b);
    this.#dirty.clear();
    for (let n = 0; n < taken.length;) {
      const word = Math.floor((taken[n] as number) / 64);
      let last = n;
      while (last + 1 < taken.length && Math.floor((taken[last + 1] as number) / 64) === word)
        last++;
      this.protect(taken[n] as number, (taken[last] as number) + 1);
      n = last + 1;
    }
    return taken;
  }

  get logging(): boolean {
    return this.#logging;
  }

  /** All leaves, ascending: first page, pages, rights. */
  *leaves(): Generator<readonly [page: number, pages: number, rights: Rights], void, undefined> {
    for (const [number, block] of this.#blocks.entries()) {
      if (block.leaf !== undefined) yield [number * this.#each, this.#each, block.leaf];
      else
        for (const page of [...block.pages.keys()].sort((a, b) => a - b))
          yield [page, 1, block.pages.get(page) as Rights];
    }
  }

  #rights(page: number): Rights | undefined {
    const block = this.#blocks[Math.floor(page / this.#each)] as Block;
    return block.leaf ?? block.pages.get(page);
  }

  #visit(first: number, end: number, visit: (block: Block, number: number) => void): void {
    for (let number = Math.floor(first / this.#each); number * this.#each < end; number++) {
      visit(this.#blocks[number] as Block, number);
    }
  }
}

function empty(): Block {
  return pages([]);
}

function pages(entries: [number, Rights][]): Block {
  return { leaf: undefined, pages: new Map(entries) };
}

/** Rights are only added. */
function union(one: Rights | undefined, other: Rights): Rights {
  return { w: (one?.w ?? false) || other.w, x: (one?.x ?? false) || other.x };
}
