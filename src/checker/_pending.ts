/** Residues that TLBs may still hold, by input address. */
import type { Interval, Residue } from "./_residue.ts";

/** Residues up to this size lie in one bucket each; larger ones are few. */
const BUCKET = 2 ** 21;

export class Pending {
  readonly #buckets = new Map<number, Set<Residue>>();
  readonly #large = new Set<Residue>();
  #count = 0;

  get count(): number {
    return this.#count;
  }

  add(residue: Residue): void {
    this.#home(residue).add(residue);
    this.#count++;
  }

  delete(residue: Residue): void {
    const home = this.#home(residue);
    if (!home.delete(residue)) return;
    this.#count--;
    if (home.size === 0 && home !== this.#large) this.#buckets.delete(bucketOf(residue.span[0]));
  }

  clear(): void {
    this.#buckets.clear();
    this.#large.clear();
    this.#count = 0;
  }

  /** Those that overlap the addresses, in no order. They may be deleted while listed. */
  *over(span: Interval): Generator<Residue, void, undefined> {
    for (const residue of this.#large) if (residue.overlaps(span)) yield residue;
    for (const bucket of this.#bucketsOver(span)) {
      for (const residue of bucket) if (residue.overlaps(span)) yield residue;
    }
  }

  /** All of them. */
  all(): Generator<Residue, void, undefined> {
    return this.over([0, Infinity]);
  }

  *#bucketsOver([from, to]: Interval): Generator<Set<Residue>, void, undefined> {
    const [first, end] = [bucketOf(from), Math.ceil(to / BUCKET)];
    if (end - first > this.#buckets.size) {
      for (const [number, bucket] of this.#buckets)
        if (number >= first && number < end) yield bucket;
      return;
    }
    for (let number = first; number < end; number++) {
      const bucket = this.#buckets.get(number);
      if (bucket !== undefined) yield bucket;
    }
  }

  #home({ span: [from, to] }: Residue): Set<Residue> {
    const number = bucketOf(from);
    if (to > (number + 1) * BUCKET) return this.#large;
    let bucket = this.#buckets.get(number);
    if (bucket === undefined) this.#buckets.set(number, (bucket = new Set()));
    return bucket;
  }
}

const bucketOf = (address: number): number => Math.floor(address / BUCKET);
