/** Telling the VMs of this thread what the host does to its memory: KVM's MMU notifiers, from the other side. */
import { Stage2Error } from "../../errors.ts";
import type { State } from "./_layout.ts";
import type { Waiter } from "./_lock.ts";

/** A stretch of host virtual addresses, in bytes. */
export interface HostRange {
  readonly hva: number;
  readonly size: number;
}

/** What is told: a {@link Vm}, or anything else that has pages of this memory mapped. */
export interface Notified {
  /**
   * When it returns, nobody uses the pages through it any more. If it throws it has not begun; but for an `ETIMEDOUT` that waits
   * for a vCPU in its bracket: that invalidation is under way, and will be ended, and the change is not made.
   */
  invalidateStart(range: HostRange): void;
  invalidateEnd(range: HostRange): void;
  /** The address space goes away. */
  release?(): void;
  /** Its page size, which must be the memory's. */
  readonly pageSize?: number;
  /** False: it was disposed, and has no page mapped any more. */
  readonly isOpen?: boolean;
}

export class Notifiers {
  readonly #state: State;
  readonly #waiter: Waiter;
  readonly #targets = new Set<Notified>();

  constructor(state: State, waiter: Waiter) {
    this.#state = state;
    this.#waiter = waiter;
  }

  add(target: Notified): void {
    const { invalidateStart, invalidateEnd, pageSize } = (target ?? {}) as Partial<Notified>;
    if (typeof invalidateStart !== "function" || typeof invalidateEnd !== "function") {
      throw new Stage2Error("BAD_OPTION", "a VM has invalidateStart and invalidateEnd", { target });
    }
    const { page } = this.#state;
    if (pageSize !== undefined && pageSize !== page) {
      const message = "the VM has another page size than the guest memory (granule)";
      throw new Stage2Error("BAD_OPTION", message, { vm: pageSize, memory: page });
    }
    this.#targets.add(target);
  }

  remove(target: Notified): void {
    this.#targets.delete(target);
  }

  clear(): void {
    this.#targets.clear();
  }

  release(): void {
    for (const target of this.#live()) target.release?.();
  }

  /**
   * Makes a change between start and end of an invalidation. If a VM refuses to start, the others are told the end and nothing
   * has changed; whatever `change` does, every VM that started is told the end.
   */
  around<T>(range: HostRange, change: () => T): T {
    const started: Notified[] = [];
    this.#state.count("invalidations");
    try {
      for (const target of this.#live()) start(target, range, started);
      return change();
    } finally {
      end(started, range, this.#waiter.patience);
    }
  }

  /** VMs that were disposed need not be told any more. */
  #live(): readonly Notified[] {
    for (const target of this.#targets) if (target.isOpen === false) this.#targets.delete(target);
    return [...this.#targets];
  }
}

/** Puts the target into `started` if it has to be told the end. */
function start(target: Notified, range: HostRange, started: Notified[]): void {
  try {
    target.invalidateStart(range);
  } catch (error) {
    if (hasBegun(error)) started.push(target);
    throw error;
  }
  started.push(target);
}

/** Whether all was unmapped, but some vCPU may still use it: {@link Vm.invalidateStart}. */
function hasBegun(error: unknown): boolean {
  if (!(error instanceof Stage2Error) || error.code !== "ETIMEDOUT") return false;
  const { waitingFor } = error.details;
  return waitingFor === "bracket" || waitingFor === "hardware section";
}

/** All are told the end, also if one throws; its error is passed on then. */
function end(started: readonly Notified[], range: HostRange, patience: number): void {
  const errors: unknown[] = [];
  for (const target of started.toReversed()) {
    try {
      endOf(target, range, patience);
    } catch (error) {
      errors.push(error);
    }
  }
  if (errors.length > 0) throw errors[0];
}

/** Tells the end. It cannot be left out: a thread that may not block tries again while something is taken (`EBUSY`). */
function endOf(target: Notified, range: HostRange, patience: number): void {
  const limit = performance.now() + patience;
  while (target.isOpen !== false) {
    try {
      return target.invalidateEnd(range);
    } catch (error) {
      if (!isBusy(error) || performance.now() > limit) throw error;
    }
  }
}

/** Whether something was taken, and nothing has changed. */
export function isBusy(error: unknown): boolean {
  return error instanceof Stage2Error && error.code === "EBUSY";
}
