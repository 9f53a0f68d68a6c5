/** Every field of a stage-2 descriptor, as written by a map and as read back. */
import { describe, expect, it } from "vitest";
import {
  type Granule,
  type Mode,
  Prot,
  type Stage2,
  type Stage2Options,
  decodeEntry,
  mkwrite,
  testAndClearYoung,
} from "../../src/index.ts";
import { MODES, onEngine } from "../engines.ts";

const { R, W, X, RW, RX, RWX, DEVICE, NORMAL_NC, SW0, SW1, SW2, SW3 } = Prot;
const BLOCK_2M = 0x20_0000;

/** The entry after mapping one page or block at address 0. */
async function mapped(
  mode: Mode,
  options: Stage2Options,
  request: { size?: number; pa?: number; prot: number },
  then: (table: Stage2) => void = () => {},
): Promise<bigint> {
  let pte = 0n;
  await onEngine(mode, (engine) => {
    const table = engine.stage2(options);
    table.map({ ipa: 0, size: 4096, pa: 0, ...request });
    then(table);
    pte = table.getLeaf(0).pte;
    table.dispose();
  });
  return pte;
}

const hex = (value: bigint): string => `0x${value.toString(16).padStart(16, "0")}`;

describe.each(MODES)("descriptors, %s build", (mode) => {
  describe("leaf attribute words", () => {
    // A page; in a block the low byte ends in d.
    it.each([
      ["RW, normal", RW, 0x0040_0000_0000_07ffn, 0x0040_0000_0000_07dbn],
      ["RWX, normal", RWX, 0x7ffn, 0x7dbn],
      ["R, normal", R, 0x0040_0000_0000_077fn, 0x0040_0000_0000_075bn],
      ["RW, device", RW | DEVICE, 0x0040_0000_0000_07c7n, 0x0040_0000_0000_07c7n],
      ["RW, non-cacheable", RW | NORMAL_NC, 0x0040_0000_0000_07d7n, 0x0040_0000_0000_07d7n],
      ["RX, normal", RX, 0x77fn, 0x75bn],
      ["W alone, normal", W, 0x0040_0000_0000_07bfn, 0x0040_0000_0000_079bn],
      ["X alone, normal", X, 0x73fn, 0x71bn],
      ["nothing, normal", 0, 0x0040_0000_0000_073fn, 0x0040_0000_0000_071bn],
    ])("%s", async (_name, prot, plain, forced) => {
      for (const [options, word] of [
        [{ fwb: false }, plain],
        [{ fwb: true }, forced],
        [{ fwb: true, noFwb: true }, plain],
      ] as const) {
        const page = await mapped(mode, options, { prot });
        expect(hex(page)).toBe(hex(word));
        const block = await mapped(mode, options, { prot, size: BLOCK_2M });
        expect(hex(block)).toBe(hex(word & ~2n));
        const { fwb } = options;
        const decoded = decodeEntry(page, { level: 3, fwb: fwb && !("noFwb" in options) });
        expect(decoded).toMatchObject({ kind: "leaf", prot, accessed: true, pa: 0 });
      }
    });

    it("RW, aged: the access flag alone is gone", async () => {
      for (const [fwb, word] of [
        [false, 0x0040_0000_0000_03ffn],
        [true, 0x0040_0000_0000_03dbn],
      ] as const) {
        const aged = await mapped(mode, { fwb }, { prot: RW }, (table) =>
          testAndClearYoung(table, 0),
        );
        expect(hex(aged)).toBe(hex(word));
        expect(decodeEntry(aged, { level: 3, fwb })).toMatchObject({ prot: RW, accessed: false });
      }
    });

    it("writable-clean becomes writable-dirty by the write permission alone", () => {
      expect(hex(mkwrite(0x0048_0000_0000_077fn))).toBe(hex(0x0048_0000_0000_07ffn));
      expect(hex(mkwrite(0x0048_0000_0000_075bn))).toBe(hex(0x0048_0000_0000_07dbn));
    });

    it("has no shareability with LPA2: those bits are address", async () => {
      expect(hex(await mapped(mode, { lpa2: true }, { prot: RWX }))).toBe(hex(0x4ffn));
    });

    it("copies software bits", async () => {
      for (const [prot, bits] of [
        [SW0, 1n],
        [SW1, 2n],
        [SW2, 4n],
        [SW3, 8n],
        [SW0 | SW3, 9n],
      ] as const) {
        const pte = await mapped(mode, {}, { prot: RWX | prot });
        expect(hex(pte)).toBe(hex(0x7ffn | (bits << 55n)));
        expect(decodeEntry(pte, { level: 3 })).toMatchObject({ prot: RWX | prot });
      }
    });

    it.each([
      ["DEVICE and NORMAL_NC", RW | DEVICE | NORMAL_NC],
      ["DEVICE and X", RWX | DEVICE],
      ["NORMAL_NC and X", RWX | NORMAL_NC],
    ])("%s do not go together", async (_name, prot) => {
      await onEngine(mode, (engine) => {
        const table = engine.stage2();
        expect(() => table.map({ ipa: 0, size: 4096, pa: 0, prot })).toThrow(/EINVAL/);
        expect(table.counters()).toMatchObject({ leafCount: 0, tables: 0 });
        table.dispose();
      });
    });
  });

  describe("output addresses", () => {
    const P = { "4K": 4096, "16K": 16384, "64K": 65536 } as const;

    // Bits 47:12, 49:12 with 51:50 in 9:8, and 47:16 with 51:48 in 15:12.
    it.each<[string, Granule, object, number, bigint]>([
      ["4K, 48 bits", "4K", {}, 0xffff_ffff_f000, 0xffff_ffff_f000n],
      ["16K, 48 bits", "16K", {}, 0xffff_ffff_c000, 0xffff_ffff_c000n],
      ["64K, 48 bits", "64K", {}, 0xffff_ffff_0000, 0xffff_ffff_0000n],
      ["4K, bits 49:48", "4K", { lpa2: true }, 0x3_0000_0000_1000, 0x3_0000_0000_1000n],
      ["4K, bits 51:50", "4K", { lpa2: true }, 0xc_0000_0000_1000, 0x1300n],
      ["16K, bits 51:48", "16K", { lpa2: true }, 0xf_0000_0000_4000, 0x3_0000_0000_4300n],
      ["64K, bits 51:48", "64K", { pa52: true }, 0xf_0000_0001_0000, 0x1_f000n],
      ["64K, bit 50", "64K", { pa52: true }, 0x4_0000_0001_0000, 0x1_4000n],
    ])("%s", async (_name, granule, wide, pa, field) => {
      const options = { granule, ...wide, parange: 6 as const };
      const size = P[granule];
      const pte = await mapped(mode, options, { pa, size, prot: RWX });
      const zero = await mapped(mode, options, { pa: 0, size, prot: RWX });
      expect(hex(pte ^ zero)).toBe(hex(field));
      expect(decodeEntry(pte, { level: 3, granule, ...wide })).toMatchObject({ pa });
    });

    it("beyond the output size there is no address: the entry becomes zero", async () => {
      expect(await mapped(mode, {}, { pa: 2 ** 48, prot: RWX })).toBe(0n);
      expect(await mapped(mode, { lpa2: true }, { pa: 2 ** 52, prot: RWX })).toBe(0n);
    });

    it.each<[Granule, number, number]>([
      ["4K", 2 ** 21, 2],
      ["4K", 2 ** 30, 1],
      ["16K", 2 ** 25, 2],
      ["64K", 2 ** 29, 2],
    ])("%s: a block of %i bytes stands at level %i", async (granule, size, level) => {
      await onEngine(mode, (engine) => {
        const table = engine.stage2({ granule, ipaBits: 48 });
        table.map({ ipa: size, size, pa: 2 * size, prot: RW });
        const leaf = table.getLeaf(size + size / 2);
        expect(leaf).toMatchObject({ kind: "leaf", ipa: size, size, level, pa: 2 * size });
        expect(leaf.pte & 3n).toBe(1n);
        expect(table.lookup(size + 12345)).toBe(2 * size + 12345);
        table.dispose();
      });
    });
  });

  describe("invalid entries", () => {
    it("annotations hold the owner in bits 9:2", async () => {
      await onEngine(mode, (engine) => {
        const table = engine.stage2();
        table.setOwner({ ipa: 0x3000, size: 4096, owner: 1 });
        expect(table.getLeaf(0x3000)).toMatchObject({ kind: "annotation", owner: 1, pte: 4n });
        expect(() => table.setOwner({ ipa: 0x3000, size: 4096, owner: 2 })).toThrow(/EINVAL/);
        table.setOwner({ ipa: 0x3000, size: 4096, owner: 0 });
        expect(table.getLeaf(0x3000)).toMatchObject({ kind: "empty", pte: 0n });
        table.dispose();
      });
    });

    it("are told apart: owner, locked, empty", () => {
      const kind = (pte: bigint) => decodeEntry(pte, { level: 3 }).kind;
      expect(kind(0n)).toBe("empty");
      expect(kind(0x400n)).toBe("locked");
      expect(kind(0x3fcn)).toBe("annotation");
      expect(decodeEntry(0x3fcn, { level: 3 })).toMatchObject({ owner: 255 });
    });
  });
});
