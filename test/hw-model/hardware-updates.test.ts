/** What hardware writes into stage-2 leaves, and what it never does: access flag and dirty state. */
import { describe, expect, it } from "vitest";
import { Access, Fault, type Vcpu } from "../../src/index.ts";
import { MODES } from "../support.ts";
import {
  CLEAN,
  DIRTY,
  type Options,
  PAGE,
  RO,
  RW,
  type Updates,
  flatRegisters,
  ipaOf,
  leaf2,
  paOf,
  slotOf,
  stage2,
} from "./guest.ts";
import { changed, machine } from "./machine.ts";
import { S2 } from "./paging.ts";

const VA = ipaOf(0);
const SLOT = slotOf(0);
const OLD = ~S2.AF;
const W_AND_AF = 0x480n;

/** Accesses by name; all on page 0, whose words are 0. */
const LOADS: readonly [string, (vcpu: Vcpu) => unknown][] = [
  ["a load", (vcpu) => vcpu.read32(VA)],
  ["a load of a byte", (vcpu) => vcpu.read8(VA)],
  ["a load of a pair", (vcpu) => vcpu.readPair(VA)],
  ["a load-exclusive", (vcpu) => vcpu.loadExclusive(VA, 8)],
  ["a fetch", (vcpu) => vcpu.fetch(VA)],
  ["a translation to read", (vcpu) => vcpu.translate(VA, Access.Read)],
  ["a translation to fetch", (vcpu) => vcpu.translate(VA, Access.Fetch)],
];
/** They store zeros: memory is as before. */
const STORES: readonly [string, (vcpu: Vcpu) => unknown][] = [
  ["a store", (vcpu) => vcpu.write32(VA, 0)],
  ["a store of a byte", (vcpu) => vcpu.write8(VA, 0)],
  ["a store of a pair", (vcpu) => vcpu.writePair(VA, [0n, 0n])],
  ["an atomic addition", (vcpu) => vcpu.atomic("add", VA, 8, 0n)],
  ["an atomic addition of nothing", (vcpu) => vcpu.atomic("clr", VA, 4, 0n)],
  ["a swap", (vcpu) => vcpu.atomic("swp", VA, 1, 0n)],
  ["a compare-and-swap that matches", (vcpu) => vcpu.compareAndSwap(VA, 8, 0n, 0n)],
  ["a compare-and-swap that does not (K-9)", (vcpu) => vcpu.compareAndSwap(VA, 8, 1n, 2n)],
  ["a translation to write", (vcpu) => vcpu.translate(VA, Access.Write)],
  ["a translation to read and write", (vcpu) => vcpu.translate(VA, Access.ReadWrite)],
];

describe.each(MODES)("hardware updates of stage 2 (%s)", (mode) => {
  const here = machine(mode);
  const cpu = (updates: Updates, options: Options = {}): Vcpu =>
    here.vcpu({ registers: flatRegisters(updates), ...options });
  const expectFault = (result: unknown, fields: object): void => {
    expect(result).toBeInstanceOf(Fault);
    expect(result).toMatchObject(fields);
  };
  const shapes = [false, { sets: 16, ways: 2 }] as const;

  describe("access flag", () => {
    // H-7.1, R8
    it.each([...LOADS, ...STORES])("is set once by %s", (_name, access) => {
      for (const tlb of shapes) {
        stage2(here, { 0: RW & OLD });
        const vcpu = cpu("HA", { tlb });
        expect(access(vcpu)).not.toBeInstanceOf(Fault);
        expect(here.changes()).toEqual(changed(SLOT, leaf2(0, RW)));
        expect(access(vcpu)).not.toBeInstanceOf(Fault);
        expect(vcpu.statistics).toMatchObject({
          accessFlagUpdates: { stage1: 0, stage2: 1 },
          dirtyUpdates: { stage1: 0, stage2: 0 },
        });
      }
    });

    // R9
    it.each([...LOADS, ...STORES])(
      "without HA makes %s fault, which loads and stores nothing",
      (_name, access) => {
        stage2(here, { 0: RW & OLD });
        const vcpu = cpu("none");
        expectFault(access(vcpu), { type: "accessFlag", level: 3, stage: 2 });
        here.set(paOf(0), 0x1234n);
        expectFault(vcpu.read64(VA), { type: "accessFlag" });
        expectFault(vcpu.write64(VA, 5n), { type: "accessFlag", write: true });
        expect(vcpu.statistics.accessFlagUpdates.stage2).toBe(0);
      },
    );

    // H-7.2 with K-8's default
    it.each(STORES)("is left by %s that may not be", (_name, access) => {
      stage2(here, { 0: RO & OLD });
      expectFault(access(cpu("HA HD")), { type: "permission" });
    });

    it("is left by accesses that are not aligned", () => {
      stage2(here, { 0: ((RW & ~S2.NORMAL) | S2.DEVICE) & OLD });
      expectFault(cpu("HA").read32(VA + 1), { type: "alignment" });
      stage2(here, { 0: RW & OLD });
      expectFault(cpu("HA").atomic("add", VA + 1, 4, 1n), { type: "alignment" });
    });

    // H-7.3, R1, R9
    it.each([
      ["an invalid leaf", leaf2(0, CLEAN & OLD) & ~1n, "translation"],
      ["a leaf of the reserved type", leaf2(0, CLEAN & OLD) & ~2n, "translation"],
      ["a leaf beyond the output size", leaf2(0, CLEAN & OLD) | (1n << 40n), "addressSize"],
    ])("is never set in %s, nor is it made writable", (_name, descriptor, type) => {
      stage2(here, {});
      here.set(SLOT, descriptor);
      for (const [, access] of [...LOADS, ...STORES]) expectFault(access(cpu("HA HD")), { type });
    });

    // H-7.5
    it("of a leaf is looked up in memory as long as it is clear", () => {
      stage2(here, { 0: RW & OLD });
      const vcpu = cpu("none", { tlb: { sets: 16, ways: 2 } });
      for (let again = 0; again < 2; again++) {
        expectFault(vcpu.read32(VA), { type: "accessFlag", fromTlb: false });
      }
      stage2(here, { 0: RW }); // software sets it, with no TLB invalidation
      expect(vcpu.read32(VA)).toBe(0);
      expect(vcpu.statistics.tlb.hits).toBe(0);
      expect(vcpu.read32(VA)).toBe(0);
      expect(vcpu.statistics.tlb.hits).toBe(1);
    });

    // H-7.6
    it("that software clears is set again only after the TLB entry is gone", () => {
      stage2(here, { 0: RW });
      const vcpu = cpu("HA", { tlb: { sets: 16, ways: 2 } });
      expect(vcpu.read32(VA)).toBe(0);
      stage2(here, { 0: RW & OLD });
      expect(vcpu.read32(VA)).toBe(0);
      expect(vcpu.write32(VA, 0)).toBeUndefined();
      expect(here.changes()).toEqual({});
      vcpu.tlbi("IPAS2E1", { address: VA });
      vcpu.tlbi("VMALLE1");
      expect(vcpu.read32(VA)).toBe(0);
      expect(here.changes()).toEqual(changed(SLOT, leaf2(0, RW)));
    });

    it("of a block is one for all its pages", () => {
      stage2(here, {});
      const block = 0x9000_0000n | 1n | (RW & OLD);
      here.set(SLOT - 0x1000, block); // level 2
      const vcpu = cpu("HA");
      expect(vcpu.translate(VA + 0x5000, Access.Read)).toBe(0x9000_5000);
      expect(here.changes()).toEqual(changed(SLOT - 0x1000, block | S2.AF));
      expect(vcpu.translate(VA, Access.Read)).toBe(0x9000_0000);
      expect(vcpu.statistics.accessFlagUpdates.stage2).toBe(1);
    });

    // H-7.13
    it.each([false, true])(
      "of a contiguous group is set in the one member that was used: checker %s",
      (checker) => {
        const group = { ...Array.from({ length: 16 }, () => (CLEAN & OLD) | S2.CONTIGUOUS) };
        stage2(here, group);
        const vcpu = cpu("HA HD", { checker, events: ["tlb"] });
        expect(vcpu.read32(ipaOf(3))).toBe(0);
        expect(here.changes()).toEqual(changed(slotOf(3), leaf2(3, CLEAN | S2.CONTIGUOUS)));
        expect(vcpu.write32(ipaOf(5), 0)).toBeUndefined();
        expect(here.changes()).toEqual(changed(slotOf(5), leaf2(5, DIRTY | S2.CONTIGUOUS)));
        expect([...here.engine.events.drain()].map(({ kind }) => kind)).not.toContain("contiguous");
      },
    );
  });

  describe("dirty state", () => {
    // H-7.8, R8; XOR 0x480 in one update
    it.each(STORES)("and access flag are set at once by %s", (_name, access) => {
      for (const tlb of shapes) {
        stage2(here, { 0: CLEAN & OLD });
        const vcpu = cpu("HA HD", { tlb, events: ["updates"] });
        expect(access(vcpu)).not.toBeInstanceOf(Fault);
        expect(here.changes()).toEqual(changed(SLOT, leaf2(0, CLEAN & OLD) ^ W_AND_AF));
        expect([...here.engine.events.drain()]).toMatchObject([
          { kind: "hwUpdate", stage: 2, level: 3, slot: SLOT, accessFlag: true, dirty: true },
        ]);
        expect(access(vcpu)).not.toBeInstanceOf(Fault);
        expect(vcpu.statistics).toMatchObject({
          accessFlagUpdates: { stage2: 1 },
          dirtyUpdates: { stage2: 1 },
        });
      }
    });

    it.each(STORES)("alone is set by %s where the page is young", (_name, access) => {
      stage2(here, { 0: CLEAN });
      const vcpu = cpu("HA HD", { events: ["updates"] });
      expect(access(vcpu)).not.toBeInstanceOf(Fault);
      expect(here.changes()).toEqual(changed(SLOT, leaf2(0, DIRTY)));
      expect([...here.engine.events.drain()]).toMatchObject([{ accessFlag: false, dirty: true }]);
    });

    // H-7.9
    it.each(LOADS)("is never set by %s", (_name, access) => {
      stage2(here, { 0: CLEAN & OLD });
      expect(access(cpu("HA HD"))).not.toBeInstanceOf(Fault);
      expect(here.changes()).toEqual(changed(SLOT, leaf2(0, CLEAN)));
    });

    it("is never set by AT, unless it makes updates (K-11)", () => {
      stage2(here, { 0: CLEAN });
      for (const form of ["S12E1W", "S12E0W", "S12E1R"] as const) {
        expect(cpu("HA HD", { el: 2 }).at(form, VA)).toMatchObject({ ok: true, pa: paOf(0) });
      }
      expect(here.changes()).toEqual({});
      expect(cpu("HA HD", { el: 2, atUpdates: true }).at("S12E1W", VA)).toMatchObject({ ok: true });
      expect(here.changes()).toEqual(changed(SLOT, leaf2(0, DIRTY)));
    });

    it("is never set by an exclusive store that fails (K-9)", () => {
      stage2(here, { 0: CLEAN });
      expect(cpu("HA HD").storeExclusive(VA, 8, 1n)).toBe(false);
    });

    it("is set by an exclusive store that stores", () => {
      for (const strictMonitor of [false, true]) {
        stage2(here, { 0: CLEAN });
        const vcpu = cpu("HA HD", { strictMonitor });
        expect(vcpu.loadExclusive(VA, 8)).toBe(0n);
        expect(here.changes()).toEqual({});
        expect(vcpu.storeExclusive(VA, 8, 0n)).toBe(true);
        expect(here.changes()).toEqual(changed(SLOT, leaf2(0, DIRTY)));
      }
    });

    // R5: dirty, yet the store did not happen
    it("is never set by stores that fault", () => {
      stage2(here, { 0: (CLEAN & ~S2.NORMAL) | S2.DEVICE });
      expectFault(cpu("HA HD").write32(VA + 2, 1), { type: "alignment" });
      stage2(here, { 0: CLEAN & ~S2.R });
      expectFault(cpu("HA HD").atomic("add", VA, 8, 1n), { type: "permission", write: false });
    });

    it("is never set by a store of which another page faults", () => {
      stage2(here, { 0: CLEAN, 1: RO });
      expectFault(cpu("HA HD").write64(ipaOf(1) - 4, 1n), { type: "permission", ipa: ipaOf(1) });
      expect(here.changes(), "neither page: nothing was stored").toEqual({});
    });

    // H-7.7, R8, and HD without DBM
    it.each([
      ["HD without HA", "HD", CLEAN],
      ["HA without HD", "HA", CLEAN],
      ["neither", "none", CLEAN],
      ["no DBM", "HA HD", RO],
    ] as const)("is not managed with %s", (_name, updates, bits) => {
      stage2(here, { 0: bits });
      for (const [, access] of STORES) {
        expectFault(access(cpu(updates)), { type: "permission", level: 3, write: true });
      }
    });

    it("is not managed by CPUs that have not the feature", () => {
      stage2(here, { 0: CLEAN, 1: RW & OLD });
      expectFault(cpu("HA HD", { hafdbs: 1 }).write32(VA, 1), { type: "permission" });
      expectFault(cpu("HA HD", { hafdbs: 0 }).write32(VA, 1), { type: "permission" });
      expectFault(cpu("HA HD", { hafdbs: 0 }).read32(ipaOf(1)), { type: "accessFlag" });
      expect(cpu("HA HD", { hafdbs: 1 }).read32(ipaOf(1))).toBe(0);
      expect(here.changes()).toEqual(changed(slotOf(1), leaf2(1, RW)));
    });

    // section 16
    it("makes S2AP = 00 with DBM write-only", () => {
      stage2(here, { 0: CLEAN & ~S2.R });
      const vcpu = cpu("HA HD");
      expect(vcpu.write32(VA, 0)).toBeUndefined();
      expect(here.changes()).toEqual(changed(SLOT, leaf2(0, DIRTY & ~S2.R)));
      expectFault(vcpu.read32(VA), { type: "permission", write: false });
      expectFault(vcpu.atomic("add", VA, 4, 1n), { type: "permission", write: false });
    });

    // H-7.11
    it("is nothing that KVM's tables ask for", () => {
      const s2 = here.keep(here.engine.stage2());
      s2.map({ ipa: 0, size: PAGE, pa: paOf(0), prot: 4 });
      s2.map({ ipa: PAGE, size: PAGE, pa: paOf(1), prot: 6 });
      expect(s2.vtcr & (1n << 22n)).toBe(0n);
      for (const ipa of [0, PAGE]) expect(s2.getLeaf(ipa).pte & S2.DBM).toBe(0n);
      const vcpu = here.keep(here.engine.vcpu(s2, { hd: true }));
      expect(vcpu.translate(0, Access.Write)).toMatchObject({ type: "permission" });
    });

    // H-7.12
    it("is decided on memory, never on a TLB entry that says clean", () => {
      const tlb = { sets: 16, ways: 2 };
      stage2(here, { 0: CLEAN });
      const vcpu = cpu("HA HD", { tlb });
      expect(vcpu.read32(VA)).toBe(0);
      expect(vcpu.read32(VA)).toBe(0);
      expect(vcpu.statistics.tlb.hits).toBe(1);
      // Still clean: it becomes dirty.
      expect(vcpu.write32(VA, 0)).toBeUndefined();
      expect(here.changes()).toEqual(changed(SLOT, leaf2(0, DIRTY)));
      // Software unmaps, moves, or forbids the page, with no TLB invalidation: nothing comes back.
      for (const [now, outcome] of [
        [0n, { type: "translation" }],
        [leaf2(0, RO), { type: "permission" }],
        [leaf2(1, CLEAN), undefined],
      ] as const) {
        stage2(here, { 0: CLEAN });
        vcpu.tlbi("VMALLS12E1");
        expect(vcpu.read32(VA)).toBe(0);
        here.set(SLOT, now);
        const result = vcpu.write32(VA, 0x55);
        if (outcome !== undefined) expectFault(result, outcome);
        else {
          expect(result).toBeUndefined();
          expect(here.changes()).toEqual({
            ...changed(SLOT, leaf2(1, DIRTY)),
            ...changed(paOf(1), 0x55n), // in the page that memory says, not in the one of the entry
          });
        }
      }
    });

    // R10
    it("is reported once for each time that software made the page clean", () => {
      stage2(here, { 0: CLEAN });
      const vcpu = cpu("HA HD", { tlb: { sets: 16, ways: 2 } });
      for (let times = 1; times <= 3; times++) {
        vcpu.write32(VA, 0);
        vcpu.write32(VA, 0);
        expect(vcpu.statistics.dirtyUpdates.stage2).toBe(times);
        expect(here.changes()).toEqual(changed(SLOT, leaf2(0, DIRTY)));
        stage2(here, { 0: CLEAN });
        vcpu.tlbi("IPAS2E1", { address: VA });
        vcpu.tlbi("VMALLE1");
      }
    });

    // R6: why software must compare and exchange
    it("is lost by software that loads, changes and stores", () => {
      stage2(here, { 0: CLEAN });
      const vcpu = cpu("HA HD");
      const loaded = here.get(SLOT);
      expect(vcpu.write32(VA, 0)).toBeUndefined();
      expect(here.changes()).toEqual(changed(SLOT, leaf2(0, DIRTY)));
      here.set(SLOT, loaded | (1n << 55n)); // a software bit
      expect(here.get(SLOT) & S2.W).toBe(0n);
    });
  });

  // H-7.20
  it("change no other bit, whatever is there", () => {
    const spare = [11n, 16n, 50n, 55n, 56n, 57n, 58n, 59n, 60n, 61n, 62n, 63n].map(
      (bit) => 1n << bit,
    );
    for (const extra of [...spare, spare.reduce((all, bit) => all | bit)]) {
      // Bit 16 of a page is part of its address; in a block it is nT.
      const block = leaf2(0, CLEAN & OLD) & ~2n;
      const value =
        extra & (1n << 16n) ? block | (extra & ~(1n << 63n)) : leaf2(0, CLEAN & OLD) | extra;
      const slot = extra & (1n << 16n) ? SLOT - 0x1000 : SLOT;
      stage2(here, {});
      here.set(slot, value);
      expect(cpu("HA HD").translate(VA, Access.Write)).toBe(paOf(0));
      expect(here.changes()).toEqual(changed(slot, value ^ W_AND_AF));
      here.next();
    }
  });

  // R2, R3, R11, one after the other
  it("go to what memory holds now: no flag on an entry that is gone, no output address that was", () => {
    stage2(here, { 0: RW & OLD });
    const vcpu = cpu("HA", { tlb: { sets: 16, ways: 2 } });
    expect(vcpu.read32(VA)).toBe(0);
    expect(here.changes()).toEqual(changed(SLOT, leaf2(0, RW)));
    here.set(SLOT, leaf2(2, RW & OLD)); // no break-before-make: the old address is still good
    expect(vcpu.translate(VA, Access.Read)).toBe(paOf(0));
    expect(here.changes()).toEqual({});
    vcpu.tlbi("VMALLS12E1");
    expect(vcpu.translate(VA, Access.Read)).toBe(paOf(2));
    expect(here.changes()).toEqual(changed(SLOT, leaf2(2, RW)));
    here.set(SLOT, leaf2(2, RW & OLD) & ~1n);
    vcpu.tlbi("VMALLS12E1");
    expectFault(vcpu.read32(VA), { type: "translation" });
  });
});
