/** What TCR_EL1 and the TTBRs say of stage 1: two halves, addresses of 64 bits, tags, halves that are closed, ASIDs. */
import { describe, expect, it } from "vitest";
import { Access, Fault, type Registers, type Vcpu } from "../../src/index.ts";
import { MODES } from "../support.ts";
import {
  GUEST_TCR,
  KERNEL,
  type Options,
  PAGE,
  RW,
  USER,
  guestRegisters,
  leaf1,
  paOf,
  slot1Of,
  stage1,
  stage2,
} from "./guest.ts";
import { DATA, HCR, RAM, SCTLR, machine } from "./machine.ts";
import { S1, type Shape, chain, leaf, tcrFor } from "./paging.ts";

const TLB = { sets: 16, ways: 2 };
const HALF = 2 ** 39;
const E0PD0 = 1n << 55n;
const E0PD1 = 1n << 56n;
const EPD0 = 1n << 7n;
const EPD1 = 1n << 23n;
const TBI0 = 1n << 37n;
const TBI1 = 1n << 38n;

describe.each(MODES)("stage 1 (%s)", (mode) => {
  const here = machine(mode);
  const cpu = (registers: Partial<Registers> = {}, options: Options = {}): Vcpu =>
    here.vcpu({ registers: guestRegisters("none", registers), ...options });
  const expectFault = (result: unknown, fields: object): void => {
    expect(result).toBeInstanceOf(Fault);
    expect(result).toMatchObject(fields);
  };
  const outside = { type: "translation", level: 0, stage: 1, el: 1 };

  it.each([false, TLB] as const)("has two halves of addresses, of up to 64 bits: TLB %o", (tlb) => {
    stage2(here, { 0: RW, 3: RW });
    stage1(here, { 0: USER, 3: KERNEL });
    const vcpu = cpu({}, { tlb });
    for (let again = 0; again < 2; again++) {
      expect(vcpu.translate(0x10, Access.Read)).toBe(paOf(0) + 0x10);
      for (const va of [-HALF + 0x3010, 0xffff_ff80_0000_3010n, -(2n ** 39n) + 0x3010n]) {
        expect(vcpu.translate(va, Access.Read), String(va)).toBe(paOf(3) + 0x10);
      }
      for (const va of [0x3010, 0x3010n])
        expect(vcpu.translate(va, Access.Write)).toBe(paOf(3) + 0x10);
      for (const va of [HALF, -HALF - 1, 2 ** 53, 2n ** 55n, 2n ** 63n, 0xfeff_ff80_0000_3010n]) {
        const fault = vcpu.translate(va, Access.Read);
        expectFault(fault, { ...outside, far: BigInt.asUintN(64, BigInt(va)) });
      }
      expectFault(vcpu.translate(-PAGE, Access.Read), {
        type: "translation",
        level: 1,
        far: 2n ** 64n - 0x1000n,
      });
    }
  });

  it("has halves of different sizes and granules, of their own tables", () => {
    const low: Shape = { name: "", granule: "4K", start: 1, bits: 36 };
    const high: Shape = { name: "", granule: "16K", start: 1, bits: 47 };
    const roots = [RAM.pa, RAM.pa + 0x8_0000];
    const tables = (root: number) => ({ root, below: root + 0x1_0000 });
    chain(here, low, tables(RAM.pa), 0x1000, 3, leaf(3, DATA.pa + 0x1000, S1.AF));
    chain(here, high, tables(RAM.pa + 0x8_0000), 0x4000, 3, leaf(3, DATA.pa + 0x8000, S1.AF));
    const [t0, t1] = [tcrFor(low, 40) & 0xffffn, tcrFor(high, 40) & ~0xffffn];
    const registers = {
      ...{ hcrEl2: HCR.RW, sctlrEl1: SCTLR.M, tcrEl1: t0 | t1, mairEl1: 0xffn },
      ...{ ttbr0El1: BigInt(roots[0]!), ttbr1El1: BigInt(roots[1]!) },
    };
    const vcpu = here.vcpu({ registers, tlb: TLB });
    for (let again = 0; again < 2; again++) {
      expect(vcpu.translate(0x1234, Access.Read)).toBe(DATA.pa + 0x1234);
      expect(vcpu.translate(-(2 ** 47) + 0x7ffc, Access.Read)).toBe(DATA.pa + 0xbffc);
      expectFault(vcpu.translate(2 ** 36, Access.Read), outside);
      expectFault(vcpu.translate(-(2 ** 47) - 4, Access.Read), outside);
    }
    const [first, second] = [
      vcpu.probe(0x1234, Access.Read),
      vcpu.probe(-(2 ** 47) + 0x7ffc, Access.Read),
    ];
    expect([first, second]).toMatchObject([
      { stage1: { size: 0x1000 } },
      { stage1: { size: 0x4000 } },
    ]);
  });

  it("reaches the last byte of the address space", () => {
    stage2(here, { 0: RW });
    stage1(here, {});
    // All ones down to the page: the last entries of the tables.
    const [one, two, three] = [511, 511, 511].map(
      (index, level) => slot1Of(0) - (2 - level) * PAGE + index * 8,
    );
    here.put({
      [one!]: BigInt(slot1Of(0) - PAGE) | 3n,
      [two!]: BigInt(slot1Of(0)) | 3n,
      [three!]: leaf1(0, KERNEL),
    });
    for (const va of [-1, -1n, 2n ** 64n - 1n]) {
      expect(cpu().translate(va, Access.Read)).toBe(paOf(0) + PAGE - 1);
    }
    expect(cpu().read64(-8)).toBe(0n);
    expectFault(cpu().translate(0, Access.Read), { type: "translation", level: 3 });
  });

  it.each([
    ["EPD0", EPD0, 1, true, false],
    ["EPD1", EPD1, 1, false, true],
    ["EPD0, EL0", EPD0, 0, true, false],
    ["E0PD0 at EL1", E0PD0, 1, false, false],
    ["E0PD0 at EL0", E0PD0, 0, true, false],
    ["E0PD1 at EL0", E0PD1, 0, false, true],
    ["neither", 0n, 0, false, false],
  ] as const)("closes halves: %s", (_name, bit, el, low, high) => {
    stage2(here, { 0: RW });
    stage1(here, { 0: USER });
    const vcpu = cpu({ tcrEl1: GUEST_TCR | bit }, { el });
    vcpu.setRegisters({ idAa64mmfr2El1: vcpu.registers.idAa64mmfr2El1 | (1n << 60n) });
    for (const [va, closed] of [
      [0, low],
      [-HALF, high],
    ] as const) {
      const result = vcpu.translate(va, Access.Read);
      if (closed) expectFault(result, outside);
      else expect(result).toBe(paOf(0));
    }
    expect(vcpu.statistics.descriptorReads.stage1[1]).toBe(Number(!low) + Number(!high));
  });

  it("closes halves to loads and stores as EL0 with E0PD, and not at all without the feature", () => {
    stage2(here, { 0: RW });
    stage1(here, { 0: USER });
    const vcpu = cpu({ tcrEl1: GUEST_TCR | E0PD0 });
    expect(vcpu.translate(0, Access.Read | Access.Unprivileged)).toBe(paOf(0));
    vcpu.setRegisters({ idAa64mmfr2El1: vcpu.registers.idAa64mmfr2El1 | (1n << 60n) });
    expectFault(vcpu.translate(0, Access.Read | Access.Unprivileged), outside);
    expectFault(vcpu.read32(0, { unprivileged: true }), outside);
    expect(vcpu.read32(0)).toBe(0);
  });

  it.each([false, TLB] as const)("ignores the top byte if told so: TLB %o", (tlb) => {
    stage2(here, { 0: RW, 1: RW });
    stage1(here, { 0: KERNEL, 1: KERNEL & ~S1.AF });
    const tagged = (va: bigint, tag: bigint) => BigInt.asUintN(56, va) | (tag << 56n);
    const high = BigInt.asUintN(64, BigInt(-HALF));
    for (const [bits, lowTag, highTag] of [
      [0n, false, false],
      [TBI0, true, false],
      [TBI1, false, true],
      [TBI0 | TBI1, true, true],
    ] as const) {
      const vcpu = cpu({ tcrEl1: GUEST_TCR | bits }, { tlb });
      for (let again = 0; again < 2; again++) {
        for (const tag of [0x01n, 0x5an, 0x80n, 0xffn]) {
          const low = vcpu.translate(tagged(0x10n, tag), Access.Read);
          if (lowTag) expect(low).toBe(paOf(0) + 0x10);
          else expectFault(low, { ...outside, far: tagged(0x10n, tag) });
        }
        for (const tag of [0x00n, 0x5an, 0x7fn]) {
          const up = vcpu.translate(tagged(high + 0x10n, tag), Access.Read);
          if (highTag) expect(up).toBe(paOf(0) + 0x10);
          else expectFault(up, { ...outside, far: tagged(high + 0x10n, tag) });
        }
        expect(vcpu.translate(0x10, Access.Read)).toBe(paOf(0) + 0x10);
        expect(vcpu.translate(-HALF + 0x10, Access.Read)).toBe(paOf(0) + 0x10);
      }
      // FAR keeps the tag.
      const va = tagged(0x1010n, 0x77n);
      if (lowTag) expectFault(vcpu.translate(va, Access.Read), { type: "accessFlag", far: va });
    }
  });

  describe("and its TLB entries", () => {
    /** TTBR0_EL1 with an ASID. */
    const asid = (id: bigint) => ({
      ttbr0El1: (guestRegisters("none").ttbr0El1 as bigint) | (id << 48n),
    });
    const AS = 1n << 36n;
    const A1 = 1n << 22n;

    /** Maps page 0 by `bits`, uses it, and moves it to page 1 with no invalidation. What the same CPU then sees after `change`. */
    function seenAfter(
      bits: bigint,
      change: (vcpu: Vcpu) => void,
      registers: Partial<Registers> = {},
    ): number {
      stage2(here, { 0: RW, 1: RW });
      stage1(here, { 0: bits });
      const vcpu = cpu({ tcrEl1: GUEST_TCR | AS, ...asid(5n), ...registers }, { tlb: TLB });
      expect(vcpu.translate(0, Access.Read)).toBe(paOf(0));
      here.set(slot1Of(0), leaf1(1, bits));
      expect(vcpu.translate(0, Access.Read), "the old entry").toBe(paOf(0));
      change(vcpu);
      return vcpu.translate(0, Access.Read) as number;
    }
    const OWN = KERNEL | S1.NOT_GLOBAL;
    const [STALE, FRESH] = [paOf(0), paOf(1)];

    // H-10.9
    it("are those of its ASID, or of all", () => {
      expect(seenAfter(OWN, (vcpu) => vcpu.setRegisters(asid(6n)))).toBe(FRESH);
      expect(seenAfter(OWN, (vcpu) => vcpu.setRegisters(asid(5n)))).toBe(STALE);
      expect(seenAfter(KERNEL, (vcpu) => vcpu.setRegisters(asid(6n)))).toBe(STALE);
      const back = (vcpu: Vcpu) => {
        vcpu.setRegisters(asid(6n));
        expect(vcpu.translate(0, Access.Read)).toBe(FRESH);
        vcpu.setRegisters(asid(5n));
      };
      expect(seenAfter(OWN, back)).toBe(STALE);
    });

    it("have ASIDs of 16 bits, or of 8", () => {
      const to = (vcpu: Vcpu) => vcpu.setRegisters(asid(0x105n));
      expect(seenAfter(OWN, to)).toBe(FRESH);
      expect(seenAfter(OWN, to, { tcrEl1: GUEST_TCR })).toBe(STALE);
    });

    it("take the ASID from TTBR1_EL1 if TCR_EL1.A1", () => {
      const tcrEl1 = GUEST_TCR | AS | A1;
      expect(seenAfter(OWN, (vcpu) => vcpu.setRegisters(asid(6n)), { tcrEl1 })).toBe(STALE);
      const ttbr1El1 = (guestRegisters("none").ttbr1El1 as bigint) | (9n << 48n);
      expect(seenAfter(OWN, (vcpu) => vcpu.setRegisters({ ttbr1El1 }), { tcrEl1 })).toBe(FRESH);
    });

    // H-10.8
    it("are those of its VMID, of 16 bits or of 8", () => {
      const vmid = (id: bigint) => (vcpu: Vcpu) =>
        vcpu.setRegisters({ vttbrEl2: (guestRegisters("none").vttbrEl2 as bigint) | (id << 48n) });
      expect(seenAfter(KERNEL, vmid(1n))).toBe(FRESH);
      expect(seenAfter(KERNEL, vmid(0n))).toBe(STALE);
      expect(seenAfter(KERNEL, vmid(0x100n))).toBe(FRESH);
      const vtcrEl2 = (guestRegisters("none").vtcrEl2 as bigint) & ~(1n << 19n); // VS
      expect(seenAfter(KERNEL, vmid(0x100n), { vtcrEl2 })).toBe(STALE);
      expect(seenAfter(KERNEL, vmid(0x101n), { vtcrEl2 })).toBe(FRESH);
    });

    it.each([
      ["VAE1", { address: 0, asid: 5 }, true],
      ["VAE1", { address: 0, asid: 6 }, false],
      ["VAE1", { address: PAGE, asid: 5 }, false],
      ["VALE1", { address: 0, asid: 5 }, true],
      ["VAAE1", { address: 0 }, true],
      ["VAAE1", { address: PAGE }, false],
      ["ASIDE1", { asid: 5 }, true],
      ["ASIDE1", { asid: 6 }, false],
      ["VMALLE1", {}, true],
      ["VMALLS12E1", {}, true],
      ["ALLE1", {}, true],
      ["RVAE1", { address: 0, pages: 1, asid: 5 }, true],
      ["RVAE1", { address: PAGE, pages: 4, asid: 5 }, false],
      ["IPAS2E1", { address: 0x80_0000_0000 }, false],
    ] as const)("go by TLBI %s %o: %s", (operation, request, gone) => {
      const seen = seenAfter(OWN, (vcpu) => vcpu.tlbi(operation, request));
      expect(seen).toBe(gone ? FRESH : STALE);
    });

    it("are of one level with the tables that they were found through", () => {
      // A table changed under a cached entry: legal until the invalidation.
      stage2(here, { 0: RW, 1: RW });
      stage1(here, { 0: OWN });
      const vcpu = cpu({}, { tlb: TLB });
      expect(vcpu.translate(0, Access.Read)).toBe(paOf(0));
      here.set(slot1Of(0) - PAGE, 0n); // level 2
      expect(vcpu.translate(0, Access.Read)).toBe(paOf(0));
      vcpu.tlbi("VAE1", { address: 0, asid: 0 });
      expectFault(vcpu.translate(0, Access.Read), { type: "translation", level: 2 });
    });
  });
});
