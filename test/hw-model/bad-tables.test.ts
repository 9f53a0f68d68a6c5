/**
 * Tables where none can be: bases in the middle of nowhere, tables over the end of memory, in the engine's own pages, in
 * memory that goes away. Walks fault, and no byte is written beside the target.
 */
import { describe, expect, it } from "vitest";
import { Access } from "../../src/index.ts";
import { MODES, errorOf } from "../support.ts";
import { FencedLab, MEMORY_BYTES, RAM, REGION } from "./fence.ts";
import { HCR, HOLE, SCTLR, VTCR, stage2Registers } from "./machine.ts";
import { S1, S2, type Shape, TABLE, chain, leaf, tcrFor, vtcrFor } from "./paging.ts";

const SHAPE: Shape = { name: "4K/40", granule: "4K", start: 1, bits: 40 };
const VTCR_40 = vtcrFor(SHAPE, 48) | VTCR.HA | VTCR.HD;
const END = RAM.pa + RAM.size;
const GOOD = S2.NORMAL | S2.RW | S2.AF;
const { Read, Write } = Access;

describe.each(MODES)("bad tables (%s)", (mode) => {
  const lab = new FencedLab(mode);

  it("is noticed where it is written: the fence works", () => {
    lab.here.expectUntouched();
    for (const at of [0, REGION.offset - 1, RAM.pointer - 1, RAM.pointer + RAM.size]) {
      lab.here.everything[at]! ^= 1;
      expect(() => lab.here.expectFence("may change")).toThrow(/as it was/);
      lab.here.everything[at]! ^= 1;
    }
    lab.here.set(RAM.pa, 1n);
    expect(() => lab.here.expectFence()).toThrow(/guest memory/);
    lab.here.expectFence("may change");
  });

  describe("tables", () => {
    it.each([
      ["nowhere", BigInt(HOLE)],
      ["at 0", 0n],
      ["just behind guest memory", BigInt(END)],
      ["just before guest memory", BigInt(RAM.pa - 0x2000)],
      ["at the last address", 2n ** 48n - 0x2000n],
    ])("that lie %s fault", (_name, base) => {
      lab.here.remember();
      lab.expectFault(lab.cpu(stage2Registers(VTCR_40, base)).translate(0, Write), {
        type: "externalAbortOnWalk",
        level: 1,
        stage: 2,
      });
      const tcrEl1 = tcrFor({ name: "", granule: "4K", start: 1, bits: 39 }, 48);
      const own = lab.cpu({
        hcrEl2: HCR.RW,
        sctlrEl1: SCTLR.M,
        tcrEl1,
        ttbr0El1: base,
        ttbr1El1: base,
      });
      for (const va of [0, -1]) {
        lab.expectFault(own.translate(va, Write), {
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
        lab.here.remember();
        const vcpu = lab.cpu(stage2Registers(VTCR_40, vttbr), { tableBaseLowBits });
        let inside = 0;
        for (let index = 0; index < 1024; index++) {
          const base = tableBaseLowBits === "kept" ? Number(vttbr) : END - 0x2000;
          const there = base + index * 8 < END;
          const type = there ? "translation" : "externalAbortOnWalk";
          expect(vcpu.translate(index * 2 ** 30, Write)).toMatchObject({ type, level: 1 });
          if (there) inside++;
        }
        lab.here.expectFence();
        expect(inside).toBeGreaterThan(0);
      },
    );

    it("of 64K that begin in memory and end behind it fault behind it", () => {
      const shape: Shape = { name: "", granule: "64K", start: 2, bits: 42 };
      lab.here.engine.memoryMap.remove(RAM.pa);
      lab.here.engine.memoryMap.add({ pa: RAM.pa, size: 0x1000, pointer: RAM.pointer }); // a piece of the table
      lab.here.set(RAM.pa + 511 * 8, 0n);
      lab.here.set(RAM.pa + 0x1000, leaf(2, 0, GOOD)); // there, but not in the map
      lab.here.remember();
      const vcpu = lab.cpu(stage2Registers(vtcrFor(shape, 48), RAM.pa));
      lab.expectFault(vcpu.translate(511 * 2 ** 29, Read), { type: "translation", level: 2 });
      lab.expectFault(vcpu.translate(512 * 2 ** 29, Read), {
        type: "externalAbortOnWalk",
        level: 2,
      });
    });

    it("that point at themselves end", () => {
      for (let index = 0; index < 1024; index++)
        lab.here.set(RAM.pa + index * 8, BigInt(RAM.pa) | TABLE | GOOD);
      lab.here.remember();
      const vcpu = lab.cpu(stage2Registers(VTCR_40, RAM.pa));
      expect(vcpu.translate(0x1234, Read)).toBe(RAM.pa + 0x234); // the table as a page
      lab.here.expectFence();
      const tcrEl1 = tcrFor({ name: "", granule: "4K", start: 0, bits: 48 }, 48);
      const both = lab.cpu({
        ...stage2Registers(VTCR_40, RAM.pa),
        sctlrEl1: SCTLR.M,
        tcrEl1,
        ttbr0El1: 0n,
      });
      expect(both.translate(0x1234, Read)).toBe(RAM.pa + 0x234);
      expect(both.translate(0x1234, Write)).toMatchObject({ type: "permission", stage: 1 });
      lab.here.expectFence();
    });

    it("whose leaves reach over the end of memory: translated, not accessed", () => {
      lab.here.set(RAM.pa + 2 * 8, leaf(1, RAM.pa, GOOD));
      lab.here.set(RAM.pa + 0x10, lab.here.get(RAM.pa + 2 * 8));
      lab.here.remember();
      const vcpu = lab.cpu(stage2Registers(VTCR_40, RAM.pa, HCR.DC));
      expect(vcpu.translate(END, Write)).toBe(END);
      for (const va of [END, END + 0x1000, 0xbfff_fff8]) {
        lab.expectFault(vcpu.write64(va, ~0n & (2n ** 64n - 1n)), {
          type: "externalAbort",
          write: true,
          far: BigInt(va),
        });
        lab.expectFault(vcpu.atomic("swp", va, 8, 1n), { type: "externalAbort" });
        lab.expectFault(vcpu.read64(va), { type: "externalAbort" });
        lab.expectFault(vcpu.fetch(va), { type: "externalAbort" });
      }
      for (const va of [END - 1, END - 4, END - 7]) {
        lab.expectFault(vcpu.write64(va, 1n), { type: "externalAbort", far: BigInt(END) });
        lab.expectFault(vcpu.writePair(va, [1n, 1n]), { type: "externalAbort" });
        lab.expectFault(vcpu.read64(va), { type: "externalAbort", far: BigInt(END) });
      }
      lab.expectFault(vcpu.writePair(END - 8, [1n, 1n]), { type: "externalAbort" });
      expect(vcpu.write64(END - 8, 1n)).toBeUndefined();
      expect(lab.here.get(END - 8)).toBe(1n);
      lab.here.expectFence("may change");
    });
  });

  describe("the engine's own pages", () => {
    const POOL = 2 ** 30;

    it("are no memory of a guest's", () => {
      const s2 = lab.keep(lab.here.engine.stage2());
      s2.map({ ipa: 0, size: 2 ** 20, pa: POOL, prot: 7 });
      const vcpu = lab.keep(lab.here.engine.vcpu(s2));
      for (let page = 0; page < 256; page++) {
        const va = page * 0x1000 + 8;
        expect(vcpu.write64(va, 1n)).toMatchObject({ type: "externalAbort" });
        expect(vcpu.read32(va)).toMatchObject({ type: "externalAbort" });
        expect(vcpu.atomic("add", va, 8, 1n)).toMatchObject({ type: "externalAbort" });
        expect(vcpu.loadExclusive(va, 8)).toMatchObject({ type: "externalAbort" });
      }
      lab.here.expectFence();
    });

    it("that hold no tables are not written by walks, whatever the base says", () => {
      const victim = lab.keep(
        lab.here.engine.vcpu(undefined, { registers: { hcrEl2: HCR.RW | 1n, vtcrEl2: VTCR_40 } }),
      );
      const before = victim.registers;
      const tcrEl1 = tcrFor({ name: "", granule: "4K", start: 1, bits: 39 }, 48) | (3n << 39n);
      const vcpu = lab.cpu({ hcrEl2: HCR.RW, sctlrEl1: SCTLR.M, tcrEl1 });
      for (let page = 0; page < 64; page++) {
        vcpu.setRegisters({ ttbr0El1: BigInt(POOL + page * 0x1000) });
        for (let index = 0; index < 32; index++) vcpu.translate(index * 2 ** 30, Read);
      }
      expect(victim.registers).toEqual(before);
      lab.here.expectFence();
    });

    it("are not written by the dirty-state structure", () => {
      chain(
        lab.here,
        SHAPE,
        { root: RAM.pa, below: RAM.pa + 0x1_0000 },
        0x1000,
        3,
        leaf(3, RAM.pa + 0x4000, (GOOD & ~S2.W) | S2.DBM),
      );
      lab.here.remember();
      for (const base of [POOL, POOL + 0x1000, END, HOLE, 2 ** 48]) {
        const registers = stage2Registers(VTCR_40 | VTCR.HDBSS, RAM.pa);
        const vcpu = lab.cpu({ ...registers, hdbssbrEl2: BigInt(base) }, { hafdbs: 4 });
        lab.expectFault(vcpu.translate(0x1000, Write), { type: "permission", hdbssFull: true });
        const cleaner = lab.cpu(
          { ...registers, hacdbsbrEl2: BigInt(base) | (1n << 11n) },
          { hafdbs: 4 },
        );
        expect(cleaner.cleanDirtyState()).toBe(0);
        lab.here.expectFence();
      }
    });
  });

  describe("the memory map", () => {
    it("takes no segment over the engine, outside the memory, or twice; nothing changes", () => {
      const { segments } = lab.here.engine.memoryMap;
      lab.here.remember();
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
        const add = () => lab.here.engine.memoryMap.add({ ...good, ...change });
        expect(errorOf(add).code, JSON.stringify(change)).toBe(code);
      }
      expect(errorOf(() => lab.here.engine.memoryMap.remove(2 ** 30)).code, "the pool").toBe(
        "ENOENT",
      );
      expect(errorOf(() => lab.here.engine.memoryMap.remove(good.pa)).code).toBe("ENOENT");
      expect(lab.here.engine.memoryMap.segments).toEqual(segments);
      lab.here.expectUntouched();
    });

    it("that shrank under a walk's feet aborts walks and accesses", () => {
      const root = { root: RAM.pa, below: RAM.pa + 0x1_0000 };
      chain(lab.here, SHAPE, root, 0x1000, 3, leaf(3, RAM.pa + 0x4000, GOOD));
      const vcpu = lab.cpu(stage2Registers(VTCR_40, RAM.pa));
      expect(vcpu.translate(0x1000, Read)).toBe(RAM.pa + 0x4000);
      lab.here.engine.memoryMap.remove(RAM.pa);
      lab.here.remember();
      lab.expectFault(vcpu.translate(0x1000, Read), { type: "externalAbortOnWalk", level: 1 });
      const { memoryMap } = lab.here.engine;
      memoryMap.add({ pa: RAM.pa, size: 0x2_0000, pointer: RAM.pointer }); // without the last tables
      lab.expectFault(vcpu.translate(0x1000, Read), { type: "externalAbortOnWalk", level: 3 });
      memoryMap.add({ pa: RAM.pa + 0x2_0000, size: 0x1_0000, pointer: RAM.pointer + 0x2_0000 });
      expect(vcpu.translate(0x1000, Read)).toBe(RAM.pa + 0x4000);
      lab.here.expectFence();
    });

    it("with two segments of the same bytes: each address is good, and hardware updates are seen through both", () => {
      const alias = 0xc000_0000;
      lab.here.engine.memoryMap.add({ pa: alias, size: RAM.size, pointer: RAM.pointer });
      const tables = { root: RAM.pa, below: RAM.pa + 0x1_0000 };
      const slots = chain(
        lab.here,
        SHAPE,
        tables,
        0x1000,
        3,
        leaf(3, alias + 0x4000, GOOD & ~S1.AF),
      );
      const vcpu = lab.cpu(stage2Registers(VTCR_40, alias));
      expect(vcpu.translate(0x1000, Read)).toBe(alias + 0x4000);
      expect(lab.here.get(slots[3])).toBe(leaf(3, alias + 0x4000, GOOD));
      lab.here.expectFence("may change");
    });
  });
});
