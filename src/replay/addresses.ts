/**
 * Which table page of ours stands for which of the recorded host.
 *
 * The host's allocator and ours hand out different pages. Roots are matched when they are made, every further table in
 * the order in which a call takes them. All that mentions a table of ours (descriptors, addresses of entries,
 * references) is translated before it is compared; a page without a counterpart comes out marked, and so differs.
 */
import type { Context } from "../_context.ts";

/** Bits 47:12 of the high and low half of an entry. */
const ADDRESS_HIGH = 0xffff;
const ADDRESS_LOW = 0xffff_f000;
const TWO_32 = 2 ** 32;

export class TableAddresses {
  readonly #context: Context;
  readonly #pageBytes: number;
  readonly #recorded = new Map<number, number>();
  readonly #ours = new Map<number, number>();

  constructor(context: Context, pageShift: number) {
    this.#context = context;
    this.#pageBytes = 2 ** pageShift;
  }

  /** How many pages of ours are in use. */
  get size(): number {
    return this.#recorded.size;
  }

  /** Matches `bytes` of table pages from `ours` with those from `recorded`. */
  match(ours: number, recorded: number, bytes = this.#pageBytes): void {
    for (let at = 0; at < bytes; at += this.#pageBytes) {
      this.#recorded.set(ours + at, recorded + at);
      this.#ours.set(recorded + at, ours + at);
    }
  }

  /** Forgets pages of ours that were freed. */
  forget(ours: number, bytes = this.#pageBytes): void {
    for (let at = 0; at < bytes; at += this.#pageBytes) {
      const recorded = this.#recorded.get(ours + at);
      this.#recorded.delete(ours + at);
      if (recorded !== undefined && this.#ours.get(recorded) === ours + at)
        this.#ours.delete(recorded);
    }
  }

  /** The recorded address for one of ours that lies in a table page. */
  recorded(ours: number): number | undefined {
    const inPage = ours % this.#pageBytes;
    const page = this.#recorded.get(ours - inPage);
    return page === undefined ? undefined : page + inPage;
  }

  /** Where in memory the entry or table is that was recorded at this address. */
  pointer(recorded: number): number | undefined {
    const inPage = recorded % this.#pageBytes;
    const page = this.#ours.get(recorded - inPage);
    return page === undefined ? undefined : this.#context.pointer(page + inPage);
  }

  /** {@link recorded} as text. */
  text(ours: number): string {
    const address = this.recorded(ours);
    return address === undefined ? `unmatched ${hex(ours)}` : hex(address);
  }

  /** An entry of ours, in halves, as the host would hold it. */
  entry(high: number, low: number, level: number): string {
    if (level >= 3 || (low & 3) !== 3) return hex64(high, low);
    const ours = (high & ADDRESS_HIGH) * TWO_32 + ((low & ADDRESS_LOW) >>> 0);
    const address = this.recorded(ours);
    if (address === undefined) return `unmatched ${hex64(high, low)}`;
    const tableHigh = (high & ~ADDRESS_HIGH) | Math.floor(address / TWO_32);
    return hex64(tableHigh, (low & ~ADDRESS_LOW) | (address % TWO_32));
  }
}

export function hex(value: number): string {
  return `0x${value.toString(16)}`;
}

/** A 64-bit word, from its halves. */
export function hex64(high: number, low: number): string {
  const lower = (low >>> 0).toString(16);
  return high === 0 ? `0x${lower}` : `0x${(high >>> 0).toString(16)}${lower.padStart(8, "0")}`;
}
