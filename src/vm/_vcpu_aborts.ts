/** The abort handler of a vCPU: `kvm_handle_guest_abort`, at once or as its backing and its devices answer. */
import { EBUSY, EINVAL, Stage2Error } from "../errors.ts";
import { Fault } from "../fault.ts";
import { fields, knownOptions } from "../range.ts";
import { ABORT } from "./_abi.ts";
import { Attempts, type RunOptions } from "./_attempts.ts";
import { hpfarOf } from "./_fault_address.ts";
import { answered } from "./_later.ts";
import { withHint } from "./_refusals.ts";
import type { VcpuContext } from "./_vcpu_context.ts";
import { checkedWork, untilFree } from "./_work.ts";
import type { BackingAnswer } from "./backing.ts";
import { asynchronous, isPromise } from "./bus.ts";
import type { MmioAccess } from "./mmio.ts";
import {
  type AbortOutcome,
  COMPLETED,
  type DirtyRingFull,
  type Exit,
  type GuestAbort,
  RESUME,
  RING_FULL,
  checkAbort,
  ownFault,
} from "./outcome.ts";

/** The same for what waits. */
export interface AsyncOptions {
  /** Ends the waiting: the promise is rejected with its reason, and the abort has not happened. */
  signal?: AbortSignal;
}

const ENOSYS = 38;
const NO_SYNDROME =
  ": the syndrome does not describe the access: add it with Fault.withSyndrome, or see Vm.enableNisvExits";
const ASYNC = "the backing is asynchronous: use handleAbortAsync";

/** The part of {@link VmVcpu} that handles aborts. */
export class VmVcpuAborts {
  /** @internal */
  readonly vcpu: VcpuContext;

  /** @internal */
  constructor(vcpu: VcpuContext) {
    this.vcpu = vcpu;
  }

  /**
   * Handles an abort that the guest took to EL2. What is at the page is asked of the VM's {@link Backing}, with no lock held; then the
   * page is mapped, or its permissions relaxed, under the read side of the mmu_lock, beside faults of other vCPUs.
   *
   * Nothing has changed if it throws, but for the last: `EFAULT` no page can be had there, or no such fault can be handled; `ENOMEM` no table page
   * is left; `ENOSYS` an access to a device by an instruction that the syndrome does not describe, see
   * {@link Vm.enableNisvExits}; `EBUSY` an abort of this vCPU waits for its page, or this thread may not block and the
   * mmu_lock is taken: {@link handleAbortAsync}; `ETIMEDOUT`, `EDEADLK` as every operation that takes the lock; `BAD_OPTION`
   * for what is no abort, and for answers of the backing and the bus that are none, or promises; `EINVAL` for a fault of a CPU on
   * which it is not loaded; what the backing throws. What `dirtied` and `accessed` throw comes when all has been done.
   */
  handleAbort(abort: GuestAbort): AbortOutcome {
    const { vcpu } = this;
    checkAbort(abort);
    const status = this.#begin(abort);
    if (status === ABORT.MMIO) return this.#device(vcpu.aborts.mmio);
    if (status !== ABORT.RESOLVE) return this.#settled();
    this.#resolve();
    const finished = vcpu.aborts.finish(vcpu.samePointer);
    if (finished === -EBUSY) vcpu.aborts.cancel(vcpu.samePointer);
    if (finished < 0) throw this.#refused(finished);
    return this.#settled();
  }

  /**
   * The same where the backing or the bus answers with promises, and on threads that may not block. While it waits another abort
   * of this vCPU is refused (`EBUSY`). What a device answers after a signal, or the end of the vCPU, is dropped.
   * @throws Stage2Error as {@link handleAbort}, but `ETIMEDOUT` where the mmu_lock stays taken, and `DISPOSED` if the vCPU comes to its end; an aborted signal's reason.
   */
  async handleAbortAsync(abort: GuestAbort, options: AsyncOptions = {}): Promise<AbortOutcome> {
    const { place, aborts } = this.vcpu;
    checkAbort(abort);
    knownOptions("handleAbortAsync", options, ["signal"]);
    const { signal } = checkedWork(options);
    let outcome: AbortOutcome | undefined;
    let mmio: MmioAccess | undefined;
    const status = await untilFree(place, "handleAbort", signal, () => {
      const begun = this.#begin(abort, true);
      if (begun === ABORT.MMIO) mmio = aborts.mmio;
      else if (begun > 0 && begun !== ABORT.RESOLVE) outcome = this.#settled();
      return begun;
    });
    if (mmio !== undefined) return this.#deviceLater(mmio, signal);
    return status === ABORT.RESOLVE ? this.#resolveLater(signal) : (outcome as AbortOutcome);
  }

  /**
   * Makes an access, has its aborts handled, and makes it again, as a guest that is re-entered: what it gives, or the first
   * outcome that is not "resume". A fault that the guest takes itself is an outcome "inject"; an access that a device of the bus
   * has made ends with "resume", what was read is in its register. Syndromes of accesses are the caller's to add:
   * {@link Fault.withSyndrome}.
   * @throws Stage2Error `EAGAIN` if that many aborts were handled in vain; `EINVAL` if it is not loaded on its CPU; as {@link handleAbort}.
   */
  run<T>(access: () => T | Fault, options: RunOptions = {}): T | Exit {
    const attempts = new Attempts(this.vcpu, options, access);
    for (; ; attempts.next()) {
      const full = this.#enterLoaded();
      if (full !== undefined) return full;
      const result = access();
      if (!(result instanceof Fault)) return result;
      const outcome = ownFault(result) ?? this.handleAbort(result);
      if (outcome !== RESUME) return outcome;
    }
  }

  /** The same where the backing or the bus answers with promises, or the access itself. */
  async runAsync<T>(
    access: () => T | Fault | Promise<T | Fault>,
    options: RunOptions & AsyncOptions = {},
  ): Promise<T | Exit> {
    const { signal, ...rest } = fields(options);
    const attempts = new Attempts(this.vcpu, rest, access);
    const waiting = checkedWork(signal === undefined ? {} : { signal });
    for (; ; await attempts.nextLater()) {
      const full = this.#enterLoaded();
      if (full !== undefined) return full;
      const result = await access();
      if (!(result instanceof Fault)) return result;
      const outcome = ownFault(result) ?? (await this.handleAbortAsync(result, waiting));
      if (outcome !== RESUME) return outcome;
    }
  }

  /** Whether the guest may run: the outcome if its dirty ring is full. {@link run} asks by itself. */
  enter(): DirtyRingFull | undefined {
    const { vcpu } = this;
    if (!vcpu.hasRing) return undefined;
    return vcpu.place.core.vm_vcpu_ring_full(vcpu.pointer) === 1 ? RING_FULL : undefined;
  }

  #enterLoaded(): DirtyRingFull | undefined {
    this.#checkLoaded();
    return this.enter();
  }

  /** A fault of the CPU is this vCPU's only while it is loaded there. */
  #checkLoaded(): void {
    const { id, isLoaded } = this.vcpu;
    if (isLoaded) return;
    void this.vcpu.pointer; // its end comes first
    const message = "handleAbort: the vCPU is not loaded on its CPU: load it first";
    throw new Stage2Error("EINVAL", message, { vcpu: id }, EINVAL);
  }

  #begin(abort: GuestAbort, mayRetry = false): number {
    const { aborts, flags, pe, pointer } = this.vcpu;
    if (abort instanceof Fault) this.#checkLoaded();
    const hpfar = hpfarOf(pe, abort);
    if (hpfar === undefined) return aborts.retry();
    const status = aborts.begin(pointer, abort, hpfar, flags);
    if (status < 0 && !(mayRetry && status === -EBUSY)) throw this.#refused(status);
    return status;
  }

  #settled(): AbortOutcome {
    const { aborts } = this.vcpu;
    const { outcome } = aborts; // before the backing hears of it, and does what it likes
    aborts.tell();
    return outcome;
  }

  /** Asks the backing; if there is no answer, the abort has not happened. */
  #resolve(): void {
    const { aborts } = this.vcpu;
    try {
      const answer = this.#ask();
      if (isPromise(answer)) throw asynchronous(answer, ASYNC);
      aborts.answer(answer);
    } catch (error) {
      aborts.cancel(this.vcpu.livePointer);
      throw error;
    }
  }

  /** A VM without a backing has no memory anywhere. */
  #ask(): BackingAnswer | Promise<BackingAnswer> {
    const { aborts, place } = this.vcpu;
    return place.memory === undefined ? "unmapped" : place.memory.resolve(aborts.request);
  }

  async #resolveLater(signal: AbortSignal | undefined): Promise<AbortOutcome> {
    const { vcpu } = this;
    const { aborts, place } = vcpu;
    let outcome: AbortOutcome = RESUME;
    try {
      void vcpu.pointer; // it may have come to its end since the abort was begun
      const answer = this.#ask();
      aborts.answer(isPromise(answer) ? await answered(vcpu, answer, signal) : answer);
      await untilFree(place, "handleAbort", signal, () => {
        const status = aborts.finish(vcpu.pointer);
        if (status < 0 && status !== -EBUSY) throw this.#refused(status);
        if (status > 0) outcome = this.#settled();
        return status;
      });
    } catch (error) {
      aborts.cancel(vcpu.livePointer);
      throw error;
    }
    return outcome;
  }

  #device(mmio: MmioAccess): AbortOutcome {
    const { bus } = this.vcpu.place;
    if (bus === undefined) return mmio.exit();
    const answer = mmio.ask(bus);
    if (isPromise(answer)) {
      throw asynchronous(answer, "the bus is asynchronous: use handleAbortAsync");
    }
    return mmio.take(answer) ? COMPLETED : mmio.exit();
  }

  async #deviceLater(mmio: MmioAccess, signal: AbortSignal | undefined): Promise<AbortOutcome> {
    const { vcpu } = this;
    const { aborts, place } = vcpu;
    if (place.bus === undefined) return mmio.exit();
    let answer = mmio.ask(place.bus);
    if (isPromise(answer)) {
      aborts.isAsking = true;
      try {
        answer = await answered(vcpu, answer, signal);
      } finally {
        aborts.isAsking = false;
      }
    }
    return mmio.take(answer) ? COMPLETED : mmio.exit();
  }

  #refused(status: number): Stage2Error {
    const { place, id } = this.vcpu;
    const error = place.refusal(status, "handleAbort", { vcpu: id });
    if (error.errno === ENOSYS) error.message += NO_SYNDROME;
    return withHint(error, "handleAbort");
  }
}
