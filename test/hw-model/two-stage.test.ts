/** Both stages together: which descriptors a walk reads, sizes of leaves, what is reported to whom, stage 1 off. */
import { describe, expect, it } from "vitest";
import { Access, Fault, type Registers, type Vcpu } from "../../src/index.ts";
import { MODES } from "../support.ts";
import { guestWalkingAt } from "./fault-cases.ts";
import {
  CLEAN,
  GUEST_TCR,
  KERNEL,
  type Options,
  PAGE,
  RO,
  RW,
  TCR_HA,
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
import { DATA, HCR, RAM, SCTLR, VTCR, changed, machine, stage2Registers } from "./machine.ts";
import {
  S1,
  S2,
  type Level,
  type Shape,
  chain,
  entryShift,
  mapPage,
  leaf,
  tcrFor,
  vtcrFor,
} from "./paging.ts";

const GOOD = S2.NORMAL | S2.RW | S2.AF;
const TABLES2 = { root: RAM.pa, below: RAM.pa + 0x2_0000 };
const TABLES1 = { root: RAM.pa + 0x10_0000, below: RAM.pa + 0x11_0000 };
const NONE = { "-1": 0, 0: 0, 1: 0, 2: 0, 3: 0 };

describe.each(MODES)("a walk of both stages (%s)", (mode) => {
  const here = machine(mode);

  // H-8.1
  it.each([
    ["4 x 4 levels", 48, 0, 48, 0, 24],
    ["4 x 3 levels", 48, 0, 40, 1, 19],
    ["3 x 4 levels", 39, 1, 48, 0, 19],
    ["3 x 3 levels", 39, 1, 40, 1, 15],
    ["2 x 2 levels", 30, 2, 34, 2, 8],
    ["5 x 5 levels", 52, -1, 52, -1, 35],
  ] as [string, number, Level, number, Level, number][])(
    "reads so many descriptors: %s",
    (_name, bits1, start1, bits2, start2, reads) => {
      const one: Shape = {
        name: "",
        granule: "4K",
        start: start1,
        bits: bits1,
        wide: bits1 === 52,
      };
      const two: Shape = {
        name: "",
        granule: "4K",
        start: start2,
        bits: bits2,
        wide: bits2 === 52,
      };
      // The guest's tables at their own IPA in one 2 MiB region, by pages; its memory in another.
      const tables = [0, 1, 2, 3, 4, 5].map((n) => TABLES1.root + n * 0x1_0000);
      const page = DATA.pa + 0x3000;
      const own = { root: TABLES2.root, free: TABLES2.below };
      for (const pa of [...tables, page]) mapPage(here, two, own, pa, leaf(3, pa, GOOD));
      chain(here, one, TABLES1, 0x1234, 3, leaf(3, page, S1.AF));
      const registers = {
        ...stage2Registers(vtcrFor(two, 48), TABLES2.root),
        ...{
          sctlrEl1: SCTLR.M,
          tcrEl1: tcrFor(one, 48),
          ttbr0El1: BigInt(TABLES1.root),
          mairEl1: 0xffn,
        },
      };
      const vcpu = here.vcpu({ registers });
      expect(vcpu.translate(0x1234, Access.Read)).toBe(page + 0x234);
      const { stage1: first, stage2: second } = vcpu.statistics.descriptorReads;
      const [levels1, levels2] = [4 - start1, 4 - start2];
      const each = (from: number, count: number) => ({
        ...NONE,
        ...Object.fromEntries(
          [-1, 0, 1, 2, 3].filter((level) => level >= from).map((level) => [level, count]),
        ),
      });
      expect(first).toEqual(each(start1, 1));
      expect(second).toEqual(each(start2, levels1 + 1));
      expect(levels1 + (levels1 + 1) * levels2).toBe(reads);
      const { steps, outcome } = here.vcpu({ registers }).trace(0x1234, Access.Read);
      expect(steps).toHaveLength(reads);
      expect(outcome).toBe(page + 0x234);
      // Nothing is read twice that a TLB holds.
      const cached = here.vcpu({ registers, tlb: { sets: 64, ways: 4 } });
      cached.translate(0x1234, Access.Read);
      const total = () =>
        Object.values(cached.statistics.descriptorReads)
          .flatMap((each) => Object.values(each))
          .reduce((a, b) => a + b);
      const cold = total();
      expect(cold).toBeLessThanOrEqual(reads);
      cached.translate(0x1238, Access.Read);
      expect(total()).toBe(cold);
    },
  );

  // H-8.4
  const levels: Level[] = [1, 2, 3];
  it.each(levels.flatMap((one) => levels.map((two) => [one, two] as const)))(
    "with a stage-1 leaf at level %i and a stage-2 leaf at level %i goes as far as the smaller of them",
    (one, two) => {
      const shape: Shape = { name: "", granule: "4K", start: 1, bits: 40 };
      const own: Shape = { name: "", granule: "4K", start: 1, bits: 39 };
      const [size1, size2] = [2 ** entryShift("4K", one), 2 ** entryShift("4K", two)];
      // VA 64 GiB on -> IPA 128 GiB on -> PA 256 GiB on; the guest's tables at their IPA in a block.
      const [va, ipa, pa] = [0x10_0000_0000, 0x20_0000_0000, 0x40_0000_0000];
      here.set(TABLES2.root + 2 * 8, leaf(1, RAM.pa, GOOD));
      chain(here, own, TABLES1, va, one, leaf(one, ipa, S1.AF));
      chain(here, shape, TABLES2, ipa, two, leaf(two, pa, GOOD));
      const registers = {
        ...stage2Registers(vtcrFor(shape, 48), TABLES2.root),
        ...{
          sctlrEl1: SCTLR.M,
          tcrEl1: tcrFor(own, 48),
          ttbr0El1: BigInt(TABLES1.root),
          mairEl1: 0xffn,
        },
      };
      const smaller = Math.min(size1, size2);
      for (const tlb of [false, { sets: 64, ways: 4 }] as const) {
        const vcpu = here.vcpu({ registers, tlb });
        for (const offset of [0, 0xfff, smaller - 1, smaller / 2 + 0x123, 0]) {
          expect(vcpu.translate(va + offset, Access.Read), offset.toString(16)).toBe(pa + offset);
        }
        const beyond = vcpu.translate(va + smaller, Access.Read);
        if (size1 === size2)
          expect(beyond).toMatchObject({ type: "translation", level: one, stage: 1 });
        else if (size1 < size2)
          expect(beyond).toMatchObject({ type: "translation", level: one, stage: 1 });
        else
          expect(beyond).toMatchObject({
            type: "translation",
            level: two,
            stage: 2,
            ipa: ipa + smaller,
          });
        expect(vcpu.probe(va + 0x123, Access.Read)).toMatchObject({
          ...{ pa: pa + 0x123, ipa: ipa + 0x123 },
          ...{ stage1: { level: one, size: size1 }, stage2: { level: two, size: size2 } },
        });
      }
    },
  );

  const granules = ["4K", "16K", "64K"] as const;
  it.each(granules.flatMap((one) => granules.map((two) => [one, two] as const)))(
    "of %s pages over %s pages translates each piece of both",
    (one, two) => {
      const startOf = (granule: (typeof granules)[number]) => (granule === "4K" ? 1 : 2);
      const own: Shape = { name: "", granule: one, start: startOf(one), bits: 32 };
      const shape: Shape = { name: "", granule: two, start: startOf(two), bits: 36 };
      const [size1, size2] = [2 ** entryShift(one, 3), 2 ** entryShift(two, 3)];
      // Stage 1: the pages from VA 0 on backwards. Stage 2: its memory's halves exchanged, the guest's tables as they are.
      const bytes = DATA.size;
      const ipaFor = (va: number) => DATA.pa + bytes - size1 - (va - (va % size1)) + (va % size1);
      const paFor = (ipa: number) => DATA.pa + ((ipa - DATA.pa + bytes / 2) % bytes);
      const tables1 = { root: TABLES1.root, free: TABLES1.root + 0x1_0000 };
      const tables2 = { root: TABLES2.root, free: TABLES2.below };
      for (let va = 0; va < bytes; va += size1) {
        mapPage(here, own, tables1, va, leaf(3, ipaFor(va), S1.AF));
      }
      for (let ipa = DATA.pa; ipa < DATA.pa + bytes; ipa += size2) {
        mapPage(here, shape, tables2, ipa, leaf(3, paFor(ipa), GOOD));
      }
      for (let pa = TABLES1.root; pa < tables1.free; pa += size2) {
        mapPage(here, shape, tables2, pa, leaf(3, pa, GOOD));
      }
      const registers = {
        ...stage2Registers(vtcrFor(shape, 48), TABLES2.root),
        ...{
          sctlrEl1: SCTLR.M,
          tcrEl1: tcrFor(own, 48),
          ttbr0El1: BigInt(TABLES1.root),
          mairEl1: 0xffn,
        },
      };
      for (const tlb of [false, { sets: 16, ways: 2 }] as const) {
        const vcpu = here.vcpu({ registers, tlb });
        for (let va = 0x10; va < 2 * bytes; va += 0x1000) {
          const at = va % bytes; // everything twice
          expect(vcpu.translate(at, Access.Read), at.toString(16)).toBe(paFor(ipaFor(at)));
        }
        // Loads over the end of each piece.
        const smaller = Math.min(size1, size2);
        for (let va = smaller - 4; va < bytes - smaller; va += smaller) {
          here.set(paFor(ipaFor(va)) - 4, 0x1111_1111_0000_0000n);
          here.set(paFor(ipaFor(va + 4)), 0x2222_2222n);
          expect(vcpu.read64(va), va.toString(16)).toBe(0x2222_2222_1111_1111n);
          here.set(paFor(ipaFor(va)) - 4, 0n);
          here.set(paFor(ipaFor(va + 4)), 0n);
        }
      }
    },
  );

  const cpu = (registers: Partial<Registers> = {}, options: Options = {}): Vcpu =>
    here.vcpu({ registers: guestRegisters("none", registers), ...options });
  const expectFault = (result: unknown, fields: object): void => {
    expect(result).toBeInstanceOf(Fault);
    expect(result).toMatchObject(fields);
  };

  // H-8.2
  it.each([1, 2, 3] as const)(
    "reports a fault on the guest's table of level %i to EL2, with the table's IPA",
    (level) => {
      stage2(here, { 0: RW });
      stage1(here, { 0: KERNEL });
      here.set(tableSlotOf(level), 0n);
      for (const [access, ec, write] of [
        [Access.Read, 0x24n, false],
        [Access.Write, 0x24n, true],
        [Access.Fetch, 0x20n, false],
      ] as const) {
        const fault = cpu().translate(vaOf(0) + 0x123, access) as Fault;
        expectFault(fault, { type: "translation", stage: 2, level: 3, s1ptw: true, el: 2, write });
        const table = slot1Of(0) + (level - 3) * PAGE;
        expect(fault.ipa).toBe(table);
        expect(fault.hpfar).toBe(BigInt(Math.floor(table / PAGE)) << 4n);
        expect(fault.far).toBe(BigInt(vaOf(0) + 0x123));
        expect(fault.esr >> 26n).toBe(ec);
        expect((fault.esr >> 24n) & 1n, "ISV").toBe(0n);
      }
    },
  );

  // H-8.3
  it("reports a stage-1 fault to EL1 although stage 2 would fault on the address behind it", () => {
    stage2(here, {});
    stage1(here, { 0: KERNEL | S1.READ_ONLY, 1: KERNEL & ~S1.AF });
    expectFault(cpu().translate(vaOf(0), Access.Write), { type: "permission", stage: 1, el: 1 });
    expectFault(cpu().translate(vaOf(1), Access.Read), { type: "accessFlag", stage: 1, el: 1 });
    expectFault(cpu().translate(vaOf(2), Access.Read), { type: "translation", stage: 1, el: 1 });
    expectFault(cpu().translate(vaOf(0), Access.Read), { type: "translation", stage: 2, el: 2 });
  });

  // H-8.5
  it("without stage 1 takes the VA for the IPA", () => {
    stage2(here, { 0: RW | S2.XN });
    const off = cpu({ sctlrEl1: 0n });
    expect(off.translate(ipaOf(0) + 8, Access.Write)).toBe(paOf(0) + 8);
    expect(off.probe(ipaOf(0), Access.Read)).toMatchObject({
      stage1: undefined,
      attr: 0,
      memory: "Device-nGnRnE",
      sh: 2,
    });
    expectFault(off.read32(ipaOf(0) + 1), { type: "alignment", stage: 1 }); // Device
    for (const va of [2 ** 52, -1, -(2 ** 40), 2n ** 63n]) {
      expectFault(off.translate(va, Access.Read), {
        type: "addressSize",
        level: 0,
        stage: 1,
        el: 1,
      });
    }
    const dc = cpu({ sctlrEl1: SCTLR.M, hcrEl2: HCR.RW | HCR.DC }); // stage 1 counts as off, stage 2 as on
    expect(dc.probe(ipaOf(0), Access.Read)).toMatchObject({
      pa: paOf(0),
      stage1: undefined,
      attr: 0xff,
    });
    expect(dc.read32(ipaOf(0) + 1)).toBe(0);
    expectFault(dc.translate(ipaOf(1), Access.Read), { type: "translation", stage: 2 });
  });

  // H-4.1
  it("without stage 2 takes the IPA for the PA", () => {
    stage1(here, {});
    here.set(slot1Of(0), leaf(3, paOf(0), KERNEL));
    const vcpu = cpu({ hcrEl2: HCR.RW, vtcrEl2: 0n });
    expect(vcpu.translate(vaOf(0) + 8, Access.Write)).toBe(paOf(0) + 8);
    expect(vcpu.probe(vaOf(0), Access.Read)).toMatchObject({ stage2: undefined, ipa: paOf(0) });
    expect(vcpu.statistics.descriptorReads.stage2).toEqual(NONE);
    const bare = cpu({ hcrEl2: HCR.RW, sctlrEl1: 0n });
    expect(bare.translate(0x1234_5678, Access.Fetch)).toBe(0x1234_5678);
  });

  // H-8.6
  it("at the worst takes three faults in a guest that has just begun", () => {
    stage2(here, {});
    stage1(here, { 0: KERNEL & ~S1.AF });
    here.set(tableSlotOf(3), 0n);
    const vcpu = cpu({ tcrEl1: GUEST_TCR | TCR_HA }, { tlb: { sets: 16, ways: 2 } });
    const write = () => vcpu.write32(vaOf(0), 7) as Fault;
    const table = slot1Of(0);
    // (1) The page of the table is not there; it is read: mapped read-only.
    expectFault(write(), { type: "translation", s1ptw: true, ipa: table, el: 2 });
    here.set(tableSlotOf(3), tableLeaf2(3, RO));
    // (2) The access flag of stage 1 is a write to it.
    expectFault(write(), { type: "permission", s1ptw: true, ipa: table, el: 2 });
    here.set(tableSlotOf(3), tableLeaf2(3, RW));
    vcpu.tlbi("IPAS2E1", { address: table });
    // (3) The data.
    expectFault(write(), { type: "translation", s1ptw: false, ipa: ipaOf(0), write: true });
    expect(here.changes()).toEqual(changed(table, leaf1(0, KERNEL)));
    here.set(slotOf(0), leaf2(0, RW));
    expect(write()).toBeUndefined();
    expect(here.changes()).toEqual(changed(paOf(0), 7n));
    expect(vcpu.statistics.faults).toBe(3);
  });

  it("reads stage-1 tables that may only be read; and not those that may not", () => {
    stage2(here, { 0: RW });
    const { va, registers } = guestWalkingAt(slot1Of(0) - 2 * PAGE);
    expect(va).toBe(0x1234); // the first entry of the level-1 table
    stage1(here, { 1: KERNEL });
    here.set(slot1Of(1), leaf1(0, KERNEL));
    expect(cpu(registers).translate(va, Access.Write)).toBe(paOf(0) + 0x234);
    stage1(here, {}, [RW & ~S2.R, RO, RO]);
    expectFault(cpu(registers).translate(va, Access.Read), { type: "permission", s1ptw: true });
    stage1(here, {}, [RO | S2.XN, RO, RO]); // never executed
    expect(cpu(registers).translate(va, Access.Fetch)).toBe(paOf(0) + 0x234);
  });

  it("needs VTCR_EL2.HA for tables whose page is old, whatever TCR_EL1 says", () => {
    stage2(here, { 0: RW });
    stage1(here, { 0: KERNEL }, [RO, RO & ~S2.AF, RO]);
    const vcpu = cpu({ tcrEl1: GUEST_TCR | TCR_HA });
    expectFault(vcpu.translate(vaOf(0), Access.Read), {
      type: "accessFlag",
      s1ptw: true,
      level: 3,
    });
    vcpu.setRegisters({ vtcrEl2: vcpu.registers.vtcrEl2 | VTCR.HA });
    expect(vcpu.translate(vaOf(0), Access.Read)).toBe(paOf(0));
    expect(here.changes()).toEqual(changed(tableSlotOf(2), tableLeaf2(2, RO)));
  });

  it("never makes a page dirty for a write that stage 1 refuses", () => {
    stage2(here, { 0: CLEAN });
    stage1(here, { 0: KERNEL | S1.READ_ONLY });
    const vcpu = cpu();
    vcpu.setRegisters({ vtcrEl2: vcpu.registers.vtcrEl2 | VTCR.HA | VTCR.HD });
    expectFault(vcpu.write32(vaOf(0), 1), { type: "permission", stage: 1 });
    expect(here.changes()).toEqual({});
  });
});
