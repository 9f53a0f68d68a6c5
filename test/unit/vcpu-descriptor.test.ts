/** Descriptors in plain fields, against values worked out by hand from the descriptor formats. */
import { describe, expect, it } from "vitest";
import { type DescriptorOptions, Engine, Prot, decodeDescriptor } from "../../src/index.ts";
import { attrWords, memAttrWords } from "../../src/_memory_type.ts";
import { SMALL, errorOf } from "../support.ts";

const S2 = { stage: 2, level: 3 } as const;

describe("a stage-2 descriptor", () => {
  it("of a page", () => {
    expect(decodeDescriptor(0x0040_0000_9000_07ffn, S2)).toEqual({
      ...{ stage: 2, kind: "page", value: 0x0040_0000_9000_07ffn, oa: 0x9000_0000, size: 4096 },
      ...{ af: true, sh: "inner", contiguous: false, dbm: false, nT: false, software: 0, pbha: 0 },
      ...{ read: true, write: true, execute: { el0: false, el1: false } },
      ...{ memAttr: 15, memory: "Normal write-back", fnxs: false },
    });
  });

  it("has each bit in its field", () => {
    const bits: [bigint, object][] = [
      [1n << 6n, { read: true, write: false }],
      [1n << 7n, { read: false, write: true }],
      [2n << 8n, { sh: "outer" }],
      [1n << 8n, { sh: "reserved" }],
      [1n << 10n, { af: true }],
      [1n << 11n, { fnxs: true }],
      [1n << 51n, { dbm: true }],
      [1n << 52n, { contiguous: true }],
      [9n << 55n, { software: 9 }],
      [9n << 59n, { pbha: 9 }],
      [0n, { read: false, write: false, sh: "non", af: false, fnxs: false, dbm: false }],
    ];
    for (const [bit, fields] of bits) {
      expect(decodeDescriptor(3n | bit, S2), bit.toString(16)).toMatchObject(fields);
    }
  });

  it("says who may execute", () => {
    const rights = (xn: bigint, xnx: boolean) => {
      const decoded = decodeDescriptor(3n | (xn << 53n), { ...S2, xnx });
      return "execute" in decoded && [decoded.execute.el1, decoded.execute.el0];
    };
    expect([0n, 1n, 2n, 3n].map((xn) => rights(xn, true))).toEqual([
      [true, true],
      [false, true],
      [false, false],
      [true, false],
    ]);
    expect([0n, 1n, 2n, 3n].map((xn) => rights(xn, false))).toEqual([
      [true, true],
      [true, true],
      [false, false],
      [false, false],
    ]);
  });

  it("of a block has the size of its level; address bits below are not its", () => {
    const block = (level: number, granule: "4K" | "16K" | "64K", ds = false) =>
      decodeDescriptor(0x0000_ffff_ffff_f001n, { stage: 2, level, granule, ds });
    expect(block(1, "4K")).toMatchObject({ kind: "block", size: 2 ** 30, oa: 0xffff_c000_0000 });
    expect(block(2, "4K")).toMatchObject({ kind: "block", size: 2 ** 21, oa: 0xffff_ffe0_0000 });
    expect(block(2, "16K")).toMatchObject({ kind: "block", size: 2 ** 25, oa: 0xffff_fe00_0000 });
    expect(block(2, "64K")).toMatchObject({ kind: "block", size: 2 ** 29, oa: 0xffff_e000_0000 });
    expect(block(0, "4K", true)).toMatchObject({
      kind: "block",
      size: 2 ** 39,
      oa: 0xff80_0000_0000,
    });
    expect(block(1, "16K", true)).toMatchObject({ kind: "block", size: 2 ** 36 });
    expect(block(1, "64K", true)).toMatchObject({ kind: "block", size: 2 ** 42 });
    expect(block(1, "4K")).toMatchObject({ nT: true });
  });

  it("that is a block where there are none is reserved, as is one at the last level", () => {
    const reserved = { kind: "invalid", reserved: true };
    const none: DescriptorOptions[] = [
      { stage: 2, level: 3 },
      { stage: 2, level: 0 },
      { stage: 2, level: -1, ds: true },
      { stage: 2, level: 1, granule: "16K" },
      { stage: 2, level: 1, granule: "64K" },
    ];
    for (const options of none) expect(decodeDescriptor(1n, options)).toMatchObject(reserved);
    expect(decodeDescriptor(2n, S2)).toEqual({ kind: "invalid", value: 2n, reserved: false });
    expect(decodeDescriptor(0n, S2)).toMatchObject({ kind: "invalid", reserved: false });
  });

  it("with 52-bit addresses has the top bits below", () => {
    const wide = decodeDescriptor(0x0003_0000_0000_1303n, { ...S2, ds: true });
    expect(wide).toMatchObject({ oa: 0xf_0000_0000_1000, sh: undefined }); // 51:50 from 9:8, 49:48 in place
    const large = decodeDescriptor(0x0000_0000_0001_f303n, { ...S2, granule: "64K", ds: true });
    expect(large).toMatchObject({ oa: 0xf_0000_0001_0000, sh: "inner" });
    expect(decodeDescriptor(0x0003_0000_0000_1303n, S2)).toMatchObject({ oa: 0x1000 });
  });

  it("of a table names the next one", () => {
    const table = decodeDescriptor(0x8000_2003n, { stage: 2, level: 1 });
    expect(table).toEqual({
      ...{ kind: "table", value: 0x8000_2003n, next: 0x8000_2000, af: false },
      hierarchy: undefined,
    });
    const wide = decodeDescriptor(0x1_f003n, { stage: 2, level: 2, granule: "64K", ds: true });
    expect(wide).toMatchObject({ next: 0xf_0000_0001_0000 });
  });
});

describe("a stage-1 descriptor", () => {
  const S1 = { stage: 1, level: 3 } as const;

  it("has each bit in its field", () => {
    const bits: [bigint, object][] = [
      [5n << 2n, { attrIndex: 5 }],
      [1n << 6n, { el0: true, readOnly: false }],
      [1n << 7n, { el0: false, readOnly: true }],
      [1n << 11n, { nG: true }],
      [1n << 50n, { gp: true }],
      [1n << 51n, { dbm: true }],
      [1n << 53n, { pxn: true, uxn: false }],
      [1n << 54n, { pxn: false, uxn: true }],
      [0n, { stage: 1, attrIndex: 0, nG: false, gp: false, af: false }],
    ];
    for (const [bit, fields] of bits) {
      expect(decodeDescriptor(3n | bit, S1), bit.toString(16)).toMatchObject(fields);
    }
  });

  it("of EL2 alone has one privilege level", () => {
    const own = { ...S1, el2: true };
    expect(decodeDescriptor(3n | (1n << 54n), own)).toMatchObject({ uxn: true, pxn: true });
    expect(decodeDescriptor(3n | (1n << 53n), own)).toMatchObject({ uxn: false, pxn: false });
    expect(decodeDescriptor(3n | (1n << 6n), own)).toMatchObject({ el0: false });
  });

  it("of a table limits what is below", () => {
    const limits = (bit: bigint, el2 = false) => {
      const table = decodeDescriptor(3n | bit, { stage: 1, level: 2, el2 });
      return table.kind === "table" ? table.hierarchy : undefined;
    };
    const none = { readOnly: false, noEl0: false, uxn: false, pxn: false };
    expect(limits(0n)).toEqual(none);
    expect(limits(1n << 62n)).toEqual({ ...none, readOnly: true });
    expect(limits(1n << 61n)).toEqual({ ...none, noEl0: true });
    expect(limits(1n << 60n)).toEqual({ ...none, uxn: true });
    expect(limits(1n << 59n)).toEqual({ ...none, pxn: true });
    expect(limits((1n << 60n) | (1n << 61n), true)).toEqual({ ...none, uxn: true, pxn: true });
  });
});

describe("memory types", () => {
  it("of stage 2", () => {
    const words = [0, 1, 5, 15, 6, 4].map((memAttr) => memAttrWords(memAttr, false));
    expect(words).toEqual([
      "Device-nGnRnE",
      "Device-nGnRE",
      "Normal non-cacheable",
      "Normal write-back",
      "Normal inner write-through, outer non-cacheable",
      "reserved",
    ]);
  });

  it("of stage 2 with forced write-back", () => {
    expect([0, 1, 4, 5, 6, 7].map((memAttr) => memAttrWords(memAttr, true))).toEqual([
      "Device-nGnRnE",
      "Device-nGnRE",
      "reserved",
      "Normal non-cacheable, unless stage 1 says Device",
      "Normal write-back, whatever stage 1 says",
      "as stage 1 says",
    ]);
    const forced = decodeDescriptor(0x0040_0000_0000_07dbn, { ...S2, fwb: true });
    expect(forced).toMatchObject({
      memAttr: 6,
      memory: "Normal write-back, whatever stage 1 says",
    });
  });

  it("of MAIR bytes", () => {
    expect([0x00, 0x04, 0x0c, 0x44, 0xff, 0xbb, 0x4f, 0xf0].map(attrWords)).toEqual([
      "Device-nGnRnE",
      "Device-nGnRE",
      "Device-GRE",
      "Normal non-cacheable",
      "Normal write-back",
      "Normal write-through",
      "Normal inner write-back, outer non-cacheable",
      "reserved",
    ]);
  });
});

describe("bad input", () => {
  it("is refused", () => {
    const bad: [unknown, object][] = [
      [-1n, S2],
      [2n ** 64n, S2],
      [3, S2],
      [3n, { level: 3 }],
      [3n, { stage: 3, level: 3 }],
      [3n, { stage: 2, level: 4 }],
      [3n, { stage: 2 }],
      [3n, { ...S2, granule: "8K" }],
      [3n, { ...S2, fwb: 1 }],
      [3n, { ...S2, ia: 0 }],
    ];
    for (const [value, options] of bad) {
      const { code } = errorOf(() => decodeDescriptor(value as never, options as never));
      expect(code).toBe("BAD_OPTION");
    }
  });
});

describe("what the engine writes", () => {
  it.each([
    { granule: "4K", ipaBits: 40 },
    { granule: "4K", ipaBits: 52, lpa2: true },
    { granule: "16K", ipaBits: 48 },
    { granule: "64K", ipaBits: 52, pa52: true },
  ] as const)("decodes to what was mapped: $granule, $ipaBits bits", async (options) => {
    const engine = await Engine.create(SMALL);
    const s2 = engine.stage2(options);
    const size = 2 ** 16;
    const pa = options.ipaBits === 52 ? 0xa_0000_4000_0000 : 0x4000_0000;
    s2.map({ ipa: size, size, pa, prot: Prot.RX });
    const { pte, level } = s2.getLeaf(size);
    const wide = options.ipaBits === 52;
    expect(
      decodeDescriptor(pte, { stage: 2, level, granule: options.granule, ds: wide }),
    ).toMatchObject({
      kind: "page",
      oa: pa,
      af: true,
      read: true,
      write: false,
      execute: { el0: true, el1: true },
    });
    s2.dispose();
    engine.dispose();
  });
});
