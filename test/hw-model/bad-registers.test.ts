/** Registers of any bits, and settings that are none: answers, or errors that say what; no byte is written beside the target. */
import { describe, expect, it } from "vitest";
import { Access, Fault, type Registers, type Vcpu, type VcpuOptions } from "../../src/index.ts";
import { MODES, errorOf } from "../support.ts";
import { FencedLab, RAM } from "./fence.ts";
import { HCR, VTCR } from "./machine.ts";
import { type Shape, tcrFor, vtcrFor } from "./paging.ts";

const SHAPE: Shape = { name: "4K/40", granule: "4K", start: 1, bits: 40 };
const VTCR_40 = vtcrFor(SHAPE, 48) | VTCR.HA | VTCR.HD;
const { Read, Write } = Access;

describe.each(MODES)("bad registers (%s)", (mode) => {
  const lab = new FencedLab(mode);

  describe("registers", () => {
    /** Random 64-bit words that repeat. */
    function random(seed: number): () => bigint {
      let state = BigInt(seed) * 0x9e37_79b9_7f4a_7c15n + 1n;
      return () => {
        state = BigInt.asUintN(64, state ^ (state << 13n));
        state ^= state >> 7n;
        state = BigInt.asUintN(64, state ^ (state << 17n));
        return state;
      };
    }
    const NAMES = [
      "hcrEl2",
      "vtcrEl2",
      "vttbrEl2",
      "sctlrEl1",
      "tcrEl1",
      "ttbr0El1",
      "ttbr1El1",
      "mairEl1",
      "sctlrEl2",
      "tcrEl2",
      "ttbr0El2",
      "mairEl2",
      "idAa64mmfr0El1",
      "idAa64mmfr1El1",
      "idAa64mmfr2El1",
      "hdbssbrEl2",
      "hdbssprodEl2",
      "hacdbsbrEl2",
      "hacdbsconsEl2",
    ] as const;

    it.each([1, 2, 3, 4])(
      "of any bits give answers: random tables, registers and accesses %i",
      (seed) => {
        const next = random(seed);
        const small = (limit: number) => Number(next() % BigInt(limit));
        // Guest memory full of descriptors that point into guest memory, or a little beside.
        for (let at = 0; at < RAM.size; at += 8) {
          const bits = next() & 0xfff8_0000_0000_0ffcn;
          lab.here.ram.writeBigUInt64LE(
            bits | (BigInt(RAM.pa + small(RAM.size + 0x2000) - 0x1000) & ~0xfffn) | (next() & 3n),
            at,
          );
        }
        const knobs: VcpuOptions =
          seed % 2
            ? {
                tableBaseLowBits: "kept",
                afOnPermissionFault: true,
                checker: true,
                strictMonitor: true,
                speculation: 2,
              }
            : {};
        const vcpu = lab.cpu({}, { ...knobs, tlb: seed > 2 ? { sets: 8, ways: 2 } : false });
        const base = () => BigInt(RAM.pa + small(RAM.size)) & ~0xfffn;
        const kinds = new Map<string, number>();
        for (let round = 0; round < 400; round++) {
          const registers: Partial<Registers> = Object.fromEntries(
            NAMES.map((name) => [name, next()]),
          );
          // Often enough near what works.
          if (round % 2)
            Object.assign(registers, {
              vtcrEl2: VTCR_40 ^ (1n << BigInt(small(48))),
              idAa64mmfr0El1: 0x323_1020_0026n,
            });
          if (round % 3)
            Object.assign(registers, {
              vttbrEl2: base(),
              ttbr0El1: base(),
              ttbr1El1: base(),
              ttbr0El2: base(),
            });
          if (round % 5)
            Object.assign(registers, {
              tcrEl1: tcrFor({ ...SHAPE, bits: 39 }, 48) ^ (1n << BigInt(small(60))),
              sctlrEl1: 1n,
            });
          if (round % 7)
            Object.assign(registers, {
              hcrEl2: HCR.RW | HCR.VM,
              hdbssbrEl2: base(),
              hacdbsbrEl2: base() | (1n << 11n),
            });
          vcpu.setRegisters(registers);
          vcpu.el = small(3) as 0 | 1 | 2;
          vcpu.pan = round % 4 === 0;
          for (let i = 0; i < 12; i++) {
            const va =
              i % 3
                ? BigInt.asUintN(64, next() >> BigInt(small(64)))
                : BigInt.asUintN(64, BigInt(RAM.pa + small(RAM.size)));
            const result = access(vcpu, small(13), va, next());
            const kind = result instanceof Fault ? result.type : typeof result;
            kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
          }
        }
        lab.here.expectFence("may change");
        // It was no monotonous walk, and the engine is well.
        for (const kind of ["translation", "addressSize", "permission", "externalAbortOnWalk"]) {
          expect(kinds.get(kind), kind).toBeGreaterThan(0);
        }
        const s2 = lab.keep(lab.here.engine.stage2());
        s2.map({ ipa: 0, size: 0x1000, pa: RAM.pa, prot: 6 });
        expect(lab.keep(lab.here.engine.vcpu(s2)).translate(8, Write)).toBe(RAM.pa + 8);
      },
    );

    function access(vcpu: Vcpu, kind: number, va: bigint, value: bigint): unknown {
      const aligned = va & ~7n;
      switch (kind) {
        case 0:
          return vcpu.translate(va, Read);
        case 1:
          return vcpu.translate(va, Write);
        case 2:
          return vcpu.translate(va, Access.Fetch);
        case 3:
          return vcpu.read64(va);
        case 4:
          return vcpu.write64(va, value);
        case 5:
          return vcpu.writePair(va, [value, value]);
        case 6:
          return vcpu.atomic("eor", aligned, 8, value);
        case 7:
          return vcpu.compareAndSwap(aligned, 8, value, value);
        case 8:
          return vcpu.loadExclusive(aligned, 8);
        case 9:
          return vcpu.storeExclusive(aligned, 8, value);
        case 10:
          return vcpu.at("S12E1W", va);
        case 11:
          return vcpu.probe(va, Access.ReadWrite);
        default:
          return vcpu.cleanDirtyState();
      }
    }

    it("that do not exist, or hold no 64 bits, are refused, and none is written", () => {
      const vcpu = lab.cpu({ vtcrEl2: 5n });
      const before = vcpu.registers;
      lab.here.remember();
      for (const [values, code] of [
        [{ vtcrEl2: 1n, vttbr: 2n }, "BAD_OPTION"],
        [{ vtcrEl2: 1n, ttbr0El1: 2n ** 64n }, "BAD_OPTION"],
        [{ vtcrEl2: 1n, ttbr0El1: -1n }, "BAD_OPTION"],
        [{ vtcrEl2: 1 }, "BAD_OPTION"],
        [{ vtcrEl2: undefined }, "BAD_OPTION"],
      ] as const) {
        expect(errorOf(() => vcpu.setRegisters(values as never)).code).toBe(code);
        expect(
          errorOf(() => lab.here.engine.vcpu(undefined, { registers: values as never })).code,
        ).toBe(code);
      }
      expect(vcpu.registers).toEqual(before);
      lab.here.expectUntouched();
    });
  });

  it("of an option is refused, and no vCPU is made", () => {
    const used = lab.here.engine.memoryUsage().used;
    lab.here.remember();
    for (const options of [
      { tlb: { sets: 3, ways: 1 } },
      { tlb: { sets: 4, ways: 3 } },
      { tlb: { sets: 0, ways: 1 } },
      { tlb: { sets: 8192, ways: 1 } },
      { tlb: { sets: 4096, ways: 8 } },
      { tlb: { sets: 4 } },
      { tlb: true },
      { hafdbs: 5 },
      { hafdbs: 1.5 },
      { exclusivesGranule: 48 },
      { exclusivesGranule: 8 },
      { exclusivesGranule: 4096 },
      { speculation: 1 },
      { speculation: -2 },
      { seed: -1 },
      { seed: NaN },
      { events: ["walk"] },
      { events: "walks" },
      { checker: 1 },
      { inconsistentContiguous: "both" },
      { unknown: 1 },
      null,
    ]) {
      expect(
        errorOf(() => lab.here.engine.vcpu(undefined, options as never)).code,
        JSON.stringify(options),
      ).toBe("BAD_OPTION");
    }
    expect(lab.here.engine.memoryUsage().used).toBe(used);
    lab.here.expectUntouched();
  });
});
