/** The events that the checker reads, and who each of them speaks of. */
import type { Event } from "../_event_record.ts";
import type { Agent } from "./rules.ts";

/** Where an event comes from, as far as it is known. */
interface Origin {
  /** Number of the thread that logged it. Default 0. */
  readonly thread?: number;
  /** VMID of the page table that it is about. Default: the table that this thread wrote to last. */
  readonly vmid?: number;
}

type WithOrigin<E> = E extends unknown ? Omit<E, "thread"> & Origin : never;

/** An event, with what is known of its origin. */
export type Observed = WithOrigin<Event>;

/** Events of the shape that this kind has. */
export type Of<K extends Observed["kind"]> = OfKind<Observed, K>;

type OfKind<E, K> = E extends { readonly kind: infer Kinds }
  ? K extends Kinds
    ? E
    : never
  : never;

/** Who logged the event. */
export function agentOf(event: Observed): Agent {
  if ("cpu" in event && event.cpu !== undefined) return `vCPU ${event.cpu}`;
  return `thread ${event.thread ?? 0}`;
}
