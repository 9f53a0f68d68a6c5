/** EL2's own accesses: its registers, its tables, its pages; nothing of the guest's. */
import { describe, expect, it } from "vitest";
import { Access, Fault, type Registers, type Vcpu } from "../../src/index.ts";
import { MODES } from "../support.ts";
import { DATA, HCR, HOLE, RAM, SCTLR, changed, machine, stage2Registers } from "./machine.ts";
import { S1, S2, type Shape, chain, leaf, tcrEl2For, tcrFor, vtcrFor } from "./paging.ts";

const { Read, Write } = Access;
const SHAPE: Shape = { name: "", granule: "4K", start: 1, bits: 39 };
const TABLES = { root: RAM.pa, below: RAM.pa + 0x1_0000 };
const LAST = TABLES.below + 0x1_0000;

describe.each(MODES)("EL2 (%s)", (mode) => {
  const here = machine(mode);
  const REGISTERS: Partial<Registers> = {
    ...{ hcrEl2: HCR.RW, sctlrEl2: SCTLR.M, tcrEl2: tcrEl2For(SHAPE, 40), mairEl2: 0x00ffn },
    ttbr0El2: BigInt(TABLES.root),
  };
  const cpu = (more: Partial<Registers> = {}): Vcpu =>
    here.vcpu({ registers: { ...REGISTERS, ...more }, el: 2 });
  /** Maps page n at VA n * 4096 to page `pages[n]` of memory. */
  function map(pages: readonly number[], bits = S1.AF): void {
    pages.forEach((page, n) =>
      chain(here, SHAPE, TABLES, n * 0x1000, 3, leaf(3, DATA.pa + page * 0x1000, bits)),
    );
  }
  /** Guests of every kind, which are no matter of EL2's. */
  const GUESTS: [string, Partial<Registers>][] = [
    ["no guest", {}],
    ["a guest without stage 1", stage2Registers(vtcrFor({ ...SHAPE, bits: 40 }, 40), HOLE)],
    [
      "a guest of 64K pages",
      {
        ...stage2Registers(vtcrFor({ name: "", granule: "64K", start: 2, bits: 40 }, 40), HOLE),
        ...{
          sctlrEl1: SCTLR.M,
          tcrEl1: tcrFor({ name: "", granule: "64K", start: 2, bits: 42 }, 40),
          ttbr0El1: BigInt(HOLE),
        },
      },
    ],
  ];

  it.each(GUESTS)("translates through its own tables alone: %s", (_name, guest) => {
    map([3, 1]);
    const vcpu = cpu(guest);
    expect(vcpu.translate(0x234, Write)).toBe(DATA.pa + 0x3234);
    expect(vcpu.translate(0x1234, Read)).toBe(DATA.pa + 0x1234);
    expect(vcpu.translate(0x2234, Read)).toMatchObject({
      type: "translation",
      level: 3,
      stage: 1,
      el: 2,
    });
    expect(Object.values(vcpu.statistics.descriptorReads.stage2)).toEqual([0, 0, 0, 0, 0]);
    expect(vcpu.translate(-1, Read)).toMatchObject({ type: "translation", level: 0 }); // it has one half
  });

  it.each(GUESTS)("accesses over the end of a page go on in the next: %s", (_name, guest) => {
    map([3, 1]); // not neighbours in memory
    const vcpu = cpu(guest);
    here.put({
      [DATA.pa + 0x3ff8]: 0x1111_1111_2222_2222n,
      [DATA.pa + 0x4000]: 0x3333_3333n,
      [DATA.pa + 0x1000]: 0x4444_4444n,
    });
    expect(vcpu.read64(0xffc)).toBe(0x4444_4444_1111_1111n);
    expect(vcpu.write64(0xffc, 0x6666_6666_5555_5555n)).toBeUndefined();
    expect(here.changes()).toEqual({
      ...changed(DATA.pa + 0x3ff8, 0x5555_5555_2222_2222n),
      ...changed(DATA.pa + 0x1000, 0x6666_6666n),
    });
    expect(vcpu.read64(0x1ffc)).toMatchObject({ type: "translation", far: 0x2000n, el: 2 });
  });

  it("goes by SCTLR_EL2.A, not by SCTLR_EL1.A", () => {
    map([0]);
    const unaligned = (more: Partial<Registers>) => cpu(more).read32(2);
    expect(unaligned({})).toBe(0);
    expect(unaligned({ sctlrEl1: SCTLR.A })).toBe(0);
    expect(unaligned({ sctlrEl2: SCTLR.M | SCTLR.A })).toMatchObject({
      type: "alignment",
      fsc: 0x21,
      el: 2,
      stage: 1,
    });
    const guest = here.vcpu({
      registers: {
        ...REGISTERS,
        hcrEl2: HCR.RW,
        sctlrEl2: SCTLR.A,
        sctlrEl1: SCTLR.M,
        mairEl1: 0xffn,
        tcrEl1: tcrFor(SHAPE, 40),
        ttbr0El1: BigInt(TABLES.root),
      },
    });
    expect(guest.read32(2)).toBe(0);
  });

  it("has Device memory with stage 1 off, and where MAIR_EL2 says so", () => {
    map([0], S1.AF | S1.ATTR1);
    expect(cpu().read32(2)).toMatchObject({ type: "alignment", el: 2 });
    expect(cpu({ mairEl2: 0xffffn }).read32(2)).toBe(0);
    expect(cpu({ sctlrEl2: 0n }).read32(DATA.pa + 2)).toMatchObject({ type: "alignment", el: 2 });
    expect(cpu({ sctlrEl2: 0n }).read32(DATA.pa)).toBe(0);
    expect(cpu({ sctlrEl2: 0n }).translate(2 ** 52, Read)).toMatchObject({
      type: "addressSize",
      level: 0,
      el: 2,
    });
  });

  it("makes LDTR and STTR as loads and stores", () => {
    map([0]);
    const options = { unprivileged: true };
    expect(cpu().read32(8, options)).toBe(0);
    expect(cpu().write32(8, 0, options)).toBeUndefined();
    expect(cpu().translate(8, Read | Access.Unprivileged)).toBe(DATA.pa + 8);
  });

  it("ignores PSTATE.PAN, and AP[1]", () => {
    map([0], S1.AF | S1.USER);
    const vcpu = cpu();
    vcpu.pan = true;
    expect(vcpu.write32(8, 0)).toBeUndefined();
    expect(vcpu.fetch(8)).toBe(0);
  });

  it("has access flags and dirty state of its own (TCR_EL2.HA, HD)", () => {
    const [ha, hd] = [1n << 21n, 1n << 22n];
    const tcrEl2 = REGISTERS.tcrEl2 as bigint;
    const clean = S1.AF | S1.READ_ONLY | S1.DBM;
    map([0], clean & ~S1.AF);
    expect(cpu().read32(8)).toMatchObject({ type: "accessFlag", el: 2 });
    expect(cpu({ tcrEl1: 3n << 39n }).read32(8)).toMatchObject({ type: "accessFlag" });
    expect(cpu({ tcrEl2: tcrEl2 | ha }).read32(8)).toBe(0);
    expect(here.changes()).toEqual(changed(LAST, leaf(3, DATA.pa, clean)));
    expect(cpu({ tcrEl2: tcrEl2 | ha }).write32(8, 0)).toMatchObject({ type: "permission", el: 2 });
    expect(cpu({ tcrEl2: tcrEl2 | ha | hd }).write32(8, 0)).toBeUndefined();
    expect(here.changes()).toEqual(changed(LAST, leaf(3, DATA.pa, clean & ~S1.READ_ONLY)));
  });

  it("ignores the top byte with TCR_EL2.TBI", () => {
    map([0]);
    const tagged = 0x5a00_0000_0000_0008n;
    expect(cpu().translate(tagged, Read)).toMatchObject({ type: "translation", level: 0 });
    expect(
      cpu({ tcrEl2: (REGISTERS.tcrEl2 as bigint) | (1n << 20n) }).translate(tagged, Read),
    ).toBe(DATA.pa + 8);
  });

  it("keeps nothing of what a guest's TLB entries say, nor they of it", () => {
    map([0]);
    const two: Shape = { ...SHAPE, bits: 40 };
    const below = { root: RAM.pa + 0x10_0000, below: RAM.pa + 0x11_0000 };
    chain(here, two, below, 0, 3, leaf(3, DATA.pa + 0x5000, S2.NORMAL | S2.RW | S2.AF));
    const registers = { ...REGISTERS, ...stage2Registers(vtcrFor(two, 40), below.root) };
    const vcpu = here.vcpu({ registers, tlb: { sets: 16, ways: 2 } });
    for (let again = 0; again < 3; again++) {
      vcpu.el = 1;
      expect(vcpu.translate(8, Read)).toBe(DATA.pa + 0x5008);
      vcpu.el = 2;
      expect(vcpu.translate(8, Read)).toBe(DATA.pa + 8);
    }
    expect(vcpu.translate(8, Read)).not.toBeInstanceOf(Fault);
  });
});
