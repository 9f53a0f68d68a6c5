/** Stocks of table pages: what an operation may use for new tables, as KVM's memory caches. */
import { CACHE_NONE, CACHE_UNLIMITED } from "./_abi.ts";
import { type Context, disposed } from "./_context.ts";
import { type Granule, granuleOf, pageShift } from "./_options.ts";
import { checkPointer } from "./_table.ts";
import { EMFILE, Stage2Error, check } from "./errors.ts";
import { integerOption, knownOptions } from "./range.ts";

/** How a cache is made. */
export interface CacheOptions {
  /** Page size of the tables it is for. Default 4K. */
  granule?: Granule;
}

/**
 * Zeroed table pages set aside, so that an operation that takes them cannot fail for want of memory. An operation with
 * a cache takes new tables from it alone (ENOMEM when it is empty); without one it takes them from the pool.
 */
export class TableCache implements Disposable {
  readonly #context: Context;
  readonly #shift: number;
  #pointer: number;

  private constructor(context: Context, pointer: number, shift: number) {
    this.#context = context;
    this.#shift = shift;
    this.#pointer = pointer;
    context.add(this);
  }

  /** @internal */
  static create(context: Context, options: CacheOptions): TableCache {
    knownOptions("cache", options, ["granule"]);
    const shift = pageShift(options.granule);
    const pointer = checkPointer(context.core.cache_create(shift) || -EMFILE, "cache", options);
    return new TableCache(context, pointer, shift);
  }

  /** Page size of the tables it is for. */
  get granule(): Granule {
    return granuleOf(this.#shift);
  }

  /** Pages in stock. */
  get count(): number {
    return this.#context.core.cache_count(this.pointer);
  }

  /**
   * Fills the stock up to `pages`, which may be fewer than it has.
   * @throws Stage2Error `ENOMEM`: the stock keeps what could be had.
   */
  topup(pages: number): void {
    const count = integerOption("pages", pages, 0, 2 ** 20);
    check(this.#context.core.cache_topup(this.pointer, count), "topup", { pages });
  }

  /** Gives the pages back to the pool. A second call does nothing. */
  dispose(): void {
    if (this.#pointer === 0) return;
    this.#context.core.cache_destroy(this.#pointer);
    this.#context.remove(this);
    this.#pointer = 0;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** @internal */
  close(): void {
    this.#pointer = 0;
  }

  /** @internal */
  get context(): Context {
    return this.#context;
  }

  /** @internal */
  get pointer(): number {
    if (this.#pointer === 0) throw disposed("cache");
    return this.#pointer;
  }
}

/**
 * The number that stands for a cache in the core: `undefined` is the pool itself, `null` no page at all.
 * @throws Stage2Error `FOREIGN` if it belongs to another engine, or is for another page size.
 */
export function cachePointer(
  context: Context,
  shift: number,
  cache: TableCache | null | undefined,
): number {
  if (cache === undefined) return CACHE_UNLIMITED;
  if (cache === null) return CACHE_NONE;
  if (!(cache instanceof TableCache) || cache.context !== context) {
    throw new Stage2Error("FOREIGN", "the cache belongs to another engine");
  }
  if (cache.granule === granuleOf(shift)) return cache.pointer;
  throw new Stage2Error("FOREIGN", "the cache is for another page size", { cache: cache.granule });
}
