/**
 * The ledger of a dirty log: what a live migration does with it. A page that the log names is copied once the log has been handed
 * out; at the end every page is as the copy has it, or the log names it again.
 */
import type { Part } from "./observe.ts";
import { software } from "./observe.ts";
import { A, agent } from "./support.ts";
import { type VmBed } from "./vm_bed.ts";

/** What the collector has of one word of one page. */
export interface Ledger {
  /** The copy, 0 at the start, as the memory. */
  copy: number;
  /** What calls of the log answered; 0: all went well. */
  status: number;
}

export function ledger(): Ledger {
  return { copy: 0, status: 0 };
}

/** The collector of one slot: its thread, and a CPU that reads guest memory by physical address. */
export class Collector {
  readonly #bed: VmBed;
  readonly #name: string;
  readonly #slot: number;
  readonly #cpu: number;

  constructor(bed: VmBed, name: string, slot = 0) {
    this.#bed = bed;
    this.#name = name;
    this.#slot = slot;
    this.#cpu = software(agent(bed.agents, name));
  }

  /** KVM_GET_DIRTY_LOG of a slot of up to 64 pages: its word, or -errno. */
  *get(): Part<bigint | number> {
    const on = agent(this.#bed.agents, this.#name);
    const core = on.core;
    const { vm } = this.#bed;
    const status = yield () => core.vm_log_get(vm, this.#slot);
    if (status !== 0) return status;
    const snapshot = this.#bed.result(on, 2);
    const taken = yield () => core.vm_log_take(vm, 0, 1);
    const word = this.#bed.lab.read64(snapshot); // its own until the end
    const end = yield () => core.vm_log_end(vm);
    return taken < 0 ? taken : end < 0 ? end : word;
  }

  /** KVM_CLEAR_DIRTY_LOG of these pages. */
  *clear(mask: bigint, pages: number): Part<number> {
    const { vm, lab } = this.#bed;
    const on = agent(this.#bed.agents, this.#name);
    const core = on.core;
    const status = yield* this.#bed.asks(on, [0, pages], () => core.vm_log_clear(vm, this.#slot));
    if (status !== 0) return status;
    lab.write64(this.#bed.result(on, 2), mask);
    const taken = yield () => core.vm_log_take(vm, 0, 1);
    const end = yield () => core.vm_log_end(vm);
    return taken < 0 ? taken : end;
  }

  /** Reads the word at this physical address, as whoever copies its page does. */
  *copy(into: Ledger, pa = A): Part {
    const core = agent(this.#bed.agents, this.#name).core;
    into.copy = yield () => core.vcpu_read(this.#cpu, pa, 4);
  }

  /** One round: fetches the log, and copies page 0 if it is named. */
  *round(into: Ledger): Part {
    const word = yield* this.get();
    if (typeof word === "number") into.status = word;
    else if ((word & 1n) !== 0n) yield* this.copy(into);
  }

  /** The same where the log is fetched, and cleared by a call of its own. */
  *manualRound(into: Ledger, pages: number): Part {
    const word = yield* this.get();
    if (typeof word === "number") return void (into.status = word);
    if ((word & 1n) === 0n) return;
    into.status = yield* this.clear(word, pages);
    yield* this.copy(into);
  }
}

/** What is lost: the word in memory is not in the copy, and nothing says that it has to be fetched again. */
export function lost(bed: VmBed, { copy, status }: Ledger, word: number): string | undefined {
  if (status < 0) return `the log answered ${status}`;
  const memory = bed.lab.read32(word);
  if (memory === copy || bed.isDirty(0)) return undefined;
  return `memory has ${memory}, the copy ${copy}, and the log calls the page clean`;
}
