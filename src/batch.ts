/** Addresses and their translations, side by side in the engine's memory: what {@link Vcpu.translateMany} works on. */
import { type Context, disposed } from "./_context.ts";
import { ENOMEM, Stage2Error } from "./errors.ts";
import { integerOption } from "./range.ts";

/** Most addresses of a batch: it is one page of 64 KiB, half addresses, half results. */
const MOST = 4096;
const ENTRY_BYTES = 16;
/** Pages that a batch can be: log2 of their sizes. */
const SHIFTS = [12, 14, 16];

/** Up to 4,096 addresses. Made by {@link Engine.batch}; of one thread, as its vCPUs are. */
export class Batch implements Disposable {
  /** How many addresses it holds. */
  readonly capacity: number;
  readonly #context: Context;
  readonly #shift: number;
  #pointer: number;
  #buffer: ArrayBufferLike | undefined;
  #addresses = new Float64Array(0);
  #results = new Float64Array(0);

  private constructor(context: Context, pointer: number, capacity: number, shift: number) {
    this.#context = context;
    this.#pointer = pointer;
    this.#shift = shift;
    this.capacity = capacity;
    context.add(this);
  }

  /** @internal */
  static create(context: Context, capacity: number): Batch {
    integerOption("capacity", capacity, 1, MOST);
    const shift = SHIFTS.find((bits) => capacity * ENTRY_BYTES <= 2 ** bits) as number;
    const pointer = context.core.pool_alloc_private(shift) >>> 0;
    if (pointer === 0) throw new Stage2Error("ENOMEM", "batch: ENOMEM", { capacity }, ENOMEM);
    return new Batch(context, pointer, capacity, shift);
  }

  /**
   * Addresses to translate, kernel addresses as negative numbers. They are not checked: what is no exact integer in
   * [-2^53, 2^53] stands for some address.
   */
  get addresses(): Float64Array {
    this.#refresh();
    return this.#addresses;
  }

  /** Physical addresses, or negative where there was a fault: the fault status code is then `-1 - result`. */
  get results(): Float64Array {
    this.#refresh();
    return this.#results;
  }

  /** Gives the memory back. A second call does nothing. */
  dispose(): void {
    this.close();
    this.#context.remove(this);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** @internal */
  close(): void {
    if (this.#pointer !== 0) this.#context.core.pool_free(this.#pointer, this.#shift);
    this.#pointer = 0;
    this.#buffer = undefined;
    this.#addresses = this.#results = new Float64Array(0); // what is behind the old ones is somebody else's soon
  }

  /** @internal */
  get context(): Context {
    return this.#context;
  }

  /** Where the addresses start; the results follow. @internal */
  get pointer(): number {
    if (this.#pointer === 0) throw disposed("batch");
    return this.#pointer;
  }

  /** Growing replaces `memory.buffer`, and takes the views away where the memory is not shared. */
  #refresh(): void {
    const { pointer, capacity } = this;
    const { buffer } = this.#context.memory;
    if (buffer === this.#buffer) return;
    this.#buffer = buffer;
    this.#addresses = new Float64Array(buffer, pointer, capacity);
    this.#results = new Float64Array(buffer, pointer + capacity * 8, capacity);
  }
}
