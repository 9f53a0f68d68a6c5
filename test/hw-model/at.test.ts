/** Address translation instructions: what they leave in PAR_EL1, what is taken to EL2 instead, and that they touch nothing. */
import { describe, expect, it } from "vitest";
import {
  type AtOperation,
  Fault,
  type Par,
  type Registers,
  type Vcpu,
  decodeSyndrome,
} from "../../src/index.ts";
import { MODES } from "../support.ts";
import {
  CLEAN,
  KERNEL,
  NORMAL,
  type Options,
  RO,
  RW,
  TCR_HA,
  TCR_HD,
  GUEST_TCR,
  USER,
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
import { HCR, HOLE, SCTLR, VTCR, changed, machine } from "./machine.ts";
import { S1, S2, tcrEl2For } from "./paging.ts";

const MARK = 0x1234_5678_9abc_def1n;

/** PAR_EL1 of a translation: ATTR, PA, RES1, NS, SH. */
function good(pa: number, attr: number, sh: number): bigint {
  return (
    (BigInt(attr) << 56n) |
    BigInt(pa - (pa % 0x1000)) |
    (1n << 11n) |
    (1n << 9n) |
    (BigInt(sh) << 7n)
  );
}

/** PAR_EL1 of a fault: RES1, S, PTW, FST, F. */
function bad(fst: number, stage: 1 | 2, ptw = false): bigint {
  return (
    (1n << 11n) | (stage === 2 ? 1n << 9n : 0n) | (ptw ? 1n << 8n : 0n) | (BigInt(fst) << 1n) | 1n
  );
}

describe.each(MODES)("AT (%s)", (mode) => {
  const here = machine(mode);
  const cpu = (options: Options = {}, registers: Partial<Registers> = {}): Vcpu =>
    here.vcpu({ registers: guestRegisters("none", { parEl1: MARK, ...registers }), ...options });
  /** PAR_EL1 as the call and the register say. */
  function par(vcpu: Vcpu, operation: AtOperation, va: number): bigint {
    const result = vcpu.at(operation, va) as Par;
    expect(result).not.toBeInstanceOf(Fault);
    expect(result.par).toBe(vcpu.registers.parEl1);
    return result.par;
  }
  const S1_FORMS = ["S1E1R", "S1E1W", "S1E0R", "S1E0W"] as const;
  const S12_FORMS = ["S12E1R", "S12E1W", "S12E0R", "S12E0W"] as const;

  // H-9.1
  it.each(S1_FORMS)("%s gives the IPA, and does not look at the page in stage 2", (operation) => {
    stage2(here, {});
    stage1(here, { 0: USER });
    for (const el of [1, 2] as const) {
      const vcpu = cpu({ el });
      expect(par(vcpu, operation, vaOf(0) + 0x123)).toBe(good(ipaOf(0), 0xff, 3));
      expect(vcpu.statistics.descriptorReads.stage2[3]).toBe(3); // the guest's tables
      expect(vcpu.at(operation, vaOf(0) + 0x123)).toMatchObject({
        ...{ ok: true, pa: ipaOf(0), attr: 0xff, sh: 3, fst: undefined, stage: undefined },
      });
    }
  });

  it.each([
    ["S1E1R", 0, 0x07],
    ["S1E1R", KERNEL & ~S1.AF, 0x0b],
    ["S1E1R", KERNEL | (1n << 42n), 0x03],
    ["S1E1W", KERNEL | S1.READ_ONLY, 0x0f],
    ["S1E0R", KERNEL, 0x0f],
    ["S1E0W", USER | S1.READ_ONLY, 0x0f],
  ] as const)(
    "%s leaves stage-1 faults in PAR_EL1 (H-9.1, H-9.5): leaf %s, FST %i",
    (operation, bits, fst) => {
      stage2(here, {});
      stage1(here, {});
      here.set(slot1Of(0), bits === 0 ? 0n : leaf1(0, bits));
      for (const el of [1, 2] as const) {
        expect(par(cpu({ el }), operation, vaOf(0))).toBe(bad(fst, 1));
        expect(cpu({ el }).at(operation, vaOf(0))).toMatchObject({
          ...{ ok: false, fst, stage: 1, s1ptw: false, pa: undefined, attr: undefined },
        });
      }
      // The forms with both stages stop at the same place.
      const both = operation.replace("S1", "S12") as AtOperation;
      expect(par(cpu({ el: 2 }), both, vaOf(0))).toBe(bad(fst, 1));
    },
  );

  it("goes by the level in its name, and not by PSTATE", () => {
    stage2(here, {});
    stage1(here, { 0: KERNEL, 1: USER });
    for (const el of [0, 1, 2] as const) {
      for (const pan of [false, true]) {
        const vcpu = cpu({ el, pan });
        const ok = (operation: AtOperation, page: number) =>
          (vcpu.at(operation, vaOf(page)) as Par).ok;
        expect(S1_FORMS.map((form) => ok(form, 0))).toEqual([true, true, false, false]);
        expect(S1_FORMS.map((form) => ok(form, 1))).toEqual([true, true, true, true]);
        expect([vcpu.el, vcpu.pan]).toEqual([el, pan]);
      }
    }
  });

  // H-9.2
  it.each(S1_FORMS)(
    "%s of EL1 takes a stage-2 fault on a descriptor to EL2, and works when it is cured",
    (operation) => {
      stage2(here, {});
      stage1(here, { 0: USER });
      const table = here.get(tableSlotOf(2));
      here.set(tableSlotOf(2), 0n);
      const vcpu = cpu();
      const fault = vcpu.at(operation, vaOf(0) + 0x10) as Fault;
      expect(fault).toBeInstanceOf(Fault);
      const ipa = slot1Of(0) - 0x1000;
      expect(fault).toMatchObject({
        type: "translation",
        level: 3,
        stage: 2,
        s1ptw: true,
        el: 2,
        write: true,
        ipa,
      });
      expect(fault.far).toBe(BigInt(vaOf(0) + 0x10));
      expect(decodeSyndrome(fault.esr)).toMatchObject({
        ec: 0x24,
        abort: { s1ptw: true, cacheMaintenance: true, write: true, fsc: 0x07 },
      });
      expect(vcpu.registers.parEl1, "as it was").toBe(MARK);
      here.set(tableSlotOf(2), table);
      expect(par(vcpu, operation, vaOf(0))).toBe(good(ipaOf(0), 0xff, 3));
    },
  );

  it.each([...S1_FORMS, ...S12_FORMS])("%s of EL2 leaves the same in PAR_EL1", (operation) => {
    stage2(here, {});
    stage1(here, { 0: USER });
    here.set(tableSlotOf(2), 0n);
    expect(par(cpu({ el: 2 }), operation, vaOf(0))).toBe(bad(0x07, 2, true));
    expect(cpu({ el: 2 }).at(operation, vaOf(0))).toMatchObject({
      ok: false,
      stage: 2,
      s1ptw: true,
      fst: 0x07,
    });
    here.set(tableSlotOf(2), 0x1000n); // an invalid entry that is not zero
    expect(par(cpu({ el: 2 }), operation, vaOf(0))).toBe(bad(0x07, 2, true));
  });

  // H-9.3
  it.each(S12_FORMS)("%s gives the PA and both stages' attributes", (operation) => {
    stage1(here, { 0: USER });
    for (const [bits, attr, sh] of [
      [NORMAL, 0xff, 3],
      [S2.NC, 0x44, 2],
      [S2.DEVICE, 0x04, 2],
    ] as const) {
      stage2(here, { 0: bits | S2.RW | S2.AF });
      expect(par(cpu({ el: 2 }), operation, vaOf(0) + 8)).toBe(good(paOf(0), attr, sh));
    }
  });

  it.each([
    ["S12E1R", 0n, 0x07],
    ["S12E1R", RW & ~S2.AF, 0x0b],
    ["S12E1W", RO, 0x0f],
    ["S12E0R", RW & ~S2.R, 0x0f],
    ["S12E1R", RW | (1n << 42n), 0x03],
  ] as const)(
    "%s leaves a stage-2 fault with its level: leaf %s, FST %i",
    (operation, bits, fst) => {
      stage2(here, { 0: RW });
      stage1(here, { 0: USER });
      here.set(slotOf(0), bits === 0n ? 0n : leaf2(0, bits));
      expect(par(cpu({ el: 2 }), operation, vaOf(0))).toBe(bad(fst, 2));
      here.set(slotOf(0), 0n);
      here.set(slotOf(0) - 0x1000, 0n); // level 2
      expect(par(cpu({ el: 2 }), operation, vaOf(0))).toBe(bad(0x06, 2));
    },
  );

  it("S1E2 translates for EL2", () => {
    stage1(here, { 1: KERNEL | S1.READ_ONLY });
    here.set(slot1Of(0), BigInt(paOf(0)) | KERNEL | 3n);
    const registers = {
      ...{ sctlrEl2: SCTLR.M, ttbr0El2: BigInt(slot1Of(0) - 0x2000), mairEl2: 0x44n },
      tcrEl2: tcrEl2For({ name: "", granule: "4K", start: 1, bits: 39 }, 40),
    };
    const vcpu = cpu({ el: 2 }, registers);
    expect(par(vcpu, "S1E2R", vaOf(0) + 8)).toBe(good(paOf(0), 0x44, 2));
    expect(par(vcpu, "S1E2W", vaOf(1))).toBe(bad(0x0f, 1));
    expect(par(vcpu, "S1E2R", vaOf(2))).toBe(bad(0x07, 1));
    expect(vcpu.statistics.descriptorReads.stage2[3]).toBe(0);
  });

  // H-9.4
  it("makes no update; with K-11 those of the access", () => {
    const AGED = USER & ~S1.AF;
    const registers = guestRegisters("HA HD", { tcrEl1: GUEST_TCR | TCR_HA | TCR_HD });
    const make = (atUpdates: boolean) => here.vcpu({ registers, el: 2, atUpdates });
    const tables = [RO, RO, RW] as const;
    stage2(here, { 0: CLEAN & ~S2.AF });
    stage1(here, { 0: AGED | S1.READ_ONLY | S1.DBM }, tables);
    for (const form of S12_FORMS)
      expect(make(false).at(form, vaOf(0))).toMatchObject({ ok: true, pa: paOf(0) });
    expect(here.changes()).toEqual({});
    expect(make(true).at("S12E1R", vaOf(0))).toMatchObject({ ok: true });
    expect(here.changes()).toEqual({
      ...changed(slotOf(0), leaf2(0, CLEAN)),
      ...changed(slot1Of(0), leaf1(0, USER | S1.READ_ONLY | S1.DBM)),
    });
    expect(make(true).at("S12E0W", vaOf(0))).toMatchObject({ ok: true });
    expect(here.changes()).toEqual({
      ...changed(slotOf(0), leaf2(0, CLEAN | S2.W)),
      ...changed(slot1Of(0), leaf1(0, USER | S1.DBM)),
    });
  });

  it("needs no update where it makes none: an old page without HA is a fault, with HA it is not", () => {
    stage2(here, { 0: RW & ~S2.AF });
    stage1(here, { 0: USER });
    const vcpu = cpu({ el: 2 });
    expect(par(vcpu, "S12E1R", vaOf(0))).toBe(bad(0x0b, 2));
    vcpu.setRegisters({ vtcrEl2: vcpu.registers.vtcrEl2 | VTCR.HA });
    expect(par(vcpu, "S12E1R", vaOf(0))).toBe(good(paOf(0), 0xff, 3));
    expect(here.changes()).toEqual({});
  });

  // H-9.5
  it("with stage 1 off gives the address itself: Device, outer shareable", () => {
    stage2(here, { 0: RW });
    for (const form of S1_FORMS) {
      expect(par(cpu({ el: 1 }, { sctlrEl1: 0n }), form, 0x12_3456_7000)).toBe(
        good(0x12_3456_7000, 0, 2),
      );
    }
    expect(par(cpu({ el: 2 }, { sctlrEl1: 0n }), "S12E1R", ipaOf(0))).toBe(good(paOf(0), 0, 2));
    expect(par(cpu({ el: 1 }, { sctlrEl1: 0n }), "S1E1R", -0x1000)).toBe(bad(0x00, 1));
    const dc = { sctlrEl1: 0n, hcrEl2: HCR.RW | HCR.DC };
    expect(par(cpu({}, dc), "S1E1R", ipaOf(0))).toBe(good(ipaOf(0), 0xff, 0));
  });

  it("with stage 2 off gives the PA", () => {
    stage1(here, {});
    here.set(slot1Of(0), BigInt(paOf(0)) | USER | 3n);
    for (const form of S1_FORMS) {
      expect(par(cpu({}, { hcrEl2: HCR.RW }), form, vaOf(0))).toBe(good(paOf(0), 0xff, 3));
    }
    expect(par(cpu({ el: 2 }, { hcrEl2: HCR.RW }), "S12E1R", vaOf(0))).toBe(good(paOf(0), 0xff, 3));
  });

  it("takes an exception where the walk meets no memory, and leaves PAR_EL1", () => {
    for (const [operation, el] of [
      ["S1E1R", 1],
      ["S1E1W", 2],
      ["S12E1R", 2],
    ] as const) {
      const vcpu = cpu({ el }, { hcrEl2: HCR.RW, ttbr0El1: BigInt(HOLE) });
      const fault = vcpu.at(operation, 0x1000) as Fault;
      expect(fault).toMatchObject({
        type: "externalAbortOnWalk",
        level: 1,
        stage: 1,
        el,
        far: 0x1000n,
      });
      expect(decodeSyndrome(fault.esr)).toMatchObject({
        ec: 0x25,
        abort: { cacheMaintenance: true, write: true },
      });
      expect(vcpu.registers.parEl1).toBe(MARK);
    }
  });

  it("is no access: it leaves the last level, the TLB and the counts of hits alone", () => {
    stage2(here, { 0: RW });
    stage1(here, { 0: USER });
    const vcpu = cpu({ el: 2, tlb: { sets: 16, ways: 2 } });
    vcpu.at("S12E1R", vaOf(0));
    vcpu.at("S1E1R", vaOf(0));
    expect(vcpu.statistics.tlb).toMatchObject({ hits: 0, misses: 0, stage2Hits: 0 });
    vcpu.el = 1;
    vcpu.translate(vaOf(0), 1);
    expect(vcpu.statistics.tlb).toMatchObject({ hits: 0, misses: 1 });
  });
});
