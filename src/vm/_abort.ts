/**
 * One vCPU's aborts, between the core and what is behind the VM's memory: begun in the core, which says what to ask; asked, with no
 * lock held; finished in the core. One at a time: the request and the answer are objects of the vCPU, used over and over.
 */
import type { Context } from "../_context.ts";
import { EAGAIN, EBUSY, Stage2Error } from "../errors.ts";
import { ABORT, CALL, FACT } from "./_abi.ts";
import type { VmPlace } from "./_place.ts";
import { type BackingAnswer, Request, Resolved } from "./backing.ts";
import { MmioAccess, type RegisterFile, skipInstruction } from "./mmio.ts";
import { type AbortOutcome, type GuestAbort, RESUME, SERROR, SKIP } from "./outcome.ts";

/** What an abort asked of the page-table library. */
export interface LibraryCall {
  /** `kvm_pgtable_stage2_map`, `_relax_perms`, `_mkyoung`, or none of them. */
  readonly call: "none" | "map" | "relax" | "mkyoung";
  readonly ipa: number;
  /** Bytes that were to be mapped; 0 for the others. */
  readonly size: number;
  /** {@link Prot} bits. */
  readonly prot: number;
  /** 0, or a negative errno: -11 (EAGAIN) where another fault or the host was there first. */
  readonly result: number;
  /** The size of the host's own leaf decided the size. */
  readonly usedHostSize: boolean;
  /** Nothing was asked: an invalidation, or a change of the memslot, came between. */
  readonly retried: boolean;
}

const CALLS = {
  [CALL.NONE]: "none",
  [CALL.MAP]: "map",
  [CALL.RELAX]: "relax",
  [CALL.MKYOUNG]: "mkyoung",
} as const;

const HALF = 2 ** 32;

/** The abort of a vCPU that is being handled, or was last. */
export class Aborts {
  readonly request: Request;
  readonly #place: VmPlace;
  readonly #context: Context;
  readonly #registers: RegisterFile;
  readonly #resolved: Resolved;
  /** Between begin and finish. */
  #isOpen = false;
  #outcome: AbortOutcome = RESUME;
  #mmio: MmioAccess | undefined;
  /** Between a question to a device and its answer. */
  isAsking = false;
  /** Physical pages + 1 that the backing is to be told of: used; dirty. */
  #young = 0;
  #dirty = 0;
  // The last library call: numbers, so that handling an abort makes no object.
  #call: number = CALL.NONE;
  #ipa = 0;
  #size = 0;
  #prot = 0;
  #result = 0;
  #usedHostSize = false;
  #retried = false;

  constructor(place: VmPlace, id: number, registers: RegisterFile) {
    this.#place = place;
    this.#context = place.context;
    this.#registers = registers;
    this.request = new Request(id);
    this.#resolved = new Resolved(place.pageShift, place.outputLimit);
  }

  /** What the last abort came to, unless it is open. */
  get outcome(): AbortOutcome {
    return this.#outcome;
  }

  /** The device access that it turned out to be. */
  get mmio(): MmioAccess {
    return this.#mmio as MmioAccess;
  }

  get lastCall(): LibraryCall {
    return {
      call: CALLS[this.#call as keyof typeof CALLS],
      ipa: this.#ipa,
      size: this.#size,
      prot: this.#prot,
      result: this.#result,
      usedHostSize: this.#usedHostSize,
      retried: this.#retried,
    };
  }

  /** First part: ABORT, or a negative errno. Its results are taken over. */
  begin(pointer: number, abort: GuestAbort, hpfar: bigint, flags: number): number {
    if (this.#isOpen || this.isAsking) throw this.#stillOpen();
    const context = this.#context;
    context.setArgument(0, abort.esr);
    context.setArgument(1, abort.far);
    context.setArgument(2, hpfar);
    this.#place.clearResult(); // an access-flag fault without a page table tells of no call
    const status = this.#place.core.vm_abort_begin(pointer, flags);
    if (status < 0) return status;
    this.#forgetCall();
    this.#take(status);
    return status;
  }

  /** What there is to be done cannot be told any more: the guest tries again. */
  retry(): number {
    if (this.#isOpen || this.isAsking) throw this.#stillOpen();
    this.#forgetCall();
    this.#outcome = RESUME;
    return ABORT.RESUME;
  }

  #forgetCall(): void {
    this.#call = CALL.NONE;
    this.#ipa = this.#size = this.#prot = this.#result = this.#young = this.#dirty = 0;
    this.#usedHostSize = this.#retried = false;
  }

  /** The abort that was handled has to be taken again: an invalidation came between, or another vCPU's fault. */
  get wasOvertaken(): boolean {
    return this.wasVoid && this.#resolved.facts !== FACT.CHANGED;
  }

  /** The same, or the backing said so. */
  get wasVoid(): boolean {
    return this.#retried || this.#result === -EAGAIN;
  }

  /** Tells the backing that a page of the host was found to be in use, or may be written now. It does what it likes. */
  tell(): void {
    const { memory } = this.#place;
    const [young, dirty] = [this.#young, this.#dirty];
    this.#young = this.#dirty = 0;
    if (young !== 0) this.#place.callback(() => memory?.accessed?.(young - 1));
    if (dirty !== 0) this.#place.callback(() => memory?.dirtied?.(dirty - 1));
  }

  /** What the backing says, checked. */
  answer(answer: BackingAnswer): void {
    this.#resolved.take(answer, this.request.hva);
  }

  /** Last part: ABORT, or a negative errno; -EBUSY leaves it open. */
  finish(pointer: number): number {
    const context = this.#context;
    const { pa, facts, vmaShift, hostShift } = this.#resolved;
    const halves = context.args32;
    halves[0] = pa; // stored modulo 2^32
    halves[1] = Math.floor(pa / HALF);
    const status = this.#place.core.vm_abort_finish(pointer, facts, vmaShift, hostShift);
    if (status === -EBUSY) return status;
    this.#isOpen = false;
    if (status === ABORT.RESUME) this.#takeCall();
    else if (status > 0) this.#take(status);
    return status;
  }

  /** The backing has no answer: nothing happened. The vCPU may be gone meanwhile. */
  cancel(pointer: number): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    if (pointer !== 0) this.#place.core.vm_abort_cancel(pointer);
  }

  #take(status: number): void {
    if (status === ABORT.RESUME) this.#takeYoung();
    else if (status === ABORT.RESOLVE) this.#takeRequest();
    else if (status === ABORT.MMIO) this.#mmio = new MmioAccess(this.#registers, this.#numbers(6));
    else this.#outcome = this.#other(status);
  }

  /** What nobody has to be asked about. */
  #other(status: number): AbortOutcome {
    const [first, second, third] = this.#numbers(3) as [number, number, number];
    switch (status) {
      case ABORT.INJECT: {
        const [esr, far] = [this.#context.result(0), this.#context.result(1)];
        return { reason: "inject", ret: 1, esr, far, instruction: third === 1 };
      }
      case ABORT.SKIP:
        skipInstruction(this.#registers);
        return SKIP;
      case ABORT.SERROR:
        return SERROR;
      case ABORT.NISV:
        return { reason: "nisv", ret: 0, iss: first, ipa: second };
      case ABORT.POISONED:
        return { reason: "poisoned", ret: 1, hva: first, lsb: second };
      default:
        throw new RangeError(`the core made something unknown of an abort: ${status}`);
    }
  }

  #numbers(count: number): number[] {
    return Array.from({ length: count }, (_, index) => this.#context.resultNumber(index));
  }

  #takeYoung(): void {
    const context = this.#context;
    this.#outcome = RESUME;
    this.#call = context.resultNumber(0);
    this.#ipa = context.resultNumber(1);
    if (context.resultNumber(2) === 1) this.#young = context.resultNumber(3) + 1;
  }

  #takeRequest(): void {
    const context = this.#context;
    const { request } = this;
    this.#isOpen = true;
    request.hva = context.resultNumber(0);
    request.setKind(context.resultNumber(1), context.resultNumber(4));
    request.gfn = context.resultNumber(2);
    request.slot = context.resultNumber(3);
    request.ipa = context.resultNumber(5);
  }

  #takeCall(): void {
    const context = this.#context;
    this.#outcome = RESUME;
    this.#call = context.resultNumber(0);
    this.#ipa = context.resultNumber(1);
    this.#size = context.resultNumber(2);
    this.#prot = context.resultNumber(3);
    this.#result = context.resultLevel(4);
    this.#usedHostSize = context.resultNumber(5) === 1;
    this.#retried = context.resultNumber(7) === 1;
    if (context.resultNumber(6) === 1) this.#dirty = this.#resolved.pa + 1;
  }

  #stillOpen(): Stage2Error {
    const message = "handleAbort: another abort of this vCPU waits for its answer";
    return new Stage2Error("EBUSY", message, { vcpu: this.request.vcpu }, EBUSY);
  }
}
