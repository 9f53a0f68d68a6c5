/**
 * What page tables logged, in order, over all threads: allocations, references, TLB and cache maintenance, barriers,
 * stores to entries, visits. A table logs the groups it was asked for; everything else costs nothing.
 *
 * The ring is shared by all threads of an engine and read by one at a time. When it is full, records are dropped and
 * counted: drain it often enough, or make it larger.
 */
import { type Core, RECORD_BYTES } from "./_abi.ts";
import { type Context, disposed } from "./_context.ts";
import { type Event, EventRecord, decodeEvent } from "./_event_record.ts";

/** A table that a map detached: which page table of which engine, its physical address, level of the entry above. */
export interface Unlinked {
  readonly engine: string;
  readonly table: number;
  readonly generation: number;
  readonly pa: number;
  readonly level: number;
}

/** What `unlink` events tell of, until it is adopted. Kept beside the events, which their readers might forge. */
const unlinked = new WeakMap<Event, Unlinked>();

/** What this very event of a drain tells of; undefined if it is no such event, or was used. */
export function unlinkedBy(event: Event): Unlinked | undefined {
  return unlinked.get(event);
}

export function forgetUnlinked(event: Event): void {
  unlinked.delete(event);
}

/** The event ring of an engine. Refuses use after the engine was disposed (`DISPOSED`). */
export class EventLog {
  readonly #context: Context;
  #open = true;

  /** @internal */
  constructor(context: Context) {
    this.#context = context;
    context.add(this);
  }

  /** Records waiting to be drained. */
  get count(): number {
    return this.#core.events_count();
  }

  /** Records that the ring holds. */
  get capacity(): number {
    return this.#core.events_capacity();
  }

  /**
   * Takes the events out of the ring one by one, oldest first, until it is empty. What was yielded is gone and what was
   * not stays, however the loop is left and whatever happens in it. If records were dropped, a `lost` event with their
   * number comes last.
   */
  *drain(): Generator<Event, void, undefined> {
    for (let event = this.#take(); event !== undefined; event = this.#take()) yield event;
    const lost = this.#core.events_lost();
    if (lost > 0) yield { kind: "lost", count: lost };
  }

  /** Throws the waiting events away, and forgets how many were lost. */
  clear(): void {
    this.#core.events_consume(this.count);
    this.#core.events_lost();
  }

  /** @internal */
  close(): void {
    this.#open = false;
  }

  get #core(): Core {
    if (!this.#open) throw disposed("engine");
    return this.#context.core;
  }

  /** The oldest event, which leaves the ring. */
  #take(): Event | undefined {
    const core = this.#core;
    const index = core.events_tail() & (core.events_capacity() - 1); // the capacity is a power of two
    const at = (core.events_pointer() >>> 0) + index * RECORD_BYTES;
    const record = new EventRecord(this.#context.u32, at / 4);
    if (!record.isWritten) return undefined; // and so is none: a consumed record is cleared
    const event = decodeEvent(record);
    if (event.kind === "unlink") this.#remember(event, record.b, record.n);
    core.events_consume(1);
    return event;
  }

  #remember(event: Event & { kind: "unlink" }, table: number, generation: number): void {
    const { id: engine } = this.#context;
    const { pa, level } = event;
    unlinked.set(event, { engine, table, generation, pa, level });
  }
}
