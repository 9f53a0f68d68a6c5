/** The events that the checker reads, and who each of them speaks of. */
import type { Event } from "../_event_record.ts";
import type { Agent } from "./rules.ts";

/** Where an event comes from, as far as it is known. */
interface Origin {
  /** Number of the thread that logged it. Default: the thread of the last event that names one. */
  readonly thread?: number;
  /** VMID of the page table that it is about. Default: the table that this thread wrote to last. */
  readonly vmid?: number;
}

/** A vCPU's event says itself which VMID it is about. */
type Said<E> = E extends { readonly cpu: unknown } ? "thread" : "thread" | "vmid";
type WithOrigin<E> = E extends unknown ? Omit<E, Said<E>> & Origin : never;

/** An event, with what is known of its origin. */
export type Observed = WithOrigin<Event>;

/** Events of the shape that this kind has. */
export type Of<K extends Observed["kind"]> = OfKind<Observed, K>;

type OfKind<E, K> = E extends { readonly kind: infer Kinds }
  ? K extends Kinds
    ? E
    : never
  : never;

/** Tells who logged an event. Not all events say so: those in between belong to the thread of the last one that did. */
export class Threads {
  #last = 0;

  /** Number of the thread that logged the event. To be asked for each event once, in order. */
  of({ thread }: Origin): number {
    if (thread !== undefined) this.#last = thread;
    return this.#last;
  }
}

/** The vCPU that the event is about, else the thread that logged it. */
export function agentOf(event: Observed, thread: number): Agent {
  return "cpu" in event && event.cpu !== undefined ? `vCPU ${event.cpu}` : `thread ${thread}`;
}
