/**
 * dirty_log_test with vCPUs in threads of their own, which store while this one collects: no page is lost in any mode. What the
 * values say is all that is known here; the exact ledger is for guests that take turns.
 */
import { describe, expect, it } from "vitest";
import { Chance } from "../../../src/explorer/random.ts";
import { MemslotFlag } from "../../../src/index.ts";
import { type Crew, type CrewOptions, crews } from "../harness/threads/crew.ts";
import { MODES, type ModeName, fromBitmap, prepareMode } from "./modes.ts";
import { Verifier } from "./verify.ts";
import { SLOT } from "../harness/slot/scene.ts";

const PAGE = 4096;
const PAGES = 2048 + 3;
const ROUNDS = 3;
const RING = 8192;

const turn = () => new Promise(setImmediate);

/** The host of the test: collects, stops the guests, looks at what they left. */
class Host {
  readonly #crew: Crew;
  readonly #mode: ModeName;
  readonly #verifier = new Verifier();
  /** Times that rings were full before the last collection began. */
  #full = 0;
  told = 0;

  constructor(crew: Crew, mode: ModeName) {
    this.#crew = crew;
    this.#mode = mode;
  }

  async rounds(): Promise<void> {
    const chance = new Chance(17);
    for (let round = 1; round <= ROUNDS; round++) {
      for (let wait = chance.below(20); wait > 0; wait--) await turn();
      const dirty = await this.#collect(new Uint8Array(PAGES));
      this.#crew.set("STOPPING", 1);
      await this.#parked(dirty);
      this.#verify(round, dirty);
      if (round === ROUNDS) this.#verify(round, await this.#collect(new Uint8Array(PAGES)));
      else this.#crew.set("ROUND", round + 1);
      if (round === ROUNDS) this.#crew.set("OVER", 1);
      this.#crew.set("STOPPING", 0);
      while (this.#crew.word("PARKED") > 0) await turn();
    }
  }

  /** Waits until all stand still; a guest whose ring is full has to be given room for that. */
  async #parked(dirty: Uint8Array): Promise<void> {
    while (this.#crew.word("PARKED") < this.#crew.size) {
      if (this.#crew.word("FULL") !== this.#full) await this.#collect(dirty);
      await turn();
    }
  }

  /** Adds what is dirty now to `dirty`. */
  async #collect(dirty: Uint8Array): Promise<Uint8Array> {
    const { vm } = this.#crew.scene;
    const mode = this.#mode;
    this.#full = this.#crew.word("FULL");
    if (mode.startsWith("ring") || mode === "hdbss") await this.#harvested(dirty);
    if (mode.startsWith("ring")) {
      expect(vm.resetDirtyRings(), "entries (DL4)").toBe(this.#crew.word("ENTRIES"));
    }
    if (mode === "ring") return dirty;
    const bitmap = fromBitmap({ vm, vcpus: [], pages: PAGES }, dirty);
    if (mode === "clear") vm.clearDirtyLog(SLOT, { firstPage: 0, pages: PAGES, bitmap });
    return dirty;
  }

  /** Every thread harvests its own ring or buffer. */
  async #harvested(dirty: Uint8Array): Promise<void> {
    const crew = this.#crew;
    crew.set("HARVESTED", 0);
    crew.set("ENTRIES", 0);
    crew.set("HARVEST", crew.word("HARVEST") + 1);
    while (crew.word("HARVESTED") < crew.size) await turn();
    for (const [page, bit] of crew.pages.entries()) dirty[page]! |= bit;
    crew.pages.fill(0);
  }

  #verify(round: number, dirty: Uint8Array): void {
    const { ram, hva } = this.#crew.scene;
    const into = new Uint8Array(8);
    const view = new DataView(into.buffer);
    this.#verifier.round(round, { dirty, last: new Map() }, (page) => {
      ram.read(hva + page * PAGE, into);
      return Number(view.getBigUint64(0, true));
    });
    for (const bit of dirty) this.told += bit;
  }
}

describe("dirty_log_test in threads", () => {
  const withCrew = crews();

  it.each(MODES.map((mode) => [mode, 3] as const))("mode %s, %i vCPUs", async (mode, threads) => {
    const options: CrewOptions = {
      ...{ threads, kind: "anonymous", size: PAGES * PAGE, bytes: (PAGES + 2) * PAGE },
      flags: MemslotFlag.LOG_DIRTY_PAGES,
      cpu: mode === "hdbss" ? { hafdbs: 4 } : {},
      prepare: (vm) => prepareMode(mode, vm, RING),
    };
    await withCrew(options, async (crew) => {
      crew.set("ROUND", 1);
      const harvest = mode === "hdbss" ? "hdbss" : mode.startsWith("ring") ? "ring" : "none";
      const args = { stores: 1024, vcpus: threads, harvest } as const;
      const guests = crew.run("dirtyLog", (id) => ({ ...args, seed: id + 1 }));
      const host = new Host(crew, mode);
      await Promise.race([host.rounds(), guests.then(() => host)]); // a guest that fails ends the test
      const results = await guests;
      expect(host.told).toBeGreaterThanOrEqual(PAGES);
      for (const { stores } of results) expect(stores).toBeGreaterThan(1024);
    });
  });
});
