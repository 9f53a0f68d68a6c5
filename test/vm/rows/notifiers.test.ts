/** Rows M-7.x: MMU notifiers. */
import { describe, expect, it } from "vitest";
import { Access, Prot } from "../../../src/index.ts";
import { MODES, errorOf, lab } from "../../support.ts";
import { GRANULES, Guest, HVA, IPA, PA, expectResume } from "./support.ts";

const PAGE = 4096;

describe.each(MODES)("notifiers (%s)", (mode) => {
  const here = lab(mode);
  /** Pages 0 to 7 mapped RW, and all old. */
  const mapped = (options: object = {}) => {
    const guest = new Guest(here, options);
    for (let i = 0; i < 8; i++) guest.write(IPA + i * guest.page);
    return guest;
  };
  const present = (guest: Guest) => guest.leaves.map(({ ipa }) => (ipa - IPA) / guest.page);
  const young = (guest: Guest) =>
    guest.leaves.filter(({ accessed }) => accessed).map(({ ipa }) => (ipa - IPA) / guest.page);
  const flushes = (guest: Guest) => guest.logged("tlbiVmid").length;

  it("M-7.1: start: counts up, and unmaps what overlaps; no flush beyond the unmap's own", () => {
    const guest = mapped({ events: ["maintenance"] });
    const { vm } = guest;
    const { seq } = vm.state;
    guest.forget();
    vm.invalidateStart({ hva: HVA + 2 * PAGE, size: 3 * PAGE });
    expect(vm.state).toMatchObject({ seq, inProgress: 1, active: 1 });
    expect(present(guest)).toEqual([0, 1, 5, 6, 7]);
    const events = guest.logged("tlbiIpa", "tlbiVmid", "tlbiRange");
    expect(events.map(({ kind }) => kind)).toEqual(["tlbiIpa", "tlbiIpa", "tlbiIpa"]);
    vm.invalidateStart({ hva: HVA, size: PAGE });
    expect(vm.state).toMatchObject({ seq, inProgress: 2, active: 2 });
    expect(present(guest)).toEqual([1, 5, 6, 7]);
    vm.invalidateEnd({ hva: HVA, size: PAGE });
    vm.invalidateEnd({ hva: HVA + 2 * PAGE, size: 3 * PAGE });
  });

  it("M-7.1: slots are visited in ascending hva", () => {
    const guest = new Guest(here, { size: 0, vmEvents: ["range"] });
    const hvas = [HVA + 0x20_0000, HVA, HVA + 0x10_0000];
    hvas.forEach((hva, slot) => {
      guest.vm.setMemslot({ slot, ipa: IPA + slot * 0x10_0000, size: 0x4000, hva });
    });
    guest.forget();
    guest.vm.invalidate({ hva: HVA, size: 2 ** 30 }, () => undefined);
    const order = guest.logged("unmap").map(({ ipa }) => (ipa - IPA) / 0x10_0000);
    expect(order).toEqual([1, 2, 0]);
  });

  it("M-7.2: end: seq up, in_progress down, active down; start and end whatever happens", () => {
    const { vm } = mapped();
    const range = { hva: HVA, size: PAGE };
    const { seq } = vm.state;
    vm.invalidateStart(range);
    vm.invalidateEnd(range);
    expect(vm.state).toMatchObject({ seq: seq + 1, inProgress: 0, active: 0 });
    const bad = () =>
      vm.invalidate(range, () => {
        expect(vm.state).toMatchObject({ inProgress: 1, active: 1 });
        throw new RangeError("of the embedder");
      });
    expect(bad).toThrow("of the embedder");
    expect(vm.state).toMatchObject({ seq: seq + 2, inProgress: 0, active: 0 });
  });

  it("M-7.3: clear_flush_young: old, and the VMID is flushed if any was young", () => {
    const guest = mapped({ events: ["maintenance"] });
    const { vm } = guest;
    guest.forget();
    expect(vm.clearFlushYoung({ hva: HVA, size: 4 * PAGE })).toBe(true);
    expect(young(guest)).toEqual([4, 5, 6, 7]);
    expect(flushes(guest)).toBe(1);
    expect(vm.clearFlushYoung({ hva: HVA, size: 4 * PAGE })).toBe(false);
    expect(flushes(guest)).toBe(0);
    expect(vm.clearFlushYoung({ hva: HVA, size: 8 * PAGE })).toBe(true);
    expect(young(guest)).toEqual([]);
  });

  it("M-7.4: clear_young: the same without a flush: a TLB may hide the next use", () => {
    const guest = mapped({ events: ["maintenance"] });
    const { vm, vcpu } = guest;
    expect(vcpu.cpu.translate(IPA, Access.Read)).toBe(PA);
    guest.forget();
    expect(vm.clearYoung({ hva: HVA, size: PAGE })).toBe(true);
    expect(vm.clearYoung({ hva: HVA, size: PAGE })).toBe(false);
    expect(guest.logged("tlbiVmid", "tlbiIpa", "tlbiRange")).toEqual([]);
    expect(vcpu.cpu.translate(IPA, Access.Read)).toBe(PA); // from the TLB
    expect(vm.testYoung(HVA)).toBe(false);
    vm.clearFlushYoung({ hva: HVA, size: 8 * PAGE });
    expect(vcpu.cpu.translate(IPA, Access.Read)).toBe(PA); // a walk
    expect(vm.testYoung(HVA)).toBe(true);
  });

  it("M-7.5: test_young: the one page that holds the address, read only", () => {
    const guest = mapped({ events: ["writes", "maintenance"] });
    const { vm } = guest;
    vm.clearYoung({ hva: HVA + PAGE, size: PAGE });
    guest.forget();
    for (const off of [0, 1, PAGE - 1]) {
      expect(vm.testYoung(HVA + off)).toBe(true);
      expect(vm.testYoung(HVA + PAGE + off)).toBe(false);
    }
    expect(guest.logged("write", "tlbiVmid")).toEqual([]);
    expect(young(guest)).toEqual([0, 2, 3, 4, 5, 6, 7]);
  });

  it.each(GRANULES)(
    "M-7.6: every page that the range touches, clipped to the slot, %s",
    (granule) => {
      const guest = mapped({ granule, size: 0x80000 });
      const { vm, page } = guest;
      vm.invalidate({ hva: HVA + page + 1, size: page }, () => undefined);
      expect(present(guest)).toEqual([0, 3, 4, 5, 6, 7]);
      vm.invalidate({ hva: HVA + 4 * page - 1, size: 1 }, () => undefined);
      expect(present(guest)).toEqual([0, 4, 5, 6, 7]);
      vm.invalidate({ hva: HVA + 4 * page - 1, size: 2 }, () => undefined);
      expect(present(guest)).toEqual([0, 5, 6, 7]);
      vm.invalidate({ hva: HVA - 2 ** 30, size: 2 ** 30 + 1 }, () => undefined);
      expect(present(guest)).toEqual([5, 6, 7]);
      expect(vm.clearYoung({ hva: HVA + 6 * page - 1, size: 2 })).toBe(true);
      expect(young(guest)).toEqual([7]);
    },
  );

  it("M-7.7: an empty or inverted range is refused, and counts nothing", () => {
    const guest = mapped();
    const { vm } = guest;
    const before = vm.state;
    for (const size of [0, -PAGE]) {
      errorOf(() => vm.invalidateStart({ hva: HVA, size }));
      errorOf(() => vm.clearYoung({ hva: HVA, size }));
      errorOf(() => vm.clearFlushYoung({ hva: HVA, size }));
    }
    expect(vm.state).toEqual(before);
    expect(present(guest)).toHaveLength(8);
    expect(young(guest)).toHaveLength(8);
  });

  it("M-7.8: no slot there: seq and in_progress stay; active goes up and down; nothing is young", () => {
    const guest = mapped();
    const { vm } = guest;
    const { seq } = vm.state;
    for (const hva of [HVA - PAGE, HVA + 4 * guest.block]) {
      const range = { hva, size: PAGE };
      vm.invalidateStart(range);
      expect(vm.state).toMatchObject({ seq, inProgress: 0, active: 1 });
      expectResume(guest.write(IPA));
      vm.invalidateEnd(range);
      expect(vm.state).toMatchObject({ seq, inProgress: 0, active: 0 });
      expect(vm.clearYoung(range)).toBe(false);
      expect(vm.clearFlushYoung(range)).toBe(false);
      expect(vm.testYoung(hva)).toBe(false);
    }
    expect(young(guest)).toHaveLength(8);
  });

  it("M-7.9: release: the whole teardown; faults find no page table", () => {
    const guest = mapped();
    guest.vm.release();
    const { used } = here.engine.memoryUsage();
    expectResume(guest.write(IPA));
    expect(guest.vcpu.lastCall).toMatchObject({ call: "none", retried: true });
    expect(errorOf(() => guest.vm.stage2.counters()).code).toBe("DISPOSED");
    guest.vcpu.freeCache();
    expect(here.engine.memoryUsage().used).toBeLessThanOrEqual(used);
    guest.vm.dispose();
    expect(here.engine.memoryUsage().used).toBe(0);
  });

  it("M-7.10: change_pte is history: a page is replaced by invalidation and a fault", () => {
    const guest = mapped();
    expect("changePte" in guest.vm).toBe(false);
    expect("setSpte" in guest.vm).toBe(false);
    guest.vm.invalidate({ hva: HVA, size: PAGE }, () => guest.facts.set(HVA, { pa: PA + 2 ** 30 }));
    guest.write(IPA);
    expect(guest.leaf(IPA)).toMatchObject({ pa: PA + 2 ** 30, prot: Prot.RW });
  });

  it("M-7.11: every access flag of hardware is in the entry, or was reported once", () => {
    for (const strictFaults of [true, false]) {
      const guest = mapped({ strictFaults });
      const { vm, vcpu } = guest;
      let reported = 0;
      vm.clearFlushYoung({ hva: HVA, size: 8 * PAGE });
      for (let use = 0; use < 50; use++) {
        expect(vcpu.cpu.translate(IPA + (use % 8) * PAGE, Access.Write)).toBeTypeOf("number");
        if (vm.clearFlushYoung({ hva: HVA + (use % 8) * PAGE, size: PAGE })) reported++;
      }
      expect(reported).toBe(50);
      expect(young(guest)).toEqual([]);
      expect(guest.leaves.every(({ prot }) => prot === Prot.RW)).toBe(true);
    }
  });
});
