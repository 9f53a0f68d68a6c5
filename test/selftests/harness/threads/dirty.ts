/** A guest of dirty_log_test: writes the number of the round until it is over, and stands still when it is asked to. */
import { Chance } from "../../../../src/explorer/random.ts";
import { PATIENT } from "../slot/access.ts";
import type { ThreadGuest } from "./guest.ts";

export interface DirtyArgs {
  readonly seed: number;
  /** Stores between two places where it may be stopped. */
  readonly stores: number;
  /** vCPUs: each begins with every so-many-th page. */
  readonly vcpus: number;
  /** What this thread has to harvest of its own. */
  readonly harvest: "ring" | "hdbss" | "none";
}

export interface DirtyResult {
  readonly stores: number;
  readonly faults: number;
}

export function dirtyLog(guest: ThreadGuest, args: DirtyArgs): DirtyResult {
  const { seed, stores, vcpus } = args;
  const writer = new Writer(guest, args);
  for (let page = guest.id; page < guest.pages; page += vcpus) writer.store(page);
  const chance = new Chance(seed);
  while (guest.word("OVER") === 0) {
    for (let n = 0; n < stores; n++) writer.store(chance.below(guest.pages));
    writer.park();
  }
  writer.harvest();
  return { stores: writer.stored, faults: Number(guest.vcpu.statistics.aborts) };
}

class Writer {
  readonly #guest: ThreadGuest;
  readonly #args: DirtyArgs;
  /** The harvest that was done last. */
  #harvests = 0;
  stored = 0;

  constructor(guest: ThreadGuest, args: DirtyArgs) {
    this.#guest = guest;
    this.#args = args;
  }

  /** Stores the round to a page. Before, and while its ring is full, it harvests when asked. */
  store(page: number): void {
    const { vcpu } = this.#guest;
    const ipa = this.#guest.ipa(page);
    this.harvest();
    const value = BigInt(this.#guest.word("ROUND"));
    for (;;) {
      const exit = vcpu.run(() => vcpu.cpu.write64(ipa, value), PATIENT);
      if (exit === undefined) break;
      if (exit.reason !== "dirtyRingFull") throw new Error(`exit: ${exit.reason}`);
      this.#waitForRoom();
    }
    this.stored++;
  }

  /** Stands still while the host wants it. */
  park(): void {
    const guest = this.#guest;
    if (guest.word("STOPPING") === 0) return;
    guest.add("PARKED", 1);
    while (guest.word("STOPPING") === 1) {
      this.harvest();
      guest.sleep("STOPPING", 1, 2);
    }
    guest.add("PARKED", -1);
  }

  /** What the host asks for once per collection. */
  harvest(): void {
    const guest = this.#guest;
    const asked = guest.word("HARVEST");
    if (asked === this.#harvests || this.#args.harvest === "none") return;
    this.#harvests = asked;
    if (this.#args.harvest === "hdbss") guest.vcpu.harvestHdbss();
    else this.#harvestRing();
    guest.add("HARVESTED", 1);
  }

  #harvestRing(): void {
    const { vcpu, start } = this.#guest;
    let entries = 0;
    for (const { offset } of vcpu.dirtyRing?.harvest() ?? []) {
      Atomics.store(start.pages, offset, 1);
      entries++;
    }
    this.#guest.add("ENTRIES", entries);
  }

  /** As if stopped: the host collects and goes on, whatever round it is. */
  #waitForRoom(): void {
    const guest = this.#guest;
    guest.add("FULL", 1);
    while (guest.vcpu.dirtyRing?.full) {
      this.harvest();
      guest.sleep("HARVEST", this.#harvests, 1);
    }
  }
}
