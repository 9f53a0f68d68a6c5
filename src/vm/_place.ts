/** A VM's place in the engine: its pointer while it is open, what is behind its memory, what this thread has of it. */
import { type Core, OPTION } from "../_abi.ts";
import { type Context, disposed } from "../_context.ts";
import { refusal, refuseLocked } from "../_outcome.ts";
import { SPINS, mayBlock } from "../_patience.ts";
import { type Shape, TableCore } from "../_table.ts";
import { EBUSY, EDEADLK, Stage2Error } from "../errors.ts";
import { VM_OPTION, type VmCore } from "./_abi.ts";
import type { Backing } from "./backing.ts";
import type { Bus } from "./bus.ts";

/** Something of this thread that ends when its VM ends: vCPU contexts, work in pieces that is under way. */
export interface Part {
  /** Gives back what it holds. The VM is still there. */
  close(): void;
}

/** A vCPU context of this thread. */
export interface OwnVcpu {
  /** 0 after its end. */
  readonly livePointer: number;
}

/** What a VM is behind its pointer. */
export interface VmFacts {
  readonly pointer: number;
  /** Of the page table; it stays the same when the table is gone. */
  readonly shape: Shape;
  /** VM_OPTION bits that it was made with. */
  readonly options: number;
  readonly owned: boolean;
  readonly memory: Backing | undefined;
  readonly bus: Bus | undefined;
  /** Number of the first event that can be its own; undefined if not known. */
  readonly firstEvent?: number;
}

/** The first result word of the argument block; and where the memory's first word of an engine can be. */
const RESULT = 8;
const LOWEST_WORD = 65536;
/** With 64K pages either gives addresses of 52 bits. */
const LONG_64K = OPTION.LPA2 | OPTION.PA52;
/** A thread waits on it for time to pass. */
const NAP = 1;
/** The VM whose slots_lock a thread's asynchronous operation has. */
export const slotsHolders = new WeakMap<Context, VmPlace>();
let napWord: Int32Array | undefined;

export class VmPlace {
  readonly context: Context;
  readonly core: Core & VmCore;
  readonly memory: Backing | undefined;
  readonly bus: Bus | undefined;
  readonly shape: Shape;
  readonly pageShift: number;
  readonly pageSize: number;
  readonly options: number;
  readonly generation: number;
  readonly owned: boolean;
  /** Physical addresses that its page table can hold lie below. */
  readonly outputLimit: number;
  readonly firstEvent: number | undefined;
  /** The page table, to look at. */
  readonly table: TableCore;
  /** vCPUs of this thread. */
  readonly vcpus = new Set<OwnVcpu>();
  readonly #parts = new Set<Part>();
  /** In {@link withoutBlocking}. */
  #isPatient = false;
  readonly #mayBlock: boolean;
  #pointer: number;

  constructor(context: Context, facts: VmFacts) {
    const { pointer, shape, options, owned, memory, bus } = facts;
    this.context = context;
    this.core = vmCore(context);
    this.#mayBlock = mayBlock(context.mode);
    this.#pointer = pointer;
    this.generation = this.core.vm_generation(pointer);
    this.shape = shape;
    this.pageShift = shape.pageShift;
    this.pageSize = 2 ** shape.pageShift;
    this.options = options;
    const isLong = (shape.bits & (shape.pageShift === 16 ? LONG_64K : OPTION.LPA2)) !== 0;
    this.outputLimit = isLong ? 2 ** 52 : 2 ** 48;
    this.firstEvent = facts.firstEvent;
    this.owned = owned;
    this.memory = memory;
    this.bus = bus;
    this.table = new TableCore(context, this.core.vm_describe(pointer) >>> 0, shape, false);
    context.add(this);
  }

  /** The core's pointer. @throws Stage2Error `DISPOSED` */
  get pointer(): number {
    if (this.isOpen) return this.#pointer;
    throw disposed("VM");
  }

  /** Whether it can be used: it was disposed neither here nor, since, by its owner. */
  get isOpen(): boolean {
    return this.#pointer !== 0 && this.core.vm_generation(this.#pointer) === this.generation;
  }

  /** The same but for its owner, who may be in another thread. */
  get isHeld(): boolean {
    return this.#pointer !== 0;
  }

  get isProtected(): boolean {
    return (this.options & VM_OPTION.PROTECTED) !== 0;
  }

  /** Whether the VM is still there, also for who has let go of it: for what it must give back. */
  isLive(pointer: number): boolean {
    return this.core.vm_generation(pointer) === this.generation;
  }

  /** Does something during which the core does not block this thread: it refuses (-EBUSY) where it would wait for a lock. */
  withoutBlocking<T>(go: () => T): T {
    if (this.#isPatient) return go();
    this.#isPatient = true;
    this.#configure(false);
    try {
      return go();
    } finally {
      this.#isPatient = false;
      this.#configure(this.#mayBlock);
    }
  }

  /** Calls back: the embedder's code waits as it always does. */
  callback<T>(go: () => T): T {
    if (!this.#isPatient) return go();
    this.#isPatient = false;
    this.#configure(this.#mayBlock);
    try {
      return go();
    } finally {
      this.#isPatient = true;
      this.#configure(false);
    }
  }

  /** A moment in which other threads come further, if this one may block. */
  nap(): void {
    if (!this.#mayBlock) return;
    napWord ??= new Int32Array(new SharedArrayBuffer(4));
    Atomics.wait(napWord, 0, 0, NAP);
  }

  /** How this thread waits, see {@link Context.patience}. */
  #configure(blocks: boolean): void {
    this.core.thread_configure(blocks ? 1 : 0, SPINS, this.context.patience);
  }

  /** Makes sure that a result found later is one of the next call. */
  clearResult(): void {
    this.context.args64[RESULT] = 0n;
  }

  /** Whether a result can be the address of a word. */
  isWord(pointer: number): boolean {
    return pointer >= LOWEST_WORD && pointer % 4 === 0;
  }

  add(part: Part): void {
    this.#parts.add(part);
  }

  remove(part: Part): void {
    this.#parts.delete(part);
  }

  /** Passes on a result of the core; a negative one is thrown. */
  done(status: number, operation: string, details?: object): number {
    if (status < 0) throw this.refusal(status, operation, details);
    return status;
  }

  /** The error for a negative result. Asks the core what it has to do with other threads: call it at once. */
  refusal(status: number, operation: string, details: object = {}): Stage2Error {
    const error = refusal(this.context, status, operation, details);
    if (status !== -EBUSY) return error;
    error.message = `${operation}: what it needs is taken, and this thread may not block`;
    return error;
  }

  /** Ends with its engine: what no other thread could use is given back, the VM itself stays for the others. */
  close(): void {
    this.#closeParts(); // also if its owner has disposed it: each looks whether it is still there
    this.#pointer = 0;
  }

  /** Gives the VM back if this thread's object owns it, and lets go. What keeps it from that is thrown first. */
  dispose(): void {
    const late = this.isOpen ? this.#give() : undefined;
    this.close();
    this.table.dispose();
    this.context.remove(this);
    if (late !== undefined) throw late;
  }

  /** The error if it is destroyed all the same. */
  #give(): Stage2Error | undefined {
    refuseLocked(
      this.context,
      "dispose",
      this.owned ? undefined : this.core.vm_describe(this.#pointer) >>> 0,
    );
    if (this.owned) this.#refuseInside();
    this.#closeParts();
    if (!this.owned) return undefined;
    const status = this.core.vm_destroy(this.#pointer);
    const error = status < 0 ? this.refusal(status, "dispose") : undefined;
    if (error !== undefined && this.isOpen) throw error;
    return error;
  }

  /** Inside the bracket of a vCPU, or with a slots_lock, nothing is destroyed: that is found before the parts are gone. */
  #refuseInside(): void {
    const { context, core } = this;
    core.thread_describe(core.thread_number());
    if (context.resultNumber(1) !== 0) throw this.refusal(-EDEADLK, "dispose");
    const holder = slotsHolders.get(context);
    if (holder === undefined || holder === this) return;
    const message = "dispose: an operation of this thread on another VM has its slots_lock";
    throw new Stage2Error("EDEADLK", message, {}, EDEADLK);
  }

  #closeParts(): void {
    for (const part of [...this.#parts].reverse()) part.close();
    this.#parts.clear();
  }
}

/** The core with its VM part. */
export function vmCore(context: Context): Core & VmCore {
  return context.core as Core & VmCore;
}
