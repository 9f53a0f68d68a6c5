/** Transparent huge pages: blocks where they fit, their splitting and collapsing, frames in a row. */
import { describe, expect, it } from "vitest";
import type { Granule } from "../../../src/_options.ts";
import { Engine } from "../../../src/engine.ts";
import { GuestMemory } from "../../../src/vm/memory/guest_memory.ts";
import { BANK, HVA, MIB, MODES, PAGE, lab, request } from "./support.ts";

const BLOCK = 2 * MIB;

describe.each(MODES)("transparent huge pages (%s)", (mode) => {
  const t = lab(mode);

  it.each(["read", "write"])("come as a whole with the first %s", (kind) => {
    t.ram.map({ hva: HVA, size: BLOCK, kind: "thp" });
    const page = t.page(HVA + 5 * PAGE, kind === "write");
    expect(page).toEqual({ pa: page.pa, writable: true, hostSize: BLOCK });
    expect((page.pa - 5 * PAGE) % BLOCK).toBe(0);
    expect(t.page(HVA + 511 * PAGE).pa).toBe(page.pa + 506 * PAGE);
    expect(t.ram.state(HVA)).toMatchObject({ state: "thp", size: BLOCK, pa: page.pa - 5 * PAGE });
    expect(t.ram.counters).toMatchObject({ framesUsed: 512, blocks: 1, pages: 0 });
    expect(t.vm.told()).toEqual([]);
  });

  it("are of zeros", () => {
    t.engine.memoryMap.bytes(BANK.pa, BANK.size).fill(0xee);
    t.ram.map({ hva: HVA, size: BLOCK, kind: "thp" });
    const { pa } = t.page(HVA);
    expect(t.engine.memoryMap.bytes(pa, BLOCK).every((byte) => byte === 0)).toBe(true);
  });

  it("leave pages at an unaligned head and tail", () => {
    t.ram.map({ hva: HVA + PAGE, size: 2 * BLOCK, kind: "thp" });
    expect(t.page(HVA + PAGE)).toMatchObject({ writable: false, hostSize: PAGE });
    expect(t.page(HVA + 2 * PAGE, true)).toMatchObject({ writable: true, hostSize: PAGE });
    expect(t.page(HVA + BLOCK)).toMatchObject({ hostSize: BLOCK });
    expect(t.page(HVA + 2 * BLOCK, true)).toMatchObject({ hostSize: PAGE });
    expect(t.access(HVA + 2 * BLOCK + PAGE)).toBe("unmapped");
  });

  it("are pages where some page is already, or where no frames in a row are free", () => {
    t.ram.map({ hva: HVA, size: 8 * MIB, kind: "thp" });
    t.page(HVA, true);
    t.ram.punch({ hva: HVA + PAGE, size: PAGE });
    expect(t.page(HVA + PAGE, true).hostSize).toBe(PAGE);
    t.page(HVA + BLOCK, true);
    t.page(HVA + 2 * BLOCK, true);
    t.ram.map({ hva: HVA + 16 * MIB, size: PAGE });
    t.page(HVA + 16 * MIB, true); // one frame of the last block
    expect(t.page(HVA + 3 * BLOCK, true).hostSize).toBe(PAGE);
    expect(t.ram.counters).toMatchObject({ blocks: 3, framesUsed: 3 * 512 + 2 });
  });

  it("split where they are, and the VMs are told of the whole block", () => {
    t.ram.map({ hva: HVA, size: 2 * BLOCK, kind: "thp" });
    const [first, second] = [t.page(HVA), t.page(HVA + BLOCK)];
    expect(t.ram.splitHuge({ hva: HVA + 7 * PAGE, size: PAGE })).toBe(1);
    expect(t.vm.told()).toEqual(["start 0+200000", "end 0+200000"]);
    expect(t.page(HVA)).toEqual({ ...first, hostSize: PAGE });
    expect(t.page(HVA + BLOCK)).toEqual(second);
    expect(t.ram.splitHuge({ hva: HVA, size: BLOCK })).toBe(0);
    expect(t.vm.told()).toEqual([]);
  });

  it("split when a part is punched, unmapped, protected, shared or poisoned; the rest stays", () => {
    const changes: ((hva: number) => unknown)[] = [
      (hva) => t.ram.punch({ hva, size: PAGE }),
      (hva) => t.ram.unmap({ hva, size: PAGE }),
      (hva) => t.ram.protect({ hva, size: PAGE, writable: false }),
      (hva) => t.ram.share({ hva, size: PAGE }),
      (hva) => t.ram.poison(hva),
    ];
    for (const change of changes) {
      t.ram.map({ hva: HVA, size: BLOCK, kind: "thp" });
      const { pa } = t.page(HVA, true);
      const splits = t.ram.counters.splits;
      t.vm.told();
      change(HVA + 8 * PAGE);
      expect(t.ram.counters.splits).toBe(splits + 1);
      expect(t.vm.told()[0]).toMatch(/^start (0\+200000|0\+9000|8000\+1000)$/);
      expect(t.page(HVA + 9 * PAGE)).toMatchObject({ pa: pa + 9 * PAGE, hostSize: PAGE });
      expect(t.ram.state(HVA + 8 * PAGE).state).not.toBe("thp");
      t.ram.unmap({ hva: HVA, size: BLOCK });
    }
  });

  it("stay whole when all of it is protected, and become writable as a whole", () => {
    t.ram.map({ hva: HVA, size: BLOCK, kind: "thp" });
    const { pa } = t.page(HVA);
    t.ram.protect({ hva: HVA, size: BLOCK, writable: false });
    expect(t.page(HVA)).toEqual({ pa, writable: false, hostSize: BLOCK });
    t.ram.protect({ hva: HVA, size: BLOCK, writable: true });
    expect(t.page(HVA + PAGE, true)).toMatchObject({ writable: true, hostSize: BLOCK });
    expect(t.page(HVA + 9 * PAGE)).toMatchObject({ writable: true });
    expect(t.ram.counters).toMatchObject({ splits: 0, upgrades: 1 });
  });

  it("collapse from pages with their bytes, holes being zeros, and the VMs are told (M-5.65)", () => {
    t.ram.map({ hva: HVA, size: 2 * BLOCK });
    const pages = [0, 3, 511].map((n) => t.page(HVA + n * PAGE, true));
    pages.forEach(({ pa }, n) => t.poke(pa, n + 1));
    t.page(HVA + 4 * PAGE); // the page of zeros
    t.vm.onStart = () => expect(t.ram.state(HVA).size).toBe(PAGE);
    expect(t.ram.collapse({ hva: HVA, size: 2 * BLOCK })).toBe(1);
    expect(t.vm.told()).toEqual(["start 0+200000", "end 0+200000"]);
    const { pa } = t.page(HVA);
    expect(t.page(HVA, true)).toEqual({ pa, writable: true, hostSize: BLOCK });
    expect([0, 3, 511, 4, 5].map((n) => t.byte(pa + n * PAGE))).toEqual([1, 2, 3, 0, 0]);
    expect(t.ram.counters).toMatchObject({ framesUsed: 512, collapses: 1 });
    expect(t.ram.collapse({ hva: HVA, size: 2 * BLOCK })).toBe(0);
    expect(t.vm.told()).toEqual([]);
  });

  it("are not made of what is poisoned, cut by the area's end, or of a file", () => {
    t.ram.map({ hva: HVA, size: BLOCK });
    t.ram.map({ hva: HVA + BLOCK, size: PAGE });
    t.ram.map({ hva: HVA + 2 * BLOCK, size: BLOCK, kind: "file" });
    for (const at of [0, 1, 2]) t.page(HVA + at * BLOCK, true);
    t.ram.poison(HVA + PAGE);
    t.vm.told();
    expect(t.ram.collapse({ hva: HVA, size: BLOCK })).toBe(0);
    expect(t.ram.collapse({ hva: HVA + BLOCK, size: PAGE })).toBe(0);
    expect(t.ram.collapse({ hva: HVA + 2 * BLOCK, size: BLOCK })).toBe(0);
    expect(t.vm.told()).toEqual([]);
  });

  it("keep no frames when a VM refuses", () => {
    t.ram.map({ hva: HVA, size: BLOCK });
    t.page(HVA, true);
    t.vm.refuses = new Error("no");
    expect(() => t.ram.collapse({ hva: HVA, size: BLOCK })).toThrow("no");
    expect(t.ram.counters.framesUsed).toBe(1);
    expect(t.ram.state(HVA).state).toBe("readWrite");
  });
});

describe("page sizes", () => {
  const GRANULES: [Granule, number, number][] = [
    ["4K", 12, 21],
    ["16K", 14, 25],
    ["64K", 16, 29],
  ];
  const HUGE: [Granule, number[]][] = [
    ["4K", [16, 21, 25, 30]],
    ["16K", [21, 25, 30]],
    ["64K", [21, 29, 34]],
  ];

  async function onFrames(
    granule: Granule,
    frames: number,
    use: (ram: GuestMemory) => void,
  ): Promise<void> {
    const engine = await Engine.create({ maxTablePages: 64 });
    const ram = GuestMemory.create(engine, { granule, frames, pa: 2 ** 36 });
    use(ram);
    ram.release();
    expect(ram.counters.framesUsed).toBe(0);
    engine.dispose();
  }

  it.each(GRANULES)("blocks of %s pages", async (granule, page, block) => {
    await onFrames(granule, 2 ** (block - page), (ram) => {
      ram.map({ hva: HVA, size: 2 ** (block + 1), kind: "thp" });
      expect([ram.pageSize, ram.blockSize]).toEqual([2 ** page, 2 ** block]);
      const answer = ram.resolve(request(HVA + 2 ** page));
      expect(answer).toEqual({ pa: 2 ** 36 + 2 ** page, writable: true, hostSize: 2 ** block });
      expect(ram.counters.framesUsed).toBe(2 ** (block - page));
      expect(() => ram.resolve(request(HVA + 2 ** block, true))).toThrow(/no frame is free/);
    });
  });

  it.each(HUGE)("hugetlb sizes of %s pages", async (granule, shifts) => {
    const page = granule === "4K" ? 12 : granule === "16K" ? 14 : 16;
    for (const shift of shifts) {
      await onFrames(granule, 2 ** (shift - page), (ram) => {
        const size = 2 ** shift;
        ram.map({ hva: HVA, size: 2 * size, kind: "hugetlb", pageSize: size });
        const answer = ram.resolve(request(HVA + size - 2 ** page, true));
        const pa = 2 ** 36 + size - 2 ** page;
        expect(answer).toEqual({ pa, writable: true, vmaPageSize: size, hostSize: size });
        expect(() => ram.resolve(request(HVA + size))).toThrow(/in a row|no frame is free/);
        ram.punch({ hva: HVA, size });
        expect(ram.resolve(request(HVA + size))).toMatchObject({ pa: 2 ** 36 });
      });
    }
  });

  it("frames in a row are aligned to where physical memory is, not to the first frame", async () => {
    const engine = await Engine.create({ maxTablePages: 64 });
    const pa = 2 ** 36 + 5 * PAGE;
    const ram = GuestMemory.create(engine, { frames: 1024 + 507, pa });
    ram.map({ hva: HVA, size: 8 * MIB, kind: "thp" });
    const blocks = [0, 1].map((n) => ram.resolve(request(HVA + n * BLOCK)));
    expect(blocks).toMatchObject([{ pa: 2 ** 36 + 2 * BLOCK }, { pa: 2 ** 36 + BLOCK }]);
    expect(ram.resolve(request(HVA + 2 * BLOCK, true))).toMatchObject({ pa, hostSize: PAGE });
    ram.release();
    expect(ram.counters.framesUsed).toBe(0);
    engine.dispose();
  });
});
