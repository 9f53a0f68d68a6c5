/** The dirty ring of a vCPU (`KVM_DIRTY_LOG_RING`): what it pushed, in order, for a VMM to harvest. */
import { disposed } from "../_context.ts";
import type { VmPlace } from "./_place.ts";

/** A page that became dirty. */
export interface DirtyEntry {
  readonly slot: number;
  /** Page of the slot. */
  readonly offset: number;
}

/** Entries are 16 bytes: u32 flags, u32 slot, u64 page. */
const ENTRY_WORDS = 4;
const DIRTY = 1;
const HARVESTED = 2;

/**
 * The ring. Harvested entries stay taken until {@link Vm.resetDirtyRings} protects their pages again and frees them. One
 * harvester at a time; it may be in another thread than the vCPU's: {@link VmVcpu.dirtyRing} there is its own.
 */
export class DirtyRing {
  /** How many entries it has. */
  readonly entries: number;
  /** From so many taken entries on the vCPU does not run. */
  readonly softLimit: number;
  /** Id of the vCPU. */
  readonly vcpu: number;
  readonly #place: VmPlace;
  readonly #pointer: number;
  #next = 0;

  private constructor(place: VmPlace, pointer: number, vcpu: number) {
    this.#place = place;
    this.#pointer = pointer;
    this.vcpu = vcpu;
    this.entries = place.context.resultNumber(1);
    this.softLimit = place.context.resultNumber(2);
  }

  /** The ring of the context at `pointer`, which any thread may have made; undefined if it has none. @internal */
  static of(place: VmPlace, pointer: number, vcpu: number): DirtyRing | undefined {
    place.core.vm_vcpu_ring(pointer);
    return place.context.resultNumber(0) === 0 ? undefined : new DirtyRing(place, pointer, vcpu);
  }

  /** Whether the vCPU is kept from running. */
  get full(): boolean {
    return this.#place.core.vm_vcpu_ring_full(this.#live) === 1;
  }

  /** Entries that are taken: pushed, and not yet reset. */
  get used(): number {
    const { pushed, reset } = this.#state();
    return (pushed - reset) >>> 0;
  }

  /** Entries that found no room and no bitmap: pages that the log has lost. Only an embedder that ran a full vCPU has any. */
  get overflowed(): number {
    this.#state();
    return this.#place.context.resultNumber(5);
  }

  /**
   * Takes the entries that are there, oldest first. Each is harvested when it is yielded; what a loop that is left did not come to
   * is there next time.
   */
  *harvest(): Generator<DirtyEntry, void, undefined> {
    for (let run = this.#run(); run > 0; run = this.#run()) {
      const { pointer } = this.#state();
      let words = new Int32Array(this.#place.context.memory.buffer);
      for (; run > 0; run--) {
        const index = this.#next;
        const at = pointer / 4 + (index & (this.entries - 1)) * ENTRY_WORDS;
        const flags = Atomics.load(words, at); // who sees the flag sees the entry
        if ((flags & (DIRTY | HARVESTED)) === 0) return;
        this.#next = (index + 1) >>> 0;
        if ((flags & HARVESTED) !== 0) continue; // by another harvester before
        const slot = (words[at + 1] as number) & 0xffff;
        const [low, high] = [(words[at + 2] as number) >>> 0, (words[at + 3] as number) >>> 0];
        Atomics.store(words, at, HARVESTED);
        yield { slot, offset: high * 2 ** 32 + low };
        void this.#live; // its vCPU may have come to its end meanwhile, and the memory may have grown
        if (words.length === 0) words = new Int32Array(this.#place.context.memory.buffer);
      }
    }
  }

  /** Entries from the next one on that were pushed. */
  #run(): number {
    const { pushed, reset } = this.#state();
    if (((this.#next - reset) | 0) < 0) this.#next = reset;
    return (pushed - this.#next) >>> 0;
  }

  #state(): { pointer: number; pushed: number; reset: number } {
    const { context, core } = this.#place;
    core.vm_vcpu_ring(this.#live);
    const [pointer, pushed, reset] = [0, 3, 4].map((index) => context.resultNumber(index));
    return { pointer: pointer!, pushed: pushed! >>> 0, reset: reset! >>> 0 };
  }

  /** The context, unless it came to its end: another thread may have made it. */
  get #live(): number {
    const { core, pointer } = this.#place;
    if (core.vm_vcpu_at(pointer, this.vcpu) >>> 0 === this.#pointer) return this.#pointer;
    throw disposed("vCPU");
  }
}
