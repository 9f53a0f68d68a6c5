/** Loads, stores, fetches, atomics and exclusives of a vCPU, on guest memory. */
import { ACCESS, OP } from "./_abi.ts";
import type { VcpuCore } from "./_vcpu_core.ts";
import { type AccessOptions, type AccessSize, type VirtualAddress } from "./access.ts";
import { Stage2Error } from "./errors.ts";
import type { Fault } from "./fault.ts";
import { choiceOption, flagOption, knownOptions } from "./range.ts";

/** Atomic operations: LDADD, LDCLR (clears the operand's bits), LDEOR, LDSET, SWP. */
export type AtomicOperation = keyof typeof ATOMICS;

const ATOMICS = { add: OP.ADD, clr: OP.CLR, eor: OP.EOR, set: OP.SET, swp: OP.SWP } as const;
const ATOMIC_NAMES = Object.keys(ATOMICS) as AtomicOperation[];
const SIZES: readonly AccessSize[] = [1, 2, 4, 8];
const INSTRUCTION = 4;
const PAIR = 16;

/**
 * The part of {@link Vcpu} that accesses memory. Little-endian; what is loaded is the raw bits, unsigned. Each call
 * brackets itself as {@link Vcpu.enter} and {@link Vcpu.exit} do, and applies TLB invalidations first.
 *
 * All return the {@link Fault} of an access that fails: of translation, or an `externalAbort` where the memory map has
 * nothing, or the engine's own table pages, at the physical address. Nothing was loaded or stored then; of an access that
 * crosses a page, neither part. All throw `DISPOSED`, `BAD_ADDRESS` for addresses that are none ({@link VirtualAddress}),
 * and `BAD_OPTION` for sizes, values and options that are none.
 */
export class VcpuAccesses {
  /** No private field: those take 5 % longer where the TLB hits (measured), as does any check but `isSafeInteger`. @internal */
  readonly cpu: VcpuCore;

  /** @internal */
  constructor(cpu: VcpuCore) {
    this.cpu = cpu;
  }

  /** Loads a byte. */
  read8(va: VirtualAddress, options?: AccessOptions): number | Fault {
    return this.#read(va, 1, options);
  }

  /** Loads 2 bytes. */
  read16(va: VirtualAddress, options?: AccessOptions): number | Fault {
    return this.#read(va, 2, options);
  }

  /** Loads 4 bytes. */
  read32(va: VirtualAddress, options?: AccessOptions): number | Fault {
    return this.#read(va, 4, options);
  }

  /** Loads 8 bytes. */
  read64(va: VirtualAddress, options?: AccessOptions): bigint | Fault {
    return this.#access(OP.READ, va, 8, options);
  }

  /** Loads 16 bytes as two registers do (LDP): the low half first. */
  readPair(va: VirtualAddress, options?: AccessOptions): [low: bigint, high: bigint] | Fault {
    const low = this.#access(OP.READ, va, PAIR, options);
    return typeof low === "bigint" ? [low, this.cpu.context.result(1)] : low;
  }

  /** Stores a byte; -128 to 255. */
  write8(va: VirtualAddress, value: number, options?: AccessOptions): Fault | undefined {
    return this.#write(va, 1, value, options);
  }

  /** Stores 2 bytes; -2^15 to 2^16 - 1. */
  write16(va: VirtualAddress, value: number, options?: AccessOptions): Fault | undefined {
    return this.#write(va, 2, value, options);
  }

  /** Stores 4 bytes; -2^31 to 2^32 - 1. */
  write32(va: VirtualAddress, value: number, options?: AccessOptions): Fault | undefined {
    return this.#write(va, 4, value, options);
  }

  /** Stores 8 bytes; -2^63 to 2^64 - 1. */
  write64(va: VirtualAddress, value: bigint, options?: AccessOptions): Fault | undefined {
    this.#operand(1, value, 8);
    return faultOf(this.#access(OP.WRITE, va, 8, options));
  }

  /** Stores 16 bytes as two registers do (STP). */
  writePair(
    va: VirtualAddress,
    [low, high]: readonly [bigint, bigint],
    options?: AccessOptions,
  ): Fault | undefined {
    this.#operand(1, low, 8);
    this.#operand(2, high, 8);
    return faultOf(this.#access(OP.WRITE, va, PAIR, options));
  }

  /** Fetches an instruction. An address that is no multiple of 4 is refused: a PC alignment fault is no matter of the MMU. */
  fetch(va: VirtualAddress): number | Fault {
    this.cpu.setAddress(va);
    if (((this.cpu.context.args32[0] as number) & (INSTRUCTION - 1)) !== 0) {
      throw new Stage2Error("BAD_ADDRESS", "instructions lie at multiples of 4", { va });
    }
    const status = this.cpu.core.vcpu_access(this.cpu.pointer, OP.FETCH, INSTRUCTION, 0);
    return status < 0 ? this.cpu.fault() : this.cpu.context.resultNumber(0);
  }

  /** One atomic read-modify-write of `size` bytes: the old value. An address that is not aligned is an alignment fault. */
  atomic(
    operation: AtomicOperation,
    va: VirtualAddress,
    size: AccessSize,
    operand: bigint,
    options?: AccessOptions,
  ): bigint | Fault {
    const op = ATOMICS[choiceOption("operation", operation, ATOMIC_NAMES)];
    this.#operand(1, operand, choiceOption("size", size, SIZES));
    return this.#access(op, va, size, options);
  }

  /** CAS: stores `desired` if `expected` is there; what was there. Needs write permission either way. */
  compareAndSwap(
    va: VirtualAddress,
    size: AccessSize,
    expected: bigint,
    desired: bigint,
    options?: AccessOptions,
  ): bigint | Fault {
    choiceOption("size", size, SIZES);
    this.#operand(1, desired, size);
    this.#operand(2, expected, size);
    return this.#access(OP.CAS, va, size, options);
  }

  /** LDXR: loads and watches what was loaded. An address that is not aligned is an alignment fault. */
  loadExclusive(va: VirtualAddress, size: AccessSize, options?: AccessOptions): bigint | Fault {
    return this.#access(OP.LDXR, va, choiceOption("size", size, SIZES), options);
  }

  /**
   * STXR: whether it stored. It does if what {@link loadExclusive} loaded, at this address and of this size, was not stored
   * to since: by value, or with `strictMonitor` by any store to its granule. The monitor is open afterwards.
   */
  storeExclusive(
    va: VirtualAddress,
    size: AccessSize,
    value: bigint,
    options?: AccessOptions,
  ): boolean | Fault {
    this.#operand(1, value, choiceOption("size", size, SIZES));
    const status = this.#access(OP.STXR, va, size, options);
    return typeof status === "bigint" ? status === 0n : status;
  }

  /** CLREX: nothing is watched. */
  clearExclusive(): void {
    this.cpu.core.vcpu_clear_exclusive(this.cpu.pointer);
  }

  #read(va: VirtualAddress, size: 1 | 2 | 4, options: AccessOptions | undefined): number | Fault {
    if (options === undefined && Number.isSafeInteger(va)) {
      const value = this.cpu.core.vcpu_read(this.cpu.pointer, va as number, size);
      return value >= 0 ? value : this.cpu.fault();
    }
    const value = this.#access(OP.READ, va, size, options);
    return typeof value === "bigint" ? Number(value) : value;
  }

  #write(
    va: VirtualAddress,
    size: 1 | 2 | 4,
    value: number,
    options: AccessOptions | undefined,
  ): Fault | undefined {
    const limit = size === 4 ? 0x1_0000_0000 : size === 2 ? 0x1_0000 : 0x100;
    if (!Number.isSafeInteger(value) || value >= limit || value < -limit / 2) {
      throw new Stage2Error("BAD_OPTION", `value must be an integer of ${size} bytes`, { value });
    }
    if (options === undefined && Number.isSafeInteger(va)) {
      const status = this.cpu.core.vcpu_write(this.cpu.pointer, va as number, size, value);
      return status === 0 ? undefined : this.cpu.fault();
    }
    this.cpu.context.setArgument(1, BigInt(value));
    return faultOf(this.#access(OP.WRITE, va, size, options));
  }

  /** Any access; operands are in the argument block. */
  #access(
    op: number,
    va: VirtualAddress,
    size: number,
    options: AccessOptions | undefined,
  ): bigint | Fault {
    const flags = options === undefined ? 0 : accessFlags(options);
    this.cpu.setAddress(va);
    const status = this.cpu.core.vcpu_access(this.cpu.pointer, op, size, flags);
    return status < 0 ? this.cpu.fault() : this.cpu.context.result(0);
  }

  #operand(index: number, value: bigint, size: number): void {
    const bits = BigInt(size * 8);
    if (typeof value === "bigint" && value >= -(1n << (bits - 1n)) && value < 1n << bits) {
      return this.cpu.context.setArgument(index, value); // stored modulo 2^64
    }
    throw new Stage2Error("BAD_OPTION", `the value must be a bigint of ${size} bytes`, { value });
  }
}

function accessFlags(options: AccessOptions): number {
  knownOptions("access", options, ["unprivileged"]);
  return flagOption("unprivileged", options.unprivileged ?? false) ? ACCESS.UNPRIVILEGED : 0;
}

function faultOf(result: bigint | Fault): Fault | undefined {
  return typeof result === "bigint" ? undefined : result;
}
