/**
 * Arguments that are no good: addresses that are no numbers, accesses that are none, batches that do not fit, objects that
 * are gone. Errors that say what; and no byte is written beside the target.
 */
import { describe, expect, it } from "vitest";
import { Access, type Batch, Engine } from "../../src/index.ts";
import { MODES, errorOf } from "../support.ts";
import { FencedLab, RAM } from "./fence.ts";
import { HCR } from "./machine.ts";

const { Read } = Access;

describe.each(MODES)("bad input (%s)", (mode) => {
  const lab = new FencedLab(mode);

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
      const vcpu = lab.cpu({ hcrEl2: HCR.RW });
      lab.here.remember();
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
      lab.here.expectFence();
    });

    it("that are no accesses are refused", () => {
      const vcpu = lab.cpu({ hcrEl2: HCR.RW });
      lab.here.remember();
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
        () => lab.here.engine.tlbi("VMALLE1", { vmid: 65536 }),
        () => lab.here.engine.tlbi("VMALLE1"),
        () => (vcpu.el = 3 as never),
        () => (vcpu.pan = 1 as never),
      ];
      for (const call of bad) expect(errorOf(call).code, String(call)).toBe("BAD_OPTION");
      expect([vcpu.el, vcpu.pan]).toEqual([1, false]);
      lab.here.expectFence();
    });
  });

  describe("batches", () => {
    const vcpu = () => lab.cpu({ hcrEl2: HCR.RW });

    it.each([1, 2, 3, 4, 5, 7, 64, 255, 256, 1000, 4096])(
      "of %i write their results, and nothing else",
      (capacity) => {
        const cpu = vcpu();
        const batch = lab.keep(lab.here.engine.batch(capacity));
        batch.addresses.fill(RAM.pa + 8);
        batch.results.fill(-77);
        for (const count of [0, 1, 3, capacity - 1].filter((each) => each < capacity)) {
          const before = Buffer.from(lab.here.everything);
          batch.results.fill(-77);
          expect(cpu.translateMany(batch, Read, count)).toBe(0);
          expect([...batch.results].filter((result) => result === RAM.pa + 8)).toHaveLength(count);
          expect([...batch.results.subarray(count)].every((result) => result === -77)).toBe(true);
          expect(lab.here.everything.length).toBe(before.length);
        }
        expect(cpu.translateMany(batch, Read)).toBe(0);
        expect([...batch.addresses].every((address) => address === RAM.pa + 8)).toBe(true);
        lab.here.expectFence();
      },
    );

    it("take a number of addresses that they have", () => {
      const cpu = vcpu();
      const batch = lab.keep(lab.here.engine.batch(4));
      batch.results.fill(-77);
      lab.here.remember();
      for (const count of [5, -1, 1.5, NaN, Infinity, 2 ** 32, "2", null, 2n]) {
        expect(
          errorOf(() => cpu.translateMany(batch, Read, count as never)).code,
          String(count),
        ).toBe("BAD_OPTION");
      }
      for (const access of [0, 5, NaN, "x"]) {
        expect(errorOf(() => cpu.translateMany(batch, access as never)).code).toBe("BAD_OPTION");
      }
      lab.here.expectUntouched();
    });

    it.each(["stage 2", "nothing"])(
      "of any numbers give answers, and do not disturb their neighbours: over %s",
      (what) => {
        const s2 = lab.keep(lab.here.engine.stage2());
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
        const batch = lab.keep(lab.here.engine.batch(strange.length * 4));
        const good = what === "nothing" ? RAM.pa + 0x18 : 0x18;
        strange.forEach((number, i) => batch.addresses.set([number, good, good, good], i * 4));
        const vcpu =
          what === "nothing"
            ? lab.cpu({ hcrEl2: HCR.RW })
            : lab.keep(lab.here.engine.vcpu(s2, { tlb: false }));
        lab.here.remember();
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
        lab.here.expectFence();
      },
    );

    it("of another engine, of nobody, and disposed ones are refused", async () => {
      const cpu = vcpu();
      const other = await Engine.create({ mode, maxTablePages: 64 });
      const foreign = other.batch(4);
      const gone = lab.here.engine.batch(4);
      gone.dispose();
      lab.here.remember();
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
      lab.here.expectUntouched();
      foreign.dispose();
      other.dispose();
      expect(errorOf(() => cpu.translateMany(foreign, Read)).code).toMatch(/FOREIGN|DISPOSED/);
    });

    it("of other sizes cannot be", () => {
      lab.here.remember();
      for (const capacity of [0, -1, 4097, 1.5, NaN, Infinity, "4", null, undefined]) {
        expect(errorOf(() => lab.here.engine.batch(capacity as never)).code).toBe("BAD_OPTION");
      }
      lab.here.expectUntouched();
    });
  });

  describe("disposed", () => {
    it.each(["vCPU", "engine"])("%s: every call says so, and nothing is touched", (what) => {
      const s2 = lab.here.engine.stage2();
      s2.map({ ipa: 0, size: 0x1000, pa: RAM.pa, prot: 7 });
      const vcpu = lab.here.engine.vcpu(s2);
      expect(vcpu.translate(0, Read)).toBe(RAM.pa);
      const batch = lab.here.engine.batch(4);
      if (what === "vCPU") vcpu.dispose();
      else lab.here.engine.dispose();
      // Its pages are somebody else's now.
      const heir = what === "vCPU" ? lab.here.engine.vcpu(s2) : undefined;
      lab.here.remember();
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
      lab.here.expectFence();
      vcpu.dispose(); // does nothing
      if (heir !== undefined) {
        expect(heir.translate(0, Read)).toBe(RAM.pa);
        for (const object of [heir, batch, s2]) object.dispose();
        expect(lab.here.engine.memoryUsage().used).toBe(0);
      }
    });

    it("page table: its vCPU cannot be made", () => {
      const s2 = lab.here.engine.stage2();
      s2.dispose();
      expect(errorOf(() => lab.here.engine.vcpu(s2)).code).toBe("DISPOSED");
    });

    it("page table of another engine: nor that", async () => {
      const other = await Engine.create({ mode, maxTablePages: 64 });
      const s2 = other.stage2();
      lab.here.remember();
      expect(errorOf(() => lab.here.engine.vcpu(s2)).code).toBe("FOREIGN");
      expect(errorOf(() => lab.here.engine.vcpu({} as never)).code).toBe("FOREIGN");
      lab.here.expectUntouched();
      s2.dispose();
      other.dispose();
    });
  });
});
