/**
 * How long an access is tried again. An abort that was handled beside an invalidation, or another vCPU's fault, may have to be taken
 * again: that ends when the others do, so it counts only once the thread's patience is over.
 */
import { EAGAIN, Stage2Error } from "../errors.ts";
import { integerOption, knownOptions } from "../range.ts";
import { nextSlice } from "./_idle.ts";
import type { VcpuContext } from "./_vcpu_context.ts";

/** How {@link VmVcpu.run} runs. */
export interface RunOptions {
  /**
   * Aborts that may be handled for one access, 1 to 2^31 - 1. Default 1,000. One that an invalidation made void, or to which another
   * vCPU came first, does not count until {@link Engine.patience} has passed.
   */
  attempts?: number;
}

const ATTEMPTS = 1000;
const MOST_ATTEMPTS = 2 ** 31 - 1;

/** The attempts of one access. */
export class Attempts {
  readonly #most: number;
  readonly #vcpu: VcpuContext;
  #count = 0;
  /** When patience is over; 0 until it matters. */
  #end = 0;

  /** @throws Stage2Error `BAD_OPTION` */
  constructor(vcpu: VcpuContext, options: RunOptions, access: unknown) {
    knownOptions("run", options, ["attempts"]);
    this.#most = integerOption("attempts", options.attempts ?? ATTEMPTS, 1, MOST_ATTEMPTS);
    this.#vcpu = vcpu;
    if (typeof access === "function") return;
    throw new Stage2Error("BAD_OPTION", "the access must be a function", { access });
  }

  /** An abort was handled. Others have a moment, if they came between. @throws Stage2Error `EAGAIN` after the last */
  next(): void {
    if (this.#waits()) this.#vcpu.place.nap();
  }

  /** The same; other tasks of the thread have their turn meanwhile. */
  async nextLater(): Promise<void> {
    this.#waits();
    if (this.#vcpu.aborts.wasVoid) await nextSlice();
  }

  /** Whether this attempt does not count. */
  #waits(): boolean {
    const { aborts, place } = this.#vcpu;
    if (aborts.wasOvertaken) {
      const now = performance.now();
      if (this.#end === 0) this.#end = now + place.context.patience;
      if (now < this.#end) return true;
    }
    if (++this.#count >= this.#most) throw this.#inVain();
    return false;
  }

  #inVain(): Stage2Error {
    const attempts = this.#most;
    const message = `run: the access aborts for ever, or ${attempts} times`;
    return new Stage2Error("EAGAIN", message, { vcpu: this.#vcpu.id, attempts }, EAGAIN);
  }
}
