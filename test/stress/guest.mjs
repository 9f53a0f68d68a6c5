// @ts-check
/** What guests do, on vCPUs of this thread: every access until it succeeds, with a fault handled each time it does not. */
import { Access, Fault, Prot } from "stage2";
import { FIRST_STORE_WORD, TAG_WORD } from "./board.mjs";
import { FREE, generationOf, ownerOf } from "./memory.mjs";
import { pageIpa, rangeOf } from "./scene.mjs";

/** @typedef {import("./kinds.mjs").Operation} Operation */
/** @typedef {import("stage2").Vcpu} Vcpu */

/** Faults of one access beyond which it counts as one that never ends. */
const TOO_MANY_FAULTS = 10_000;
const HANDLED = 0;
const REPEATED = 1;
const MOST = 2;

export class Guest {
  #thread;
  #host;
  #stored = 0;

  /** @param {import("./thread.mjs").Thread} thread @param {import("./host.mjs").Host} host */
  constructor(thread, host) {
    this.#thread = thread;
    this.#host = host;
  }

  /** Reads whose memory this is. @param {Operation} op */
  load(op) {
    const ipa = pageIpa(op.page) + TAG_WORD * 4;
    return this.#checked(op, (vcpu) => vcpu.read32(ipa), Prot.R);
  }

  /** The same as an instruction. @param {Operation} op */
  fetch(op) {
    const ipa = pageIpa(op.page) + TAG_WORD * 4;
    this.#checked(op, (vcpu) => vcpu.fetch(ipa), Prot.X);
  }

  /** @param {Operation} op */
  store(op) {
    const ipa = this.#word(op.page);
    const value = ++this.#stored;
    this.#access(op, Prot.W, (vcpu) => vcpu.write32(ipa, value) ?? 0);
    return value;
  }

  /** Adds to this thread's word, and looks what was there: never less than it had. @param {Operation} op */
  atomic(op) {
    const ipa = this.#word(op.page);
    this.#access(op, Prot.RW, (vcpu) => {
      const old = vcpu.atomic("add", ipa, 4, 0n);
      return old instanceof Fault ? old : Number(old);
    });
    this.store(op);
  }

  /**
   * Stores, and loads it again. Between two loads of one generation the memory was the same.
   *
   * @param {Operation} op
   * @param {() => void} [between] what happens in between: a planted fault
   */
  storeAndLook(op, between) {
    const before = this.load(op);
    const value = this.store(op);
    between?.();
    const ipa = this.#word(op.page);
    const found = this.#access(op, Prot.R, (vcpu) => vcpu.read32(ipa));
    if (this.load(op) !== before || before === undefined || found === undefined) return;
    if (found === value) return;
    this.#thread.violation("store lost", `page ${op.page}: ${value} stored, ${found} found`);
  }

  /** @param {Operation} op */
  translate(op) {
    const access = op.variant & 32 ? Access.Write : Access.Read;
    const prot = op.variant & 32 ? Prot.W : Prot.R;
    this.#access(op, prot, (vcpu) => vcpu.translate(pageIpa(op.page), access));
  }

  /** Translates, and stores to the physical address from JavaScript before the bracket is left. @param {Operation} op */
  bracket(op) {
    const { memory, number } = this.#thread;
    this.#access(op, Prot.W, (vcpu) => {
      vcpu.enter();
      try {
        for (let turn = 0; ; turn++) {
          const pa = vcpu.translate(pageIpa(op.page), Access.Write);
          if (pa instanceof Fault) return pa;
          memory.store(pa, FIRST_STORE_WORD + number, ++this.#stored);
          if (turn === (op.variant >> 5) % 4) return 0;
          vcpu.poll();
        }
      } finally {
        vcpu.exit();
      }
    });
  }

  /** Translates several pages at a time; what faults is left. @param {Operation} op */
  batch(op) {
    const { engine } = this.#thread;
    const batch = engine.batch(op.last - op.page + 1);
    for (let i = 0; i < batch.capacity; i++) batch.addresses[i] = pageIpa(op.page + i);
    this.#thread.vcpu(op.page, op.variant).translateMany(batch, Access.Read);
    batch.dispose();
  }

  /** The guest, or software outside, invalidates. @param {Operation} op */
  invalidate(op) {
    const vcpu = this.#thread.vcpu(op.page, op.variant);
    if (op.variant & 32) vcpu.tlbi("VMALLS12E1");
    else if (op.variant & 64)
      this.#thread.engine.tlbi("VMALLS12E1", { vmid: this.#thread.s2(op.page).vmid });
    else this.#thread.s2(op.page).tlbFlushRange(rangeOf(op.page, op.last));
  }

  /** @param {number} page */
  #word(page) {
    return pageIpa(page) + (FIRST_STORE_WORD + this.#thread.number) * 4;
  }

  /** An access to the tag, and what it says. @param {Operation} op @param {(vcpu: Vcpu) => number | Fault} attempt @param {number} prot */
  #checked(op, attempt, prot) {
    const { page } = op;
    const finished = Atomics.load(this.#thread.board.common.finished, page);
    const value = this.#access(op, prot, attempt);
    if (value === undefined) return undefined;
    const tag = value | 0;
    const thread = this.#thread;
    if (tag === FREE) thread.violation("load after unmap", `page ${page} read free memory`);
    else if (ownerOf(tag) !== page) {
      thread.violation("wrong page", `page ${page} read memory of page ${ownerOf(tag)}`);
    } else if (generationOf(tag) <= finished) {
      thread.violation("load after unmap", `page ${page} read generation ${generationOf(tag)}`);
    }
    return tag;
  }

  /**
   * Repeats an attempt until it succeeds: what it gave.
   *
   * @param {Operation} op
   * @param {number} prot what it needs
   * @param {(vcpu: Vcpu) => number | Fault} attempt
   */
  #access(op, prot, attempt) {
    const { rows } = this.#thread;
    const vcpu = this.#thread.vcpu(op.page, op.variant);
    for (let faults = 0; faults < TOO_MANY_FAULTS; faults++) {
      const before = hardwareMadeYoung(vcpu);
      const result = attempt(vcpu);
      rows.made[op.page] += hardwareMadeYoung(vcpu) - before;
      if (!(result instanceof Fault)) {
        rows.faults[HANDLED] += faults;
        if (faults > 1) rows.faults[REPEATED]++;
        rows.faults[MOST] = Math.max(rows.faults[MOST], faults);
        return result;
      }
      this.#host.handle(result, op.page, prot, op);
    }
    this.#thread.violation("no progress", `"${op.kind}" of page ${op.page} faults for ever`);
    return undefined;
  }
}

/** Entries whose access flag this vCPU has set. @param {Vcpu} vcpu */
function hardwareMadeYoung(vcpu) {
  return vcpu.statistics.accessFlagUpdates.stage2;
}
