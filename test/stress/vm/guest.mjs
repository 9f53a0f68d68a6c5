// @ts-check
/** What guests do, on vCPUs of this thread: every access until it succeeds, or misses a slot that is just not there. */
import { Fault, Stage2Error } from "stage2";
import { FIRST_STORE_WORD, TAG_WORD } from "../board.mjs";
import { FREE, generationOf, ownerOf } from "../memory.mjs";
import { offsetIn, regionOf } from "../scene.mjs";
import { COUNT } from "./board.mjs";
import { baseOf, modeOf, vmOf } from "./scene.mjs";

/** @typedef {import("./kinds.mjs").Operation} Operation */
/** @typedef {import("stage2").Vcpu} Vcpu */

/**
 * Aborts of one access beyond which it counts as one that never ends: while an invalidation is in progress every one is
 * handled in vain, and its thread may have lost its turn on a busy machine.
 */
const ATTEMPTS = { attempts: 1_000_000 };
/** What an access with no slot behind it comes to: data, data without a syndrome, instructions. */
const MISSES = ["mmio", "nisv", "inject"];

export class Guest {
  #thread;
  #collector;
  #stored = 0;

  /** @param {import("./thread.mjs").VmThread} thread @param {import("./collector.mjs").Collector} collector */
  constructor(thread, collector) {
    this.#thread = thread;
    this.#collector = collector;
  }

  /** Reads whose memory this is. @param {Operation} op */
  load(op) {
    this.#checked(op, (cpu, ipa) => cpu.read32(ipa + TAG_WORD * 4));
  }

  /** The same as an instruction. @param {Operation} op */
  fetch(op) {
    this.#checked(op, (cpu, ipa) => cpu.fetch(ipa + TAG_WORD * 4));
  }

  /** To the word of this thread: always more than before. @param {Operation} op */
  store(op) {
    const value = ++this.#stored;
    this.#access(op, (cpu, ipa) => cpu.write32(ipa + this.#word, value) ?? 0);
  }

  /** A read that may become a write of nothing, and a store. @param {Operation} op */
  atomic(op) {
    this.#access(op, (cpu, ipa) => {
      const old = cpu.atomic("add", ipa + this.#word, 4, 0n);
      return old instanceof Fault ? old : Number(old);
    });
    this.store(op);
  }

  /** The host stores, and says so: what a device does. @param {Operation} op */
  hostWrite({ page }) {
    const region = regionOf(page);
    if (modeOf(region) === "ring") return; // there is no log for it
    if (!this.#thread.host.store(page, ++this.#stored)) return;
    // A slot that is just moving cannot be written to through KVM: so nothing is logged before it has arrived.
    const { layout } = this.#thread.board.common;
    for (let before = -1; before % 2 !== 0 || before !== Atomics.load(layout, region);) {
      before = Atomics.load(layout, region);
      if (before % 2 === 0) this.#thread.vm(region).markDirty(this.#ipa(page));
    }
  }

  /** Bytes of this thread's word in a page. */
  get #word() {
    return (FIRST_STORE_WORD + this.#thread.number) * 4;
  }

  /** Where a page is now. @param {number} page */
  #ipa(page) {
    const region = regionOf(page);
    return baseOf(region, Atomics.load(this.#thread.board.common.home, region)) + offsetIn(page);
  }

  /** An access to the tag, and what it says. @param {Operation} op @param {(cpu: Vcpu, ipa: number) => number | Fault} attempt */
  #checked(op, attempt) {
    const { page } = op;
    const finished = Atomics.load(this.#thread.board.common.finished, page);
    const value = this.#access(op, attempt);
    if (value === undefined) return;
    const tag = value | 0;
    const thread = this.#thread;
    if (tag === FREE) thread.violation("load after unmap", `page ${page} read free memory`);
    else if (ownerOf(tag) !== page) {
      thread.violation("wrong page", `page ${page} read memory of page ${ownerOf(tag)}`);
    } else if (generationOf(tag) <= finished) {
      thread.violation("load after unmap", `page ${page} read generation ${generationOf(tag)}`);
    }
  }

  /**
   * Repeats an attempt until it succeeds: what it gave. Undefined: it found no slot.
   *
   * @param {Operation} op
   * @param {(cpu: Vcpu, ipa: number) => number | Fault} attempt
   */
  #access(op, attempt) {
    const { board, rows } = this.#thread;
    const region = regionOf(op.page);
    const { layout } = board.common;
    for (;;) {
      const before = Atomics.load(layout, region);
      const found = this.#once(op, attempt);
      if (typeof found === "number") return found;
      if (found === "dirtyRingFull") this.#collector.relieve(vmOf(region));
      else if (found === "again") {
        this.#thread.violation("no progress", `"${op.kind}" of page ${op.page} faults for ever`);
        return undefined;
      } else if (MISSES.includes(found)) {
        rows.counts[COUNT.MISSED]++;
        const there = before % 2 === 0 && Atomics.load(layout, region) === before;
        if (there) this.#thread.violation("slot lost", `"${op.kind}" of page ${op.page}: ${found}`);
        return undefined;
      } else {
        this.#thread.violation("unexpected result", `"${op.kind}" of page ${op.page}: ${found}`);
        return undefined;
      }
    }
  }

  /** @param {Operation} op @param {(cpu: Vcpu, ipa: number) => number | Fault} attempt @returns {number | string} */
  #once(op, attempt) {
    const vcpu = this.#thread.vcpu(op.page, op.variant);
    const ipa = this.#ipa(op.page);
    let faults = 0;
    try {
      const result = vcpu.run(() => {
        const found = attempt(vcpu.cpu, ipa);
        if (!(found instanceof Fault)) return found;
        faults++;
        return found.withSyndrome({ size: 4 });
      }, ATTEMPTS);
      return typeof result === "number" ? result : result.reason;
    } catch (error) {
      if (!(error instanceof Stage2Error)) throw error;
      return error.code === "EAGAIN" ? "again" : `${error.message}`;
    } finally {
      this.#thread.rows.counts[COUNT.HANDLED] += faults;
    }
  }
}
