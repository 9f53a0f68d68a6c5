// @ts-check
/** Who collects dirty pages of a VM: one thread at a time, while guests go on. */
import { Aborted } from "../barrier.mjs";
import { PAGE } from "../scene.mjs";
import { Masks } from "./masks.mjs";
import { harvestRings } from "./rings.mjs";
import { MODES, indexInSlot, pageOfSlot, regionsOf, sizeOf, slotOf, vmOf } from "./scene.mjs";

/** @typedef {import("stage2").DirtyLog} DirtyLog */

const SLICE_MS = 20;
const ABORT = 3;

export class Collector {
  #thread;
  #board;
  #ledger;

  /** @param {import("./thread.mjs").VmThread} thread @param {import("./ledger.mjs").Ledger} ledger */
  constructor(thread, ledger) {
    this.#thread = thread;
    this.#board = thread.board.common;
    this.#ledger = ledger;
  }

  /** Collects what is dirty in all slots of a VM. @param {number} vm @param {number} variant which way, and with which masks */
  collect(vm, variant) {
    this.hold(vm, () => {
      this.#thread.settle(vm);
      const mode = MODES[vm];
      if (mode.startsWith("ring")) return this.#collectRings(vm);
      const regions = regionsOf(vm).filter((region) => this.isLogging(region));
      for (const region of regions) {
        if (mode === "manual" || mode === "all set") this.#collectByHand(region, variant);
        else this.#collectAtOnce(region, (variant & 1) !== 0);
      }
    });
  }

  /** A vCPU's ring is full: it goes on when somebody has collected. @param {number} vm */
  relieve(vm) {
    this.#thread.settle(vm);
    this.collect(vm, 0);
  }

  /** @param {number} region */
  isLogging(region) {
    return Atomics.load(this.#board.logging, region) !== 0;
  }

  /** While nobody else collects of a VM, or changes its slots. @param {number} vm @param {() => void} work */
  hold(vm, work) {
    const { collecting, barrier } = this.#board;
    for (let waited = 0; Atomics.compareExchange(collecting, vm, 0, 1) !== 0; waited += SLICE_MS) {
      if (Atomics.load(barrier, ABORT) !== 0) throw new Aborted();
      if (waited > 10 * this.#thread.patience) {
        throw new Error(`waited in vain to collect: ${this.#thread.whatAllDo()}`);
      }
      Atomics.wait(collecting, vm, 1, SLICE_MS);
    }
    try {
      work();
    } finally {
      Atomics.store(collecting, vm, 0);
      Atomics.notify(collecting, vm, 1);
    }
  }

  /** The log is taken and protected in one call. @param {number} region @param {boolean} view whether it is handed out without a copy */
  #collectAtOnce(region, view) {
    const seen = this.#ledger.look(region);
    const dirty = this.#pagesIn(region, this.#get(region, view));
    this.#ledger.judge(region, seen, dirty);
    this.#ledger.copy(dirty);
  }

  /** The log is looked at; what a mask says is taken out and protected, and only that is copied. @param {number} region @param {number} variant */
  #collectByHand(region, variant) {
    const seen = this.#ledger.look(region);
    const log = this.#get(region, false);
    this.#ledger.judge(region, seen, this.#pagesIn(region, log));
    for (const part of Masks.of(log, variant)) {
      this.#thread.vm(region).clearDirtyLog(slotOf(region), part);
      const cleared = this.#ledger.pagesOf(region).filter((p) => Masks.has(part, indexInSlot(p)));
      this.#ledger.copy(cleared);
    }
  }

  /** @param {number} vm */
  #collectRings(vm) {
    const regions = regionsOf(vm);
    const seen = regions.map((region) => this.#ledger.look(region));
    const dirty = regions.map(() => /** @type {Set<number>} */ (new Set()));
    const entries = harvestRings(this.#thread.vms[vm]);
    for (const { slot, offset } of entries) this.#enter(regions, dirty, slot, offset);
    const reset = this.#thread.vms[vm].resetDirtyRings();
    if (reset !== entries.length) {
      this.#thread.violation("ring count", `${reset} reset, ${entries.length} harvested`);
    }
    regions.forEach((region, i) => {
      if (!this.isLogging(region)) return;
      if (MODES[vm] === "ring and bitmap") {
        for (const page of this.#pagesIn(region, this.#get(region, true))) dirty[i].add(page);
      }
      this.#ledger.judge(region, seen[i], dirty[i]);
      this.#ledger.copy(dirty[i]);
    });
  }

  /** An entry of a ring: the page of a slot. @param {readonly number[]} regions @param {readonly Set<number>[]} dirty @param {number} slot @param {number} offset pages */
  #enter(regions, dirty, slot, offset) {
    const i = regions.findIndex((region) => slotOf(region) === slot);
    const page = i < 0 ? undefined : pageOfSlot(regions[i], offset);
    if (page !== undefined) dirty[i].add(page);
    else this.#thread.violation("dirty without a store", `slot ${slot}, page ${offset}`);
  }

  /** @param {number} region @param {boolean} view */
  #get(region, view) {
    return this.#thread.vm(region).getDirtyLog(slotOf(region), { view });
  }

  /** Hot pages in a log; others may only be there where all are. @param {number} region @param {DirtyLog} log */
  #pagesIn(region, log) {
    const pages = sizeOf(region) / PAGE;
    const beyond = log.bits[Math.floor((pages - 1) / 64)] >> BigInt(((pages - 1) % 64) + 1);
    if (beyond !== 0n && pages % 64 !== 0) {
      this.#thread.violation("dirty without a store", `bits behind the end of region ${region}`);
    }
    const all = MODES[vmOf(region)] === "all set";
    const dirty = /** @type {Set<number>} */ (new Set());
    for (const index of log) {
      const page = pageOfSlot(region, index);
      if (page !== undefined) dirty.add(page);
      else if (!all) {
        this.#thread.violation("dirty without a store", `region ${region}, page ${index}`);
      }
    }
    return dirty;
  }
}
