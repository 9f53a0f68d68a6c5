/** Arguments at random: what a sensible caller would say, and what a hostile one would. */
import { HANDLE_OFFSET } from "../../src/pkvm/_abi.ts";
import { OWNED, type Page } from "./model/memory.ts";
import type { State } from "./model/state.ts";
import type { Memcache } from "./model/words.ts";
import type { Chance } from "./random.ts";

const FAVOURITES = 14;
const LAST = 2n ** 64n - 1n;

/** Words that trip what adds, shifts or truncates without looking. */
const TRAPS: readonly bigint[] = [
  0n,
  LAST,
  LAST - 1n,
  2n ** 63n,
  2n ** 52n,
  2n ** 52n - 1n,
  2n ** 40n,
  2n ** 32n,
  2n ** 28n,
  2n ** 28n - 1n,
];

export class WordSource {
  readonly #chance: Chance;
  readonly #state: State;
  /** Pages outside the block. */
  readonly #pages: readonly Page[];
  /** First page of a block that single pages are seldom taken out of: it can be lent as a whole. */
  readonly #block: number;
  /** Pages that most calls are about. */
  readonly #favourites: readonly Page[];
  readonly #hostilePages: readonly bigint[];

  constructor(chance: Chance, state: State) {
    this.#chance = chance;
    this.#state = state;
    const { blockPages } = state.geometry;
    this.#block = Math.ceil((state.memory.pages[0] as Page).pfn / blockPages) * blockPages;
    const isInBlock = ({ pfn }: Page): boolean =>
      pfn >= this.#block && pfn < this.#block + blockPages;
    this.#pages = state.memory.pages.filter((page) => !isInBlock(page));
    const inside = state.memory.pages.filter(isInBlock);
    this.#favourites = Array.from({ length: FAVOURITES }, (_, index) =>
      chance.of(index === 0 && inside.length > 0 ? inside : this.#pages),
    );
    this.#hostilePages = state.memory.regions.flatMap(({ first, end }) =>
      [first - 1, first, end - 1, end].map(BigInt),
    );
  }

  /** Any word at all: often one that is nearly right. */
  hostile(): bigint {
    const chance = this.#chance;
    if (chance.once(3)) return chance.of(TRAPS);
    if (chance.once(3)) return chance.word();
    const near = BigInt(chance.of(this.#favourites).pfn);
    return near + (1n << BigInt(32 + chance.below(32)));
  }

  /** A page of memory. */
  page(): Page {
    return this.#chance.once(6) ? this.#chance.of(this.#pages) : this.#chance.of(this.#favourites);
  }

  /** `like`: what a call that works needs; it gets it more often than not. */
  pfn(like?: (page: Page) => boolean): bigint {
    const chance = this.#chance;
    if (chance.once(40)) return this.hostile();
    if (chance.once(30)) return chance.of(this.#hostilePages);
    const liked = like !== undefined && !chance.once(3) ? this.#favourites.filter(like) : [];
    return BigInt((liked.length > 0 ? chance.of(liked) : this.page()).pfn);
  }

  /** Pages that are the host's alone, for the hypervisor to take: found by trying. */
  free(count = 1): bigint {
    for (let tries = 0; tries < 20; tries++) {
      const at = this.#chance.below(this.#pages.length - count);
      if (this.#pages.slice(at, at + count).every(({ host }) => host === OWNED))
        return BigInt((this.#pages[at] as Page).pfn);
    }
    return this.pfn();
  }

  /** The first page of a block that is memory. */
  block(): bigint {
    const size = this.#state.geometry.blockPages;
    if (!this.#chance.once(4)) return BigInt(this.#block);
    const { pfn } = this.#chance.of(this.#pages);
    return BigInt(pfn - (pfn % size));
  }

  count(): bigint {
    const chance = this.#chance;
    if (!chance.once(6)) return 1n;
    return chance.of([0n, 2n, 3n, 7n, 511n, 512n, 513n, 1024n, this.hostile()]);
  }

  gfn(): bigint {
    const chance = this.#chance;
    const { blockPages, guestPages } = this.#state.geometry;
    if (chance.once(40)) return this.hostile();
    const base = chance.of([
      0,
      0,
      blockPages,
      2 * blockPages,
      blockPages ** 2,
      guestPages - blockPages,
    ]);
    if (chance.once(20)) return BigInt(guestPages - 1 + chance.below(3));
    return BigInt(base + chance.of([0, 0, 1, 2, 3, blockPages - 1]));
  }

  /** The first guest page of a block. */
  gfnBlock(): bigint {
    const { blockPages } = this.#state.geometry;
    if (!this.#chance.once(3)) return BigInt(blockPages * (4 + this.#chance.below(4)));
    const gfn = this.gfn();
    return gfn - (gfn % BigInt(blockPages));
  }

  /** A guest page that one maps, if there is any. */
  mappedGfn(handle: bigint): bigint {
    const leaves = [...(this.#state.vm(handle)?.leaves.keys() ?? [])];
    if (leaves.length === 0 || this.#chance.once(4)) return this.gfn();
    return BigInt(this.#chance.of(leaves));
  }

  handle(): bigint {
    const chance = this.#chance;
    const handles = [...this.#state.vms.keys()];
    if (handles.length > 0 && !chance.once(12)) return BigInt(chance.of(handles));
    const alias = BigInt(handles[0] ?? HANDLE_OFFSET) + (1n << BigInt(32 + chance.below(32)));
    const reserved = [...this.#state.reserved].map(BigInt);
    return chance.of([
      ...reserved,
      alias,
      0n,
      BigInt(HANDLE_OFFSET - 1),
      BigInt(HANDLE_OFFSET + 255),
      BigInt(HANDLE_OFFSET + chance.below(255)),
      this.hostile(),
    ]);
  }

  prot(): bigint {
    if (!this.#chance.once(16)) return BigInt(this.#chance.below(8));
    return this.#chance.of([8n, 16n, 32n, 7n | (1n << 32n), 7n | (1n << 63n), this.hostile()]);
  }

  /** Pages for a vCPU that has so many: a few more, a lie, or nothing. */
  memcache(held: number): Memcache | undefined {
    const chance = this.#chance;
    if (chance.once(3)) return undefined;
    if (chance.once(30)) return { count: this.hostile() | 65n, pages: [this.free()] };
    const count = chance.once(20) ? chance.below(65) : held + chance.below(4);
    const pages = Array.from({ length: Math.min(count, 64) }, () =>
      chance.once(25) ? this.pfn() : this.free(),
    );
    return { count: BigInt(pages.length), pages };
  }

  /** An address in bytes: memory, devices, nonsense. */
  address(): bigint {
    const chance = this.#chance;
    if (chance.once(10)) return this.hostile();
    if (chance.once(4)) return BigInt(chance.below(2 ** 32 - 1)) << BigInt(chance.below(9));
    const shift = BigInt(this.#state.world.pageShift);
    return (this.pfn() << shift) + BigInt(chance.of([0, 0, 1, 8, 4095]));
  }
}
