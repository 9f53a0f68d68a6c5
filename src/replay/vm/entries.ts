/** Entries of the VM's page table, by address and level: where they are in memory, and what is done to them from outside. */
import type { Context } from "../../_context.ts";
import { levelShift } from "../../decode.ts";
import { inside, isVisit, type Node } from "../calls.ts";

const VALID = 1n;
const TYPE = 3;
const AF = 1n << 10n;
const MARKER = 0x400n;
/** Bits 47:12 of the high and low half of an entry. */
const ADDRESS_HIGH = 0xffff;
const ADDRESS_LOW = 0xffff_f000;

export class Entries {
  readonly #context: Context;
  readonly #pageShift: number;
  readonly #startLevel: number;
  readonly #pgt: number;

  constructor(context: Context, pgt: number, pageShift: number, startLevel: number) {
    this.#context = context;
    this.#pgt = pgt;
    this.#pageShift = pageShift;
    this.#startLevel = startLevel;
  }

  /** Runs `work` while somebody else is changing the entry, if there is one at this level. */
  marked<T>(address: number, level: number, work: () => T): T {
    const pointer = this.#find(address, level);
    if (pointer === undefined) return work();
    const before = this.#context.u64[pointer / 8] as bigint;
    this.#context.u64[pointer / 8] = MARKER;
    try {
      return work();
    } finally {
      this.#context.u64[pointer / 8] = before;
    }
  }

  /** Takes over the access flags that hardware had set when a call found the entries; how many. */
  takeAccessFlags(call: Node): number {
    let taken = 0;
    for (const node of inside(call)) {
      if (!isVisit(node)) continue;
      const { addr, level, old } = node.record;
      const found = BigInt(old);
      if ((found & VALID) === 0n || (found & AF) === 0n) continue;
      const pointer = this.#find(Number(addr), level);
      if (pointer === undefined || this.#context.u64[pointer / 8] !== (found & ~AF)) continue;
      this.#context.u64[pointer / 8] = found;
      taken++;
    }
    return taken;
  }

  /** Pointer to the entry of this level on the way to `address`; undefined if the tables end above it. */
  #find(address: number, level: number): number | undefined {
    const { core } = this.#context;
    let table = core.pgt_root(this.#pgt) >>> 0;
    if (table === 0) return undefined;
    for (let at = this.#startLevel; ; at++) {
      const pointer = table + 8 * this.#index(address, at);
      if (at === level) return pointer;
      const next = this.#table(pointer);
      if (next === undefined || at > level) return undefined;
      table = next;
    }
  }

  /** The root can be several pages, one behind the other: there, the index is not cut. */
  #index(address: number, level: number): number {
    const index = Math.floor(address / 2 ** levelShift(this.#pageShift, level));
    return level === this.#startLevel ? index : index % 2 ** (this.#pageShift - 3);
  }

  #table(pointer: number): number | undefined {
    const { u32 } = this.#context;
    const [low, high] = [u32[pointer / 4] as number, u32[pointer / 4 + 1] as number];
    if ((low & TYPE) !== TYPE) return undefined;
    const physical = (high & ADDRESS_HIGH) * 2 ** 32 + ((low & ADDRESS_LOW) >>> 0);
    return this.#context.pointer(physical);
  }
}
