/** What pages are, and how accesses change them. */
import { describe, expect, it } from "vitest";
import { BANK, HVA, MIB, MODES, PAGE, bytes, lab } from "./support.ts";

describe.each(MODES)("pages of an anonymous area (%s)", (mode) => {
  const t = lab(mode);

  it("are unmapped outside of every area", () => {
    t.ram.map({ hva: HVA, size: 2 * PAGE });
    expect(t.access(HVA - PAGE)).toBe("unmapped");
    expect(t.access(HVA + 2 * PAGE)).toBe("unmapped");
    expect(t.ram.state(HVA - PAGE)).toMatchObject({ state: "unmapped", size: 0, kind: undefined });
  });

  it("map the shared page of zeros read-only when they are read first (M-5.34)", () => {
    t.ram.map({ hva: HVA, size: 2 * PAGE });
    const [first, second] = [t.page(HVA), t.page(HVA + PAGE)];
    expect(first).toEqual({ pa: first.pa, writable: false, hostSize: PAGE });
    expect(second.pa).toBe(first.pa);
    expect(t.vm.told()).toEqual([]);
    expect(t.ram.counters).toMatchObject({ framesUsed: 0, zeroPages: 2, pages: 0 });
    expect(t.ram.state(HVA)).toMatchObject({ state: "zero", writable: false, pa: first.pa });
  });

  it("get a frame of zeros when they are written first (M-5.32), and stay writable for reads (M-5.33)", () => {
    for (let pa = BANK.pa; pa < BANK.pa + 16 * PAGE; pa += 512) t.poke(pa, 0xee);
    t.ram.map({ hva: HVA, size: PAGE });
    const { pa } = t.page(HVA, true);
    expect(t.engine.memoryMap.bytes(pa, PAGE).every((byte) => byte === 0)).toBe(true);
    expect(t.page(HVA)).toEqual({ pa, writable: true, hostSize: PAGE });
    expect(t.ram.state(HVA)).toMatchObject({ state: "readWrite", pa, size: PAGE });
    expect(t.ram.counters).toMatchObject({ framesUsed: 1, pages: 1, zeroPages: 0 });
  });

  it("are of zeros, whatever the bank held before", () => {
    t.engine.memoryMap.bytes(BANK.pa, BANK.size).fill(0xff);
    t.ram.map({ hva: HVA, size: 2 * PAGE });
    const into = bytes(2 * PAGE, 1);
    t.page(HVA + PAGE, true);
    expect(t.ram.read(HVA, into)).toBe(true);
    expect(into.every((byte) => byte === 0)).toBe(true);
  });

  it("break the page of zeros inside of the write that needs it (M-5.74)", () => {
    t.ram.map({ hva: HVA, size: 4 * PAGE });
    const zero = t.page(HVA + PAGE);
    t.vm.onStart = () => expect(t.ram.state(HVA + PAGE).state).toBe("zero");
    const page = t.page(HVA + PAGE, true);
    expect(t.vm.told()).toEqual(["start 1000+1000", "end 1000+1000"]);
    expect(page.writable).toBe(true);
    expect(page.pa).not.toBe(zero.pa);
    expect(t.byte(zero.pa)).toBe(0);
  });

  it("copy a shared frame at the first write, and give the old one back after the VM was told", () => {
    t.ram.map({ hva: HVA, size: PAGE });
    const old = t.page(HVA, true);
    t.poke(old.pa, 0xab);
    t.ram.share({ hva: HVA, size: PAGE });
    expect(t.page(HVA)).toMatchObject({ pa: old.pa, writable: false });
    expect(t.ram.state(HVA)).toMatchObject({ state: "readOnly", shared: true });
    t.vm.told();
    t.vm.onStart = () => expect(t.ram.counters.framesUsed).toBe(1);
    const copied = t.page(HVA, true);
    expect(copied.pa).not.toBe(old.pa);
    expect(t.byte(copied.pa)).toBe(0xab);
    expect(t.vm.told()).toEqual(["start 0+1000", "end 0+1000"]);
    expect(t.ram.counters).toMatchObject({ framesUsed: 1, copies: 1 });
  });

  it("say where they are, whatever the address inside of them", () => {
    t.ram.map({ hva: HVA, size: PAGE });
    const { pa } = t.page(HVA, true);
    expect(t.ram.state(HVA + 123).pa).toBe(pa);
    expect(t.access(HVA + 123)).toMatchObject({ pa });
  });

  it("are refused for a write in a read-only area (M-5.31), not for reads", () => {
    t.ram.map({ hva: HVA, size: PAGE, writable: false });
    expect(t.access(HVA, true)).toBe("error");
    expect(t.page(HVA)).toMatchObject({ writable: false });
    expect(t.access(HVA, true)).toBe("error");
  });

  it("remember what VMs report of their frames, until the frames go", () => {
    t.ram.map({ hva: HVA, size: PAGE });
    const { pa } = t.page(HVA, true);
    t.ram.dirtied(pa);
    expect(t.ram.state(HVA)).toMatchObject({ dirty: true, accessed: false });
    t.ram.accessed(pa);
    expect(t.ram.state(HVA)).toMatchObject({ dirty: true, accessed: true });
    t.ram.punch({ hva: HVA, size: PAGE });
    expect(t.page(HVA, true).pa).toBe(pa);
    expect(t.ram.state(HVA)).toMatchObject({ dirty: false, accessed: false });
    expect(t.ram.counters).toMatchObject({ dirtied: 1, accessed: 1 });
    t.ram.dirtied(0x1000); // a device's: counted, and nobody's frame
    expect(t.ram.counters.dirtied).toBe(2);
  });

  it("cannot be had when no frame is free, and nothing has changed then", () => {
    const pages = BANK.size / PAGE;
    t.ram.map({ hva: HVA, size: (pages + 8) * PAGE });
    expect(t.ram.populate({ hva: HVA, size: pages * PAGE, write: true })).toBe(true);
    expect(() => t.access(HVA + pages * PAGE, true)).toThrow(/ENOMEM|no frame is free/);
    expect(() => t.access(HVA + pages * PAGE)).toThrow(/no frame is free/); // not even for zeros
    expect(t.ram.state(HVA + pages * PAGE).state).toBe("absent");
    t.ram.punch({ hva: HVA, size: PAGE });
    expect(t.page(HVA + pages * PAGE, true)).toMatchObject({ pa: BANK.pa });
  });

  it("keep the page of zeros when a copy of it cannot be had, and the VMs are told the end", () => {
    const pages = BANK.size / PAGE - 1;
    t.ram.map({ hva: HVA, size: (pages + 1) * PAGE });
    t.page(HVA + pages * PAGE);
    expect(t.ram.populate({ hva: HVA, size: pages * PAGE, write: true })).toBe(true);
    t.vm.told();
    expect(() => t.access(HVA + pages * PAGE, true)).toThrow(/no frame is free/);
    expect(t.vm.told()).toHaveLength(2);
    expect(t.ram.state(HVA + pages * PAGE).state).toBe("zero");
  });
});

describe.each(MODES)("pages of other areas (%s)", (mode) => {
  const t = lab(mode);

  it("of files are read-only until written, and become writable where they are", () => {
    t.ram.map({ hva: HVA, size: PAGE, kind: "file" });
    const { pa } = t.page(HVA);
    expect(t.ram.state(HVA)).toMatchObject({ state: "readOnly", kind: "file", pa });
    expect(t.page(HVA, true)).toMatchObject({ pa, writable: true });
    expect(t.page(HVA)).toMatchObject({ pa, writable: true });
    expect(t.vm.told()).toEqual([]);
    expect(t.ram.counters).toMatchObject({ upgrades: 1, copies: 0 });
  });

  it("of devices are where they were put, and no memory (M-5.35)", () => {
    const pa = 0x900_0000;
    t.ram.map({ hva: HVA, size: 4 * PAGE, kind: "device", pa });
    const page = { pa: pa + PAGE, writable: true, hostSize: PAGE };
    const facts = { device: true, normalNc: false, noMte: false };
    expect(t.access(HVA + PAGE)).toEqual({ ...page, ...facts });
    expect(t.ram.state(HVA + PAGE)).toMatchObject({ state: "device", pa: pa + PAGE });
    expect(t.ram.inspect(HVA, PAGE)).toEqual({ pfnMapped: true, noMte: false });
    expect(t.ram.read(HVA, bytes(8, 0))).toBe(false);
    t.ram.map({ hva: HVA + MIB, size: PAGE, kind: "device", pa, normalNc: true, writable: false });
    expect(t.access(HVA + MIB)).toMatchObject({ normalNc: true, writable: false });
    expect(t.access(HVA + MIB, true)).toBe("error");
  });

  it("of devices have large leaves where both addresses and the area allow it", () => {
    const [hva, size, pageSize] = [HVA + 2 * MIB, 4 * MIB, 2 * MIB];
    t.ram.map({ hva: hva - PAGE, size, kind: "device", pa: 0x4000_0000 - PAGE, pageSize });
    const sizeAt = (at: number): unknown => t.ram.state(at).size;
    expect([hva - PAGE, hva, hva + 2 * MIB].map(sizeAt)).toEqual([PAGE, 2 * MIB, PAGE]);
    t.ram.map({ hva: HVA + 16 * MIB, size, kind: "device", pa: 0x4000_0000 + PAGE, pageSize });
    expect(sizeAt(HVA + 16 * MIB)).toBe(PAGE);
  });

  it("of hugetlb areas come whole, and say what they are of", () => {
    t.ram.map({ hva: HVA, size: 4 * MIB, kind: "hugetlb", pageSize: 2 * MIB });
    const first = t.page(HVA + 5 * PAGE);
    expect(first).toMatchObject({ writable: true, vmaPageSize: 2 * MIB, hostSize: 2 * MIB });
    expect((first.pa - 5 * PAGE) % (2 * MIB)).toBe(0);
    expect(t.page(HVA + 7 * PAGE, true).pa).toBe(first.pa + 2 * PAGE);
    expect(t.ram.counters).toMatchObject({ framesUsed: 512, hugePages: 1 });
    expect(t.ram.state(HVA)).toMatchObject({ state: "hugetlb", size: 2 * MIB, writable: true });
    expect(t.ram.state(HVA + 2 * MIB).state).toBe("absent");
  });

  it("of 64 KiB lie in a row and aligned", () => {
    t.ram.map({ hva: HVA, size: MIB, kind: "hugetlb", pageSize: 65_536 });
    t.ram.map({ hva: HVA + 16 * MIB, size: PAGE });
    t.page(HVA + 16 * MIB, true); // a single frame, so that the first 64 KiB are not free
    for (let at = 0; at < MIB; at += 65_536) expect(t.page(HVA + at, true).pa % 65_536).toBe(0);
    expect(t.ram.counters).toMatchObject({ framesUsed: 257, hugePages: 16 });
  });

  it("of hugetlb areas are copied whole when they are shared", () => {
    t.ram.map({ hva: HVA, size: 2 * MIB, kind: "hugetlb", pageSize: 2 * MIB });
    const old = t.page(HVA + MIB, true);
    t.poke(old.pa + 1, 0x5a);
    t.ram.share({ hva: HVA, size: 2 * MIB });
    t.vm.told();
    const copied = t.page(HVA + MIB, true);
    expect(copied.pa).not.toBe(old.pa);
    expect(t.byte(copied.pa + 1)).toBe(0x5a);
    expect(t.vm.told()).toEqual(["start 0+200000", "end 0+200000"]);
    expect(t.ram.counters.framesUsed).toBe(512);
  });

  it("say whether they allow memory tagging", () => {
    t.ram.map({ hva: HVA, size: PAGE, noMte: true });
    t.ram.map({ hva: HVA + PAGE, size: PAGE });
    expect(t.page(HVA, true)).toMatchObject({ noMte: true });
    expect(t.page(HVA + PAGE, true)).not.toHaveProperty("noMte");
    expect(t.ram.inspect(HVA, 2 * PAGE)).toEqual({ pfnMapped: false, noMte: true });
    expect(t.ram.inspect(HVA + PAGE, PAGE)).toEqual({ pfnMapped: false, noMte: false });
  });

  it("are listed without devices and holes for a VM that unmaps all (M-6.11)", () => {
    t.ram.map({ hva: HVA, size: 4 * PAGE });
    t.ram.map({ hva: HVA + 4 * PAGE, size: PAGE, kind: "device", pa: 0 });
    t.ram.map({ hva: HVA + 8 * PAGE, size: 4 * PAGE, kind: "file" });
    expect(t.ram.mapped(HVA + PAGE, 9 * PAGE)).toEqual([
      { hva: HVA + PAGE, size: 3 * PAGE },
      { hva: HVA + 8 * PAGE, size: 2 * PAGE },
    ]);
  });
});
