/** The freedoms K-9 to K-16, of updates, the TLB and the monitor: each value of each, told apart by what a guest or a hypervisor can see. */
import { describe, expect, it } from "vitest";
import { Access, Fault, type VcpuOptions } from "../../src/index.ts";
import { MODES } from "../support.ts";
import {
  CLEAN,
  DIRTY,
  GUEST_TCR,
  KERNEL,
  RO,
  RW,
  TCR_HA,
  TCR_HD,
  flatRegisters,
  ipaOf,
  leaf1,
  leaf2,
  paOf,
  slot1Of,
  slotOf,
  stage1,
  stage2,
  tableSlotOf,
  vaOf,
  cpusOf,
} from "./guest.ts";
import { changed, machine } from "./machine.ts";
import { S1, S2 } from "./paging.ts";

const TLB = { sets: 16, ways: 2 };

describe.each(MODES)("freedoms (%s)", (mode) => {
  const here = machine(mode);
  const { flat, guest } = cpusOf(here);
  const type = (result: unknown) => (result instanceof Fault ? result.type : "ok");

  it("K-9 failedCasDirty and failedStxrDirty", () => {
    for (const value of [false, true]) {
      stage2(here, { 0: CLEAN });
      const dirty = changed(slotOf(0), leaf2(0, DIRTY));
      expect(flat({ failedCasDirty: value }, "HA HD").compareAndSwap(ipaOf(0), 8, 1n, 2n)).toBe(0n);
      expect(here.changes()).toEqual(value ? dirty : {});
      stage2(here, { 0: CLEAN });
      expect(flat({ failedStxrDirty: value }, "HA HD").storeExclusive(ipaOf(0), 8, 2n)).toBe(false);
      expect(here.changes()).toEqual(value ? dirty : {});
      // Both ways: what it takes to fail is permission, and the one that stores makes the page dirty.
      stage2(here, { 0: RO });
      expect(type(flat({ failedCasDirty: value }).compareAndSwap(ipaOf(0), 8, 1n, 2n))).toBe(
        "permission",
      );
      expect(type(flat({ failedStxrDirty: value }).storeExclusive(ipaOf(0), 8, 2n))).toBe(
        "permission",
      );
      stage2(here, { 0: CLEAN });
      expect(flat({ failedCasDirty: value }, "HA HD").compareAndSwap(ipaOf(0), 8, 0n, 0n)).toBe(0n);
      expect(here.changes()).toEqual(dirty);
    }
    stage2(here, { 0: CLEAN });
    flat({}, "HA HD").compareAndSwap(ipaOf(0), 8, 1n, 2n);
    flat({}, "HA HD").storeExclusive(ipaOf(0), 8, 2n);
    expect(here.changes(), "defaults: CAS yes, STXR no").toEqual(
      changed(slotOf(0), leaf2(0, DIRTY)),
    );
  });

  it("K-9, of stage 1", () => {
    const tcrEl1 = GUEST_TCR | TCR_HA | TCR_HD;
    const clean = KERNEL | S1.READ_ONLY | S1.DBM;
    stage2(here, { 0: RW });
    for (const value of [false, true]) {
      stage1(here, { 0: clean }, [RO, RO, RW]);
      guest({ failedCasDirty: value }, "none", { tcrEl1 }).compareAndSwap(vaOf(0), 8, 1n, 2n);
      const dirty = changed(slot1Of(0), leaf1(0, clean & ~S1.READ_ONLY));
      expect(here.changes()).toEqual(value ? dirty : {});
      stage1(here, { 0: clean }, [RO, RO, RW]);
      guest({ failedStxrDirty: value }, "none", { tcrEl1 }).storeExclusive(vaOf(0), 8, 1n);
      expect(here.changes()).toEqual(value ? dirty : {});
    }
  });

  it("K-10 atomicUpdates", () => {
    for (const [atomicUpdates, outcome] of [
      [true, "ok"],
      [false, "unsupportedAtomicUpdate"],
    ] as const) {
      stage2(here, { 0: RW & ~S2.AF, 1: CLEAN, 2: RW });
      expect(type(flat({ atomicUpdates }, "HA HD").read32(ipaOf(0)))).toBe(outcome);
      expect(type(flat({ atomicUpdates }, "HA HD").write32(ipaOf(1), 0))).toBe(outcome);
      expect(Object.keys(here.changes())).toHaveLength(atomicUpdates ? 2 : 0);
      // Where there is nothing to update, nothing is missing.
      stage2(here, { 1: CLEAN });
      expect(flat({ atomicUpdates }, "HA HD").read32(ipaOf(1))).toBe(0);
      expect(flat({ atomicUpdates }, "HA HD").write32(ipaOf(2), 0)).toBeUndefined();
      expect(flat({ atomicUpdates }, "HA HD").probe(ipaOf(0), Access.Read)).toMatchObject({
        pa: paOf(0),
      });
    }
  });

  it("K-11 atUpdates", () => {
    for (const atUpdates of [false, true]) {
      stage2(here, { 0: RW & ~S2.AF });
      const vcpu = here.vcpu({ registers: flatRegisters("HA HD"), atUpdates, el: 2 });
      expect(vcpu.at("S12E1R", ipaOf(0))).toMatchObject({ ok: true });
      expect(here.changes()).toEqual(atUpdates ? changed(slotOf(0), leaf2(0, RW)) : {});
      expect(vcpu.statistics.accessFlagUpdates.stage2).toBe(atUpdates ? 1 : 0);
    }
  });

  it.each(["of one stage", "of both stages"])(
    "K-12 permissionFaultDropsEntry: entries %s",
    (name) => {
      const one = name === "of one stage";
      const va = one ? ipaOf(0) : vaOf(0);
      for (const permissionFaultDropsEntry of [true, false]) {
        stage2(here, { 0: RO });
        stage1(here, { 0: KERNEL });
        const vcpu = (one ? flat : guest)({ permissionFaultDropsEntry, tlb: TLB });
        expect(vcpu.read32(va)).toBe(0);
        stage2(here, { 0: RW }); // software allows more: no invalidation is needed
        const stale = {
          type: "permission",
          stage: 2,
          level: 3,
          fromTlb: true,
          write: true,
          ipa: ipaOf(0),
        };
        expect(vcpu.write32(va, 0)).toMatchObject(stale);
        const again = vcpu.write32(va, 0);
        if (permissionFaultDropsEntry) expect(again).toBeUndefined();
        else expect(again).toMatchObject(stale);
        vcpu.tlbi("VMALLS12E1");
        expect(vcpu.write32(va, 0)).toBeUndefined();
      }
    },
  );

  it("K-12 permissionFaultDropsEntry, of stage 1", () => {
    for (const permissionFaultDropsEntry of [true, false]) {
      stage2(here, { 0: RW });
      stage1(here, { 0: KERNEL | S1.READ_ONLY });
      const vcpu = guest({ permissionFaultDropsEntry, tlb: TLB });
      expect(vcpu.read32(vaOf(0))).toBe(0);
      stage1(here, { 0: KERNEL });
      expect(vcpu.write32(vaOf(0), 0)).toMatchObject({
        type: "permission",
        stage: 1,
        el: 1,
        fromTlb: true,
      });
      expect(type(vcpu.write32(vaOf(0), 0))).toBe(permissionFaultDropsEntry ? "ok" : "permission");
    }
  });

  it("K-13 ownStoreClearsMonitor", () => {
    stage2(here, { 0: RW });
    for (const strictMonitor of [false, true]) {
      for (const ownStoreClearsMonitor of [false, true]) {
        const vcpu = flat({ strictMonitor, ownStoreClearsMonitor });
        for (const store of [
          () => vcpu.write32(ipaOf(0) + 0x20, 0),
          () => vcpu.writePair(ipaOf(0) + 0x30, [0n, 0n]),
          () => vcpu.write64(ipaOf(0), 0n),
        ]) {
          vcpu.loadExclusive(ipaOf(0), 8);
          store();
          expect(vcpu.storeExclusive(ipaOf(0), 8, 0n), `strict ${strictMonitor} ${store}`).toBe(
            !ownStoreClearsMonitor,
          );
        }
        vcpu.loadExclusive(ipaOf(0), 8);
        vcpu.write32(ipaOf(0) + 0x40, 0); // another granule
        expect(vcpu.storeExclusive(ipaOf(0), 8, 0n)).toBe(true);
      }
    }
  });

  it.each([16, 32, 64, 128, 512, 2048])("K-14 exclusivesGranule: %i bytes", (exclusivesGranule) => {
    stage2(here, { 0: RW });
    const options = { exclusivesGranule, strictMonitor: true };
    const [one, other] = [flat(options), flat(options)];
    const fails = (beside: number) => {
      one.loadExclusive(ipaOf(0), 8);
      other.write8(ipaOf(0) + beside, 0);
      return !one.storeExclusive(ipaOf(0), 8, 0n);
    };
    expect([fails(8), fails(exclusivesGranule - 1), fails(exclusivesGranule)]).toEqual([
      true,
      true,
      false,
    ]);
  });

  it("K-15 tlb: 0 entries always walk, more hold more", () => {
    stage2(here, { 0: RW, 1: RW, 2: RW, 3: RW });
    const reads = (tlb: VcpuOptions["tlb"], pages: number) => {
      const vcpu = flat(tlb === undefined ? {} : { tlb });
      for (let i = 0; i < 24; i++) vcpu.translate(ipaOf(i % pages), Access.Read);
      return { hits: vcpu.statistics.tlb.hits, leaves: vcpu.statistics.descriptorReads.stage2[3] };
    };
    expect(reads(false, 1)).toEqual({ hits: 0, leaves: 24 });
    expect(reads({ sets: 1, ways: 1 }, 1)).toEqual({ hits: 23, leaves: 1 });
    expect(reads({ sets: 1, ways: 1 }, 2)).toEqual({ hits: 0, leaves: 24 });
    expect(reads({ sets: 1, ways: 4 }, 4)).toEqual({ hits: 20, leaves: 4 });
    expect(reads({ sets: 4, ways: 1 }, 4)).toEqual({ hits: 20, leaves: 4 });
    expect(reads({ sets: 4096, ways: 4 }, 4)).toEqual({ hits: 20, leaves: 4 });
  });

  // H-7.4
  it.each([0, 2, 5])("K-16 speculation: one in %i", (speculation) => {
    const old = CLEAN & ~S2.AF;
    stage2(here, { 1: old, 2: CLEAN, 3: old });
    here.set(slotOf(4), leaf2(4, old) & ~1n);
    for (const tlb of [false, TLB] as const) {
      const run = (seed: number) => {
        stage2(here, { 1: old, 2: CLEAN, 3: old });
        const vcpu = flat({ speculation, seed, tlb }, "HA HD");
        for (let i = 0; i < 60; i++) expect(vcpu.translate(ipaOf(2), Access.Write)).toBe(paOf(2));
        const { speculativeWalks, faults, dirtyUpdates } = vcpu.statistics;
        expect([faults, dirtyUpdates.stage2]).toEqual([0, 1]);
        return speculativeWalks;
      };
      const walks = run(1);
      expect(walks).toBe(run(1)); // the same again
      const both = {
        ...changed(slotOf(1), leaf2(1, CLEAN)),
        ...changed(slotOf(3), leaf2(3, CLEAN)),
      };
      const expected = speculation === 0 ? {} : both; // young, and nobody accessed them; never dirty
      expect(here.changes()).toEqual({ ...expected, ...changed(slotOf(2), leaf2(2, DIRTY)) });
      if (speculation === 0) expect(walks).toBe(0);
      else expect(Math.abs(walks - 60 / speculation)).toBeLessThan(15);
    }
  });

  it("K-16 speculation: never of entries that are not valid, and nobody is told of a fault", () => {
    stage2(here, { 2: RW, 6: CLEAN & ~S2.AF & ~S2.R });
    here.set(slotOf(1), leaf2(1, RW & ~S2.AF) & ~1n);
    here.set(slotOf(3), leaf2(3, RW & ~S2.AF) | (1n << 42n));
    const vcpu = flat({ speculation: 2, events: ["updates"] }, "HA HD");
    for (let i = 0; i < 40; i++) expect(vcpu.read32(ipaOf(2))).toBe(0);
    expect(vcpu.statistics.speculativeWalks).toBeGreaterThan(5);
    expect(vcpu.statistics.faults).toBe(0);
    expect([...here.engine.events.drain()]).toEqual([]);
    expect(here.changes()).toEqual({});
  });

  it("are all legal at once: software that is right sees no difference", () => {
    const other: VcpuOptions = {
      ...{
        tableBaseLowBits: "kept",
        reservedShareability: "outer",
        inconsistentContiguous: "conflict",
      },
      ...{
        s1ptwWrite: "walk",
        hpfarOnPermission: "poison",
        execNeedsRead: true,
        reservedMemAttr: "bits",
      },
      ...{
        afOnPermissionFault: true,
        failedCasDirty: false,
        failedStxrDirty: true,
        atUpdates: true,
      },
      ...{ permissionFaultDropsEntry: false, ownStoreClearsMonitor: true, exclusivesGranule: 2048 },
      ...{ speculation: 3, strictMonitor: true, checker: true },
    };
    stage2(here, { 0: RW, 1: RO });
    stage1(here, { 0: KERNEL, 1: KERNEL });
    for (const options of [{}, other] as const) {
      const vcpu = guest({ ...options, tlb: TLB });
      expect(vcpu.write64(vaOf(0), 5n)).toBeUndefined();
      expect(vcpu.read64(vaOf(0))).toBe(5n);
      expect(vcpu.atomic("add", vaOf(0), 8, 2n)).toBe(5n);
      expect(vcpu.compareAndSwap(vaOf(0), 8, 7n, 0n)).toBe(7n);
      expect(vcpu.loadExclusive(vaOf(0), 8)).toBe(0n);
      expect(vcpu.storeExclusive(vaOf(0), 8, 0n)).toBe(true);
      expect(vcpu.write32(vaOf(1), 1)).toMatchObject({ type: "permission", stage: 2, write: true });
      expect(vcpu.translate(vaOf(2), Access.Read)).toMatchObject({ type: "translation", stage: 1 });
      expect(here.get(tableSlotOf(3)) & S2.W).toBe(0n);
    }
  });
});
