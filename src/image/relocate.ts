/**
 * Relocation of table descriptors. A table that is imported gets pages of the pool, so every pointer to a table changes;
 * all other bits of the descriptor (hierarchical permissions, software bits) stay, and leaves are not touched at all:
 *
 *   in the image   attributes | address of the table in its machine
 *   in the pool    attributes | physical address of the pool page that stands for it
 *
 * Each pool page stands for one table page of the image at one place of one regime, so the way back is unique.
 */
import { OPTION } from "../_abi.ts";
import type { Context } from "../_context.ts";
import type { Regime } from "./format.ts";

/** Bits 1:0 of a descriptor that points to a table, at every level but the last (Arm ARM D8.3). */
const TABLE = 0b11n;
const LAST_LEVEL = 3;

/** What one regime's descriptors mean. The address shapes are the core's. */
export class Descriptors {
  readonly #context: Context;
  readonly #pageShift: number;
  readonly #options: number;

  constructor(context: Context, regime: Regime) {
    this.#context = context;
    this.#pageShift = regime.pageShift;
    this.#options = addressOptions(regime);
  }

  isTable(entry: bigint, level: number): boolean {
    return level < LAST_LEVEL && (entry & TABLE) === TABLE;
  }

  /** Address that a descriptor holds: a table's, or a leaf's whose size is `size`. */
  address(entry: bigint, size = 0): number {
    this.#call(0n, entry);
    const address = this.#context.resultNumber(1);
    return size === 0 ? address : address - (address % size);
  }

  /** Every bit of a descriptor but its address. */
  attributes(entry: bigint, size = 0): bigint {
    return entry & ~this.#field(this.address(entry, size));
  }

  /** A table descriptor with another address. */
  relocate(entry: bigint, to: number): bigint {
    return this.attributes(entry) | this.#field(to);
  }

  #field(address: number): bigint {
    this.#call(BigInt(address), 0n);
    return this.#context.result(0);
  }

  #call(address: bigint, entry: bigint): void {
    this.#context.setArgument(0, address);
    this.#context.setArgument(1, entry);
    this.#context.core.pure_address(this.#pageShift, this.#options);
  }
}

/** The option bits that decide where a descriptor keeps its address. */
export function addressOptions(regime: Regime): number {
  return (regime.lpa2 ? OPTION.LPA2 : 0) | (regime.pageShift === 16 ? OPTION.PA52 : 0);
}
