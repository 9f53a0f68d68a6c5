/**
 * Hardware updates of a guest's own tables: each is a write at stage 2, to the page that holds the table. And access flags
 * of stage-2 tables (FEAT_HAFT).
 */
import { describe, expect, it } from "vitest";
import { Access, Fault, type Vcpu } from "../../src/index.ts";
import { MODES } from "../support.ts";
import {
  CLEAN,
  DIRTY,
  GUEST_TCR,
  KERNEL,
  NORMAL,
  type Options,
  RO,
  RW,
  TCR_HA,
  TCR_HD,
  UPPER,
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
  tableLeaf2,
  tableSlotOf,
  vaOf,
} from "./guest.ts";
import { VTCR, changed, machine } from "./machine.ts";
import { S1, S2 } from "./paging.ts";

const OLD1 = KERNEL & ~S1.AF;
/** Writable-clean at stage 1: read-only with DBM; AP[2] falls when the page becomes dirty. */
const CLEAN1 = KERNEL | S1.READ_ONLY | S1.DBM;
const DIRTY1 = KERNEL | S1.DBM;
const AP2_AND_AF = 0x480n;
const HA_HD = TCR_HA | TCR_HD;
const TABLE3 = tableSlotOf(3);

describe.each(MODES)("hardware updates of stage 1 (%s)", (mode) => {
  const here = machine(mode);
  /** `tcr`: hardware updates of stage 1. */
  const cpu = (updates: Updates, tcr: bigint, options: Options = {}): Vcpu =>
    here.vcpu({ registers: guestRegisters(updates, { tcrEl1: GUEST_TCR | tcr }), ...options });
  const expectFault = (result: unknown, fields: object): void => {
    expect(result).toBeInstanceOf(Fault);
    expect(result).toMatchObject(fields);
  };
  const tables3 = (bits: bigint) => [RO, RO, bits] as const;

  it.each([
    ["HA: access flag", TCR_HA, OLD1, Access.Read, KERNEL],
    ["HA: access flag, by a write", TCR_HA, OLD1, Access.Write, KERNEL],
    ["HA: access flag, by a fetch", TCR_HA, OLD1, Access.Fetch, KERNEL],
    ["HA HD: dirty state", HA_HD, CLEAN1, Access.Write, DIRTY1],
    ["HA HD: both at once", HA_HD, CLEAN1 & ~S1.AF, Access.Write, DIRTY1],
    ["HA HD: a read", HA_HD, CLEAN1 & ~S1.AF, Access.Read, CLEAN1],
  ])("is a write to the table's page: %s", (_name, tcr, before, access, after) => {
    stage2(here, { 0: NORMAL | S2.RW | S2.AF });
    stage1(here, { 0: before }, tables3(RW));
    const vcpu = cpu("none", tcr, { events: ["updates"] });
    expect(vcpu.translate(vaOf(0), access)).toBe(paOf(0));
    expect(here.changes()).toEqual(changed(slot1Of(0), leaf1(0, after)));
    const both = after ^ before;
    expect([...here.engine.events.drain()]).toMatchObject([
      {
        ...{ kind: "hwUpdate", stage: 1, level: 3, slot: slot1Of(0), pte: leaf1(0, after) },
        ...{ accessFlag: (both & S1.AF) !== 0n, dirty: (both & S1.READ_ONLY) !== 0n },
      },
    ]);
    expect(both & ~AP2_AND_AF).toBe(0n);
  });

  it.each([
    ["not without HA", 0n, OLD1, Access.Read, "accessFlag"],
    ["not with HD alone", TCR_HD, OLD1, Access.Write, "accessFlag"],
    ["not writable without HD", TCR_HA, CLEAN1, Access.Write, "permission"],
    ["not writable with HD alone", TCR_HD, CLEAN1, Access.Write, "permission"],
    ["not writable without DBM", HA_HD, KERNEL | S1.READ_ONLY, Access.Write, "permission"],
  ] as const)("happens %s", (_name, tcr, before, access, type) => {
    stage2(here, { 0: RW });
    stage1(here, { 0: before }, tables3(RW));
    expectFault(cpu("none", tcr).translate(vaOf(0), access), { type, stage: 1, level: 3, el: 1 });
  });

  // H-7.10, section 16
  it.each([
    ["access flag, a read", TCR_HA, OLD1, Access.Read, false],
    ["access flag, a write", TCR_HA, OLD1, Access.Write, true],
    ["access flag, a fetch", TCR_HA, OLD1, Access.Fetch, false],
    ["dirty state", HA_HD, CLEAN1, Access.Write, true],
  ])("needs stage 2 to allow the write: %s", (_name, tcr, before, access, write) => {
    stage2(here, { 0: RW });
    stage1(here, { 0: before }, tables3(RO));
    const fault = cpu("none", tcr).translate(vaOf(0), access) as Fault;
    expectFault(fault, { type: "permission", stage: 2, level: 3, s1ptw: true, el: 2, write });
    const ipa = slot1Of(0); // the guest's tables lie at their own IPA
    expect(fault).toMatchObject({ ipa, hpfar: BigInt(ipa >>> 12) << 4n, far: BigInt(vaOf(0)) });
    // Reads of the table were never in question.
    stage1(here, { 0: KERNEL }, tables3(RO));
    expect(cpu("none", tcr).translate(vaOf(0), access)).toBe(paOf(0));
  });

  it("makes the page of the table dirty at stage 2; reads of tables only young", () => {
    stage2(here, { 0: RW });
    const old = (bits: bigint) => bits & ~S2.AF;
    stage1(here, { 0: CLEAN1 }, [old(CLEAN), old(CLEAN), old(CLEAN)]);
    const vcpu = cpu("HA HD", HA_HD);
    const young = (level: 1 | 2 | 3) => changed(tableSlotOf(level), tableLeaf2(level, CLEAN));
    expect(vcpu.translate(vaOf(0), Access.Read)).toBe(paOf(0));
    expect(here.changes()).toEqual({ ...young(1), ...young(2), ...young(3) });
    expect(vcpu.translate(vaOf(0), Access.Write)).toBe(paOf(0));
    expect(here.changes()).toEqual({
      ...changed(slot1Of(0), leaf1(0, DIRTY1)),
      ...changed(TABLE3, tableLeaf2(3, DIRTY)),
    });
    expect(vcpu.statistics).toMatchObject({
      accessFlagUpdates: { stage1: 0, stage2: 3 },
      dirtyUpdates: { stage1: 1, stage2: 1 },
    });
  });

  // section 16: the permission check of stage 1 comes first
  it("is not tried where stage 1 does not permit the access", () => {
    stage2(here, { 0: RW });
    stage1(here, { 0: OLD1 | S1.READ_ONLY }, tables3(RO));
    expectFault(cpu("none", HA_HD).translate(vaOf(0), Access.Write), {
      type: "permission",
      stage: 1,
    });
    stage1(here, { 0: CLEAN1 }, tables3(CLEAN));
    const user = cpu("HA HD", HA_HD, { el: 0 });
    expectFault(user.translate(vaOf(0), Access.Write), { type: "permission", stage: 1 });
  });

  // section 16: no rollback
  it("stays when stage 2 then faults on the output address", () => {
    for (const bits of [0n, RO] as const) {
      stage2(here, { 0: bits });
      if (bits === 0n) here.set(slotOf(0), 0n);
      stage1(here, { 0: CLEAN1 & ~S1.AF }, [RO & ~S2.AF, RO & ~S2.AF, CLEAN & ~S2.AF]);
      const type = bits === 0n ? "translation" : "permission";
      expectFault(cpu("HA HD", HA_HD).translate(vaOf(0), Access.Write), {
        type,
        stage: 2,
        s1ptw: false,
      });
      expect(here.changes()).toEqual({
        ...changed(tableSlotOf(1), tableLeaf2(1, RO)),
        ...changed(tableSlotOf(2), tableLeaf2(2, RO)),
        ...changed(TABLE3, tableLeaf2(3, DIRTY)),
        ...changed(slot1Of(0), leaf1(0, DIRTY1)),
      });
    }
  });

  it("of earlier tables stays when a later one faults", () => {
    stage2(here, { 0: RW });
    stage1(here, { 0: KERNEL }, [RO & ~S2.AF, RO & ~S2.AF, RO]);
    here.set(TABLE3, 0n);
    expectFault(cpu("HA", 0n).translate(vaOf(0), Access.Read), {
      type: "translation",
      s1ptw: true,
    });
    expect(here.changes()).toEqual({
      ...changed(tableSlotOf(1), tableLeaf2(1, RO)),
      ...changed(tableSlotOf(2), tableLeaf2(2, RO)),
    });
  });

  // H-7.2 with K-8's default, of stage 1
  it("leaves the access flag where stage 1 does not permit the access", () => {
    stage2(here, { 0: RW });
    stage1(here, { 0: OLD1 | S1.READ_ONLY }, tables3(RW));
    expectFault(cpu("none", TCR_HA).translate(vaOf(0), Access.Write), {
      type: "permission",
      stage: 1,
    });
  });

  it("is decided on memory, never on a TLB entry that says clean", () => {
    stage2(here, { 0: RW, 1: RW });
    stage1(here, { 0: CLEAN1 }, tables3(RW));
    const vcpu = cpu("none", HA_HD, { tlb: { sets: 16, ways: 2 } });
    vcpu.translate(vaOf(0), Access.Read);
    expect(vcpu.translate(vaOf(0), Access.Read)).toBe(paOf(0));
    expect(vcpu.statistics.tlb.hits).toBe(1);
    here.set(slot1Of(0), leaf1(1, CLEAN1)); // moved, with no TLB invalidation
    expect(vcpu.translate(vaOf(0), Access.Write)).toBe(paOf(1));
    expect(here.changes()).toEqual(changed(slot1Of(0), leaf1(1, DIRTY1)));
  });
});

// HAFDBS = 3 -------------------------------------------------------------------------------------------------------

describe.each(MODES)("access flags of stage-2 tables (%s)", (mode) => {
  const here = machine(mode);
  const haft = (options: Options = {}, vtcr = VTCR.HAFT): Vcpu => {
    const registers = flatRegisters("HA");
    return here.vcpu({
      hafdbs: 3,
      registers: { ...registers, vtcrEl2: (registers.vtcrEl2 as bigint) | vtcr },
      ...options,
    });
  };
  const both = () => {
    const young = (level: 1 | 2) => changed(UPPER[level], here.get(UPPER[level]) | S2.AF);
    return { ...young(1), ...young(2) };
  };

  it.each([false, { sets: 16, ways: 2 }] as const)(
    "are set on the way to a leaf: TLB %o",
    (tlb) => {
      stage2(here, { 0: RW });
      const expected = both();
      expect(haft({ tlb }).translate(ipaOf(0), Access.Read)).toBe(paOf(0));
      expect(here.changes()).toEqual(expected);
      stage2(here, { 0: RW }); // the tables are old again
      expect(haft({ tlb }).translate(ipaOf(0), Access.Write)).toBe(paOf(0));
      expect(here.changes()).toEqual(expected);
    },
  );

  it.each([
    ["VTCR_EL2.HAFT is 0", { hafdbs: 3 }, 0n],
    ["the CPU has not the feature", { hafdbs: 2 }, VTCR.HAFT],
  ])("are not set if %s", (_name, options, vtcr) => {
    stage2(here, { 0: RW });
    expect(haft(options, vtcr).translate(ipaOf(0), Access.Read)).toBe(paOf(0));
  });

  it("are not set by a probe", () => {
    stage2(here, { 0: RW });
    expect(haft().probe(ipaOf(0), Access.Read)).toMatchObject({ pa: paOf(0) });
  });

  it("are not set without HA", () => {
    stage2(here, { 0: RW });
    const vcpu = haft();
    vcpu.setRegisters({ vtcrEl2: vcpu.registers.vtcrEl2 & ~VTCR.HA });
    expect(vcpu.translate(ipaOf(0), Access.Read)).toBe(paOf(0));
  });

  // K-11
  it("are not set by AT, unless it makes updates", () => {
    stage2(here, { 0: RW });
    const expected = both();
    expect(haft({ el: 2 }).at("S12E1R", ipaOf(0))).toMatchObject({ ok: true });
    expect(here.changes()).toEqual({});
    expect(haft({ el: 2, atUpdates: true }).at("S12E1R", ipaOf(0))).toMatchObject({ ok: true });
    expect(here.changes()).toEqual(expected);
  });

  it("are updates like others: counted, logged, and impossible in memory without atomics (K-10)", () => {
    stage2(here, { 0: RW });
    const expected = both();
    const vcpu = haft({ events: ["updates"] });
    expect(vcpu.translate(ipaOf(0), Access.Read)).toBe(paOf(0));
    expect(here.changes()).toEqual(expected);
    expect([...here.engine.events.drain()]).toMatchObject([
      { kind: "hwUpdate", stage: 2, level: 1, slot: UPPER[1], accessFlag: true, dirty: false },
      { kind: "hwUpdate", stage: 2, level: 2, slot: UPPER[2], accessFlag: true, dirty: false },
    ]);
    expect(vcpu.statistics.accessFlagUpdates.stage2).toBe(2);
    stage2(here, { 0: RW });
    const fault = haft({ atomicUpdates: false }).translate(ipaOf(0), Access.Read);
    expect(fault).toMatchObject({ type: "unsupportedAtomicUpdate", stage: 2 });
  });

  it("go with the leaf's in one walk, and the leaf says what it says", () => {
    stage2(here, { 0: CLEAN & ~S2.AF });
    const vcpu = haft();
    vcpu.setRegisters({ vtcrEl2: vcpu.registers.vtcrEl2 | VTCR.HD });
    const expected = both();
    expect(vcpu.write32(ipaOf(0), 0)).toBeUndefined();
    expect(here.changes()).toEqual({ ...expected, ...changed(slotOf(0), leaf2(0, DIRTY)) });
  });
});
