/** The freedoms K-1 to K-16: each value of each, told apart by what a guest or a hypervisor can see. */
import { describe, expect, it } from "vitest";
import {
  Access,
  Fault,
  type Probe,
  type Registers,
  type Vcpu,
  type VcpuOptions,
} from "../../src/index.ts";
import { MODES } from "../support.ts";
import {
  CLEAN,
  DIRTY,
  GUEST_TCR,
  KERNEL,
  PAGE,
  RO,
  RW,
  TCR_HA,
  TCR_HD,
  type Updates,
  flatRegisters,
  guestRegisters,
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
} from "./guest.ts";
import { HCR, changed, machine } from "./machine.ts";
import { S1, S2 } from "./paging.ts";

const TLB = { sets: 16, ways: 2 };

describe.each(MODES)("freedoms (%s)", (mode) => {
  const here = machine(mode);
  const flat = (
    options: VcpuOptions,
    updates: Updates = "none",
    more: Partial<Registers> = {},
  ): Vcpu => here.vcpu({ registers: flatRegisters(updates, more), ...options });
  const guest = (
    options: VcpuOptions,
    updates: Updates = "none",
    more: Partial<Registers> = {},
  ): Vcpu => here.vcpu({ registers: guestRegisters(updates, more), ...options });
  const type = (result: unknown) => (result instanceof Fault ? result.type : "ok");

  it("K-1 tableBaseLowBits: of a root of two pages, the second as the first", () => {
    stage2(here, { 0: RW });
    const vttbrEl2 = (flatRegisters("none").vttbrEl2 as bigint) | 0x1000n;
    const translate = (options: VcpuOptions, ipa: number) =>
      flat(options, "none", { vttbrEl2 }).translate(ipa, Access.Read);
    for (const options of [{}, { tableBaseLowBits: "zero" }] as const) {
      expect(translate(options, ipaOf(0))).toBe(paOf(0));
      expect(translate(options, 0)).toMatchObject({ type: "translation", level: 1 });
    }
    expect(translate({ tableBaseLowBits: "kept" }, 0)).toBe(paOf(0)); // entry 512 stands first
    expect(translate({ tableBaseLowBits: "kept" }, ipaOf(0))).toMatchObject({
      type: "translation",
    });
  });

  it("K-1 tableBaseLowBits, of stage 1", () => {
    stage2(here, { 0: RW });
    stage1(here, { 0: KERNEL });
    // 39 bits with 512 entries: bits 11:3 are below the alignment.
    const ttbr0El1 = (guestRegisters("none").ttbr0El1 as bigint) + 8n;
    const translate = (options: VcpuOptions, va: number) =>
      guest(options, "none", { ttbr0El1 }).translate(va, Access.Read);
    expect(translate({}, 0)).toBe(paOf(0));
    expect(translate({ tableBaseLowBits: "kept" }, 0)).toMatchObject({
      type: "translation",
      level: 1,
      stage: 1,
    });
  });

  it("K-2 reservedShareability", () => {
    const sh = (options: VcpuOptions, sh1: bigint, sh2: bigint) => {
      stage2(here, { 0: (RW & ~S2.ISH) | (sh2 << 8n) });
      stage1(here, { 0: S1.AF | (sh1 << 8n) });
      return (guest(options).probe(vaOf(0), Access.Read) as Probe).sh;
    };
    for (const [sh1, sh2] of [
      [1n, 0n],
      [0n, 1n],
      [1n, 1n],
    ] as const) {
      expect(sh({}, sh1, sh2)).toBe(0);
      expect(sh({ reservedShareability: "non" }, sh1, sh2)).toBe(0);
      expect(sh({ reservedShareability: "outer" }, sh1, sh2)).toBe(2);
    }
    expect(sh({ reservedShareability: "outer" }, 0n, 0n)).toBe(0);
  });

  it.each<[string, (n: number) => bigint, boolean]>([
    ["agrees", (n) => leaf2(n, RW | S2.CONTIGUOUS), true],
    [
      "differs in what hardware sets",
      (n) => leaf2(n, (n % 2 ? DIRTY : CLEAN & ~S2.AF) | S2.CONTIGUOUS),
      true,
    ],
    ["has a member that is not valid", (n) => (n === 9 ? 0n : leaf2(n, RW | S2.CONTIGUOUS)), false],
    ["has a member without the bit", (n) => leaf2(n, n === 9 ? RW : RW | S2.CONTIGUOUS), false],
    ["has a member that maps elsewhere", (n) => leaf2(n === 9 ? 20 : n, RW | S2.CONTIGUOUS), false],
    [
      "has a member that may not be read",
      (n) => leaf2(n, (n === 9 ? RW & ~S2.R : RW) | S2.CONTIGUOUS),
      false,
    ],
    [
      "has a member with another type of memory",
      (n) => leaf2(n, (n === 9 ? RW & ~S2.NORMAL : RW) | S2.CONTIGUOUS),
      false,
    ],
  ])("K-3 inconsistentContiguous: a group that %s", (_name, descriptor, agrees) => {
    stage2(here, {});
    for (let n = 0; n < 16; n++) here.set(slotOf(n), descriptor(n));
    const translate = (options: VcpuOptions) => flat(options).translate(ipaOf(1), Access.Read);
    expect(translate({ inconsistentContiguous: "alone" })).toBe(paOf(1));
    expect(type(translate({ inconsistentContiguous: "conflict" }))).toBe(
      agrees ? "ok" : "tlbConflict",
    );
    expect([...here.engine.events.drain()]).toEqual([]);
    // A checker counts it, and goes on.
    expect(translate({ checker: true, events: ["tlb"] })).toBe(paOf(1));
    const told = [...here.engine.events.drain()].filter(({ kind }) => kind === "contiguous");
    expect(told).toHaveLength(agrees ? 0 : 1);
    if (!agrees)
      expect(told[0]).toMatchObject({ stage: 2, level: 3, slot: slotOf(1), pte: descriptor(1) });
  });

  it("K-4 s1ptwWrite", () => {
    stage2(here, { 0: RW });
    const write = (
      options: VcpuOptions,
      access: number,
      tables: readonly [bigint, bigint, bigint],
    ) => {
      stage1(here, { 0: KERNEL & ~S1.AF }, tables);
      const fault = guest(options, "none", { tcrEl1: GUEST_TCR | TCR_HA }).translate(
        vaOf(0),
        access,
      ) as Fault;
      expect(fault).toMatchObject({ type: "permission", s1ptw: true });
      expect((fault.esr >> 6n) & 1n).toBe(fault.write ? 1n : 0n);
      return fault.write;
    };
    const unreadable = [RO, RW & ~S2.R, RO] as const; // the walk reads
    const unwritable = [RO, RO, RO] as const; // the walk writes the access flag
    for (const options of [{}, { s1ptwWrite: "access" }] as const) {
      for (const tables of [unreadable, unwritable]) {
        expect(write(options, Access.Read, tables)).toBe(false);
        expect(write(options, Access.Write, tables)).toBe(true);
      }
    }
    for (const access of [Access.Read, Access.Write]) {
      expect(write({ s1ptwWrite: "walk" }, access, unreadable)).toBe(false);
      expect(write({ s1ptwWrite: "walk" }, access, unwritable)).toBe(true);
    }
  });

  it("K-5 hpfarOnPermission", () => {
    stage2(here, { 0: RO, 1: RO & ~S2.AF });
    const right = BigInt(ipaOf(0) / PAGE) << 4n;
    const fault = (options: VcpuOptions, va: number) =>
      flat(options).translate(va, Access.Write) as Fault;
    expect(fault({ hpfarOnPermission: "correct" }, ipaOf(0))).toMatchObject({
      hpfar: right,
      ipa: ipaOf(0),
    });
    const poisoned = fault({ hpfarOnPermission: "poison" }, ipaOf(0));
    expect(poisoned).toMatchObject({ type: "permission", ipa: undefined, far: BigInt(ipaOf(0)) });
    expect(poisoned.hpfar).not.toBe(right);
    // Only where it is unknown: not for other types, and not on stage-1 descriptors.
    expect(fault({ hpfarOnPermission: "poison" }, ipaOf(1))).toMatchObject({
      type: "accessFlag",
      ipa: ipaOf(1),
    });
    expect(fault({ hpfarOnPermission: "poison" }, ipaOf(2))).toMatchObject({
      type: "translation",
      ipa: ipaOf(2),
    });
    stage1(here, {}, [RO, RW & ~S2.R, RO]);
    const table = slot1Of(0) - PAGE;
    const walk = guest({ hpfarOnPermission: "poison" }).translate(0, Access.Read);
    expect(walk).toMatchObject({ type: "permission", s1ptw: true, ipa: table });
  });

  it("K-6 execNeedsRead", () => {
    for (const [bits, without, needs] of [
      [RW & ~S2.R, "ok", "permission"],
      [RW, "ok", "ok"],
      [(RW & ~S2.RW) | S2.XN, "permission", "permission"],
    ] as const) {
      stage2(here, { 0: bits });
      expect(type(flat({}).fetch(ipaOf(0)))).toBe(without);
      expect(type(flat({ execNeedsRead: false, el: 0 } as VcpuOptions).fetch(ipaOf(0)))).toBe(
        without,
      );
      expect(type(flat({ execNeedsRead: true }).fetch(ipaOf(0)))).toBe(needs);
      expect(type(flat({ execNeedsRead: true, tlb: TLB }).fetch(ipaOf(0)))).toBe(needs);
    }
  });

  it("K-7 reservedMemAttr", () => {
    const attr = (options: VcpuOptions, memAttr: bigint, fwb: boolean) => {
      stage2(here, { 0: (RW & ~S2.NORMAL) | (memAttr << 2n) });
      stage1(here, { 0: KERNEL });
      const hcrEl2 = HCR.RW | HCR.VM | (fwb ? HCR.FWB : 0n);
      return (guest(options, "none", { hcrEl2 }).probe(vaOf(0), Access.Read) as Probe).attr;
    };
    for (const [memAttr, fwb, byBits] of [
      [0b0100n, false, 0x4f],
      [0b1000n, false, 0xbf],
      [0b1100n, false, 0xff],
      [0b0100n, true, 0x00],
      [0b1000n, true, 0x00],
      [0b1111n, true, 0x00],
    ] as const) {
      const name = `${memAttr.toString(2)} FWB ${fwb}`;
      expect(attr({}, memAttr, fwb), name).toBe(0x44);
      expect(attr({ reservedMemAttr: "nc" }, memAttr, fwb), name).toBe(0x44);
      expect(attr({ reservedMemAttr: "bits" }, memAttr, fwb), name).toBe(byBits);
    }
    // Values that mean something are no matter of it.
    for (const reservedMemAttr of ["nc", "bits"] as const) {
      expect(attr({ reservedMemAttr }, 0b1111n, false)).toBe(0xff);
      expect(attr({ reservedMemAttr }, 0b0110n, true)).toBe(0xff);
    }
  });

  it("K-7 reservedMemAttr: a Device page takes no unaligned access", () => {
    stage2(here, { 0: (RW & ~S2.NORMAL) | (0b1000n << 2n) });
    const registers = { hcrEl2: HCR.RW | HCR.DC | HCR.FWB };
    expect(flat({}, "none", registers).read32(ipaOf(0) + 1)).toBe(0);
    expect(type(flat({ reservedMemAttr: "bits" }, "none", registers).read32(ipaOf(0) + 1))).toBe(
      "alignment",
    );
  });

  it("K-8 afOnPermissionFault", () => {
    for (const afOnPermissionFault of [false, true]) {
      stage2(here, { 0: RO & ~S2.AF });
      expect(type(flat({ afOnPermissionFault }, "HA").write32(ipaOf(0), 1))).toBe("permission");
      expect(here.changes()).toEqual(afOnPermissionFault ? changed(slotOf(0), leaf2(0, RO)) : {});
      // Of stage 1; and where hardware sets none, there is nothing to choose.
      stage2(here, { 0: RW });
      stage1(here, { 0: (KERNEL & ~S1.AF) | S1.READ_ONLY }, [RW, RW, RW]);
      const tcrEl1 = GUEST_TCR | TCR_HA;
      expect(type(guest({ afOnPermissionFault }, "none", { tcrEl1 }).write32(vaOf(0), 1))).toBe(
        "permission",
      );
      const young = changed(slot1Of(0), leaf1(0, KERNEL | S1.READ_ONLY));
      expect(here.changes()).toEqual(afOnPermissionFault ? young : {});
      stage2(here, { 0: RO & ~S2.AF });
      expect(type(flat({ afOnPermissionFault }).write32(ipaOf(0), 1))).toBe("accessFlag");
      // Never dirty, never on an entry that is not valid.
      stage2(here, { 0: CLEAN & ~S2.AF & ~S2.R });
      expect(type(flat({ afOnPermissionFault }, "HA HD").read32(ipaOf(0)))).toBe("permission");
      const old = leaf2(0, CLEAN & ~S2.R);
      expect(here.changes()).toEqual(afOnPermissionFault ? changed(slotOf(0), old) : {});
      here.set(slotOf(0), leaf2(0, RO & ~S2.AF) & ~1n);
      expect(type(flat({ afOnPermissionFault }, "HA HD").write32(ipaOf(0), 1))).toBe("translation");
    }
  });

  it("K-8 afOnPermissionFault, of stage 1: the update needs stage 2's permission like any other", () => {
    stage2(here, { 0: RW });
    stage1(here, { 0: (KERNEL & ~S1.AF) | S1.READ_ONLY }, [RO, RO, RO]); // the table may only be read
    const tcrEl1 = GUEST_TCR | TCR_HA;
    const fault = guest({ afOnPermissionFault: true }, "none", { tcrEl1 }).write32(vaOf(0), 1);
    expect(fault).toMatchObject({ type: "permission", stage: 1 }); // it is not reported
    expect(here.changes(), "and not made").toEqual({});
  });

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
