/** A pKVM machine's place in the engine: its pointer while it is open, what never changes of it, what this thread has of it. */
import { type Closable, type Context, disposed } from "../_context.ts";
import { refusal, refuseLocked } from "../_outcome.ts";
import { EBUSY, Stage2Error, errnoError } from "../errors.ts";
import type { Machine } from "./_shape.ts";
import { CPU_BITS } from "./options.ts";

/** What a machine is behind its pointer. */
export interface MachineFacts {
  readonly pointer: number;
  readonly owned: boolean;
}

export class MachinePlace implements Machine, Closable {
  readonly context: Context;
  readonly generation: number;
  /** OPTION bits of its CPUs, as its tables were made with. */
  readonly table: number;
  readonly owned: boolean;
  readonly pageShift: number;
  readonly pageSize: number;
  readonly paBits: number;
  /** Physical addresses lie below. */
  readonly paLimit: number;
  /** PKVM_OPTION bits. */
  readonly options: number;
  /** Page tables: the host's stage 2, the hypervisor's stage 1. */
  readonly host: number;
  readonly hyp: number;
  /** Looks and stocks of this thread; they end with it. */
  readonly #parts = new Set<Closable>();
  #pointer: number;

  constructor(context: Context, { pointer, owned }: MachineFacts) {
    const { core } = context;
    this.context = context;
    this.#pointer = pointer;
    this.generation = core.pkvm_generation(pointer);
    this.owned = owned;
    this.pageShift = core.pkvm_describe(pointer);
    this.pageSize = 2 ** this.pageShift;
    this.host = context.resultNumber(0);
    this.hyp = context.resultNumber(1);
    this.paBits = context.resultNumber(2);
    this.paLimit = 2 ** this.paBits;
    this.options = context.resultNumber(3);
    this.table = core.pgt_options(this.host) & CPU_BITS;
    context.add(this);
  }

  /** The core's pointer. @throws Stage2Error `DISPOSED` */
  get pointer(): number {
    if (this.isOpen) return this.#pointer;
    throw disposed("pKVM machine");
  }

  /** Whether it can be used: it was disposed neither here nor, since, by its owner. */
  get isOpen(): boolean {
    return (
      this.#pointer !== 0 && this.context.core.pkvm_generation(this.#pointer) === this.generation
    );
  }

  /** Words that `pkvm_describe` gives. */
  describe(): number[] {
    const { context, pointer } = this;
    context.core.pkvm_describe(pointer);
    return [0, 1, 2, 3, 4, 5, 6, 7].map((index) => context.resultNumber(index));
  }

  add(part: Closable): void {
    this.#parts.add(part);
  }

  remove(part: Closable): void {
    this.#parts.delete(part);
  }

  /** Passes on a result of the core; a negative one is thrown. */
  done(status: number, operation: string, details?: object): number {
    if (status < 0) throw refusal(this.context, status, operation, details);
    return status;
  }

  /** Ends with its engine: the machine stays for other threads. */
  close(): void {
    for (const part of [...this.#parts].reverse()) part.close();
    this.#parts.clear();
    this.#pointer = 0;
  }

  /** Gives the machine back if this object owns it, and lets go. What keeps it from that is thrown first. */
  dispose(): void {
    if (this.isOpen && this.owned) this.#give();
    this.close();
    this.context.remove(this);
  }

  #give(): void {
    const { context } = this;
    refuseLocked(context, "dispose");
    const status = context.core.pkvm_destroy(this.#pointer);
    if (status >= 0) return;
    if (status !== -EBUSY) throw errnoError(status, "dispose");
    const vm = context.resultNumber(0);
    throw new Stage2Error("EBUSY", "dispose: a VM is left", { vm }, EBUSY);
  }
}
