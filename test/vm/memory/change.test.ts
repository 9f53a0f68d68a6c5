/** What the host does to ranges, and what VMs are told of it. */
import { describe, expect, it } from "vitest";
import { Stage2Error } from "../../../src/errors.ts";
import { FakeVm, HVA, MIB, MODES, PAGE, bytes, lab } from "./support.ts";

describe.each(MODES)("changes of ranges (%s)", (mode) => {
  const t = lab(mode);

  it("punched pages are zeros when they come back", () => {
    t.ram.map({ hva: HVA, size: 4 * PAGE });
    const { pa } = t.page(HVA + PAGE, true);
    t.poke(pa + 100, 0xab);
    t.vm.onStart = () => expect(t.ram.counters.framesUsed).toBe(1); // freed after the start, not before
    t.ram.punch({ hva: HVA, size: 4 * PAGE });
    expect(t.vm.told()).toEqual(["start 0+4000", "end 0+4000"]);
    expect(t.ram.counters.framesUsed).toBe(0);
    expect(t.ram.state(HVA + PAGE).state).toBe("absent");
    const again = t.page(HVA + PAGE, true);
    expect(again.pa).toBe(pa);
    expect(t.byte(pa + 100)).toBe(0);
  });

  it("the cache keeps pages of files that are only unmapped, and drops those of a hole", () => {
    t.ram.map({ hva: HVA, size: 2 * PAGE, kind: "file" });
    const { pa } = t.page(HVA, true);
    t.poke(pa, 7);
    t.ram.punch({ hva: HVA, size: PAGE, keepCache: true });
    expect(t.ram.state(HVA)).toMatchObject({ state: "cached", pa, writable: false });
    expect(t.page(HVA)).toMatchObject({ pa, writable: false });
    expect(t.byte(pa)).toBe(7);
    t.ram.punch({ hva: HVA, size: PAGE });
    expect(t.byte(t.page(HVA, true).pa)).toBe(0);
  });

  it("unmapping a part leaves the rest as it is", () => {
    t.ram.map({ hva: HVA, size: 8 * PAGE });
    const pages = [0, 3, 7].map((n) => t.page(HVA + n * PAGE, true));
    t.ram.unmap({ hva: HVA + 2 * PAGE, size: 2 * PAGE });
    expect(t.vm.told()).toEqual(["start 2000+2000", "end 2000+2000"]);
    expect(t.access(HVA + 3 * PAGE)).toBe("unmapped");
    expect(t.page(HVA)).toEqual(pages[0]);
    expect(t.page(HVA + 7 * PAGE)).toEqual(pages[2]);
    t.ram.map({ hva: HVA + 2 * PAGE, size: 2 * PAGE, kind: "file" });
    expect(t.page(HVA + 3 * PAGE)).toMatchObject({ writable: false });
  });

  it("unmapping does not mind holes, and goes over several areas at once", () => {
    t.ram.map({ hva: HVA, size: PAGE });
    t.ram.map({ hva: HVA + 4 * PAGE, size: PAGE, kind: "file" });
    t.ram.map({ hva: HVA + 8 * PAGE, size: PAGE, kind: "device", pa: 0 });
    t.page(HVA, true);
    t.page(HVA + 4 * PAGE, true);
    t.ram.unmap({ hva: HVA - MIB, size: 2 * MIB });
    expect(t.vm.told()).toEqual(["start 0+9000", "end 0+9000"]);
    for (const n of [0, 4, 8]) expect(t.ram.state(HVA + n * PAGE).state).toBe("unmapped");
    t.ram.unmap({ hva: HVA, size: MIB });
    expect(t.vm.told()).toEqual([]);
  });

  it("protected pages become writable again where they are", () => {
    t.ram.map({ hva: HVA, size: 3 * PAGE });
    const { pa } = t.page(HVA + PAGE, true);
    t.ram.protect({ hva: HVA + PAGE, size: PAGE, writable: false });
    expect(t.access(HVA + PAGE, true)).toBe("error");
    expect(t.page(HVA + PAGE)).toMatchObject({ pa, writable: false });
    expect(t.page(HVA, true).writable).toBe(true);
    t.ram.protect({ hva: HVA + PAGE, size: PAGE, writable: true });
    expect(t.vm.told().filter((line) => line === "start 1000+1000")).toHaveLength(2);
    expect(t.page(HVA + PAGE)).toMatchObject({ pa, writable: false });
    expect(t.page(HVA + PAGE, true)).toMatchObject({ pa, writable: true });
    expect(t.vm.told()).toEqual([]); // nobody else has the frame: no copy, and nothing to tell
  });

  it("areas that were cut and are alike again are one: they do not run out", () => {
    t.ram.map({ hva: HVA, size: 16 * PAGE });
    for (let round = 0; round < 600; round++) {
      t.ram.protect({ hva: HVA + PAGE, size: PAGE, writable: false });
      t.ram.protect({ hva: HVA + PAGE, size: PAGE, writable: true });
    }
    expect(t.ram.mapped(HVA, 16 * PAGE)).toEqual([{ hva: HVA, size: 16 * PAGE }]);
  });

  it("poisoned pages stay so until they are dropped, and their frame is never used again", () => {
    t.ram.map({ hva: HVA, size: 2 * PAGE });
    const { pa } = t.page(HVA, true);
    t.ram.poison(HVA + 5);
    expect(t.vm.told()).toEqual(["start 0+1000", "end 0+1000"]);
    expect(t.access(HVA)).toBe("poisoned");
    expect(t.access(HVA, true)).toBe("poisoned");
    expect(t.ram.read(HVA, bytes(1, 0))).toBe(false);
    expect(t.ram.state(HVA)).toMatchObject({ state: "poisoned", pa: undefined });
    expect(t.ram.counters).toMatchObject({ framesUsed: 0, framesPoisoned: 1 });
    t.ram.punch({ hva: HVA, size: PAGE });
    expect(t.page(HVA, true).pa).not.toBe(pa);
    t.ram.poison(HVA + PAGE); // one that was not there
    expect(t.access(HVA + PAGE)).toBe("poisoned");
    expect(t.ram.counters.framesPoisoned).toBe(1);
  });

  it("poison takes a whole hugetlb page", () => {
    t.ram.map({ hva: HVA, size: 4 * MIB, kind: "hugetlb", pageSize: 2 * MIB });
    t.page(HVA + 3 * MIB, true);
    t.ram.poison(HVA + 3 * MIB);
    expect(t.vm.told()).toEqual(["start 200000+200000", "end 200000+200000"]);
    expect(t.access(HVA + 2 * MIB)).toEqual({ poisoned: true, vmaPageSize: 2 * MIB });
    expect(t.page(HVA).vmaPageSize).toBe(2 * MIB);
    expect(t.ram.counters).toMatchObject({ framesUsed: 512, framesPoisoned: 512 });
  });

  it("release tells the VMs, and unmaps everything", () => {
    let released = 0;
    t.ram.addVm(Object.assign(new FakeVm(), { release: () => released++ }));
    t.ram.map({ hva: HVA, size: PAGE });
    t.ram.map({ hva: HVA + 2 * MIB, size: 2 * MIB, kind: "hugetlb", pageSize: 2 * MIB });
    t.page(HVA, true);
    t.page(HVA + 2 * MIB, true);
    t.ram.release();
    expect(released).toBe(1);
    expect(t.vm.told()).toEqual(["start 0+400000", "end 0+400000"]);
    expect(t.ram.counters.framesUsed).toBe(0);
    expect(t.ram.mapped(0, 2 ** 52)).toEqual([]);
  });
});

describe.each(MODES)("VMs that are told (%s)", (mode) => {
  const t = lab(mode);
  const refusal = new Stage2Error("EDEADLK", "not now");
  const busy = new Stage2Error("EBUSY", "not at once");
  const failure = new Stage2Error("EPERM", "none has begun");

  it("can refuse: nothing has changed then, and those that started are told the end", () => {
    t.ram.map({ hva: HVA, size: 4 * PAGE });
    t.page(HVA, true);
    t.page(HVA + PAGE);
    const second = new FakeVm();
    second.refuses = refusal;
    t.ram.addVm(second);
    const changes = [
      () => t.ram.punch({ hva: HVA, size: PAGE }),
      () => t.ram.unmap({ hva: HVA, size: 4 * PAGE }),
      () => t.ram.share({ hva: HVA, size: PAGE }),
      () => t.ram.protect({ hva: HVA, size: PAGE, writable: false }),
      () => t.ram.poison(HVA),
      () => t.access(HVA + PAGE, true), // breaks the page of zeros
    ];
    const before = [t.ram.state(HVA), t.ram.state(HVA + PAGE), t.ram.counters.framesUsed];
    for (const change of changes) {
      expect(change).toThrow(refusal);
      expect(t.vm.told()).toHaveLength(2);
      expect([t.ram.state(HVA), t.ram.state(HVA + PAGE), t.ram.counters.framesUsed]).toEqual(
        before,
      );
    }
    t.ram.removeVm(second);
    t.ram.punch({ hva: HVA, size: PAGE });
    expect(second.log).toEqual([]);
  });

  it("that could not wait for a vCPU are told the end, and the pages stay (ETIMEDOUT)", () => {
    t.ram.map({ hva: HVA, size: PAGE });
    t.page(HVA, true);
    const ends = (waitingFor: string): number => {
      const second = new FakeVm();
      second.refuses = new Stage2Error("ETIMEDOUT", "late", { waitingFor });
      t.ram.addVm(second);
      expect(() => t.ram.punch({ hva: HVA, size: PAGE })).toThrow("late");
      t.ram.removeVm(second);
      return second.log.length;
    };
    expect(ends("bracket")).toBe(1);
    expect(ends("hardware section")).toBe(1);
    expect(ends("write side")).toBe(0);
    expect(t.ram.state(HVA).state).toBe("readWrite");
  });

  it("must have the same page size, and are not told any more when they were disposed", () => {
    const wrong = Object.assign(new FakeVm(), { pageSize: 16_384 });
    expect(() => t.ram.addVm(wrong)).toThrow(/another page size/);
    const second = Object.assign(new FakeVm(), { isOpen: true });
    t.ram.addVm(second);
    t.ram.map({ hva: HVA, size: PAGE });
    t.ram.punch({ hva: HVA, size: PAGE });
    second.isOpen = false;
    t.ram.punch({ hva: HVA, size: PAGE });
    expect(second.log).toHaveLength(2);
  });

  it("may touch the memory, and change it, while they are told", () => {
    t.ram.map({ hva: HVA, size: 2 * PAGE });
    t.page(HVA, true);
    t.vm.onStart = ({ hva }) => {
      if (hva !== HVA) return;
      expect(t.access(HVA)).toMatchObject({ writable: true });
      t.ram.punch({ hva: HVA + PAGE, size: PAGE });
    };
    t.ram.punch({ hva: HVA, size: PAGE });
    expect(t.vm.told()).toEqual(["start 0+1000", "start 1000+1000", "end 1000+1000", "end 0+1000"]);
  });

  it("are told the end also if one of them fails there, and its error is passed on", () => {
    t.ram.map({ hva: HVA, size: PAGE });
    const second = new FakeVm();
    second.invalidateEnd = () => {
      throw failure;
    };
    t.ram.addVm(second);
    expect(() => t.ram.punch({ hva: HVA, size: PAGE })).toThrow(failure);
    expect(t.vm.told()).toEqual(["start 0+1000", "end 0+1000"]);
    t.ram.removeVm(second);
  });

  it("are told the end again and again while they are busy", () => {
    let refusals = 3;
    const second = new FakeVm();
    second.invalidateEnd = () => {
      if (refusals-- > 0) throw busy;
    };
    t.ram.addVm(second);
    t.ram.map({ hva: HVA, size: PAGE });
    t.ram.punch({ hva: HVA, size: PAGE });
    expect(refusals).toBe(-1);
    t.ram.removeVm(second);
  });

  it("that are busy make an access a promise where the thread may not block", async () => {
    let refusals = 3;
    t.ram.map({ hva: HVA, size: PAGE });
    t.page(HVA);
    t.vm.onStart = () => {
      if (refusals-- > 0) throw busy;
    };
    if (mode === "threads") {
      expect(() => t.access(HVA, true)).toThrow(busy); // Node's threads may: a VM that still refuses means it
      return;
    }
    const answer = t.access(HVA, true);
    expect(answer).toBeInstanceOf(Promise);
    expect(t.ram.state(HVA).state).toBe("zero");
    expect(await answer).toMatchObject({ writable: true });
    expect(refusals).toBe(-1);
    expect(t.vm.told().filter((line) => line.startsWith("end"))).toHaveLength(1);
  });

  it("are told once, however often they are added", () => {
    t.ram.addVm(t.vm);
    t.ram.map({ hva: HVA, size: PAGE });
    t.ram.punch({ hva: HVA, size: PAGE });
    expect(t.vm.told()).toHaveLength(2);
  });
});
