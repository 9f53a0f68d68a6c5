/**
 * A guest CPU and the run loop around it: instructions access memory, what traps goes to the KVM MMU, and what comes of
 * that is counted. An instruction that was not completed is executed again, as hardware does after ERET.
 */
import {
  type AbortOutcome,
  type AccessShape,
  Fault,
  Stage2Error,
  type Vcpu,
  type VmVcpu,
} from "../../../src/index.ts";

/** Bytes of an instruction. */
const INSTRUCTION = 4;
/** Aborts that one instruction may take where nobody else runs: more means that it never gets on. */
const MOST_ABORTS = 64;

/** One instruction that accesses memory. */
export interface Instruction<T> {
  /** Its accesses, from the first on: nothing has been done if a fault comes back. */
  access(cpu: Vcpu): T | Fault;
  /** What the syndrome tells of it (ISV = 1). Missing: nothing (ISV = 0). */
  readonly syndrome?: AccessShape;
  /** What it comes to if a device was accessed: registers are as the host left them. */
  emulated?(x: BigUint64Array): T;
}

/** An exit of MMIO. */
export type MmioExit = Extract<AbortOutcome, { reason: "mmio" }>;
/** Another exit to the host that leaves the instruction to be executed again. */
export type OtherExit = Extract<
  AbortOutcome,
  { reason: "nisv" | "dirtyRingFull" | "poisoned" | "serror" }
>;

/** Completes an exit: a read gets the value. */
export function answer(exit: MmioExit, value: bigint): void {
  if (exit.write) exit.complete();
  else exit.complete(value);
}

/** An exception that the guest's own kernel gets. */
export interface GuestAbort {
  readonly esr: bigint;
  readonly far: bigint;
  readonly instruction: boolean;
}

/** A fault that was taken to EL2. */
export interface SeenFault {
  readonly fsc: number;
  readonly s1ptw: boolean;
  readonly write: boolean;
  readonly fetch: boolean;
  readonly ipa: number | undefined;
}

/** How a program ended. */
export type End = "done" | "abort" | "failed";

/** What the host does at exits. */
export interface GuestHooks {
  /** Default: reads are zero, writes go nowhere. It must complete the exit. */
  mmio?(exit: MmioExit, guest: Guest): void;
  /** Default: such an exit fails the test. */
  other?(exit: OtherExit, guest: Guest): void;
  /** The dirty ring is full; room must have been made. Default: that fails the test. */
  ringFull?(guest: Guest): void;
}

/** Where the guest's code lies. Missing: instructions are not fetched. */
export interface GuestOptions extends GuestHooks {
  readonly code?: number;
  /** Aborts that one instruction may take. Default 64; where the host invalidates beside it, it takes them until that ends. */
  readonly mostAborts?: number;
}

/** Unwinds a program of the guest. */
class Stop extends Error {
  readonly end: End;
  constructor(end: End) {
    super(`the guest stopped: ${end}`);
    this.end = end;
  }
}

/** A vCPU at EL1 with its exits counted. */
export class Guest {
  readonly vcpu: VmVcpu;
  readonly #hooks: GuestOptions;
  /** Exits of MMIO. */
  mmio = 0;
  /** Errors of runs, by code. */
  readonly failures: string[] = [];
  /** Aborts that reached the guest: injected, or of its own stage 1. */
  readonly aborts: GuestAbort[] = [];
  /** Instructions that the host skipped. */
  skipped = 0;
  /** Every fault that was taken to EL2, in order. */
  readonly faults: SeenFault[] = [];

  constructor(vcpu: VmVcpu, options: GuestOptions = {}) {
    this.vcpu = vcpu;
    this.#hooks = options;
  }

  get cpu(): Vcpu {
    return this.vcpu.cpu;
  }

  /** Runs a program until it ends, or until the guest gets an abort or a run fails. */
  run(program: (guest: this) => void): End {
    this.vcpu.pc = BigInt(this.#hooks.code ?? 0);
    try {
      program(this);
      return "done";
    } catch (stop) {
      if (stop instanceof Stop) return stop.end;
      throw stop;
    }
  }

  /** Executes an instruction to its end: its result. */
  execute<T>(instruction: Instruction<T>): T {
    if (this.#hooks.code !== undefined) this.#fetch();
    const result = this.#attempt(instruction);
    this.vcpu.pc += BigInt(INSTRUCTION);
    return result;
  }

  /** Calls code at an address: its instructions up to RET are fetched and executed, and leave X0. */
  call(address: number): bigint {
    let x0 = 0n;
    for (let at = address; ; at += INSTRUCTION) {
      this.vcpu.pc = BigInt(at);
      const word = this.#attempt({ access: (cpu) => cpu.fetch(at) });
      if (word === RET) break;
      if ((word & MOVZ_MASK) >>> 0 !== MOVZ_X0)
        throw new Error(`no such instruction: ${word.toString(16)}`);
      x0 = BigInt((word >>> 5) & 0xffff);
    }
    return x0;
  }

  /** LDR: registers X0 to X30; the result is in X1. */
  load(va: number): bigint {
    return this.execute({
      access: (cpu) => cpu.read64(va),
      syndrome: { size: 8, register: 1 },
      emulated: (x) => x[1] as bigint,
    });
  }

  /** STR of X2. */
  store(va: number, value: bigint): void {
    this.vcpu.x[2] = value;
    this.execute({
      access: (cpu) => cpu.write64(va, value),
      syndrome: { size: 8, register: 2 },
      emulated: () => undefined,
    });
  }

  #fetch(): void {
    const { pc } = this.vcpu;
    this.#attempt({ access: (cpu) => cpu.fetch(pc) });
  }

  #attempt<T>(instruction: Instruction<T>): T {
    const { mostAborts = MOST_ABORTS } = this.#hooks;
    for (let tries = 0; tries < mostAborts; tries++) {
      this.#leaveFullRing();
      const result = instruction.access(this.cpu);
      if (!(result instanceof Fault)) return result;
      if (result.el === 1) return this.#abort(result.esr, result.far, result.fetch);
      const { syndrome } = instruction;
      const fault = syndrome === undefined ? result : result.withSyndrome(syndrome);
      const { pc } = this.vcpu;
      if (this.#handle(fault) === "retry") continue;
      this.vcpu.pc = pc; // it was advanced for the instruction that the host completed; execute() does that
      if (instruction.emulated !== undefined) return instruction.emulated(this.vcpu.x);
      return undefined as T; // skipped: maintenance has no result
    }
    throw new Error(`an instruction took ${mostAborts} aborts`);
  }

  #handle(fault: Fault): "retry" | "completed" {
    const { fsc, s1ptw, write, fetch, ipa } = fault;
    this.faults.push({ fsc, s1ptw, write, fetch, ipa });
    const { pc } = this.vcpu;
    const outcome = this.#outcome(fault);
    switch (outcome.reason) {
      case "resume":
        return this.vcpu.pc === pc ? "retry" : "completed"; // a device inside the kernel did it
      case "inject":
        return this.#abort(outcome.esr, outcome.far, outcome.instruction);
      case "skip":
        this.skipped++;
        this.#expectNext(pc);
        return "completed";
      case "mmio":
        this.mmio++;
        if (this.#hooks.mmio === undefined) answer(outcome, 0n);
        else this.#hooks.mmio(outcome, this);
        this.#expectNext(pc);
        return "completed";
      default:
        if (this.#hooks.other === undefined) throw new Error(`unexpected exit: ${outcome.reason}`);
        this.#hooks.other(outcome, this);
        return "retry";
    }
  }

  #outcome(fault: Fault): AbortOutcome {
    try {
      return this.vcpu.handleAbort(fault);
    } catch (error) {
      if (!(error instanceof Stage2Error)) throw error;
      this.failures.push(error.code);
      throw new Stop("failed");
    }
  }

  #expectNext(pc: bigint): void {
    if (this.vcpu.pc === pc + BigInt(INSTRUCTION)) return;
    throw new Error(`PC is ${this.vcpu.pc}, not behind the instruction at ${pc}`);
  }

  #abort(esr: bigint, far: bigint, instruction: boolean): never {
    this.aborts.push({ esr, far, instruction });
    throw new Stop("abort");
  }

  #leaveFullRing(): void {
    if (this.#hooks.ringFull === undefined) return;
    if (this.vcpu.dirtyRing?.full === true) this.#hooks.ringFull(this);
  }
}

/** Code that the guest may call: MOVZ X0, #value; RET. */
export const RET = 0xd65f_03c0;
const MOVZ_X0 = 0xd280_0000;
const MOVZ_MASK = 0xffe0_001f;

/** Two instructions that return a value of 16 bits. */
export function codeReturning(value: number): readonly [number, number] {
  return [MOVZ_X0 | (value << 5), RET];
}
