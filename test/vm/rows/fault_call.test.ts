/** Rows M-5.20, M-5.50 to M-5.52: the one library call of a fault, and what follows from its result. */
import { describe, expect, it } from "vitest";
import { type Granule, Prot } from "../../../src/index.ts";
import { MODES, errorOf, lab } from "../../support.ts";
import { GRANULES, Guest, HVA, IPA, LOG, PA, SIZES, expectResume } from "./support.ts";

describe.each(MODES)("the library call of a fault (%s)", (mode) => {
  const here = lab(mode);

  it.each(GRANULES)("M-5.50: which call: relax iff permission and the same size, %s", (granule) => {
    const guest = new Guest(here, { granule, vmEvents: ["map"] });
    const { page, block, vcpu } = guest;
    const shared = { flags: 0x18 }; // HANDLE_FAULT and SHARED
    guest.facts.everywhere = { writable: false };
    guest.read(IPA);
    expect(vcpu.lastCall).toMatchObject({ call: "map", ipa: IPA, size: page, prot: Prot.R });
    guest.forget();
    guest.facts.everywhere = {};
    guest.writeDenied(IPA);
    expect(vcpu.lastCall).toMatchObject({ call: "relax", ipa: IPA, prot: Prot.RW });
    guest.facts.everywhere = { hostSize: block };
    guest.writeDenied(IPA + page);
    expect(vcpu.lastCall).toMatchObject({ call: "map", ipa: IPA, size: block, prot: Prot.RW });
    const [relax, map] = [guest.logged("relax", "map")].flat();
    expect(relax).toMatchObject({ kind: "relax", ipa: IPA });
    expect(map).toMatchObject({ kind: "map", ipa: IPA, size: block, ...shared });
    guest.vm.setMemslot({ slot: 0, ipa: IPA, size: 4 * block, hva: HVA, flags: LOG });
    guest.writeDenied(IPA + 2 * page, 2);
    expect(vcpu.lastCall).toMatchObject({ call: "map", ipa: IPA + 2 * page, size: page });
  });

  it("M-5.51: dirty after success, for what was mapped writable; host and log", () => {
    const guest = new Guest(here, { flags: LOG });
    const { facts } = guest;
    guest.read(IPA);
    expect(facts.dirty).toEqual([]);
    expect(guest.dirtyPages()).toEqual([]);
    guest.writeDenied(IPA);
    expect(facts.dirty).toEqual([PA]);
    guest.write(IPA + 5 * 4096);
    expect(facts.dirty).toEqual([PA, PA + 5 * 4096]);
    expect(guest.dirtyPages()).toEqual([0, 5]);
    expect(guest.dirtyPages()).toEqual([]);
  });

  it("M-5.51: never after -EAGAIN, an error, or a retry", () => {
    const guest = new Guest(here, { flags: LOG });
    const other = guest.vm.createVcpu();
    guest.write(IPA);
    guest.dirtyPages();
    guest.write(IPA); // wrprotected since: permission-only difference, -EAGAIN
    expect(guest.vcpu.lastCall).toMatchObject({ call: "map", result: -11 });
    guest.facts.meanwhile = () => guest.vm.invalidate({ hva: HVA, size: 1 }, () => undefined);
    guest.write(IPA + 4096);
    guest.facts.meanwhile = undefined;
    guest.facts.everywhere = "error";
    errorOf(() => guest.write(IPA + 8192));
    expect(guest.dirtyPages()).toEqual([]);
    expect(guest.facts.dirty).toEqual([PA]);
    other.dispose();
  });

  it("M-5.52: -EAGAIN of the library is a resume", () => {
    const guest = new Guest(here);
    guest.write(IPA);
    expectResume(guest.write(IPA));
    expect(guest.vcpu.lastCall).toMatchObject({ call: "map", result: -11, retried: false });
    expect(guest.vcpu.statistics.again).toBe(1);
  });

  const unaligned: [Granule, number][] = [
    ["16K", 0x1000],
    ["16K", 0x3000],
    ["64K", 0x1000],
    ["64K", 0xf000],
  ];
  it.each(unaligned)(
    "M-5.20, M-5.51: %s pages, 0x%x inside: IPA as it is, gfn by page",
    (granule, off) => {
      const guest = new Guest(here, { granule, flags: LOG });
      const ipa = IPA + 7 * SIZES[granule].page + off;
      guest.read(ipa);
      expect(guest.vcpu.lastCall).toMatchObject({ call: "map", ipa, size: guest.page });
      expect(guest.facts.asked[0]).toMatchObject({ ipa, gfn: IPA / guest.page + 7 });
      expect(guest.facts.asked[0]?.hva).toBe(HVA + 7 * guest.page);
      guest.writeDenied(ipa);
      expect(guest.vcpu.lastCall).toMatchObject({ call: "relax", ipa, result: 0 });
      expect(guest.leaf(ipa)).toMatchObject({ ipa: IPA + 7 * guest.page, pa: PA + 7 * guest.page });
      expect(guest.dirtyPages()).toEqual([7]);
    },
  );
});
