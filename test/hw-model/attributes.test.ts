/** Memory attributes of both stages together: types, cacheability, shareability; with forced write-back and without. */
import { describe, expect, it } from "vitest";
import { Access, type Probe, type Registers } from "../../src/index.ts";
import { MODES } from "../support.ts";
import {
  GUEST_TCR,
  RO,
  VTCR_40,
  flatRegisters,
  guestRegisters,
  ipaOf,
  paOf,
  stage1,
  stage2,
  vaOf,
} from "./guest.ts";
import { HCR, machine } from "./machine.ts";
import { S1, S2, type Shape, chain, leaf, tcrFor, vtcrFor } from "./paging.ts";

const hex = (text: string) => Number.parseInt(text, 16);
const rows = (text: string) =>
  text
    .trim()
    .split("\n")
    .map((line) => line.trim().split(/ +/));

/**
 * Stage 1 (MAIR byte) down, stage 2 (MemAttr) across. nGRE and GRE with a non-cacheable inner half is left out: the
 * recorded CPU makes that a stronger Device than need be, and so do we.
 */
const PLAIN = rows(`
  -    0000 0001 0010 0011 0101 0110 0111 1001 1010 1011 1101 1110 1111
  00   00   00   00   00   00   00   00   00   00   00   00   00   00
  04   00   04   04   04   04   04   04   04   04   04   04   04   04
  08   00   04   08   08   .    08   08   .    08   08   .    08   08
  0c   00   04   08   0c   .    0c   0c   .    0c   0c   .    0c   0c
  44   00   04   .    .    44   44   44   44   44   44   44   44   44
  bb   00   04   08   0c   44   4b   4b   b4   bb   bb   b4   bb   bb
  ff   00   04   08   0c   44   4b   4f   b4   bb   bf   f4   fb   ff
  ee   00   04   08   0c   44   4a   4e   a4   aa   ae   e4   ea   ee
  f4   00   04   .    .    44   44   44   b4   b4   b4   f4   f4   f4
  4f   00   04   08   0c   44   4b   4f   44   4b   4f   44   4b   4f
`);

/** With forced write-back: Device of that type; 101 non-cacheable unless stage 1 is Device; 110 write-back; 111 stage 1. */
const FORCED = rows(`
  -    0000 0001 0010 0011 0101 0110 0111
  00   00   04   08   0c   00   ff   00
  04   00   04   08   0c   04   ff   04
  0c   00   04   08   0c   0c   ff   0c
  44   00   04   08   0c   44   ff   44
  ff   00   04   08   0c   44   ff   ff
  bb   00   04   08   0c   44   ff   bb
`);

/** Shareability of write-back memory: stage 1, stage 2, both (0 none, 2 outer, 3 inner; 1 is reserved, K-2: none). */
const SHAREABILITY = rows(`
  - 0 1 2 3
  0 0 0 2 3
  1 0 0 2 3
  2 2 2 2 2
  3 3 3 2 3
`);

describe.each(MODES)("memory attributes (%s)", (mode) => {
  const here = machine(mode);

  /** What a leaf of stage 1 with this MAIR byte and SH gives under these bits of stage 2. */
  function combined(
    attr1: number,
    memAttr: number,
    registers: Partial<Registers> = {},
    [sh1, sh2] = [0, 0],
  ): Probe {
    stage2(here, { 0: (BigInt(memAttr) << 2n) | (BigInt(sh2) << 8n) | S2.RW | S2.AF });
    stage1(here, { 0: S1.AF | S1.ATTR1 | (BigInt(sh1) << 8n) });
    const all = guestRegisters("none", { mairEl1: BigInt(attr1) << 8n, ...registers });
    const vcpu = here.vcpu({ registers: all });
    const probe = vcpu.probe(vaOf(0), Access.Read) as Probe;
    // AT says the same.
    vcpu.el = 2;
    expect(vcpu.at("S12E1R", vaOf(0))).toMatchObject({ ok: true, attr: probe.attr, sh: probe.sh });
    vcpu.dispose();
    return probe;
  }

  const cells = ([header, ...lines]: string[][]) =>
    lines
      .flatMap(([row, ...values]) =>
        values.map(
          (value, column) => [row as string, header![column + 1] as string, value] as const,
        ),
      )
      .filter(([, , value]) => value !== ".");

  it("of both stages: the stronger Device, the weaker cacheability, the hints of stage 1", () => {
    for (const [attr1, memAttr, expected] of cells(PLAIN)) {
      const { attr } = combined(hex(attr1), Number.parseInt(memAttr, 2));
      expect(attr.toString(16).padStart(2, "0"), `${attr1} under ${memAttr}`).toBe(expected);
    }
  });

  it("with HCR_EL2.FWB are stage 2's", () => {
    const hcrEl2 = HCR.RW | HCR.VM | HCR.FWB;
    for (const [attr1, memAttr, expected] of cells(FORCED)) {
      const { attr } = combined(hex(attr1), Number.parseInt(memAttr, 2), { hcrEl2 });
      // Where write-back is forced on Normal memory, its allocation hints may be stage 1's.
      const cacheable = attr | (memAttr === "0110" ? 0x33 : 0);
      expect(cacheable.toString(16).padStart(2, "0"), `${attr1} under ${memAttr}`).toBe(expected);
    }
  });

  it("with HCR_EL2.FWB on a CPU without the feature are as without", () => {
    const { idAa64mmfr2El1 } = here.vcpu({}).registers;
    const registers = {
      hcrEl2: HCR.RW | HCR.VM | HCR.FWB,
      idAa64mmfr2El1: idAa64mmfr2El1 & ~(0xfn << 40n),
    };
    expect(combined(0xff, 0b1111, registers).attr).toBe(0xff);
    expect(combined(0x44, 0b0101, registers).attr).toBe(0x44);
  });

  it("are shared as widely as either stage says", () => {
    for (const [sh1, sh2, expected] of cells(SHAREABILITY)) {
      const { sh } = combined(0xff, 0b1111, {}, [Number(sh1), Number(sh2)]);
      expect(sh, `${sh1} and ${sh2}`).toBe(Number(expected));
    }
  });

  it("of Device and non-cacheable memory are outer shareable", () => {
    for (const [attr1, memAttr] of [
      [0xff, 0b0001],
      [0x04, 0b1111],
      [0xff, 0b0101],
      [0x44, 0b1111],
    ] as const) {
      for (const sh of [0, 3]) expect(combined(attr1, memAttr, {}, [sh, sh]).sh).toBe(2);
    }
  });

  it("of wide descriptors have their shareability in VTCR_EL2.SH0", () => {
    const shape: Shape = { name: "", granule: "4K", start: 0, bits: 48, wide: true };
    const tables = { root: 0x8000_0000, below: 0x8001_0000 };
    chain(here, shape, tables, 0x1000, 3, leaf(3, paOf(0), S2.NORMAL | S2.RW | S2.AF));
    const vtcr = vtcrFor(shape, 48) & ~(3n << 12n);
    for (const sh of [0, 2, 3]) {
      const registers = flatRegisters("none", {
        vtcrEl2: vtcr | (BigInt(sh) << 12n),
        vttbrEl2: 0x8000_0000n,
      });
      expect(here.vcpu({ registers }).probe(0x1000, Access.Read)).toMatchObject({
        sh,
        pa: paOf(0),
      });
    }
  });

  it("of wide stage-1 descriptors have it in TCR_EL1", () => {
    const shape: Shape = { name: "", granule: "4K", start: 0, bits: 48, wide: true };
    const tables = { root: 0x8000_0000, below: 0x8001_0000 };
    chain(here, shape, tables, 0x1000, 3, leaf(3, paOf(0), S1.AF));
    const tcr = tcrFor(shape, 48) & ~((3n << 12n) | (3n << 28n));
    for (const sh of [0, 2, 3]) {
      const tcrEl1 = tcr | (BigInt(sh) << 12n) | (BigInt(sh ^ 1) << 28n);
      const registers = {
        hcrEl2: HCR.RW,
        sctlrEl1: 1n,
        tcrEl1,
        ttbr0El1: 0x8000_0000n,
        mairEl1: 0xffn,
      };
      expect(here.vcpu({ registers }).probe(0x1000, Access.Read)).toMatchObject({
        sh,
        pa: paOf(0),
      });
    }
  });

  it("with HCR_EL2.CD are non-cacheable", () => {
    const hcrEl2 = HCR.RW | HCR.VM | HCR.CD;
    expect(combined(0xff, 0b1111, { hcrEl2 })).toMatchObject({ attr: 0x44, sh: 2 });
    expect(combined(0x04, 0b1111, { hcrEl2 })).toMatchObject({ attr: 0x04 });
  });

  it("with stage 1 off are Device-nGnRnE, or with HCR_EL2.DC write-back", () => {
    stage2(here, { 0: (RO & ~S2.ISH) | S2.RW });
    const off = (hcr: bigint) =>
      here.vcpu({
        registers: flatRegisters("none", {
          hcrEl2: HCR.RW | HCR.VM | hcr,
          tcrEl1: GUEST_TCR,
          vtcrEl2: VTCR_40,
        }),
      });
    expect(off(0n).probe(ipaOf(0), Access.Read)).toMatchObject({ attr: 0, sh: 2 });
    expect(off(HCR.DC).probe(ipaOf(0), Access.Read)).toMatchObject({ attr: 0xff, sh: 0 });
  });

  it("without stage 2 are stage 1's", () => {
    stage1(here, {});
    const root = BigInt(guestRegisters("none").ttbr0El1 as bigint);
    for (const [attr, sh, expected] of [
      [0xff, 3, 3],
      [0xff, 0, 0],
      [0x44, 3, 2],
      [0x08, 3, 2],
      [0xbb, 2, 2],
    ] as const) {
      here.set(Number(root) + 0x2000, leaf(3, paOf(0), S1.AF | S1.ATTR1 | (BigInt(sh) << 8n)));
      const registers = guestRegisters("none", { hcrEl2: HCR.RW, mairEl1: BigInt(attr) << 8n });
      expect(here.vcpu({ registers }).probe(0, Access.Read)).toMatchObject({ attr, sh: expected });
    }
  });

  it("of all eight places in MAIR_EL1 are found by AttrIndx", () => {
    const bytes = [0x00, 0x04, 0x08, 0x0c, 0x44, 0xbb, 0xee, 0xff];
    const mairEl1 = bytes.reduce((mair, byte, i) => mair | (BigInt(byte) << BigInt(8 * i)), 0n);
    stage2(here, Object.fromEntries(bytes.map((_, n) => [n, (RO & ~S2.ISH) | S2.RW])));
    stage1(here, Object.fromEntries(bytes.map((_, n) => [n, S1.AF | (BigInt(n) << 2n)])));
    const vcpu = here.vcpu({ registers: guestRegisters("none", { mairEl1 }) });
    const found = bytes.map((_, n) => (vcpu.probe(vaOf(n), Access.Read) as Probe).attr);
    expect(found).toEqual(bytes);
  });
});
