/**
 * The events of one VM out of the engine's log: its own, and what its page table logged with its VMID. The log is taken empty by
 * whoever reads; what belongs to another VM that is read in this thread waits for it.
 */
import type { Context } from "../_context.ts";
import type { Event } from "../_event_record.ts";
import { EventLog } from "../events.ts";
import type { VmPlace } from "./_place.ts";

/** Events that may wait for a VM that is not read: then the oldest are lost. */
const MOST_WAITING = 65_536;

/** The events of one VM that wait. */
class Lane {
  readonly number: number;
  #events: Event[] = [];
  #lost = 0;

  constructor(number: number) {
    this.number = number;
  }

  push(event: Event): void {
    if (this.#events.length < MOST_WAITING) this.#events.push(event);
    else this.#lost++;
  }

  take(): Event[] {
    const events = this.#events;
    if (this.#lost > 0) events.push({ kind: "lost", count: this.#lost });
    this.#events = [];
    this.#lost = 0;
    return events;
  }
}

/** The log of one engine, shared out to its VMs. */
class Router {
  readonly #log: EventLog;
  readonly #lanes = new Map<VmPlace, Lane>();

  constructor(context: Context) {
    this.#log = new EventLog(context);
  }

  laneOf(place: VmPlace): Lane {
    const known = this.#lanes.get(place);
    if (known !== undefined) return known;
    const lane = new Lane(place.core.vm_number(place.pointer));
    this.#lanes.set(place, lane);
    return lane;
  }

  /** Empties the log. */
  share(): void {
    for (const place of this.#lanes.keys()) if (!place.isOpen) this.#lanes.delete(place);
    const vmids = [...this.#lanes].map(([place, lane]) => [vmidOf(place), lane] as const);
    for (const event of this.#log.drain()) {
      for (const [vmid, lane] of vmids) if (isOf(event, vmid, lane.number)) lane.push(event);
    }
  }
}

const routers = new WeakMap<Context, Router>();

function vmidOf(place: VmPlace): number {
  place.core.vm_describe(place.pointer);
  return place.context.resultNumber(2);
}

/** Of this VM; of its page table; or everybody's: events were lost. */
function isOf(event: Event, vmid: number, number: number): boolean {
  if (event.kind === "lost") return true;
  if ("vm" in event) return event.vm === number;
  return "vmid" in event && event.vmid === vmid;
}

/** What has been logged, until nothing more is there. */
export function* eventsOf(place: VmPlace): Generator<Event, void, undefined> {
  const { context } = place;
  const router = routers.get(context) ?? new Router(context);
  routers.set(context, router);
  const lane = router.laneOf(place);
  while (true) {
    router.share();
    const events = lane.take();
    if (events.length === 0) return;
    yield* events;
  }
}
