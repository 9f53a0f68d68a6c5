/**
 * What tests of the hardware model share: an engine with two banks of guest memory, tables written into it word by word,
 * and vCPUs with registers set by hand. After every test, each word of memory that changed must have been asked for.
 */
import { afterAll, afterEach, beforeAll, expect } from "vitest";
import { Engine, type Mode, type Registers, type Vcpu, type VcpuOptions } from "../../src/index.ts";

/** Tables. */
export const RAM = { pa: 0x8000_0000, size: 0x20_0000 };
/** Pages that tables map. */
export const DATA = { pa: 0x9000_0000, size: 0x4_0000 };
/** Where nothing is. */
export const HOLE = 0xf000_0000;

export interface Setup extends VcpuOptions {
  el?: 0 | 1 | 2;
  pan?: boolean;
}

/** Words that changed, by physical address, as hex. */
export type Changes = Record<string, string>;

export class Machine {
  #engine: Engine | undefined;
  #shadow = new Map<number, bigint>();
  readonly #vcpus: { dispose(): void }[] = [];

  get engine(): Engine {
    if (this.#engine === undefined) throw new Error("no test is running");
    return this.#engine;
  }

  async open(mode: Mode): Promise<void> {
    const guestRam = [RAM, DATA];
    this.#engine = await Engine.create({ mode, guestRam, maxTablePages: 2048, maxThreads: 2 });
  }

  close(): void {
    this.engine.dispose();
  }

  /** A vCPU with these registers (Arm's names); every other one 0, ID registers those of a large CPU. */
  vcpu({ el = 1, pan = false, ...options }: Setup): Vcpu {
    const vcpu = this.keep(this.engine.vcpu(undefined, { tlb: false, ...options }));
    vcpu.el = el;
    vcpu.pan = pan;
    return vcpu;
  }

  keep<T extends { dispose(): void }>(object: T): T {
    this.#vcpus.push(object);
    return object;
  }

  /** Writes words, as software does. */
  put(words: Readonly<Record<number, bigint>>): void {
    for (const [pa, value] of Object.entries(words)) this.set(Number(pa), value);
  }

  set(pa: number, value: bigint): void {
    this.#word(pa)[0] = value;
    this.#shadow.set(pa, value);
  }

  get(pa: number): bigint {
    return this.#word(pa)[0] as bigint;
  }

  /** What changed since the last call that software did not write. */
  changes(): Changes {
    const changed: Changes = {};
    for (const bank of [RAM, DATA]) {
      const { buffer, byteOffset } = this.engine.memoryMap.bytes(bank.pa, bank.size);
      const words = new BigUint64Array(buffer, byteOffset, bank.size / 8);
      const halves = new Uint32Array(buffer, byteOffset, bank.size / 4); // quick to look through
      for (let i = 0; i < halves.length; i += 2) {
        const pa = bank.pa + i * 4;
        if ((halves[i] as number) === 0 && halves[i + 1] === 0 && !this.#shadow.has(pa)) continue;
        const value = words[i / 2] as bigint;
        if (value === (this.#shadow.get(pa) ?? 0n)) continue;
        changed[hex(pa)] = hex(value);
        this.#shadow.set(pa, value);
      }
    }
    return changed;
  }

  /** Makes ready for the next test. */
  clean(): void {
    const changed = this.changes();
    for (const bank of [RAM, DATA]) this.engine.memoryMap.bytes(bank.pa, bank.size).fill(0);
    this.#shadow = new Map();
    for (const vcpu of this.#vcpus.splice(0)) vcpu.dispose();
    this.engine.events.clear();
    expect(changed, "words that changed and nobody asked for").toEqual({});
    expect(this.engine.memoryUsage().used, "table pages that outlived the test").toBe(0);
  }

  #word(pa: number): BigUint64Array {
    const { buffer, byteOffset } = this.engine.memoryMap.bytes(pa, 8);
    return new BigUint64Array(buffer, byteOffset, 1);
  }
}

/** A machine for the suite, cleaned after every test. */
export function machine(mode: Mode): Machine {
  const made = new Machine();
  beforeAll(() => made.open(mode));
  afterEach(() => made.clean());
  afterAll(() => made.close());
  return made;
}

export function hex(value: number | bigint): string {
  return `0x${value.toString(16)}`;
}

/** One word changed: `machine.changes()` of an update. */
export function changed(pa: number, value: bigint): Changes {
  return { [hex(pa)]: hex(value) };
}

/** Registers of a guest with this stage 2 and no stage 1. */
export function stage2Registers(
  vtcrEl2: bigint,
  vttbrEl2: number | bigint,
  hcr = 0n,
): Partial<Registers> {
  return { hcrEl2: HCR.RW | HCR.VM | hcr, vtcrEl2, vttbrEl2: BigInt(vttbrEl2) };
}

// Register bits (Arm ARM D24.2) ----------------------------------------------------------------------------------

export const HCR = {
  VM: 1n << 0n,
  PTW: 1n << 2n,
  DC: 1n << 12n,
  RW: 1n << 31n,
  CD: 1n << 32n,
  FWB: 1n << 46n,
} as const;

export const VTCR = {
  HA: 1n << 21n,
  HD: 1n << 22n,
  RES1: 1n << 31n,
  DS: 1n << 32n,
  SL2: 1n << 33n,
  HAFT: 1n << 44n,
  HDBSS: 1n << 45n,
} as const;

export const SCTLR = { M: 1n << 0n, A: 1n << 1n, WXN: 1n << 19n } as const;
