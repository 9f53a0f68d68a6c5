/**
 * Addresses that only the hypervisor has, for devices, stacks, copies of code: handed out downwards from the idmap page, never
 * given back (`hyp_alloc_private_va_range`).
 *
 *     bit VA_BITS-1 changes | room | latest range | ... | first range | idmap page
 */
import { type HypLayout, invalid } from "./_hyp_layout.ts";
import { ENOMEM, Stage2Error } from "./errors.ts";
import { type Address, address, byteCount } from "./range.ts";

/** Physical memory. */
export interface PhysicalRange {
  /** First address; it need not be on a page. */
  pa: Address;
  /** Bytes, more than 0. */
  size: Address;
}

/** A stack at EL2: it grows down from `top` through one page, then into the guard, where nothing is mapped. */
export interface HypStack {
  readonly guard: number;
  readonly page: number;
  readonly top: number;
}

export class PrivateRanges {
  readonly #layout: HypLayout;
  #lowest: number;

  constructor(layout: HypLayout) {
    this.#layout = layout;
    this.#lowest = layout.idmap;
  }

  /** First address of the latest range. */
  get lowest(): number {
    return this.#lowest;
  }

  /** A range of whole pages, at its first address. @throws Stage2Error `BAD_SIZE`, `ENOMEM`. */
  take(size: Address): number {
    const { pageBytes } = this.#layout;
    const pages = Math.ceil(byteCount(size, 0) / pageBytes);
    return this.#claim(this.#lowest - pages * pageBytes);
  }

  /** The range from `base` to the latest one. @throws Stage2Error `BAD_ADDRESS`, `EINVAL`, `ENOMEM`. */
  takeFrom(base: Address): number {
    return this.#claim(address(base, "base"));
  }

  /** A window of `bytes`, a power of two, on a multiple of itself. @throws Stage2Error `ENOMEM`. */
  takeAligned(bytes: number): number {
    return this.#claim(Math.floor((this.#lowest - bytes) / bytes) * bytes);
  }

  #claim(base: number): number {
    if (base % this.#layout.pageBytes !== 0)
      throw invalid("a private range begins on a page", { base });
    if (base >= this.#lowest) {
      throw invalid("a private range lies below those handed out", { base, lowest: this.#lowest });
    }
    if (this.#crosses(base)) {
      throw new Stage2Error("ENOMEM", "no room for a private range", { base }, ENOMEM);
    }
    this.#lowest = base;
    return base;
  }

  /** Whether bit VA_BITS-1 changes on the way down, or the linear map is in it (as only a `region` from elsewhere has it). */
  #crosses(base: number): boolean {
    const { vaBits, linear } = this.#layout;
    const half = 2 ** (vaBits - 1);
    const halves = Math.floor(this.#lowest / half) - Math.floor(base / half);
    return halves !== 0 || (base < linear.end && this.#lowest > linear.start);
  }
}
