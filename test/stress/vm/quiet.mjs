// @ts-check
/** What has to hold at a quiet point, when every thread is at the barrier with nothing on its way: looked at by one of them. */
import { PAGE, REGIONS, offsetIn } from "../scene.mjs";
import { overflowedEntries } from "./rings.mjs";
import { VMS, baseOf, modeOf } from "./scene.mjs";

const WRITABLE = 1n << 7n;
const BY_HARDWARE = 1n << 51n;
/** Of a collection: all that is dirty, with one call. */
const WHOLE = 0;

export class Quiet {
  #thread;
  #parts;

  /** @param {import("./thread.mjs").VmThread} thread @param {ReturnType<typeof import("./operations.mjs").operationsOf>} parts */
  constructor(thread, parts) {
    this.#thread = thread;
    this.#parts = parts;
  }

  /** Before the first round: every slot is there, its log on. */
  begin() {
    for (let region = 0; region < REGIONS; region++) this.#parts.slots.create(region);
  }

  /** A last collection; then copies are what memory holds, and nothing can be stored without being logged. */
  check() {
    const { collector, ledger } = this.#parts;
    for (let vm = 0; vm < VMS; vm++) collector.collect(vm, WHOLE);
    for (let region = 0; region < REGIONS; region++) {
      const logging = collector.isLogging(region);
      if (logging) ledger.checkCopies(region);
      for (const page of ledger.pagesOf(region)) this.#checkEntry(region, page, logging);
    }
    for (const vm of this.#thread.vms) {
      const lost = overflowedEntries(vm);
      if (lost > 0) this.#thread.violation("ring count", `${lost} entries found no room`);
    }
    for (const pa of this.#thread.memory.disturbed()) {
      this.#thread.violation("store after unmap", `to 0x${pa.toString(16)}`);
    }
  }

  /** An entry maps what its page has; and what is clean cannot be stored to. @param {number} region @param {number} page @param {boolean} logging */
  #checkEntry(region, page, logging) {
    const home = Atomics.load(this.#thread.board.common.home, region);
    const { stage2 } = this.#thread.vm(region);
    const at = baseOf(region, home) + offsetIn(page);
    for (const { ipa, pa, pte } of stage2.leaves({ ipa: at, size: PAGE })) {
      const mapped = pa + (at - ipa);
      if (mapped !== this.#thread.host.addressOf(page)) {
        this.#thread.violation("stale mapping", `page ${page} maps 0x${mapped.toString(16)}`);
      }
      if (!logging || (pte & (WRITABLE | BY_HARDWARE)) !== WRITABLE) continue;
      this.#thread.violation(`dirty lost: ${modeOf(region)}`, `page ${page}: clean and writable`);
    }
  }
}
