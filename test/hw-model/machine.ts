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

const BANKS = [RAM, DATA];

export class Machine {
  #engine: Engine | undefined;
  /** What the banks hold as far as software knows. */
  readonly #known = BANKS.map(({ size }) => new Uint8Array(size));
  readonly #written = new Set<number>();
  #views: readonly Uint8Array[] = [];
  readonly #kept: { dispose(): void }[] = [];

  get engine(): Engine {
    if (this.#engine === undefined) throw new Error("no test is running");
    return this.#engine;
  }

  async open(mode: Mode): Promise<void> {
    this.#engine = await Engine.create({
      mode,
      guestRam: BANKS,
      maxTablePages: 2048,
      maxThreads: 2,
    });
  }

  close(): void {
    this.engine.dispose();
  }

  /** A vCPU without a TLB; registers by Arm's names, every other one 0, ID registers those of a large CPU. */
  vcpu({ el = 1, pan = false, ...options }: Setup): Vcpu {
    const vcpu = this.keep(this.engine.vcpu(undefined, { tlb: false, ...options }));
    vcpu.el = el;
    vcpu.pan = pan;
    return vcpu;
  }

  keep<T extends { dispose(): void }>(object: T): T {
    this.#kept.push(object);
    return object;
  }

  /** Disposes what was kept so far, and takes back what software wrote: for the next case of a test. */
  next(): void {
    for (const object of this.#kept.splice(0)) object.dispose();
    for (const pa of this.#written) {
      const { bank, at } = placeOf(pa);
      const known = view(this.#known[bank] as Uint8Array).getBigUint64(at, true);
      if (this.get(pa) !== known) throw new Error(`${hex(pa)} changed and nobody asked for it`);
      this.set(pa, 0n);
    }
    this.#written.clear();
  }

  /** Writes words, as software does. */
  put(words: Readonly<Record<number, bigint>>): void {
    for (const [pa, value] of Object.entries(words)) this.set(Number(pa), value);
  }

  set(pa: number, value: bigint): void {
    this.#written.add(pa);
    const { bank, at } = placeOf(pa);
    view(this.#bytes[bank] as Uint8Array).setBigUint64(at, value, true);
    view(this.#known[bank] as Uint8Array).setBigUint64(at, value, true);
  }

  get(pa: number): bigint {
    const { bank, at } = placeOf(pa);
    return view(this.#bytes[bank] as Uint8Array).getBigUint64(at, true);
  }

  /** The words that changed since the last call and that software did not write. */
  changes(): Changes {
    const changed: Changes = {};
    for (const [index, { pa, size }] of BANKS.entries()) {
      const bytes = this.#bytes[index] as Uint8Array;
      const known = this.#known[index] as Uint8Array;
      for (const at of differences(bytes, known, size)) {
        changed[hex(pa + at)] = hex(view(bytes).getBigUint64(at, true));
        this.#written.add(pa + at); // to be taken back
      }
      if (Object.keys(changed).length > 0) known.set(bytes);
    }
    return changed;
  }

  /** Makes ready for the next test. */
  clean(): void {
    const changed = this.changes();
    this.next();
    this.engine.events.clear();
    expect(changed, "words that changed and nobody asked for").toEqual({});
    expect(this.engine.memoryUsage().used, "table pages that outlived the test").toBe(0);
  }

  /** The banks' bytes; taken anew where the memory grew. */
  get #bytes(): readonly Uint8Array[] {
    const { memoryMap, memory } = this.engine;
    if (this.#views[0]?.buffer !== memory.buffer) {
      this.#views = BANKS.map(({ pa, size }) => memoryMap.bytes(pa, size));
    }
    return this.#views;
  }
}

function placeOf(pa: number): { bank: number; at: number } {
  const bank = pa < DATA.pa ? 0 : 1;
  return { bank, at: pa - (BANKS[bank] as typeof RAM).pa };
}

/** Offsets of the words that differ; large pieces are compared first. */
function* differences(a: Uint8Array, b: Uint8Array, end: number, start = 0): Generator<number> {
  const [some, other] = [a.subarray(start, end), b.subarray(start, end)];
  if (Buffer.compare(asBuffer(some), asBuffer(other)) === 0) return;
  if (end - start === 8) return yield start;
  const step = (end - start) % 4096 === 0 && end - start > 4096 ? 4096 : 8;
  for (let at = start; at < end; at += step) yield* differences(a, b, at + step, at);
}

function view({ buffer, byteOffset, byteLength }: Uint8Array): DataView {
  return new DataView(buffer, byteOffset, byteLength);
}

function asBuffer({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength);
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
