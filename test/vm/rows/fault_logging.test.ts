/** Rows M-5.60 to M-5.65: faults with and without logging, one after the other. */
import { describe, expect, it } from "vitest";
import { Prot } from "../../../src/index.ts";
import { MODES, lab } from "../../support.ts";
import { GRANULES, Guest, HVA, IPA, LOG, PA, expectResume } from "./support.ts";

describe.each(MODES)("faults and logging (%s)", (mode) => {
  const here = lab(mode);

  it("M-5.60: a read of what the host may write: RW, dirty to the host, no log without one", () => {
    const guest = new Guest(here);
    guest.read(IPA);
    expect(guest.leaf(IPA)).toMatchObject({ prot: Prot.RW });
    expect(guest.facts.dirty).toEqual([PA]);
    expect(guest.vm.memslot(0)).toMatchObject({ logging: false });
  });

  it.each([false, true])("M-5.61: a read while logging: R, no log bit; DIC: %s", (dic) => {
    const guest = new Guest(here, { flags: LOG, dic });
    guest.read(IPA);
    expect(guest.leaf(IPA)).toMatchObject({ prot: dic ? Prot.RX : Prot.R });
    guest.exec(IPA + 4096);
    expect(guest.leaf(IPA + 4096)).toMatchObject({ prot: Prot.RX });
    expect(guest.dirtyPages()).toEqual([]);
    expect(guest.facts.dirty).toEqual([]);
  });

  it("M-5.62: a write to a protected page while logging: relax, one log bit a cycle", () => {
    const guest = new Guest(here, { flags: LOG, vmEvents: ["dirty"] });
    guest.write(IPA);
    for (let cycle = 0; cycle < 3; cycle++) {
      expect(guest.dirtyPages()).toEqual([0]);
      expect(guest.leaf(IPA)).toMatchObject({ prot: Prot.R });
      guest.forget();
      expectResume(guest.writeDenied(IPA));
      expect(guest.vcpu.lastCall).toMatchObject({ call: "relax", prot: Prot.RW, result: 0 });
      expectResume(guest.writeDenied(IPA)); // a late one
      expect(guest.logged("dirty")).toMatchObject([{ slot: 0, gfn: IPA / 4096 }]);
    }
  });

  it.each(GRANULES)(
    "M-5.63: a write to a protected block while logging: one page of it, %s",
    (granule) => {
      const guest = new Guest(here, { granule, events: ["maintenance"] });
      const { page, block } = guest;
      guest.facts.everywhere = { hostSize: block };
      guest.write(IPA);
      guest.facts.everywhere = {};
      guest.vm.setMemslot({ slot: 0, ipa: IPA, size: 4 * block, hva: HVA, flags: LOG });
      expect(guest.leaf(IPA)).toMatchObject({ size: block, prot: Prot.R });
      guest.forget();
      expectResume(guest.writeDenied(IPA + 9 * page, 2));
      expect(guest.vcpu.lastCall).toMatchObject({ call: "map", size: page, result: 0 });
      expect(guest.leaves).toMatchObject([{ ipa: IPA + 9 * page, size: page, prot: Prot.RW }]);
      expect(guest.logged("tlbiIpa")).toMatchObject([{ level: 2 }]);
      expect(guest.dirtyPages()).toEqual([9]);
      guest.read(IPA);
      expect(guest.leaf(IPA)).toMatchObject({ size: page, prot: Prot.R });
    },
  );

  it("M-5.64: a fetch from a mapped page: X, the instruction cache first", () => {
    const guest = new Guest(here, { events: ["maintenance", "writes"] });
    guest.facts.everywhere = { hostSize: guest.block, writable: false };
    guest.read(IPA);
    guest.facts.everywhere = { writable: false };
    guest.read(IPA + guest.block);
    for (const [ipa, level, size] of [
      [IPA + 4096, 2, guest.block],
      [IPA + guest.block, 3, 4096],
    ] as const) {
      guest.forget();
      expectResume(guest.execDenied(ipa, level));
      expect(guest.vcpu.lastCall).toMatchObject({ call: "relax", result: 0 });
      expect(guest.leaf(ipa)).toMatchObject({ size, prot: Prot.RX });
      const order = guest.logged("icacheInval", "write", "tlbiIpaNsh");
      expect(order.map(({ kind }) => kind)).toEqual(["icacheInval", "write", "tlbiIpaNsh"]);
      expect(order[0]).toMatchObject({ size });
    }
  });

  it("M-5.64: a fetch from a block while logging maps a page of it", () => {
    const guest = new Guest(here);
    const { block } = guest;
    guest.facts.everywhere = { hostSize: block };
    guest.write(IPA);
    guest.vm.setMemslot({ slot: 0, ipa: IPA, size: 4 * block, hva: HVA, flags: LOG });
    expectResume(guest.execDenied(IPA + 4096, 2));
    expect(guest.leaves).toMatchObject([{ ipa: IPA + 4096, size: 4096, prot: Prot.RX }]);
    expect(guest.dirtyPages()).toEqual([]);
  });

  it.each(GRANULES)(
    "M-5.65: a write or fetch where a block is behind pages: the block, %s",
    (granule) => {
      for (const kind of ["write", "exec"] as const) {
        const guest = new Guest(here, { granule, flags: LOG });
        const { page, block, vm } = guest;
        guest.facts.everywhere = { hostSize: block };
        for (let i = 0; i < 4; i++) guest.read(IPA + i * page);
        vm.setMemslot({ slot: 0, ipa: IPA, size: 4 * block, hva: HVA });
        expect(guest.leaf(IPA)).toMatchObject({ size: page, prot: Prot.R });
        const before = vm.stage2.memoryUsage().tablePages;
        expectResume(
          kind === "write" ? guest.writeDenied(IPA + page) : guest.execDenied(IPA + page),
        );
        expect(guest.vcpu.lastCall).toMatchObject({ call: "map", size: block, result: 0 });
        const prot = kind === "write" ? Prot.RW : Prot.RWX;
        expect(guest.leaves).toMatchObject([{ ipa: IPA, size: block, prot, pa: PA }]);
        expect(vm.stage2.memoryUsage().tablePages).toBe(before - 1);
        vm.dispose();
      }
    },
  );
});
