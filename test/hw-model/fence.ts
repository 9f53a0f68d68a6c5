/** An engine in the middle of an embedder's memory whose every other byte is known: what is written beside the target shows. */
import { afterEach, beforeEach, expect } from "vitest";
import {
  Engine,
  Fault,
  type Mode,
  type Registers,
  type Vcpu,
  type VcpuOptions,
} from "../../src/index.ts";

export const REGION = { offset: 0x4_0000, size: 0x18_0000 };
/** Guest memory, with known bytes on both sides of it. */
export const RAM = { pa: 0x8000_0000, size: 0x8_0000, pointer: 0x20_0000 };
export const MEMORY_BYTES = 0x30_0000;
const PAGES = MEMORY_BYTES / 65536;
const PATTERN = 0xa5;

export class Fenced {
  readonly engine: Engine;
  readonly #bytes: Buffer;
  #before: Buffer;

  static async create(mode: Mode): Promise<Fenced> {
    const shared = mode === "threads";
    const memory = new WebAssembly.Memory({ initial: PAGES, maximum: PAGES, shared });
    Buffer.from(memory.buffer as ArrayBuffer).fill(PATTERN);
    Buffer.from(memory.buffer as ArrayBuffer, RAM.pointer, RAM.size).fill(0);
    const shape = { maxThreads: 2, maxObjects: 32, eventCapacity: 1024 };
    return new Fenced(await Engine.create({ memory, region: REGION, guestRam: RAM, ...shape }));
  }

  private constructor(engine: Engine) {
    this.engine = engine;
    this.#bytes = Buffer.from(engine.memory.buffer as ArrayBuffer);
    this.#before = Buffer.from(this.#bytes);
  }

  /** Guest memory. */
  get ram(): Buffer {
    return this.#bytes.subarray(RAM.pointer, RAM.pointer + RAM.size);
  }

  /** All of the memory, the engine's region too. */
  get everything(): Buffer {
    return this.#bytes;
  }

  set(pa: number, value: bigint): void {
    this.ram.writeBigUInt64LE(value, pa - RAM.pa);
  }

  get(pa: number): bigint {
    return this.ram.readBigUInt64LE(pa - RAM.pa);
  }

  /** What is there from now on is right. */
  remember(): void {
    this.#before = Buffer.from(this.#bytes);
  }

  /** Nothing changed outside the engine's region and guest memory; with `ram`, not there either. */
  expectFence(ram: "ram" | "may change" = "ram"): void {
    const end = REGION.offset + REGION.size;
    const pieces: [string, number, number][] = [
      ["before the engine", 0, REGION.offset],
      ["between engine and guest memory", end, RAM.pointer],
      ["behind guest memory", RAM.pointer + RAM.size, this.#bytes.length],
    ];
    if (ram === "ram") pieces.push(["guest memory", RAM.pointer, RAM.pointer + RAM.size]);
    for (const [name, from, to] of pieces) this.#expectSame(name, from, to);
  }

  /** Not one byte changed anywhere. */
  expectUntouched(): void {
    this.#expectSame("the memory", 0, this.#bytes.length);
  }

  #expectSame(name: string, from: number, to: number): void {
    const same = this.#bytes.subarray(from, to).equals(this.#before.subarray(from, to));
    expect(same, `${name} is as it was`).toBe(true);
  }
}

/** A fenced engine for every test of the suite. */
export class FencedLab {
  #here: Fenced | undefined;
  readonly #open: { dispose(): void }[] = [];

  constructor(mode: Mode) {
    beforeEach(async () => {
      this.#here = await Fenced.create(mode);
    });
    afterEach(() => {
      for (const object of this.#open.splice(0)) object.dispose();
      this.here.engine.dispose();
    });
  }

  get here(): Fenced {
    if (this.#here === undefined) throw new Error("no test is running");
    return this.#here;
  }

  keep<T extends { dispose(): void }>(object: T): T {
    this.#open.push(object);
    return object;
  }

  /** A vCPU with registers by hand. */
  cpu(registers: Partial<Registers>, options: VcpuOptions = {}): Vcpu {
    return this.keep(this.here.engine.vcpu(undefined, { tlb: false, registers, ...options }));
  }

  /** A result is this fault, and nothing was written for it. */
  expectFault(result: unknown, fields: object): void {
    expect(result).toBeInstanceOf(Fault);
    expect(result).toMatchObject(fields);
    this.here.expectFence();
  }
}
