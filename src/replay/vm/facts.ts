/**
 * What is known of the host's memory: which page is at an address, and how large the leaf is that the host maps it with.
 *
 * A fact comes from the call that a fault made. From then on it holds, until a notifier tells that the host changes something
 * there: what is found otherwise before contradicts the record.
 */

/** Physical addresses by page, and sizes of leaves by the window that one block would map. */
export class HostFacts {
  readonly #pageBytes: number;
  readonly #blockBytes: number;
  readonly #pages = new Map<number, number>();
  readonly #leaves = new Map<number, number>();

  constructor(pageBytes: number, blockBytes: number) {
    this.#pageBytes = pageBytes;
    this.#blockBytes = blockBytes;
  }

  /** Physical address of the page at `hva`, if it is known. */
  page(hva: number): number | undefined {
    return this.#pages.get(Math.floor(hva / this.#pageBytes));
  }

  /** Size of the host's leaf at `hva`, if it is known. */
  leaf(hva: number): number | undefined {
    return this.#leaves.get(Math.floor(hva / this.#blockBytes));
  }

  learnPages(hva: number, pa: number, size: number): void {
    const first = Math.floor(hva / this.#pageBytes);
    for (let at = 0; at < size; at += this.#pageBytes)
      this.#pages.set(first + at / this.#pageBytes, pa + at);
  }

  learnLeaf(hva: number, size: number): void {
    this.#leaves.set(Math.floor(hva / this.#blockBytes), size);
  }

  /** The host changes [start, end). */
  forget(start: number, end: number): void {
    forget(this.#pages, start / this.#pageBytes, end / this.#pageBytes);
    forget(this.#leaves, start / this.#blockBytes, end / this.#blockBytes);
  }

  forgetAll(): void {
    this.#pages.clear();
    this.#leaves.clear();
  }
}

/** Drops all numbers that [start, end) touches. */
function forget(map: Map<number, number>, start: number, end: number): void {
  const [first, last] = [Math.floor(start), Math.ceil(end) - 1];
  if (last - first < map.size) for (let at = first; at <= last; at++) map.delete(at);
  else for (const at of map.keys()) if (at >= first && at <= last) map.delete(at);
}
