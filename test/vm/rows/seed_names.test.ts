/**
 * Rows M-12.x and the names of early KVM: what is not covered with one entry at a time (test/unit/entry.test.ts, entry-races.test.ts)
 * and with the dummy upper table (test/unit/fake-pgd.test.ts).
 */
import { describe, expect, it } from "vitest";
import { type Granule, Prot, fakePgd } from "../../../src/index.ts";
import { MODES, errorOf, lab } from "../../support.ts";
import { Guest, HVA, IPA, LOG, PA, expectResume } from "./support.ts";

const PAGE_SHIFT: Record<Granule, number> = { "4K": 12, "16K": 14, "64K": 16 };
/** Where the host's top level is above the root of a 40-bit stage 2. */
const HOSTS = [
  { granule: "4K", vaBits: 48 },
  { granule: "16K", vaBits: 47 },
  { granule: "64K", vaBits: 48 },
] as const;

describe.each(MODES)("the dummy upper table (%s)", (mode) => {
  const here = lab(mode);

  it.each(HOSTS)("M-12.1: index k of it is table k of the root: %o", ({ granule, vaBits }) => {
    const { entries, entrySize, rootPages } = fakePgd({ granule, vaBits, ipaBits: 40 });
    const { vm } = new Guest(here, { granule, size: 0, ipaBits: 40 });
    const page = 2 ** PAGE_SHIFT[granule];
    expect(vm.stage2.rootBytes / page).toBe(rootPages);
    const covered = 2 ** 40 / rootPages;
    for (const ipa of [0, covered - page, covered, 2 ** 39, 2 ** 40 - page].filter(
      (at) => at < 2 ** 40,
    )) {
      vm.ioremap({ ipa, pa: PA, size: page, writable: true });
      const k = Math.floor(ipa / entrySize);
      expect(k).toBeLessThan(entries);
      if (entries === rootPages) expect(k).toBe(Math.floor(ipa / covered));
      expect(vm.stage2.lookup(ipa)).toBe(PA);
    }
  });

  it.each(HOSTS)("M-12.2: unmapping the whole space leaves the root: %o", ({ granule }) => {
    const { vm } = new Guest(here, { granule, size: 0, ipaBits: 40 });
    const { tablePages } = vm.stage2.memoryUsage();
    const page = 2 ** PAGE_SHIFT[granule];
    for (const ipa of [0, 2 ** 39, 2 ** 40 - page]) {
      vm.ioremap({ ipa, pa: PA, size: page, writable: true });
    }
    vm.unmapRange({ ipa: 0, size: 2 ** 40 });
    expect(vm.stage2.memoryUsage().tablePages).toBe(tablePages);
    vm.ioremap({ ipa: 2 ** 39, pa: PA, size: page, writable: true });
    expect(vm.stage2.lookup(2 ** 39)).toBe(PA);
  });

  it("M-12.3: the default size needs a host of 40 bits", () => {
    for (const hostIpaBits of [32, 36]) {
      expect(errorOf(() => here.engine.vm({ hostIpaBits })).code).toBe("EINVAL");
    }
    here.engine.vm({ hostIpaBits: 40 }).dispose();
  });
});

describe.each(MODES)("M-12: rules of early KVM (%s)", (mode) => {
  const here = lab(mode);

  it("M-12: kvm_age_hva and kvm_test_age_hva: clear and test on every slot over the hva", () => {
    const guest = new Guest(here, { size: 2 ** 20 });
    guest.vm.setMemslot({ slot: 1, ipa: 2 * IPA, size: 2 ** 20, hva: HVA });
    guest.write(2 * IPA);
    expect(guest.vm.testYoung(HVA)).toBe(true);
    expect(guest.vm.clearYoung({ hva: HVA, size: 4096 })).toBe(true);
    expect(guest.vm.testYoung(HVA)).toBe(false);
  });

  it("M-12: prejudgement: map on a valid leaf: the same, or other permissions alone, is no store", () => {
    const guest = new Guest(here, { events: ["writes", "maintenance"] });
    guest.facts.everywhere = { writable: false };
    guest.read(IPA);
    guest.forget();
    expectResume(guest.read(IPA));
    guest.facts.everywhere = {};
    expectResume(guest.write(IPA));
    expect(guest.vcpu.lastCall).toMatchObject({ call: "map", result: -11 });
    expect(guest.logged("write", "tlbiIpa", "tlbiVmid")).toEqual([]);
    expect(guest.leaf(IPA)).toMatchObject({ prot: Prot.R });
  });

  it("M-12: dirty only after success", () => {
    const guest = new Guest(here, { flags: LOG });
    guest.read(IPA);
    guest.write(IPA); // refused: R is there
    expect(guest.dirtyPages()).toEqual([]);
    guest.writeDenied(IPA);
    expect(guest.dirtyPages()).toEqual([0]);
  });

  it("M-12: decoupling: hyp map refuses a change of a valid leaf that stage 2 prejudges", () => {
    const hyp = here.keep(here.engine.hyp());
    const request = { va: IPA, size: 4096, pa: PA, prot: Prot.R };
    hyp.map(request);
    hyp.map(request);
    hyp.map({ ...request, prot: Prot.R | Prot.SW0 });
    expect(errorOf(() => hyp.map({ ...request, prot: Prot.RW })).code).toBe("EINVAL");
    const s2 = here.keep(here.engine.stage2());
    const map = (prot: number) => s2.map({ ipa: IPA, size: 4096, pa: PA, prot, flags: 16 });
    expect(map(Prot.R)).toBe("ok");
    expect(map(Prot.RW)).toBe("again");
    expect(s2.getLeaf(IPA)).toMatchObject({ prot: Prot.R });
  });

  it("M-12: VTCR.HA as the CPU has it, VTCR.HD never", () => {
    for (const ha of [true, false]) {
      const { vtcr } = here.keep(here.engine.vm({ ha })).stage2;
      expect((vtcr >> 21n) & 1n).toBe(ha ? 1n : 0n);
      expect((vtcr >> 22n) & 1n).toBe(0n);
    }
  });

  it("M-12: create_hyp_pud_mappings: all levels; without pages ENOMEM, and what was built stays", () => {
    const hyp = here.keep(here.engine.hyp());
    const request = { va: VA_TOP, size: 4096, pa: PA, prot: Prot.RW };
    const cache = here.keep(here.engine.cache({ granule: "4K" }));
    cache.topup(1);
    expect(errorOf(() => hyp.map({ ...request, cache })).code).toBe("ENOMEM");
    expect(hyp.counters().tables).toBe(1);
    cache.topup(2);
    hyp.map({ ...request, cache });
    expect([...hyp.leaves()]).toMatchObject([{ va: VA_TOP, pa: PA }]);
    expect(hyp.counters().tables).toBe(3);
  });
});

const VA_TOP = 2 ** 48 - 4096;
