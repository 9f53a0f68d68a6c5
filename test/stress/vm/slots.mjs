// @ts-check
/** Slots change while guests use them: logs go on and off, slots move, go and come back. */
import { MemslotFlag } from "stage2";
import { baseOf, modeOf, regionHva, sizeOf, slotOf, vmOf } from "./scene.mjs";

export class Slots {
  #thread;
  #board;
  #ledger;
  #collector;

  /** @param {import("./thread.mjs").VmThread} thread @param {import("./ledger.mjs").Ledger} ledger @param {import("./collector.mjs").Collector} collector */
  constructor(thread, ledger, collector) {
    this.#thread = thread;
    this.#board = thread.board.common;
    this.#ledger = ledger;
    this.#collector = collector;
  }

  /** @param {number} region */
  logOff(region) {
    this.#alone(region, () => this.#stopLogging(region));
  }

  /** @param {number} region */
  logOn(region) {
    this.#alone(region, () => this.#startLogging(region));
  }

  /** What was dirty is forgotten; so everything is copied again. @param {number} region */
  logOffAndOn(region) {
    this.#alone(region, () => {
      this.#stopLogging(region);
      this.#startLogging(region);
    });
  }

  /**
   * To its other home; the log goes with it. Not what CPUs have in their buffers, where pages have guest addresses: a VMM has
   * to stop them and empty these first.
   *
   * @param {number} region
   */
  move(region) {
    if (modeOf(region) === "hdbss") return;
    this.#alone(region, () => {
      const home = 1 - Atomics.load(this.#board.home, region);
      this.#changing(region, () => {
        this.#set(region, home, this.#collector.isLogging(region));
        Atomics.store(this.#board.home, region, home);
      });
    });
  }

  /** A new slot over the same memory. @param {number} region */
  recreate(region) {
    this.#alone(region, () => {
      Atomics.store(this.#board.logging, region, 0);
      this.#changing(region, () => {
        this.#thread.vm(region).setMemslot({ ...this.#shape(region), size: 0 });
        this.#set(region, Atomics.load(this.#board.home, region), true);
      });
      this.#haveStarted(region);
    });
  }

  /** A slot as its region has it. @param {number} region */
  create(region) {
    this.#set(region, 0, true);
    this.#haveStarted(region);
  }

  /** @param {number} region */
  #stopLogging(region) {
    if (!this.#collector.isLogging(region)) return;
    Atomics.store(this.#board.logging, region, 0);
    this.#set(region, Atomics.load(this.#board.home, region), false);
  }

  /** @param {number} region */
  #startLogging(region) {
    if (this.#collector.isLogging(region)) return;
    this.#set(region, Atomics.load(this.#board.home, region), true);
    this.#haveStarted(region);
  }

  /** What is stored from now on is logged: this is the time for the first copy. @param {number} region */
  #haveStarted(region) {
    if (modeOf(region) === "all set") this.#ledger.expectAll(region);
    else this.#ledger.copy(this.#ledger.pagesOf(region));
    Atomics.store(this.#board.logging, region, 1);
  }

  /** @param {number} region @param {number} home @param {boolean} logging */
  #set(region, home, logging) {
    this.#thread.vm(region).setMemslot({
      ...this.#shape(region),
      ipa: baseOf(region, home),
      flags: logging ? MemslotFlag.LOG_DIRTY_PAGES : 0,
    });
  }

  /** @param {number} region */
  #shape(region) {
    const ipa = baseOf(region, Atomics.load(this.#board.home, region));
    return { slot: slotOf(region), ipa, size: sizeOf(region), hva: regionHva(region) };
  }

  /** @param {number} region @param {() => void} work */
  #alone(region, work) {
    this.#collector.hold(vmOf(region), work);
  }

  /** Accesses may miss the slot meanwhile. @param {number} region @param {() => void} work */
  #changing(region, work) {
    Atomics.add(this.#board.layout, region, 1);
    try {
      work();
    } finally {
      Atomics.add(this.#board.layout, region, 1);
    }
  }
}
