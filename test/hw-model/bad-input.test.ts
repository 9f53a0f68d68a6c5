/**
 * Input that is no good: bases and tables where none can be, registers of random bits, addresses that are no numbers,
 * batches that do not fit. The answer is a fault or an error that says what; and no byte is written beside the target.
 */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  Access,
  type Batch,
  Engine,
  Fault,
  type Registers,
  type Vcpu,
  type VcpuOptions,
} from "../../src/index.ts";
import { MODES, errorOf } from "../support.ts";
import { Fenced, MEMORY_BYTES, RAM, REGION } from "./fence.ts";
import { HCR, HOLE, SCTLR, VTCR, stage2Registers } from "./machine.ts";
import { S1, S2, type Shape, TABLE, chain, leaf, tcrFor, vtcrFor } from "./paging.ts";

const SHAPE: Shape = { name: "4K/40", granule: "4K", start: 1, bits: 40 };
const VTCR_40 = vtcrFor(SHAPE, 48) | VTCR.HA | VTCR.HD;
const END = RAM.pa + RAM.size;
const GOOD = S2.NORMAL | S2.RW | S2.AF;
const { Read, Write } = Access;

describe.each(MODES)("bad input (%s)", (mode) => {
  let here: Fenced;
  const open: { dispose(): void }[] = [];
  beforeEach(async () => {
    here = await Fenced.create(mode);
  });
  afterEach(() => {
    for (const object of open.splice(0)) object.dispose();
    here.engine.dispose();
  });
  const keep = <T extends { dispose(): void }>(object: T): T => {
    open.push(object);
    return object;
  };
  const cpu = (registers: Partial<Registers>, options: VcpuOptions = {}): Vcpu =>
    keep(here.engine.vcpu(undefined, { tlb: false, registers, ...options }));
  const faults = (result: unknown, fields: object): void => {
    expect(result).toBeInstanceOf(Fault);
    expect(result).toMatchObject(fields);
    here.expectFence();
  };

  it("is noticed where it is written: the fence works", () => {
    here.expectUntouched();
    for (const at of [0, REGION.offset - 1, RAM.pointer - 1, RAM.pointer + RAM.size]) {
      here.everything[at]! ^= 1;
      expect(() => here.expectFence("may change")).toThrow(/as it was/);
      here.everything[at]! ^= 1;
    }
    here.set(RAM.pa, 1n);
    expect(() => here.expectFence()).toThrow(/guest memory/);
    here.expectFence("may change");
  });

  describe("tables", () => {
    it.each([
      ["nowhere", BigInt(HOLE)],
      ["at 0", 0n],
      ["just behind guest memory", BigInt(END)],
      ["just before guest memory", BigInt(RAM.pa - 0x2000)],
      ["at the last address", 2n ** 48n - 0x2000n],
    ])("that lie %s fault", (_name, base) => {
      here.remember();
      faults(cpu(stage2Registers(VTCR_40, base)).translate(0, Write), {
        type: "externalAbortOnWalk",
        level: 1,
        stage: 2,
      });
      const tcrEl1 = tcrFor({ name: "", granule: "4K", start: 1, bits: 39 }, 48);
      const own = cpu({
        hcrEl2: HCR.RW,
        sctlrEl1: SCTLR.M,
        tcrEl1,
        ttbr0El1: base,
        ttbr1El1: base,
      });
      for (const va of [0, -1]) {
        faults(own.translate(va, Write), {
          type: "externalAbortOnWalk",
          level: 1,
          stage: 1,
          el: 1,
        });
      }
    });

    it.each([
      ["a root of two pages in the last one", 8, "kept"],
      ["a root that is not aligned", 0xff8, "kept"],
      ["a root that is not aligned, which is", 0xff8, "zero"],
    ] as const)(
      "that reach over the end of memory fault there: %s",
      (_name, low, tableBaseLowBits) => {
        const vttbr = BigInt(END - 0x1000 + low);
        here.remember();
        const vcpu = cpu(stage2Registers(VTCR_40, vttbr), { tableBaseLowBits });
        let inside = 0;
        for (let index = 0; index < 1024; index++) {
          const base = tableBaseLowBits === "kept" ? Number(vttbr) : END - 0x2000;
          const there = base + index * 8 < END;
          const type = there ? "translation" : "externalAbortOnWalk";
          expect(vcpu.translate(index * 2 ** 30, Write)).toMatchObject({ type, level: 1 });
          if (there) inside++;
        }
        here.expectFence();
        expect(inside).toBeGreaterThan(0);
      },
    );

    it("of 64K that begin in memory and end behind it fault behind it", () => {
      const shape: Shape = { name: "", granule: "64K", start: 2, bits: 42 };
      here.engine.memoryMap.remove(RAM.pa);
      here.engine.memoryMap.add({ pa: RAM.pa, size: 0x1000, pointer: RAM.pointer }); // a piece of the table
      here.set(RAM.pa + 511 * 8, 0n);
      here.set(RAM.pa + 0x1000, leaf(2, 0, GOOD)); // there, but not in the map
      here.remember();
      const vcpu = cpu(stage2Registers(vtcrFor(shape, 48), RAM.pa));
      faults(vcpu.translate(511 * 2 ** 29, Read), { type: "translation", level: 2 });
      faults(vcpu.translate(512 * 2 ** 29, Read), { type: "externalAbortOnWalk", level: 2 });
    });

    it("that point at themselves end", () => {
      for (let index = 0; index < 1024; index++)
        here.set(RAM.pa + index * 8, BigInt(RAM.pa) | TABLE | GOOD);
      here.remember();
      const vcpu = cpu(stage2Registers(VTCR_40, RAM.pa));
      expect(vcpu.translate(0x1234, Read)).toBe(RAM.pa + 0x234); // the table as a page
      here.expectFence();
      const tcrEl1 = tcrFor({ name: "", granule: "4K", start: 0, bits: 48 }, 48);
      const both = cpu({
        ...stage2Registers(VTCR_40, RAM.pa),
        sctlrEl1: SCTLR.M,
        tcrEl1,
        ttbr0El1: 0n,
      });
      expect(both.translate(0x1234, Read)).toBe(RAM.pa + 0x234);
      expect(both.translate(0x1234, Write)).toMatchObject({ type: "permission", stage: 1 });
      here.expectFence();
    });

    it("whose leaves reach over the end of memory: translated, not accessed", () => {
      here.set(RAM.pa + 2 * 8, leaf(1, RAM.pa, GOOD));
      here.set(RAM.pa + 0x10, here.get(RAM.pa + 2 * 8));
      here.remember();
      const vcpu = cpu(stage2Registers(VTCR_40, RAM.pa, HCR.DC));
      expect(vcpu.translate(END, Write)).toBe(END);
      for (const va of [END, END + 0x1000, 0xbfff_fff8]) {
        faults(vcpu.write64(va, ~0n & (2n ** 64n - 1n)), {
          type: "externalAbort",
          write: true,
          far: BigInt(va),
        });
        faults(vcpu.atomic("swp", va, 8, 1n), { type: "externalAbort" });
        faults(vcpu.read64(va), { type: "externalAbort" });
        faults(vcpu.fetch(va), { type: "externalAbort" });
      }
      for (const va of [END - 1, END - 4, END - 7]) {
        faults(vcpu.write64(va, 1n), { type: "externalAbort", far: BigInt(END) });
        faults(vcpu.writePair(va, [1n, 1n]), { type: "externalAbort" });
        faults(vcpu.read64(va), { type: "externalAbort", far: BigInt(END) });
      }
      faults(vcpu.writePair(END - 8, [1n, 1n]), { type: "externalAbort" });
      expect(vcpu.write64(END - 8, 1n)).toBeUndefined();
      expect(here.get(END - 8)).toBe(1n);
      here.expectFence("may change");
    });
  });

  describe("the engine's own pages", () => {
    const POOL = 2 ** 30;

    it("are no memory of a guest's", () => {
      const s2 = keep(here.engine.stage2());
      s2.map({ ipa: 0, size: 2 ** 20, pa: POOL, prot: 7 });
      const vcpu = keep(here.engine.vcpu(s2));
      for (let page = 0; page < 256; page++) {
        const va = page * 0x1000 + 8;
        expect(vcpu.write64(va, 1n)).toMatchObject({ type: "externalAbort" });
        expect(vcpu.read32(va)).toMatchObject({ type: "externalAbort" });
        expect(vcpu.atomic("add", va, 8, 1n)).toMatchObject({ type: "externalAbort" });
        expect(vcpu.loadExclusive(va, 8)).toMatchObject({ type: "externalAbort" });
      }
      here.expectFence();
    });

    it("that hold no tables are not written by walks, whatever the base says", () => {
      const victim = keep(
        here.engine.vcpu(undefined, { registers: { hcrEl2: HCR.RW | 1n, vtcrEl2: VTCR_40 } }),
      );
      const before = victim.registers;
      const tcrEl1 = tcrFor({ name: "", granule: "4K", start: 1, bits: 39 }, 48) | (3n << 39n);
      const vcpu = cpu({ hcrEl2: HCR.RW, sctlrEl1: SCTLR.M, tcrEl1 });
      for (let page = 0; page < 64; page++) {
        vcpu.setRegisters({ ttbr0El1: BigInt(POOL + page * 0x1000) });
        for (let index = 0; index < 32; index++) vcpu.translate(index * 2 ** 30, Read);
      }
      expect(victim.registers).toEqual(before);
      here.expectFence();
    });

    it("are not written by the dirty-state structure", () => {
      chain(
        here as never,
        SHAPE,
        { root: RAM.pa, below: RAM.pa + 0x1_0000 },
        0x1000,
        3,
        leaf(3, RAM.pa + 0x4000, (GOOD & ~S2.W) | S2.DBM),
      );
      here.remember();
      for (const base of [POOL, POOL + 0x1000, END, HOLE, 2 ** 48]) {
        const registers = stage2Registers(VTCR_40 | VTCR.HDBSS, RAM.pa);
        const vcpu = cpu({ ...registers, hdbssbrEl2: BigInt(base) }, { hafdbs: 4 });
        faults(vcpu.translate(0x1000, Write), { type: "permission", hdbssFull: true });
        const cleaner = cpu(
          { ...registers, hacdbsbrEl2: BigInt(base) | (1n << 11n) },
          { hafdbs: 4 },
        );
        expect(cleaner.cleanDirtyState()).toBe(0);
        here.expectFence();
      }
    });
  });

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
          here.ram.writeBigUInt64LE(
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
        const vcpu = cpu({}, { ...knobs, tlb: seed > 2 ? { sets: 8, ways: 2 } : false });
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
        here.expectFence("may change");
        // It was no monotonous walk, and the engine is well.
        for (const kind of ["translation", "addressSize", "permission", "externalAbortOnWalk"]) {
          expect(kinds.get(kind), kind).toBeGreaterThan(0);
        }
        const s2 = keep(here.engine.stage2());
        s2.map({ ipa: 0, size: 0x1000, pa: RAM.pa, prot: 6 });
        expect(keep(here.engine.vcpu(s2)).translate(8, Write)).toBe(RAM.pa + 8);
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
      const vcpu = cpu({ vtcrEl2: 5n });
      const before = vcpu.registers;
      here.remember();
      for (const [values, code] of [
        [{ vtcrEl2: 1n, vttbr: 2n }, "BAD_OPTION"],
        [{ vtcrEl2: 1n, ttbr0El1: 2n ** 64n }, "BAD_OPTION"],
        [{ vtcrEl2: 1n, ttbr0El1: -1n }, "BAD_OPTION"],
        [{ vtcrEl2: 1 }, "BAD_OPTION"],
        [{ vtcrEl2: undefined }, "BAD_OPTION"],
      ] as const) {
        expect(errorOf(() => vcpu.setRegisters(values as never)).code).toBe(code);
        expect(
          errorOf(() => here.engine.vcpu(undefined, { registers: values as never })).code,
        ).toBe(code);
      }
      expect(vcpu.registers).toEqual(before);
      here.expectUntouched();
    });
  });

  it("of an option is refused, and no vCPU is made", () => {
    const used = here.engine.memoryUsage().used;
    here.remember();
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
        errorOf(() => here.engine.vcpu(undefined, options as never)).code,
        JSON.stringify(options),
      ).toBe("BAD_OPTION");
    }
    expect(here.engine.memoryUsage().used).toBe(used);
    here.expectUntouched();
  });

  describe("addresses and accesses", () => {
    const BAD = [
      NaN,
      Infinity,
      -Infinity,
      0.5,
      -1.5,
      2 ** 53 + 2,
      -(2 ** 53) - 2,
      2 ** 64,
      2n ** 64n,
      -(2n ** 63n) - 1n,
      "0",
      null,
      undefined,
      {},
      [],
      true,
      Symbol("va"),
    ];

    it("that are no addresses are refused by every call", () => {
      const vcpu = cpu({ hcrEl2: HCR.RW });
      here.remember();
      const calls: ((va: never) => unknown)[] = [
        (va) => vcpu.translate(va, Read),
        (va) => vcpu.probe(va, Read),
        (va) => vcpu.trace(va, Read),
        (va) => vcpu.read8(va),
        (va) => vcpu.read16(va),
        (va) => vcpu.read32(va),
        (va) => vcpu.read64(va),
        (va) => vcpu.readPair(va),
        (va) => vcpu.write8(va, 1),
        (va) => vcpu.write16(va, 1),
        (va) => vcpu.write32(va, 1),
        (va) => vcpu.write64(va, 1n),
        (va) => vcpu.writePair(va, [1n, 1n]),
        (va) => vcpu.fetch(va),
        (va) => vcpu.atomic("add", va, 8, 1n),
        (va) => vcpu.compareAndSwap(va, 8, 1n, 1n),
        (va) => vcpu.loadExclusive(va, 8),
        (va) => vcpu.storeExclusive(va, 8, 1n),
        (va) => vcpu.at("S1E1R", va),
      ];
      for (const call of calls) {
        for (const va of BAD)
          expect(errorOf(() => call(va as never)).code, String(call)).toBe("BAD_ADDRESS");
      }
      const { faults: count, tlb } = vcpu.statistics;
      expect([count, tlb.misses]).toEqual([0, 0]);
      here.expectFence();
    });

    it("that are no accesses are refused", () => {
      const vcpu = cpu({ hcrEl2: HCR.RW });
      here.remember();
      const { pa } = RAM;
      const bad: (() => unknown)[] = [
        ...[0, 5, 7, 8, 12, 64, 1024, -1, 1.5, NaN, "read", null].map(
          (access) => () => vcpu.translate(pa, access as never),
        ),
        ...[3, 0, 16, 2.5, "8"].map((size) => () => vcpu.atomic("add", pa, size as never, 1n)),
        ...["nand", "", 4, undefined].map((op) => () => vcpu.atomic(op as never, pa, 8, 1n)),
        ...[2n ** 64n, 1, undefined].map((value) => () => vcpu.write64(pa, value as never)),
        ...[256, -129, 0.5, NaN, 1n].map((value) => () => vcpu.write8(pa, value as never)),
        ...[256n, -129n, 1].map((value) => () => vcpu.storeExclusive(pa, 1, value as never)),
        () => vcpu.at("S1E3R" as never, pa),
        () => vcpu.tlbi("VAE2" as never, { address: pa }),
        () => vcpu.tlbi("VAE1"),
        () => vcpu.tlbi("RVAE1", { address: pa }),
        () => vcpu.tlbi("RVAE1", { address: pa, pages: 2 ** 21 + 1 }),
        () => vcpu.tlbi("VMALLE1", { address: pa }),
        () => vcpu.tlbi("VAE1", { address: pa, level: 4 }),
        () => vcpu.tlbi("VAE1", { address: pa, asid: 65536 }),
        () => here.engine.tlbi("VMALLE1", { vmid: 65536 }),
        () => here.engine.tlbi("VMALLE1"),
        () => (vcpu.el = 3 as never),
        () => (vcpu.pan = 1 as never),
      ];
      for (const call of bad) expect(errorOf(call).code, String(call)).toBe("BAD_OPTION");
      expect([vcpu.el, vcpu.pan]).toEqual([1, false]);
      here.expectFence();
    });
  });

  describe("batches", () => {
    const vcpu = () => cpu({ hcrEl2: HCR.RW });

    it.each([1, 2, 3, 4, 5, 7, 64, 255, 256, 1000, 4096])(
      "of %i write their results, and nothing else",
      (capacity) => {
        const cpu = vcpu();
        const batch = keep(here.engine.batch(capacity));
        batch.addresses.fill(RAM.pa + 8);
        batch.results.fill(-77);
        for (const count of [0, 1, 3, capacity - 1].filter((each) => each < capacity)) {
          const before = Buffer.from(here.everything);
          batch.results.fill(-77);
          expect(cpu.translateMany(batch, Read, count)).toBe(0);
          expect([...batch.results].filter((result) => result === RAM.pa + 8)).toHaveLength(count);
          expect([...batch.results.subarray(count)].every((result) => result === -77)).toBe(true);
          expect(here.everything.length).toBe(before.length);
        }
        expect(cpu.translateMany(batch, Read)).toBe(0);
        expect([...batch.addresses].every((address) => address === RAM.pa + 8)).toBe(true);
        here.expectFence();
      },
    );

    it("take a number of addresses that they have", () => {
      const cpu = vcpu();
      const batch = keep(here.engine.batch(4));
      batch.results.fill(-77);
      here.remember();
      for (const count of [5, -1, 1.5, NaN, Infinity, 2 ** 32, "2", null, 2n]) {
        expect(
          errorOf(() => cpu.translateMany(batch, Read, count as never)).code,
          String(count),
        ).toBe("BAD_OPTION");
      }
      for (const access of [0, 5, NaN, "x"]) {
        expect(errorOf(() => cpu.translateMany(batch, access as never)).code).toBe("BAD_OPTION");
      }
      here.expectUntouched();
    });

    it.each(["stage 2", "nothing"])(
      "of any numbers give answers, and do not disturb their neighbours: over %s",
      (what) => {
        const s2 = keep(here.engine.stage2());
        s2.map({ ipa: 0, size: 0x1_0000, pa: RAM.pa, prot: 7 });
        const strange = [
          NaN,
          0.9,
          -0.9,
          8.5,
          1e300,
          -1e300,
          Infinity,
          -Infinity,
          2 ** 53 + 2,
          -(2 ** 60),
          2 ** 63,
          -0,
          5e-324,
        ];
        const batch = keep(here.engine.batch(strange.length * 4));
        const good = what === "nothing" ? RAM.pa + 0x18 : 0x18;
        strange.forEach((number, i) => batch.addresses.set([number, good, good, good], i * 4));
        const vcpu =
          what === "nothing" ? cpu({ hcrEl2: HCR.RW }) : keep(here.engine.vcpu(s2, { tlb: false }));
        here.remember();
        const failed = vcpu.translateMany(batch, Read);
        const results = [...batch.results];
        expect(results.filter((result) => result < 0)).toHaveLength(failed);
        for (const [i, result] of results.entries()) {
          if (i % 4 > 0) expect(result).toBe(RAM.pa + 0x18);
          else
            expect(
              Number.isInteger(result) && result >= -64 && result < 2 ** 52,
              String(strange[i / 4]),
            ).toBe(true);
        }
        here.expectFence();
      },
    );

    it("of another engine, of nobody, and disposed ones are refused", async () => {
      const cpu = vcpu();
      const other = await Engine.create({ mode, maxTablePages: 64 });
      const foreign = other.batch(4);
      const gone = here.engine.batch(4);
      gone.dispose();
      here.remember();
      for (const [batch, code] of [
        [foreign, "FOREIGN"],
        [gone, "DISPOSED"],
        [
          {
            addresses: new Float64Array(4),
            results: new Float64Array(4),
            capacity: 4,
            pointer: 0x10_0000,
          },
          "FOREIGN",
        ],
        [undefined, "FOREIGN"],
        [new Float64Array(4), "FOREIGN"],
      ] as const) {
        expect(errorOf(() => cpu.translateMany(batch as Batch, Read)).code).toBe(code);
      }
      here.expectUntouched();
      foreign.dispose();
      other.dispose();
      expect(errorOf(() => cpu.translateMany(foreign, Read)).code).toMatch(/FOREIGN|DISPOSED/);
    });

    it("of other sizes cannot be", () => {
      here.remember();
      for (const capacity of [0, -1, 4097, 1.5, NaN, Infinity, "4", null, undefined]) {
        expect(errorOf(() => here.engine.batch(capacity as never)).code).toBe("BAD_OPTION");
      }
      here.expectUntouched();
    });
  });

  describe("disposed", () => {
    it.each(["vCPU", "engine"])("%s: every call says so, and nothing is touched", (what) => {
      const s2 = here.engine.stage2();
      s2.map({ ipa: 0, size: 0x1000, pa: RAM.pa, prot: 7 });
      const vcpu = here.engine.vcpu(s2);
      expect(vcpu.translate(0, Read)).toBe(RAM.pa);
      const batch = here.engine.batch(4);
      if (what === "vCPU") vcpu.dispose();
      else here.engine.dispose();
      // Its pages are somebody else's now.
      const heir = what === "vCPU" ? here.engine.vcpu(s2) : undefined;
      here.remember();
      const calls: (() => unknown)[] = [
        () => vcpu.translate(0, Read),
        () => vcpu.translate(2n ** 60n, Read),
        () => vcpu.translateMany(batch, Read),
        () => vcpu.probe(0, Read),
        () => vcpu.trace(0, Read),
        () => vcpu.read32(0),
        () => vcpu.read64(0),
        () => vcpu.write32(0, 1),
        () => vcpu.write64(0, 1n),
        () => vcpu.fetch(0),
        () => vcpu.atomic("add", 0, 8, 1n),
        () => vcpu.compareAndSwap(0, 8, 1n, 1n),
        () => vcpu.loadExclusive(0, 8),
        () => vcpu.storeExclusive(0, 8, 1n),
        () => vcpu.clearExclusive(),
        () => vcpu.at("S1E1R", 0),
        () => vcpu.tlbi("VMALLE1"),
        () => vcpu.enter(),
        () => vcpu.poll(),
        () => vcpu.exit(),
        () => vcpu.registers,
        () => vcpu.setRegisters({ vtcrEl2: 1n }),
        () => vcpu.el,
        () => (vcpu.el = 0),
        () => vcpu.pan,
        () => (vcpu.pan = true),
        () => vcpu.statistics,
        () => vcpu.resetStatistics(),
        () => vcpu.cleanDirtyState(),
      ];
      for (const call of calls) expect(errorOf(call).code, String(call)).toBe("DISPOSED");
      here.expectFence();
      vcpu.dispose(); // does nothing
      if (heir !== undefined) {
        expect(heir.translate(0, Read)).toBe(RAM.pa);
        for (const object of [heir, batch, s2]) object.dispose();
        expect(here.engine.memoryUsage().used).toBe(0);
      }
    });

    it("page table: its vCPU cannot be made", () => {
      const s2 = here.engine.stage2();
      s2.dispose();
      expect(errorOf(() => here.engine.vcpu(s2)).code).toBe("DISPOSED");
    });

    it("page table of another engine: nor that", async () => {
      const other = await Engine.create({ mode, maxTablePages: 64 });
      const s2 = other.stage2();
      here.remember();
      expect(errorOf(() => here.engine.vcpu(s2)).code).toBe("FOREIGN");
      expect(errorOf(() => here.engine.vcpu({} as never)).code).toBe("FOREIGN");
      here.expectUntouched();
      s2.dispose();
      other.dispose();
    });
  });

  describe("the memory map", () => {
    it("takes no segment over the engine, outside the memory, or twice; nothing changes", () => {
      const { segments } = here.engine.memoryMap;
      here.remember();
      const good = { pa: 0xc000_0000, size: 0x1000, pointer: RAM.pointer };
      for (const [change, code] of [
        [{ pointer: REGION.offset }, "EINVAL"],
        [{ pointer: REGION.offset - 0x1000, size: 0x2000 }, "EINVAL"],
        [{ pointer: MEMORY_BYTES }, "EINVAL"],
        [{ pointer: MEMORY_BYTES - 0x1000, size: 0x2000 }, "EINVAL"],
        [{ pa: RAM.pa + 0x1000 }, "EEXIST"],
        [{ pa: RAM.pa - 0x1000, size: 0x2000 }, "EEXIST"],
        [{ pa: 2 ** 30 }, "EEXIST"],
        [{ pa: 2 ** 52 }, "EINVAL"],
        [{ pa: 0.5 }, "BAD_ADDRESS"],
        [{ pa: NaN }, "BAD_ADDRESS"],
        [{ size: -1 }, "BAD_SIZE"],
        [{ size: NaN }, "BAD_SIZE"],
        [{ pointer: -1 }, "BAD_OPTION"],
        [{ pointer: NaN }, "BAD_OPTION"],
      ] as const) {
        const add = () => here.engine.memoryMap.add({ ...good, ...change });
        expect(errorOf(add).code, JSON.stringify(change)).toBe(code);
      }
      expect(errorOf(() => here.engine.memoryMap.remove(2 ** 30)).code, "the pool").toBe("ENOENT");
      expect(errorOf(() => here.engine.memoryMap.remove(good.pa)).code).toBe("ENOENT");
      expect(here.engine.memoryMap.segments).toEqual(segments);
      here.expectUntouched();
    });

    it("that shrank under a walk's feet aborts walks and accesses", () => {
      const root = { root: RAM.pa, below: RAM.pa + 0x1_0000 };
      chain(here as never, SHAPE, root, 0x1000, 3, leaf(3, RAM.pa + 0x4000, GOOD));
      const vcpu = cpu(stage2Registers(VTCR_40, RAM.pa));
      expect(vcpu.translate(0x1000, Read)).toBe(RAM.pa + 0x4000);
      here.engine.memoryMap.remove(RAM.pa);
      here.remember();
      faults(vcpu.translate(0x1000, Read), { type: "externalAbortOnWalk", level: 1 });
      const { memoryMap } = here.engine;
      memoryMap.add({ pa: RAM.pa, size: 0x2_0000, pointer: RAM.pointer }); // without the last tables
      faults(vcpu.translate(0x1000, Read), { type: "externalAbortOnWalk", level: 3 });
      memoryMap.add({ pa: RAM.pa + 0x2_0000, size: 0x1_0000, pointer: RAM.pointer + 0x2_0000 });
      expect(vcpu.translate(0x1000, Read)).toBe(RAM.pa + 0x4000);
      here.expectFence();
    });

    it("with two segments of the same bytes: each address is good, and hardware updates are seen through both", () => {
      const alias = 0xc000_0000;
      here.engine.memoryMap.add({ pa: alias, size: RAM.size, pointer: RAM.pointer });
      const tables = { root: RAM.pa, below: RAM.pa + 0x1_0000 };
      const slots = chain(
        here as never,
        SHAPE,
        tables,
        0x1000,
        3,
        leaf(3, alias + 0x4000, GOOD & ~S1.AF),
      );
      const vcpu = cpu(stage2Registers(VTCR_40, alias));
      expect(vcpu.translate(0x1000, Read)).toBe(alias + 0x4000);
      expect(here.get(slots[3])).toBe(leaf(3, alias + 0x4000, GOOD));
      here.expectFence("may change");
    });
  });
});
