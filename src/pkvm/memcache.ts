/** The host's stock of pages for the hypervisor, and of room for a mapping: `struct kvm_hyp_memcache`. */
import { disposed } from "../_context.ts";
import { Stage2Error } from "../errors.ts";
import { integerOption } from "../range.ts";
import type { MachinePlace } from "./_place.ts";

/** Pages that it holds at most. */
const MOST_PAGES = 14;

/**
 * Pages that a mapping may need: the host sets them aside before it takes a lock, the hypervisor takes what it needs for tables when a page
 * is shared, and keeps it until the VM's end. Beside them lies room for one mapping, which every mapping uses up.
 */
export class HypMemcache implements Disposable {
  readonly #place: MachinePlace;
  #pointer: number;

  private constructor(place: MachinePlace, pointer: number) {
    this.#place = place;
    this.#pointer = pointer;
    place.add(this);
  }

  /** @internal */
  static create(place: MachinePlace): HypMemcache {
    const pointer = place.context.core.memcache_create(place.pointer) >>> 0;
    if (pointer === 0) throw new Stage2Error("ENOMEM", "memcache: no memory for a memcache");
    return new HypMemcache(place, pointer);
  }

  /**
   * Fills it up to `pages`, 0 to 14, and makes room for a mapping (`topup_hyp_memcache`). It may have more already.
   * @throws Stage2Error `ENOMEM`: the host's kernel has no more pages; the stock keeps what could be had. `BAD_OPTION`.
   */
  topup(pages: number): void {
    const count = integerOption("pages", pages, 0, MOST_PAGES);
    this.#place.done(this.#place.context.core.memcache_topup(this.pointer, count), "topup", {
      pages,
    });
  }

  /** Pages in stock. */
  get pages(): number {
    return this.#place.context.core.memcache_count(this.pointer);
  }

  /** Whether there is room for a mapping. */
  get hasMapping(): boolean {
    void this.pages;
    return this.#place.context.resultNumber(0) === 1;
  }

  /** Gives the pages back to the host's kernel. A second call does nothing. */
  dispose(): void {
    this.close();
    this.#place.remove(this);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Ends with its machine, which takes the pages along. @internal */
  close(): void {
    const pointer = this.#pointer;
    this.#pointer = 0;
    if (pointer !== 0 && this.#place.isOpen) this.#place.context.core.memcache_destroy(pointer);
  }

  /** @internal */
  get place(): MachinePlace {
    return this.#place;
  }

  /** The core's pointer. @internal */
  get pointer(): number {
    if (this.#pointer !== 0 && this.#place.isOpen) return this.#pointer;
    throw disposed("memcache");
  }
}
