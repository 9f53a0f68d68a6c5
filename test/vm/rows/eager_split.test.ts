/** Rows M-8.40 to M-8.43: blocks are split when logging begins, not at the first write. */
import { describe, expect, it } from "vitest";
import { Cap, type Granule, Prot } from "../../../src/index.ts";
import { MODES, SMALL, errorOf, lab } from "../../support.ts";
import { GRANULES, Guest, HVA, IPA, LOG } from "./support.ts";

const K = 2 ** 10;
const M = 2 ** 20;
const G = 2 ** 30;
const SUPPORTED: Record<Granule, number[]> = {
  "4K": [4 * K, 2 * M, G],
  "16K": [16 * K, 32 * M],
  "64K": [64 * K, 512 * M],
};

describe.each(MODES)("eager splitting (%s)", (mode) => {
  const here = lab(mode, { ...SMALL, maxTablePages: 16_384 });
  /** `blocks` blocks mapped RW; then logging goes on. */
  const split = (options: {
    granule?: Granule;
    chunk: number;
    blocks?: number;
    manual?: boolean;
  }) => {
    const { granule = "4K", chunk, blocks = 2, manual = false } = options;
    const guest = new Guest(here, {
      granule,
      size: 0,
      vmEvents: ["range"],
      events: ["maintenance"],
    });
    const region = { slot: 0, ipa: IPA, size: blocks * guest.block, hva: HVA };
    guest.vm.eagerSplitChunk = chunk;
    if (manual) guest.vm.manualDirtyLogProtect({ initiallySet: true });
    guest.vm.setMemslot(region);
    guest.facts.everywhere = { hostSize: guest.block };
    for (let i = 0; i < blocks; i++) guest.exec(IPA + i * guest.block);
    expect(guest.leaves.map(({ size }) => size)).toEqual(Array(blocks).fill(guest.block));
    guest.forget();
    const on = () => guest.vm.setMemslot({ ...region, flags: LOG });
    return { guest, on, region };
  };

  it.each(GRANULES)("M-8.40: 0 or a leaf size, while there is no slot, %s", (granule) => {
    const { vm } = new Guest(here, { granule, size: 0 });
    expect([...vm.eagerSplitSizes].sort((a, b) => a - b)).toEqual(SUPPORTED[granule]);
    for (let bit = 0; bit < 40; bit++) {
      const chunk = 2 ** bit;
      const set = () => {
        vm.eagerSplitChunk = chunk;
      };
      if (SUPPORTED[granule].includes(chunk)) expect(set).not.toThrow();
      else expect(errorOf(set).code, `2^${bit}`).toBe("EINVAL");
    }
    const set = (chunk: number) =>
      errorOf(() => {
        vm.eagerSplitChunk = chunk;
      });
    for (const chunk of [1, 3 * M, 4 * K + 1]) expect(set(chunk).code).toBe("EINVAL");
    const last = SUPPORTED[granule].at(-1)!;
    expect(vm.eagerSplitChunk).toBe(last);
    vm.setMemslot({ slot: 0, ipa: IPA, size: 64 * K, hva: HVA });
    for (const chunk of [0, ...SUPPORTED[granule]]) expect(set(chunk).code).toBe("EINVAL");
    expect(vm.eagerSplitChunk).toBe(last);
    vm.setMemslot({ slot: 0, ipa: IPA, size: 0, hva: HVA });
    vm.eagerSplitChunk = 0;
    expect(vm.eagerSplitChunk).toBe(0);
  });

  it("M-8.40: the same by the cap itself; it has no flags", () => {
    const { vm } = new Guest(here, { size: 0 });
    vm.enableCap(Cap.ARM_EAGER_SPLIT_CHUNK_SIZE, 2 * M);
    expect(vm.eagerSplitChunk).toBe(2 * M);
    expect(errorOf(() => vm.enableCap(Cap.ARM_EAGER_SPLIT_CHUNK_SIZE, 3)).code).toBe("EINVAL");
  });

  it.each(GRANULES)("M-8.41: pieces end at multiples of the chunk, %s", (granule) => {
    for (const chunk of SUPPORTED[granule].slice(1)) {
      const { guest, on } = split({ granule, chunk, blocks: 3 });
      on();
      const pieces = guest.logged("split").map(({ ipa, size }) => [ipa - IPA, size]);
      const total = 3 * guest.block;
      const expected: number[][] = [];
      for (let at = 0; at < total; at += chunk) expected.push([at, Math.min(chunk, total - at)]);
      expect(pieces).toEqual(expected);
      guest.vm.dispose();
    }
  });

  it("M-8.41: without memory for the split it stops quietly: the rest stays blocks", () => {
    const { guest, on } = split({ chunk: 2 * M, blocks: 8 });
    const { engine } = here;
    const { used } = engine.memoryUsage();
    for (let spare = 0; ; spare++) {
      engine.tableBudget = used + spare;
      try {
        expect(on()).toBe("flags");
        break;
      } catch (error) {
        expect(error).toMatchObject({ code: "ENOMEM" }); // no room for the bitmap
        expect(spare).toBeLessThan(16);
      }
    }
    engine.tableBudget = 16_384;
    const blocks = guest.leaves.filter(({ size }) => size === 2 * M);
    expect(blocks.length).toBeGreaterThan(0);
    expect(guest.leaves.every(({ prot }) => (prot & Prot.W) === 0)).toBe(true);
    guest.facts.everywhere = {};
    guest.writeDenied(blocks[0]!.ipa + 5 * 4096, 2); // logging works all the same
    expect(guest.dirtyPages()).toEqual([(blocks[0]!.ipa - IPA) / 4096 + 5]);
  });

  it.each(GRANULES)(
    "M-8.42: pages with the block's addresses and attributes, without W, %s",
    (granule) => {
      const { guest, on } = split({ granule, chunk: SUPPORTED[granule].at(-1)! });
      const { page, block } = guest;
      const pa = guest.leaf(IPA)!.pa;
      on();
      const { leaves, leafCount } = guest.vm.stage2.counters();
      expect([leaves[2], leaves[3], leafCount]).toEqual([
        0,
        (2 * block) / page,
        (2 * block) / page,
      ]);
      let at = 0;
      for (const leaf of guest.vm.stage2.leaves()) {
        if (leaf.pa !== pa + at || leaf.prot !== Prot.RX || !leaf.accessed) {
          expect(leaf).toMatchObject({ pa: pa + at, prot: Prot.RX, accessed: true });
        }
        at += page;
      }
      const tlbis = guest.logged("tlbiIpa");
      expect(tlbis.map(({ level }) => level)).toEqual([2, 2]);
    },
  );

  it("M-8.42: a block of 1 GiB, with chunks of 1 GiB and of 2 MiB", () => {
    for (const chunk of [G, 2 * M]) {
      const guest = new Guest(here, { size: 0 });
      guest.vm.eagerSplitChunk = chunk;
      const region = { slot: 0, ipa: IPA, size: G, hva: HVA };
      guest.vm.setMemslot(region);
      guest.facts.everywhere = { vmaPageSize: G };
      guest.write(IPA);
      guest.vm.setMemslot({ ...region, flags: LOG });
      expect(guest.vm.stage2.counters().leaves).toMatchObject({ 1: 0, 2: 0, 3: 2 ** 18 });
      guest.vm.dispose();
    }
  });

  it("M-8.43: a get does not split", () => {
    const { guest, on, region } = split({ chunk: 2 * M });
    on();
    guest.vm.setMemslot(region); // off: blocks come back by faults
    guest.facts.everywhere = { hostSize: guest.block };
    guest.vm.unmapRange({ ipa: IPA, size: region.size });
    on();
    guest.facts.everywhere = {};
    guest.write(IPA);
    guest.forget();
    expect(guest.dirtyPages()).toEqual([0]);
    expect(guest.logged("split")).toEqual([]);
  });

  it("M-8.43: initially set: blocks stay until their pages are cleared", () => {
    const { guest, on } = split({ chunk: 2 * M, manual: true });
    on();
    expect(guest.logged("split")).toEqual([]);
    expect(guest.leaves).toHaveLength(2);
    const bitmap = new BigUint64Array(8);
    bitmap[0] = 1n;
    guest.vm.clearDirtyLog(0, { firstPage: 0, pages: 512, bitmap });
    expect(guest.logged("split").map(({ ipa, size }) => [ipa, size])).toEqual([[IPA, 4096]]);
    expect(guest.leaf(IPA)).toMatchObject({ size: 4096 });
    expect(guest.leaf(IPA + 2 * M)).toMatchObject({ size: 2 * M });
  });
});
