/** Atomics, exclusives, loads and stores of every size against plain numbers: what is stored, what comes back, what stays. */
import { beforeEach, describe, expect, it } from "vitest";
import {
  type AtomicOperation,
  Fault,
  Prot,
  type Stage2,
  type Vcpu,
  type VcpuOptions,
} from "../../src/index.ts";
import { MODES, lab } from "../support.ts";
import { BASE, MACHINE, PAGE, RAM, SIZES, bytes, cpu, mask, table } from "./support.ts";

type Size = (typeof SIZES)[number];

const OPERATIONS: Record<AtomicOperation, (old: bigint, operand: bigint) => bigint> = {
  add: (old, operand) => old + operand,
  clr: (old, operand) => old & ~operand,
  eor: (old, operand) => old ^ operand,
  set: (old, operand) => old | operand,
  swp: (_, operand) => operand,
};
const NAMES = Object.keys(OPERATIONS) as AtomicOperation[];
const CPUS: [string, VcpuOptions][] = [
  ["by value", {}],
  ["strict", { strictMonitor: true }],
  ["walking", { tlb: false }],
];

describe.each(MODES)("atomics (%s)", (mode) => {
  const here = lab(mode, MACHINE);
  let s2: Stage2;

  beforeEach(() => {
    s2 = table(here);
  });

  /** A stretch of memory as plain bytes. */
  class Model {
    readonly bytes = new Uint8Array(64);

    read(at: number, size: number): bigint {
      let value = 0n;
      for (let i = size - 1; i >= 0; i--) value = (value << 8n) | BigInt(this.bytes[at + i]!);
      return value;
    }

    write(at: number, size: number, value: bigint): void {
      for (let i = 0; i < size; i++) this.bytes[at + i] = Number(mask(value >> BigInt(8 * i), 1));
    }
  }

  it.each(CPUS)("and all other accesses do what plain numbers do (%s)", (_, options) => {
    const vcpu = cpu(here, s2, options);
    const model = new Model();
    let state = 99;
    const next = (below: number) => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fff_ffff;
      return (state >>> 8) % below;
    };
    const operand = (size: number) => {
      const raw = Array.from({ length: size }, () => [0, 1, 0x7f, 0x80, 0xff, next(256)][next(6)]!);
      const value = raw.reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
      return next(2) === 0 ? value : BigInt.asIntN(size * 8, value); // the same bits, negative
    };
    for (let step = 0; step < 3000; step++) {
      const size = SIZES[next(4)] as Size;
      const at = next(64 / size) * size;
      const va = BASE + at;
      const old = model.read(at, size);
      const value = operand(size);
      const kind = next(10);
      let found: unknown;
      let wanted: unknown = old;
      if (kind < 4) {
        const name = NAMES[next(5)] as AtomicOperation;
        found = vcpu.atomic(name, va, size, value);
        model.write(at, size, OPERATIONS[name](old, value));
      } else if (kind < 6) {
        const expected = next(2) === 0 ? old : operand(size);
        found = vcpu.compareAndSwap(va, size, expected, value);
        if (mask(expected, size) === old) model.write(at, size, value);
      } else if (kind < 7) {
        expect(vcpu.loadExclusive(va, size)).toBe(old);
        found = vcpu.storeExclusive(va, size, value);
        wanted = true;
        model.write(at, size, value);
      } else if (kind < 8) {
        found = size === 8 ? vcpu.write64(va, value) : vcpu[WRITES[size]](va, Number(value));
        wanted = undefined;
        model.write(at, size, value);
      } else {
        const loaded = size === 8 ? vcpu.read64(va) : vcpu[READS[size]](va);
        found = BigInt(loaded as number | bigint);
      }
      expect(found, `step ${step}: ${kind} ${size}`).toBe(wanted);
    }
    expect([...bytes(here.engine, BASE, 64)]).toEqual([...model.bytes]);
  });

  it.each(NAMES.flatMap((name) => SIZES.map((size): [AtomicOperation, Size] => [name, size])))(
    "%s of %i bytes: at both ends of the range, and nothing beside it",
    (name, size) => {
      const vcpu = cpu(here, s2);
      const bits = BigInt(8 * size);
      const top = 1n << (bits - 1n);
      const values = [0n, 1n, top - 1n, top, 2n * top - 1n];
      const operands = [...values, -1n, -top];
      for (const old of values) {
        for (const operand of operands) {
          bytes(here.engine, BASE + 0x100, 24).fill(0xa5);
          const at = BASE + 0x108;
          if (size === 8) vcpu.write64(at, old);
          else vcpu[WRITES[size]](at, Number(old));
          expect(vcpu.atomic(name, at, size, operand)).toBe(old);
          const wanted = mask(OPERATIONS[name](old, operand), size);
          const view = bytes(here.engine, BASE + 0x100, 24);
          const found = [...view.subarray(8, 8 + size)].reduceRight(
            (sum, byte) => (sum << 8n) | BigInt(byte),
            0n,
          );
          expect(found, `${old} ${operand}`).toBe(wanted);
          expect([...view.subarray(0, 8), ...view.subarray(8 + size)].every((b) => b === 0xa5)).toBe(true);
        }
      }
    },
  ); // prettier-ignore

  describe("need what they do", () => {
    const calls: [string, (vcpu: Vcpu, va: number, size: Size) => unknown][] = [
      ["LDADD", (vcpu, va, size) => vcpu.atomic("add", va, size, 1n)],
      ["SWP", (vcpu, va, size) => vcpu.atomic("swp", va, size, 1n)],
      ["CAS that matches", (vcpu, va, size) => vcpu.compareAndSwap(va, size, 0n, 1n)],
      ["CAS that does not", (vcpu, va, size) => vcpu.compareAndSwap(va, size, 5n, 1n)],
    ];
    it.each(calls)("%s: read and write permission, whatever comes out", (_, call) => {
      for (const tlb of [undefined, false] as const) {
        for (const prot of [Prot.R, Prot.W, Prot.X]) {
          s2.unmap({ ipa: BASE, size: PAGE });
          s2.map({ ipa: BASE, size: PAGE, pa: RAM.pa, prot });
          const vcpu = cpu(here, s2, tlb === false ? { tlb } : {});
          for (const size of SIZES) {
            // WnR: a write where reading alone would have been allowed
            const fault = { type: "permission", stage: 2, level: 3, write: prot === Prot.R };
            expect(call(vcpu, BASE, size)).toMatchObject(fault);
            vcpu.read8(BASE); // the next one meets an entry
          }
          expect(bytes(here.engine, BASE, 8).every((byte) => byte === 0)).toBe(true);
        }
      }
    });

    it.each(calls)("%s: alignment, of all sizes", (_, call) => {
      const vcpu = cpu(here, s2);
      for (const size of SIZES) {
        for (let at = 0; at < 16; at++) {
          const result = call(vcpu, BASE + at, size);
          if (at % size === 0) expect(result).not.toBeInstanceOf(Fault);
          else expect(result).toMatchObject({ type: "alignment", far: BigInt(BASE + at) });
        }
      }
      // An address over two pages is no aligned one, whatever the pages are.
      s2.unmap({ ipa: BASE + PAGE, size: PAGE });
      expect(call(vcpu, BASE + PAGE - 4, 8)).toMatchObject({ type: "alignment" });
    });

    it("unaligned loads and stores may be forbidden (SCTLR_EL1.A)", () => {
      const vcpu = cpu(here, s2);
      expect(vcpu.read32(BASE + 1)).toBe(0);
      vcpu.setRegisters({ sctlrEl1: 2n });
      const fault = { type: "alignment", stage: 1, el: 1, far: BigInt(BASE + 1) };
      expect(vcpu.read32(BASE + 1)).toMatchObject({ ...fault, write: false });
      expect(vcpu.write32(BASE + 1, 1)).toMatchObject({ ...fault, write: true });
      expect(vcpu.readPair(BASE + 4)).toMatchObject({ type: "alignment" });
      expect(vcpu.readPair(BASE + 8)).toEqual([0n, 0n]); // to its registers, not to 16 bytes
      expect(vcpu.read8(BASE + 1)).toBe(0);
    });
  });
});

const WRITES = { 1: "write8", 2: "write16", 4: "write32" } as const;
const READS = { 1: "read8", 2: "read16", 4: "read32" } as const;
