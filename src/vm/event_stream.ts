/**
 * The events of one VM out of the engine's log: its own, and what its page table logged with its VMID. The log is taken empty by
 * whoever reads; what belongs to another VM that is read in this thread waits for it.
 */
import type { Core } from "../_abi.ts";
import type { Context } from "../_context.ts";
import type { Event } from "../_event_record.ts";
import { EventLog } from "../events.ts";
import type { VmPlace } from "./_place.ts";

/** Events that may wait for a VM that is not read: then the oldest are lost. */
const MOST_WAITING = 65_536;

/** The events of one VM that wait. */
class Lane {
  readonly number: number;
  readonly #first: number | undefined;
  #events: Event[] = [];
  #taken = 0;
  #lost = 0;

  constructor(place: VmPlace) {
    this.number = place.core.vm_number(place.pointer);
    this.#first = place.firstEvent;
  }

  /** Whether an event can be its own: those logged before it was made are of a VM that had its number, or its VMID. */
  isSince(position: number): boolean {
    return this.#first === undefined || ((position - this.#first) | 0) >= 0;
  }

  push(event: Event): void {
    if (this.#events.length - this.#taken < MOST_WAITING) this.#events.push(event);
    else this.#lost++;
  }

  /** The oldest; when there are no more, how many were lost. */
  take(): Event | undefined {
    const event = this.#events[this.#taken];
    if (event !== undefined) {
      this.#taken++;
      return event;
    }
    this.#events = [];
    this.#taken = 0;
    const count = this.#lost;
    this.#lost = 0;
    return count > 0 ? { kind: "lost", count } : undefined;
  }
}

/** The log of one engine, shared out to its VMs. */
class Router {
  readonly #log: EventLog;
  readonly #core: Core;
  readonly #lanes = new Map<VmPlace, Lane>();

  constructor(context: Context) {
    this.#log = new EventLog(context);
    this.#core = context.core;
  }

  laneOf(place: VmPlace): Lane {
    const known = this.#lanes.get(place);
    if (known !== undefined) return known;
    const lane = new Lane(place);
    this.#lanes.set(place, lane);
    return lane;
  }

  /** Empties the log, when a lane has no more: its next event. */
  share(lane: Lane): Event | undefined {
    for (const place of this.#lanes.keys()) if (!place.isOpen) this.#lanes.delete(place);
    const vmids = [...this.#lanes].map(([place, lane]) => [vmidOf(place), lane] as const);
    let position = this.#core.events_tail();
    for (const event of this.#log.drain()) {
      for (const [vmid, each] of vmids) {
        const isLost = event.kind === "lost";
        if (isLost || (each.isSince(position) && isOf(event, vmid, each.number))) each.push(event);
      }
      position = this.#core.events_tail();
    }
    return lane.take();
  }
}

const routers = new WeakMap<Context, Router>();

function vmidOf(place: VmPlace): number {
  place.core.vm_describe(place.pointer);
  return place.context.resultNumber(2);
}

/** Of this VM, or of its page table. */
function isOf(event: Event, vmid: number, number: number): boolean {
  if ("vm" in event) return event.vm === number;
  return "vmid" in event && event.vmid === vmid;
}

/** What has been logged, until nothing more is there. What a loop that is left did not come to waits. */
export function* eventsOf(place: VmPlace): Generator<Event, void, undefined> {
  const { context } = place;
  const router = routers.get(context) ?? new Router(context);
  routers.set(context, router);
  const lane = router.laneOf(place);
  while (true) {
    const event = lane.take() ?? router.share(lane);
    if (event === undefined) return;
    yield event;
  }
}
