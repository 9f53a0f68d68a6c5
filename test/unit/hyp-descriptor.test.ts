/** Every field of a hypervisor's stage-1 descriptor. */
import { describe, expect, it } from "vitest";
import { type Engine, type HypOptions, Prot, decodeEntry } from "../../src/index.ts";
import { MODES, onEngine } from "../engines.ts";

const { R, W, X, RW, RX, DEVICE, NORMAL_NC, SW1 } = Prot;
const XN = 1n << 54n;
const GP = 1n << 50n;

/** The one leaf after mapping a page or block at address 0. */
function mapped(engine: Engine, options: HypOptions, prot: number, size = 4096) {
  const table = engine.hyp(options);
  table.map({ va: 0, size, pa: 0x4000_0000, prot });
  const [leaf] = [...table.leaves()];
  table.dispose();
  return leaf!;
}

describe.each(MODES)("hypervisor descriptors, %s build", (mode) => {
  // AttrIdx 4:2, AP 7:6, SH 9:8, AF 10, GP 50, XN 54.
  it.each<[string, HypOptions, number, bigint]>([
    ["RW", {}, RW, 0x743n | XN],
    ["R", {}, R, 0x7c3n | XN],
    ["RX", {}, RX, 0x7c3n],
    ["RW, device", {}, RW | DEVICE, 0x753n | XN],
    ["RW, non-cacheable is not told apart", {}, RW | NORMAL_NC, 0x743n | XN],
    ["RW, EL2&0", { hvhe: true }, RW, 0x703n | XN],
    ["R, EL2&0", { hvhe: true }, R, 0x783n | XN],
    ["RX, guarded", { bti: true }, RX, 0x7c3n | GP],
    ["RW, guarded pages are executable ones", { bti: true }, RW, 0x743n | XN],
    ["RW, LPA2", { lpa2: true }, RW, 0x443n | XN],
    ["RW, software bit", {}, RW | SW1, 0x743n | XN | (1n << 56n)],
  ])("%s", async (_name, options, prot, word) => {
    await onEngine(mode, (engine) => {
      const page = mapped(engine, options, prot);
      expect((page.pte ^ 0x4000_0000n).toString(16)).toBe(word.toString(16));
      const block = mapped(engine, options, prot, 2 ** 21);
      expect(block.level).toBe(2);
      expect(block.pte).toBe(page.pte & ~2n);
    });
    const { hvhe = false } = options;
    const decoded = decodeEntry(word, { level: 3, regime: "hyp", hvhe, lpa2: !!options.lpa2 });
    expect(decoded).toMatchObject({ kind: "leaf", prot: prot & ~NORMAL_NC, accessed: true });
  });

  it.each([
    ["no R", W],
    ["X alone", X],
    ["X with W", RW | X],
    ["X with DEVICE", RX | DEVICE],
  ])("%s is refused", async (_name, prot) => {
    await onEngine(mode, (engine) => {
      expect(() => {
        const table = engine.hyp();
        try {
          table.map({ va: 0, size: 4096, pa: 0, prot });
        } finally {
          table.dispose();
        }
      }).toThrow(/EINVAL/);
    });
  });
});
