/** Rows M-5.10 to M-5.20, M-5.41: how large a leaf a fault maps. */
import { describe, expect, it } from "vitest";
import { type Granule, Prot } from "../../../src/index.ts";
import { MODES, lab } from "../../support.ts";
import { GRANULES, Guest, HVA, IPA, LOG, PA, SIZES, expectResume } from "./support.ts";

const K = 2 ** 10;
const M = 2 ** 20;
const G = 2 ** 30;

/** Page sizes of hugetlb VMAs: what they come to where everything is aligned. */
const HUGETLB: [Granule, vma: number, leaf: number, row: string][] = [
  ["4K", 1 * G, 1 * G, "M-5.11"],
  ["4K", 32 * M, 2 * M, "M-5.12"],
  ["4K", 2 * M, 2 * M, "M-5.12"],
  ["4K", 64 * K, 4 * K, "M-5.13"],
  ["16K", 1 * G, 32 * M, "M-5.12"],
  ["16K", 32 * M, 32 * M, "M-5.12"],
  ["16K", 2 * M, 16 * K, "M-5.13"],
  ["64K", 16 * G, 512 * M, "M-5.12"],
  ["64K", 512 * M, 512 * M, "M-5.12"],
  ["64K", 2 * M, 64 * K, "M-5.13"],
];

const down = (value: number, size: number) => value - (value % size);

/** M-5.15, from a slot's own numbers. */
function eligible(ipa: number, slot: { ipa: number; hva: number; size: number }, size: number) {
  if (slot.ipa % size !== slot.hva % size) return false;
  const start = down(slot.hva + (ipa - slot.ipa), size);
  return start >= slot.hva && start + size <= slot.hva + slot.size;
}

describe.each(MODES)("sizes of leaves (%s)", (mode) => {
  const here = lab(mode);

  it.each(GRANULES)("M-5.10: while logging, pages, whatever is behind, %s", (granule) => {
    const guest = new Guest(here, { granule, flags: LOG });
    const { page, block, facts } = guest;
    const behind = [{ hostSize: block }, { vmaPageSize: block }, { hostSize: 0 }];
    for (const [i, everywhere] of behind.entries()) {
      facts.everywhere = everywhere;
      expectResume(guest.write(IPA + i * page));
      expect(guest.leaf(IPA + i * page)).toMatchObject({ size: page, pa: PA + i * page });
      expect(guest.vcpu.lastCall).toMatchObject({ size: page, usedHostSize: false });
    }
  });

  it.each(HUGETLB)(
    "M-5.11, M-5.12, M-5.13: %s pages, hugetlb of %i: leaves of %i (%s)",
    (...row) => {
      const [granule, vmaPageSize, size] = row;
      const guest = new Guest(here, { granule, size: 16 * G, ipaBits: 40 });
      // A host leaf as large as can be is no reason for more: what is forced to pages stays so.
      guest.facts.everywhere = { vmaPageSize, hostSize: Math.max(guest.block, vmaPageSize) };
      const ipa = IPA + guest.block + 5 * guest.page;
      expectResume(guest.write(ipa));
      const at = down(ipa, size);
      expect(guest.leaf(ipa)).toMatchObject({ size, ipa: at, pa: PA + (at - IPA), prot: Prot.RW });
      expect(guest.vcpu.lastCall).toMatchObject({ call: "map", size, usedHostSize: false });
      expect(guest.vcpu.lastCall.ipa).toBe(at); // M-5.20
    },
  );

  it("M-5.11, M-5.12, M-5.13: 1 GiB that does not fit becomes 2 MiB, and that a page", () => {
    const guest = new Guest(here, { size: 0 });
    guest.vm.setMemslot({ slot: 0, ipa: IPA + 2 * M, size: G, hva: HVA + 2 * M });
    guest.vm.setMemslot({ slot: 1, ipa: 2 * IPA, size: 4 * M, hva: HVA + 4 * K });
    guest.facts.everywhere = { vmaPageSize: G, hostSize: 2 * M };
    guest.write(IPA + 2 * M);
    expect(guest.leaf(IPA + 2 * M)).toMatchObject({ size: 2 * M });
    guest.write(2 * IPA + 2 * M);
    expect(guest.leaf(2 * IPA + 2 * M)).toMatchObject({ size: 4 * K });
    expect(guest.vcpu.lastCall).toMatchObject({ usedHostSize: false }); // forced
  });

  it.each(GRANULES)(
    "M-5.14: an ordinary VMA: pages, unless the host maps a block, %s",
    (granule) => {
      const guest = new Guest(here, { granule });
      guest.write(IPA + guest.page);
      expect(guest.leaf(IPA + guest.page)).toMatchObject({ size: guest.page });
      expect(guest.vcpu.lastCall).toMatchObject({ usedHostSize: true });
      guest.facts.everywhere = { hostSize: guest.block };
      guest.write(IPA + guest.block + guest.page);
      expect(guest.leaf(IPA + guest.block)).toMatchObject({ size: guest.block });
    },
  );

  /** Slots whose head, tail or offset do not fit, in units of half a block and of a page. */
  const halves = [0, 1];
  const shapes = halves.flatMap((head) =>
    halves.flatMap((tail) => halves.flatMap((off) => [[head, tail, off] as const])),
  );
  describe.each(GRANULES)("%s pages", (granule) => {
    const { page, block } = SIZES[granule];
    it.each(shapes)("M-5.15: head %i, tail %i, offset %i half blocks", (head, tail, off) => {
      const guest = new Guest(here, { granule, size: 0, ipaBits: 44 });
      const slot = {
        ipa: IPA + head * (block / 2),
        hva: HVA + (head + off) * (block / 2),
        size: 3 * block + (tail - head) * (block / 2),
      };
      guest.vm.setMemslot({ slot: 0, ...slot });
      for (const facts of [{ hostSize: block }, { vmaPageSize: block }]) {
        guest.facts.everywhere = facts;
        for (let at = 0; at < slot.size; at += block / 2) {
          for (const ipa of [slot.ipa + at, slot.ipa + at + block / 2 - page]) {
            const size = eligible(ipa, slot, block) ? block : page;
            guest.write(ipa);
            expect(guest.leaf(ipa)?.size, `at ${at / block} blocks`).toBe(size);
            expect(guest.leaf(ipa)?.pa).toBe(PA + down(slot.hva + ipa - slot.ipa, size) - HVA);
          }
        }
        guest.vm.unmapRange({ ipa: slot.ipa, size: slot.size });
      }
    });

    it("M-5.15: an offset that is a multiple of smaller blocks only", () => {
      const guest = new Guest(here, { granule, size: 0 });
      const slot = { ipa: IPA, hva: HVA + page, size: 2 * block };
      guest.vm.setMemslot({ slot: 0, ...slot });
      guest.facts.everywhere = { hostSize: block };
      guest.write(IPA + block);
      expect(guest.leaf(IPA + block)).toMatchObject({ size: page, pa: PA + block + page });
    });

    it("M-5.20: a block's IPA and page are those of its start", () => {
      const guest = new Guest(here, { granule });
      const ipa = IPA + 2 * block + 11 * page + 0x1000 * (page > 4096 ? 1 : 0);
      guest.facts.everywhere = { vmaPageSize: block };
      guest.write(ipa);
      expect(guest.vcpu.lastCall).toMatchObject({ call: "map", ipa: IPA + 2 * block, size: block });
      expect(guest.leaf(ipa)).toMatchObject({ ipa: IPA + 2 * block, pa: PA + 2 * block });
    });

    it("M-5.41: THP: the host's leaf is at least a block, smaller, or not valid", () => {
      const guest = new Guest(here, { granule, ipaBits: 44, size: 2 * G });
      const { facts, vcpu } = guest;
      facts.everywhere = { hostSize: 2 * block };
      guest.write(IPA + page);
      expect(vcpu.lastCall).toMatchObject({ ipa: IPA, size: block, usedHostSize: true });
      facts.everywhere = { hostSize: 2 ** 40 };
      guest.write(IPA + block + page);
      expect(guest.leaf(IPA + block)).toMatchObject({ size: block, pa: PA + block });
      facts.everywhere = { hostSize: block / 2 };
      guest.write(IPA + 2 * block + page);
      expect(vcpu.lastCall).toMatchObject({ ipa: IPA + 2 * block + page, size: page });
      facts.everywhere = { hostSize: 0 };
      expectResume(guest.write(IPA + 3 * block + page));
      expect(vcpu.lastCall).toMatchObject({ call: "none" });
      expect(guest.leaves.map(({ size }) => size)).toEqual([block, block, page]);
    });

    it("M-5.41: where a block would not fit the host is not asked, valid or not", () => {
      const guest = new Guest(here, { granule, size: block / 2 });
      guest.facts.everywhere = { hostSize: 0 };
      expectResume(guest.write(IPA + page));
      expect(guest.leaf(IPA + page)).toMatchObject({ size: page });
      expect(guest.vcpu.lastCall).toMatchObject({ usedHostSize: false });
    });

    it("M-5.41: a permission fault keeps its block, IPA and page as they are", () => {
      const guest = new Guest(here, { granule });
      const ipa = IPA + 3 * page + (page > 4096 ? 0x2000 : 0);
      guest.facts.everywhere = { writable: false, hostSize: block };
      guest.read(ipa);
      guest.facts.everywhere = { hostSize: 0 }; // it would be asked to retry
      expectResume(guest.writeDenied(ipa, 2));
      expect(guest.vcpu.lastCall).toMatchObject({
        ...{ call: "relax", ipa, result: 0, usedHostSize: false },
      });
      expect(guest.leaf(ipa)).toMatchObject({ size: block, prot: Prot.RW });
    });

    it("M-5.41: device pages are upgraded like others", () => {
      const guest = new Guest(here, { granule });
      guest.facts.everywhere = { device: true, hostSize: block };
      guest.write(IPA + page);
      expect(guest.leaf(IPA)).toMatchObject({ size: block, prot: Prot.RW | Prot.DEVICE });
    });
  });
});
