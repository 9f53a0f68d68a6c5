/** The dirty-state tracking structure (FEAT_HDBSS): an entry for each page that becomes dirty, and what happens when none can be had. */
import { describe, expect, it } from "vitest";
import { Access, Fault, type Registers, type Vcpu, decodeSyndrome } from "../../src/index.ts";
import { MODES } from "../support.ts";
import {
  CLEAN,
  DIRTY,
  GUEST_TCR,
  KERNEL,
  type Options,
  RO,
  RW,
  TCR_HA,
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
  tableLeaf2,
  tableSlotOf,
  vaOf,
} from "./guest.ts";
import {
  DATA,
  type Changes,
  HOLE,
  RAM,
  VTCR,
  changed,
  machine,
  stage2Registers,
} from "./machine.ts";
import { S1, S2, type Shape, chain, leaf, vtcrFor } from "./paging.ts";
import { LIST, entryFor, structure } from "./hdbss-entries.ts";

const SLOT = slotOf(0);
const HDBSSF = 1n << 43n; // ISS2 bit 11

describe.each(MODES)("the dirty-state structure (%s)", (mode) => {
  const here = machine(mode);
  const cpu = (
    registers: Partial<Registers> = {},
    { hafdbs = 4, ...options }: Options = {},
  ): Vcpu => {
    const flat = flatRegisters("HA HD");
    const vtcrEl2 = (flat.vtcrEl2 as bigint) | VTCR.HDBSS;
    const all = { ...flat, vtcrEl2, hdbssbrEl2: structure(), ...registers };
    return here.vcpu({ hafdbs, registers: all, ...options });
  };
  const expectFault = (result: unknown, fields: object): void => {
    expect(result).toBeInstanceOf(Fault);
    expect(result).toMatchObject(fields);
  };
  const entry = (index: number, value: bigint): Changes => changed(LIST + index * 8, value);
  const becameDirty = (page: number): Changes => changed(slotOf(page), leaf2(page, DIRTY));

  // H-13.2
  it.each([false, { sets: 16, ways: 2 }] as const)(
    "gets an entry for each page, in order: TLB %o",
    (tlb) => {
      stage2(here, { 0: CLEAN, 1: CLEAN & ~S2.AF, 2: CLEAN });
      const vcpu = cpu({}, { tlb });
      for (const [index, page] of [2, 0, 1].entries()) {
        expect(vcpu.write32(ipaOf(page) + 0x238, 0)).toBeUndefined();
        expect(here.changes()).toEqual({
          ...entry(index, entryFor(ipaOf(page), 3)),
          ...becameDirty(page),
        });
        expect(vcpu.registers.hdbssprodEl2).toBe(BigInt(index + 1));
      }
      expect(vcpu.statistics).toMatchObject({ hdbssEntries: 3, dirtyUpdates: { stage2: 3 } });
    },
  );

  it("gets the first address and the level of blocks", () => {
    for (const [shape, level, oa] of [
      [{ name: "", granule: "4K", start: 1, bits: 40 }, 2, 0x9000_0000],
      [{ name: "", granule: "4K", start: 1, bits: 40 }, 1, 0x8000_0000],
      [{ name: "", granule: "16K", start: 2, bits: 40 }, 2, 0x9000_0000],
      [{ name: "", granule: "64K", start: 2, bits: 42 }, 2, 0x8000_0000],
      [{ name: "", granule: "4K", start: 0, bits: 52, wide: true }, 0, 0],
      [{ name: "", granule: "4K", start: -1, bits: 52, wide: true }, 3, 0x9000_0000],
    ] as [Shape, 0 | 1 | 2 | 3, number][]) {
      const ipa = 0x88_1234_5678; // in whatever it lies in
      const bits = (CLEAN & ~(3n << 8n)) | S2.DBM;
      const slots = chain(
        here,
        shape,
        { root: RAM.pa, below: RAM.pa + 0x4_0000 },
        ipa,
        level,
        leaf(level, oa, bits),
      );
      const vtcr = vtcrFor(shape, 48) | VTCR.HA | VTCR.HD | VTCR.HDBSS;
      const vcpu = cpu(stage2Registers(vtcr, RAM.pa));
      expect(typeof vcpu.translate(ipa, Access.Write), `${shape.granule} ${level}`).toBe("number");
      const size =
        2 **
        ((3 - level) * (shape.granule === "4K" ? 9 : shape.granule === "16K" ? 11 : 13) +
          (shape.granule === "4K" ? 12 : shape.granule === "16K" ? 14 : 16));
      expect(here.changes()).toEqual({
        ...entry(0, entryFor(ipa - (ipa % size), level)),
        ...changed(slots[level], leaf(level, oa, bits) | S2.W),
      });
      here.next();
      here.set(LIST, 0n);
      here.next();
    }
  });

  it("gets nothing for reads, fetches, access flags, pages that are dirty, and stores that fault", () => {
    stage2(here, { 0: CLEAN & ~S2.AF, 1: DIRTY & ~S2.AF, 2: RO, 3: RW });
    const vcpu = cpu();
    vcpu.read32(ipaOf(0));
    vcpu.fetch(ipaOf(0));
    vcpu.write32(ipaOf(1), 0);
    expectFault(vcpu.write32(ipaOf(2), 0), { type: "permission", hdbssFull: false });
    vcpu.write32(ipaOf(3), 0);
    expectFault(vcpu.atomic("add", ipaOf(0) + 1, 4, 1n), { type: "alignment" });
    const young = { ...changed(SLOT, leaf2(0, CLEAN)), ...becameDirty(1) };
    expect(here.changes()).toEqual(young);
    expect(vcpu.registers.hdbssprodEl2).toBe(0n);
  });

  // H-13.1
  it.each([
    ["VTCR_EL2.HDBSS is 0", {}, VTCR.HDBSS],
    ["the CPU has not the feature", { hafdbs: 3 }, 0n],
  ])("gets nothing if %s", (_name, options, off) => {
    stage2(here, { 0: CLEAN });
    const vcpu = cpu({}, options);
    vcpu.setRegisters({ vtcrEl2: vcpu.registers.vtcrEl2 & ~off });
    expect(vcpu.write32(ipaOf(0), 0)).toBeUndefined();
    expect(here.changes()).toEqual(becameDirty(0));
  });

  it.each([
    ["HD", VTCR.HD],
    ["HA", VTCR.HA],
  ])("gets nothing without %s: the page does not become dirty", (_name, off) => {
    stage2(here, { 0: CLEAN });
    const vcpu = cpu();
    vcpu.setRegisters({ vtcrEl2: vcpu.registers.vtcrEl2 & ~off });
    expectFault(vcpu.write32(ipaOf(0), 0), { type: "permission", hdbssFull: false });
  });

  it("is each CPU's own", () => {
    stage2(here, { 0: CLEAN, 1: CLEAN });
    const [one, other] = [cpu(), cpu({ hdbssbrEl2: structure(0, LIST + 0x1000) })];
    one.write32(ipaOf(0), 0);
    other.write32(ipaOf(1), 0);
    expect(here.changes()).toEqual({
      ...{ ...becameDirty(0), ...becameDirty(1) },
      ...entry(0, entryFor(ipaOf(0), 3)),
      ...changed(LIST + 0x1000, entryFor(ipaOf(1), 3)),
    });
  });

  it("gets the page of a guest's table that a stage-1 update makes dirty", () => {
    stage2(here, { 0: RW });
    stage1(here, { 0: KERNEL & ~S1.AF }, [RO, RO, CLEAN]);
    const vtcrEl2 = (guestRegisters("HA HD").vtcrEl2 as bigint) | VTCR.HDBSS;
    const vcpu = cpu(guestRegisters("HA HD", { vtcrEl2, tcrEl1: GUEST_TCR | TCR_HA }));
    expect(vcpu.translate(vaOf(0), Access.Read)).toBe(paOf(0));
    expect(here.changes()).toEqual({
      ...entry(0, entryFor(slot1Of(0), 3)),
      ...changed(tableSlotOf(3), tableLeaf2(3, DIRTY)),
      ...changed(slot1Of(0), leaf1(0, KERNEL)),
    });
  });

  // H-13.3
  it.each([0, 1, 2, 5])(
    "of size %i that is full stops the store, which goes on when there is room",
    (size) => {
      const full = 512n << BigInt(size);
      stage2(here, { 0: CLEAN & ~S2.AF });
      const vcpu = cpu({ hdbssbrEl2: structure(size), hdbssprodEl2: full });
      for (let again = 0; again < 2; again++) {
        const fault = vcpu.write32(ipaOf(0) + 0x238, 7) as Fault;
        expectFault(fault, {
          type: "permission",
          fsc: 0x0f,
          level: 3,
          stage: 2,
          el: 2,
          write: true,
          hdbssFull: true,
        });
        expect(fault).toMatchObject({
          ipa: ipaOf(0) + 0x238,
          far: BigInt(ipaOf(0) + 0x238),
          s1ptw: false,
        });
        expect(fault.esr & HDBSSF).toBe(HDBSSF);
        expect(decodeSyndrome(fault.esr).abort).toMatchObject({ hdbssFull: true, write: true });
        expect(vcpu.registers.hdbssprodEl2, "FSC 0, INDEX as it was").toBe(full);
        expect(here.changes()).toEqual({});
      }
      vcpu.setRegisters({ hdbssprodEl2: full - 1n });
      const last = LIST + Number(full - 1n) * 8;
      const inside = last < DATA.pa + DATA.size;
      if (!inside) vcpu.setRegisters({ hdbssprodEl2: 0n });
      expect(vcpu.write32(ipaOf(0) + 0x238, 7)).toBeUndefined();
      expect(here.changes()).toEqual({
        ...changed(inside ? last : LIST, entryFor(ipaOf(0), 3)),
        ...becameDirty(0),
        ...changed(paOf(0) + 0x238, 7n),
      });
      expect(vcpu.registers.hdbssprodEl2).toBe(inside ? full : 1n);
    },
  );

  it.each([
    ["full", structure(), 512n],
    ["not there", structure(0, HOLE), 0n],
  ])(
    "that is %s, for a block: the fault has the page of the access",
    (_name, hdbssbrEl2, hdbssprodEl2) => {
      stage2(here, {});
      here.set(slotOf(0) - 0x1000, leaf(2, 0x9000_0000, CLEAN));
      const fault = cpu({ hdbssbrEl2, hdbssprodEl2 }).translate(
        ipaOf(7) + 8,
        Access.Write,
      ) as Fault;
      expectFault(fault, { type: "permission", level: 2, hdbssFull: true });
      expect(fault.hpfar).toBe(BigInt(ipaOf(7) / 0x1000) << 4n);
    },
  );

  it("that is full does not stop what makes no page dirty", () => {
    stage2(here, { 0: DIRTY, 1: CLEAN & ~S2.AF });
    const vcpu = cpu({ hdbssprodEl2: 512n });
    expect(vcpu.write32(ipaOf(0), 0)).toBeUndefined();
    expect(vcpu.read32(ipaOf(1))).toBe(0);
    expect(here.changes()).toEqual(changed(slotOf(1), leaf2(1, CLEAN)));
  });

  it("that is full stops a stage-1 update", () => {
    stage2(here, { 0: RW });
    stage1(here, { 0: KERNEL & ~S1.AF }, [RO, RO, CLEAN]);
    const vtcrEl2 = (guestRegisters("HA HD").vtcrEl2 as bigint) | VTCR.HDBSS;
    const registers = guestRegisters("HA HD", { vtcrEl2, tcrEl1: GUEST_TCR | TCR_HA });
    const fault = cpu({ ...registers, hdbssprodEl2: 512n }).translate(vaOf(0), Access.Write);
    expectFault(fault, { type: "permission", s1ptw: true, hdbssFull: true, ipa: slot1Of(0) });
  });

  // H-13.4
  it("that is not there stops the store with the reason in HDBSSPROD_EL2", () => {
    stage2(here, { 0: CLEAN });
    const vcpu = cpu({ hdbssbrEl2: structure(0, HOLE), hdbssprodEl2: 3n });
    expectFault(vcpu.write32(ipaOf(0), 7), {
      type: "permission",
      level: 3,
      hdbssFull: true,
      write: true,
    });
    expect(vcpu.registers.hdbssprodEl2).toBe((0x10n << 26n) | 3n);
    expect(here.changes()).toEqual({});
    // Repaired by software: as if nothing had been.
    vcpu.setRegisters({ hdbssbrEl2: structure(), hdbssprodEl2: 3n });
    expect(vcpu.write32(ipaOf(0), 0)).toBeUndefined();
    expect(here.changes()).toEqual({ ...entry(3, entryFor(ipaOf(0), 3)), ...becameDirty(0) });
    expect(vcpu.registers.hdbssprodEl2).toBe(4n);
  });

  // H-13.5
  it("has a page twice only if software cleaned it in between, and loses none", () => {
    stage2(here, { 0: CLEAN, 1: CLEAN });
    const vcpu = cpu({}, { tlb: { sets: 16, ways: 2 } });
    const write = (page: number) => expect(vcpu.write32(ipaOf(page), 0)).toBeUndefined();
    for (const page of [0, 0, 1, 0, 1]) write(page);
    expect(vcpu.registers.hdbssprodEl2).toBe(2n);
    here.changes();
    stage2(here, { 0: CLEAN });
    vcpu.tlbi("IPAS2E1", { address: ipaOf(0) });
    vcpu.tlbi("VMALLE1");
    for (const page of [1, 0, 1, 0]) write(page);
    expect(here.changes()).toEqual({ ...entry(2, entryFor(ipaOf(0), 3)), ...becameDirty(0) });
    expect(vcpu.registers.hdbssprodEl2).toBe(3n);
  });

  it("says of other faults whether dirty state would cure them", () => {
    stage2(here, { 0: CLEAN, 1: RO });
    const vcpu = cpu();
    vcpu.setRegisters({ vtcrEl2: vcpu.registers.vtcrEl2 & ~VTCR.HD });
    const dirtyBit = 1n << 37n; // ISS2 bit 5
    const fault = (page: number) => vcpu.write32(ipaOf(page), 1) as Fault;
    expect(fault(0)).toMatchObject({ type: "permission", dirtyBit: true });
    expect(fault(0).esr & dirtyBit).toBe(dirtyBit);
    expect(fault(1)).toMatchObject({ type: "permission", dirtyBit: false });
    expect(fault(1).esr & dirtyBit).toBe(0n);
  });
});
