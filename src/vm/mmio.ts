/** Accesses to devices: from the syndrome to the register that they end in (`io_mem_abort`, `kvm_handle_mmio_return`). */
import { Stage2Error } from "../errors.ts";
import { type Bus, type MmioSize, checkedRead, checkedWrite } from "./bus.ts";
import type { MmioExit } from "./outcome.ts";

/** What an instruction leaves behind: general-purpose registers and program counter. */
export interface RegisterFile {
  /** X0 to X30. */
  readonly x: BigUint64Array;
  pc: bigint;
}

/** XZR: reads as zero, writes are lost. */
const ZERO_REGISTER = 31;
const INSTRUCTION_BYTES = 4n;

/** An access as its syndrome describes it. */
export class MmioAccess {
  readonly address: number;
  readonly size: MmioSize;
  readonly write: boolean;
  /** What is written; undefined for a read. */
  readonly data: bigint | undefined;
  readonly #registers: RegisterFile;
  readonly #register: number;
  readonly #signExtend: boolean;
  readonly #sixtyFour: boolean;
  #isComplete = false;

  /** `shape`: results of the core from ABORT.MMIO. */
  constructor(registers: RegisterFile, shape: readonly number[]) {
    const [address, size, write, register, signExtend, sixtyFour] = shape;
    this.address = address!;
    this.size = size as MmioSize;
    this.write = write === 1;
    this.#register = register!;
    this.#signExtend = signExtend === 1;
    this.#sixtyFour = sixtyFour === 1;
    this.#registers = registers;
    this.data = this.write ? BigInt.asUintN(this.#bits, this.#stored) : undefined;
  }

  /** Asks the bus. */
  ask(bus: Bus): unknown {
    const { address, size, data } = this;
    return data === undefined ? bus.read(address, size) : bus.write(address, size, data);
  }

  /** Whether, by the answer, a device was there: then the access is complete. @throws Stage2Error `BAD_OPTION` */
  take(answer: unknown): boolean {
    const data = this.write ? (checkedWrite(answer) ? 0n : undefined) : checkedRead(answer);
    if (data === undefined) return false;
    this.#complete(data);
    return true;
  }

  /** What the embedder is told. */
  exit(): MmioExit {
    const { address, size, write, data } = this;
    const complete = (given?: bigint): void => this.#completeBy(given);
    return { reason: "mmio", ret: 0, address, size, write, data, complete };
  }

  #completeBy(data: bigint | undefined): void {
    const details = { address: this.address, data };
    if (this.#isComplete) throw new Stage2Error("BAD_OPTION", "the access is complete", details);
    if (this.write !== (data === undefined) || (data !== undefined && typeof data !== "bigint")) {
      const message = this.write ? "a write takes no data" : "a read needs its data, a bigint";
      throw new Stage2Error("BAD_OPTION", message, details);
    }
    this.#complete(data ?? 0n);
  }

  /** Zero-extended, or sign-extended if the instruction does that; then cut to the register's width. */
  #complete(data: bigint): void {
    this.#isComplete = true;
    const { x } = this.#registers;
    if (!this.write && this.#register !== ZERO_REGISTER) {
      const extend = this.#signExtend ? BigInt.asIntN : BigInt.asUintN;
      x[this.#register] = BigInt.asUintN(this.#sixtyFour ? 64 : 32, extend(this.#bits, data));
    }
    this.#registers.pc = BigInt.asUintN(64, this.#registers.pc + INSTRUCTION_BYTES);
  }

  get #bits(): number {
    return this.size * 8;
  }

  get #stored(): bigint {
    return this.#register === ZERO_REGISTER ? 0n : (this.#registers.x[this.#register] as bigint);
  }
}

/** The program counter behind the instruction. */
export function skipInstruction(registers: RegisterFile): void {
  registers.pc = BigInt.asUintN(64, registers.pc + INSTRUCTION_BYTES);
}
