/** Rows M-2.x: pages set aside for the tables that a fault may need. */
import { describe, expect, it } from "vitest";
import type { Granule } from "../../../src/index.ts";
import type { VmCore } from "../../../src/vm/_abi.ts";
import { MODES, errorOf, lab } from "../../support.ts";
import { GRANULES, Guest, HVA, IPA, LOG, expectResume } from "./support.ts";

const CAPACITY = 40;

describe.each(MODES)("memory caches (%s)", (mode) => {
  const here = lab(mode);

  it("M-2.1: 40 pages from the first topup on; another capacity, or none, is EIO", () => {
    const { vcpu } = new Guest(here);
    expect(errorOf(() => vcpu.topup(1, 0)).code).toBe("EIO");
    vcpu.topup(1);
    expect(vcpu.cachedPages).toBe(CAPACITY);
    vcpu.topup(CAPACITY, CAPACITY);
    for (const capacity of [1, 39, 41]) {
      expect(errorOf(() => vcpu.topup(CAPACITY + 1, capacity)).code).toBe("EIO");
    }
    expect(vcpu.cachedPages).toBe(CAPACITY);
  });

  const minimum: [Granule, object, number][] = [
    ["4K", { ipaBits: 40 }, 2],
    ["4K", { ipaBits: 48 }, 3],
    ["4K", { ipaBits: 34 }, 1],
    ["16K", { ipaBits: 40 }, 1],
    ["16K", { ipaBits: 47 }, 2],
    ["64K", { ipaBits: 40 }, 1],
    ["64K", { ipaBits: 52, pa52: true }, 2],
  ];
  it.each(minimum)("M-2.2: one fault needs levels - 1 pages: %s, %o: %i", (granule, size, min) => {
    const guest = new Guest(here, { granule, ...size });
    const core = here.engine.context.core as unknown as VmCore;
    core.vm_describe(guest.vm.pointer);
    expect(here.engine.context.resultNumber(4)).toBe(min);
    guest.write(IPA);
    expect(guest.vcpu.cachedPages).toBe(CAPACITY - min); // the first fault builds all levels
  });

  it("M-2.3: a topup fills to the capacity, or does nothing where the minimum is there", () => {
    const { vcpu } = new Guest(here);
    const { engine } = here;
    vcpu.topup(1);
    vcpu.freeCache();
    const { used } = engine.memoryUsage();
    engine.tableBudget = used + 5;
    expect(errorOf(() => vcpu.topup(6)).code).toBe("ENOMEM");
    expect(vcpu.cachedPages, "what could be had is kept").toBe(5);
    vcpu.topup(5);
    expect(vcpu.cachedPages).toBe(5);
    engine.tableBudget = used + 7;
    vcpu.topup(6); // not all, but enough
    expect(vcpu.cachedPages).toBe(7);
    engine.tableBudget = 4096;
    vcpu.topup(7);
    expect(vcpu.cachedPages).toBe(7);
    vcpu.topup(8);
    expect(vcpu.cachedPages).toBe(CAPACITY);
  });

  it.each(GRANULES)(
    "M-2.4: pages from the cache are zero, however they were used, %s",
    (granule) => {
      const guest = new Guest(here, { granule });
      for (let round = 0; round < 4; round++) {
        guest.vcpu.freeCache();
        for (let i = 0; i < 64; i++) guest.write(IPA + i * guest.page);
        expect(guest.vm.stage2.counters()).toMatchObject({ leafCount: 64, invalid: 0 });
        guest.vm.invalidate({ hva: HVA, size: 64 * guest.page }, () => undefined);
        expect(guest.leaves).toEqual([]);
      }
      guest.vcpu.freeCache(); // dry: a fault tops up by itself
      expectResume(guest.write(IPA));
      expect(guest.leaves).toHaveLength(1);
    },
  );

  it("M-2.5: freeing gives all pages back, and the next topup may have another capacity", () => {
    const { vcpu } = new Guest(here);
    const { used } = here.engine.memoryUsage();
    vcpu.topup(1);
    expect(here.engine.memoryUsage().used).toBe(used + CAPACITY);
    vcpu.freeCache();
    expect(vcpu.cachedPages).toBe(0);
    expect(here.engine.memoryUsage().used).toBe(used);
    vcpu.topup(2, 7);
    expect(vcpu.cachedPages).toBe(7);
    expect(errorOf(() => vcpu.topup(8, CAPACITY)).code).toBe("EIO");
    vcpu.freeCache();
    vcpu.topup(1, CAPACITY);
    expect(vcpu.cachedPages).toBe(CAPACITY);
  });

  it("M-2.6: the topup comes before the lock; with it done a fault allocates nothing", () => {
    const guest = new Guest(here, { events: ["tables"] });
    const { engine } = here;
    let during = -1;
    guest.facts.meanwhile = () => {
      during = guest.vcpu.cachedPages;
      engine.tableBudget = engine.memoryUsage().used;
    };
    guest.forget();
    expectResume(guest.write(IPA));
    expect(during).toBe(CAPACITY);
    expect(guest.leaf(IPA)).toMatchObject({ size: 4096 });
    expect(engine.memoryUsage().used).toBe(engine.tableBudget);
    engine.tableBudget = 4096;
  });

  it("M-2.7: translation faults, and write faults while logging, top up; others do not", () => {
    const guest = new Guest(here, { size: 2 ** 22, granule: "4K" });
    const left = (fault: () => unknown) => {
      guest.vcpu.freeCache();
      fault();
      return guest.vcpu.cachedPages;
    };
    guest.facts.everywhere = { writable: false };
    expect(left(() => guest.read(IPA))).toBe(CAPACITY - 2);
    expect(left(() => guest.execDenied(IPA))).toBe(0);
    guest.facts.everywhere = {};
    expect(left(() => guest.writeDenied(IPA))).toBe(0);
    expect(left(() => guest.fault({ ipa: IPA, fsc: 0x0b }))).toBe(0);
    guest.facts.everywhere = { hostSize: 2 ** 21 };
    guest.read(IPA + 2 ** 21);
    expect(guest.leaf(IPA + 2 ** 21)).toMatchObject({ size: 2 ** 21 });
    guest.vm.setMemslot({ slot: 0, ipa: IPA, size: 2 ** 22, hva: HVA, flags: LOG });
    expect(left(() => guest.writeDenied(IPA))).toBe(CAPACITY);
    // The deviation: an exec permission fault on a block while logging needs a table, and tops up for it.
    expect(left(() => guest.execDenied(IPA + 2 ** 21, 2))).toBe(CAPACITY - 1);
    expect(guest.leaf(IPA + 2 ** 21)).toMatchObject({ size: 4096 });
  });

  /** Chunk, and ceil(chunk / PMD), with 4K pages + ceil(chunk / PUD). */
  const chunks: [Granule, number, number][] = [
    ["4K", 2 ** 12, 2],
    ["4K", 2 ** 21, 2],
    ["4K", 2 ** 30, 513],
    ["16K", 2 ** 14, 1],
    ["16K", 2 ** 25, 1],
    ["64K", 2 ** 16, 1],
    ["64K", 2 ** 29, 1],
  ];
  it.each(chunks)("M-2.8: the split cache for chunks of %s, %i bytes, has %i pages", (...row) => {
    const [granule, chunk, pages] = row;
    const takes = (size: number): number => {
      const guest = new Guest(here, { granule, size: 0 });
      guest.vm.eagerSplitChunk = size;
      guest.vm.setMemslot({ slot: 0, ipa: IPA, size: guest.block, hva: HVA });
      guest.facts.everywhere = { vmaPageSize: guest.block };
      guest.write(IPA);
      const { used } = here.engine.memoryUsage();
      guest.vm.setMemslot({ slot: 0, ipa: IPA, size: guest.block, hva: HVA, flags: LOG });
      const taken = here.engine.memoryUsage().used - used;
      expect(guest.leaf(IPA)?.size).toBe(size === 0 ? guest.block : guest.page);
      guest.vm.dispose();
      return taken;
    };
    const units = { "4K": 1, "16K": 4, "64K": 16 }[granule];
    // One page became the table of the block, and was topped up again if another piece followed.
    const left = chunk < SMALLEST_BLOCK[granule] ? pages : pages - 1;
    expect(takes(chunk) - takes(0)).toBe(units * (left + 1));
  });
});

const SMALLEST_BLOCK: Record<Granule, number> = { "4K": 2 ** 21, "16K": 2 ** 25, "64K": 2 ** 29 };
