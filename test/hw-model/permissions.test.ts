/** Who may do what: stage 1, stage 2, and both; with PAN, WXN, hierarchical bits, FEAT_XNX on and off. */
import { describe, expect, it } from "vitest";
import { Access, type Fault, type Registers, type Vcpu } from "../../src/index.ts";
import { MODES } from "../support.ts";
import {
  GUEST_TCR,
  KERNEL,
  NORMAL,
  type Options,
  PAGE,
  RO,
  RW,
  UPPER1,
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
import { HCR, SCTLR, machine } from "./machine.ts";
import { S1, S2, tcrEl2For } from "./paging.ts";

const KINDS = [
  ["r", Access.Read],
  ["w", Access.Write],
  ["x", Access.Fetch],
] as const;
const FETCHLESS = "-";

/** What an address allows, as "rwx". */
function rights(vcpu: Vcpu, va: number, modifier = 0): string {
  const letters = KINDS.map(([letter, access]) => {
    if (modifier !== 0 && access === Access.Fetch) return FETCHLESS;
    const result = vcpu.translate(va, access | modifier);
    if (typeof result !== "number") expect(result).toMatchObject({ type: "permission", level: 3 });
    return typeof result === "number" ? letter : "-";
  });
  const { allowed } = (modifier === 0 ? probeOf(vcpu, va) : undefined) ?? {};
  if (allowed !== undefined) {
    const { read, write, execute } = allowed;
    expect([read, write, execute]).toEqual(letters.map((letter) => letter !== "-"));
  }
  return letters.join("");
}

/** A probe that works, if there is one. */
function probeOf(vcpu: Vcpu, va: number) {
  const probes = KINDS.map(([, access]) => vcpu.probe(va, access));
  return probes.find((probe) => "allowed" in probe);
}

/** AP[2:1], UXN, PXN; EL1, EL0; the same with WXN; EL1 with PAN. */
const STAGE1 = `
00 0 0  rwx --x  rw- --x  rwx
00 0 1  rw- --x  rw- --x  rw-
00 1 0  rwx ---  rw- ---  rwx
00 1 1  rw- ---  rw- ---  rw-
01 0 0  rw- rwx  rw- rw-  ---
01 0 1  rw- rwx  rw- rw-  ---
01 1 0  rw- rw-  rw- rw-  ---
01 1 1  rw- rw-  rw- rw-  ---
10 0 0  r-x --x  r-x --x  r-x
10 0 1  r-- --x  r-- --x  r--
10 1 0  r-x ---  r-x ---  r-x
10 1 1  r-- ---  r-- ---  r--
11 0 0  r-x r-x  r-x r-x  --x
11 0 1  r-- r-x  r-- r-x  ---
11 1 0  r-x r--  r-x r--  --x
11 1 1  r-- r--  r-- r--  ---
`
  .trim()
  .split("\n")
  .map(
    (line) =>
      line.split(/ +/) as [
        ap: string,
        uxn: string,
        pxn: string,
        el1: string,
        el0: string,
        wxn1: string,
        wxn0: string,
        pan: string,
      ],
  );

function bitsFor(ap: string, uxn: string, pxn: string): bigint {
  return KERNEL | (BigInt(`0b${ap}`) << 6n) | (BigInt(uxn) << 54n) | (BigInt(pxn) << 53n);
}

/** S2AP, XN; EL1, EL0 with FEAT_XNX, and of both without. */
const STAGE2_DATA = ["---", "r--", "-w-", "rw-"]; // by S2AP
const STAGE2_FETCH = [
  ["x", "x", "x"],
  ["-", "x", "x"],
  ["-", "-", "-"],
  ["x", "-", "-"],
] as const; // by XN: EL1, EL0; both without XNX
function stage2Rights(s2ap: number, xn: number, column: 0 | 1 | 2): string {
  return `${(STAGE2_DATA[s2ap] as string).slice(0, 2)}${(STAGE2_FETCH[xn] as readonly string[])[column]}`;
}
function stage2Bits(s2ap: number, xn: number): bigint {
  return NORMAL | S2.AF | (BigInt(s2ap) << 6n) | (BigInt(xn) << 53n);
}
const BITS = [0, 1, 2, 3];

describe.each(MODES)("permissions (%s)", (mode) => {
  const here = machine(mode);
  const cpu = (registers: Partial<Registers> = {}, options: Options = {}): Vcpu =>
    here.vcpu({ registers: guestRegisters("none", registers), ...options });

  it.each(STAGE1)("of stage 1: AP %s UXN %s PXN %s", (ap, uxn, pxn, el1, el0, wxn1, wxn0, pan) => {
    stage2(here, { 0: RW });
    stage1(here, { 0: bitsFor(ap, uxn, pxn) });
    const sctlrEl1 = SCTLR.M | SCTLR.WXN;
    for (const tlb of [false, { sets: 16, ways: 2 }] as const) {
      expect(rights(cpu({}, { tlb }), vaOf(0))).toBe(el1);
      expect(rights(cpu({}, { tlb, el: 0 }), vaOf(0))).toBe(el0);
      expect(rights(cpu({ sctlrEl1 }, { tlb }), vaOf(0))).toBe(wxn1);
      expect(rights(cpu({ sctlrEl1 }, { tlb, el: 0 }), vaOf(0))).toBe(wxn0);
      expect(rights(cpu({}, { tlb, pan: true }), vaOf(0))).toBe(pan);
      expect(rights(cpu({}, { tlb, pan: true, el: 0 }), vaOf(0))).toBe(el0);
      // Loads and stores as EL0, made by EL1: PAN is no matter.
      for (const pan of [false, true]) {
        const asUser = rights(cpu({}, { tlb, pan }), vaOf(0), Access.Unprivileged);
        expect(asUser).toBe(`${el0.slice(0, 2)}-`);
      }
    }
  });

  it("follow the level and PAN at once, TLB entries or not", () => {
    stage2(here, { 0: RW });
    stage1(here, { 0: KERNEL | S1.USER | S1.READ_ONLY });
    const vcpu = cpu({}, { tlb: { sets: 16, ways: 2 } });
    for (let again = 0; again < 2; again++) {
      vcpu.el = 1;
      expect(rights(vcpu, vaOf(0))).toBe("r-x");
      vcpu.pan = true;
      expect(rights(vcpu, vaOf(0))).toBe("--x");
      vcpu.pan = false;
      vcpu.el = 0;
      expect(rights(vcpu, vaOf(0))).toBe("r-x");
      expect(vcpu.read32(vaOf(0))).toBe(0);
    }
  });

  it.each([
    ["nothing", 0n, "rwx", "r-x"],
    ["XN", S1.UXN, "rw-", "r--"],
    ["PXN and AP[1], which mean nothing", S1.PXN | S1.USER, "rwx", "r-x"],
  ])("of EL2: %s", (_name, bits, writable, readOnly) => {
    stage1(here, {});
    const registers: Partial<Registers> = {
      hcrEl2: HCR.RW,
      sctlrEl2: SCTLR.M,
      tcrEl2: tcrEl2For({ name: "", granule: "4K", start: 1, bits: 39 }, 40),
      ttbr0El2: BigInt(UPPER1[1]),
    };
    const leaf = (more: bigint) =>
      here.set(slot1Of(0), BigInt(paOf(0)) | 3n | KERNEL | bits | more);
    const el2 = (wxn: bigint) =>
      here.vcpu({ registers: { ...registers, sctlrEl2: SCTLR.M | wxn }, el: 2 });
    leaf(0n);
    expect(rights(el2(0n), vaOf(0))).toBe(writable);
    expect(rights(el2(SCTLR.WXN), vaOf(0))).toBe(`${writable.slice(0, 2)}-`);
    leaf(S1.READ_ONLY);
    expect(rights(el2(0n), vaOf(0))).toBe(readOnly);
    expect(rights(el2(SCTLR.WXN), vaOf(0))).toBe(readOnly);
  });

  it.each(BITS.flatMap((s2ap) => BITS.map((xn) => [s2ap, xn] as const)))(
    "of stage 2: S2AP %i XN %i",
    (s2ap, xn) => {
      stage2(here, { 0: stage2Bits(s2ap, xn) });
      for (const tlb of [false, { sets: 16, ways: 2 }] as const) {
        const flat = (options: Options) =>
          here.vcpu({ registers: flatRegisters("none"), tlb, ...options });
        expect(rights(flat({}), ipaOf(0))).toBe(stage2Rights(s2ap, xn, 0));
        expect(rights(flat({ el: 0 }), ipaOf(0))).toBe(stage2Rights(s2ap, xn, 1));
        expect(rights(flat({ xnx: false }), ipaOf(0))).toBe(stage2Rights(s2ap, xn, 2));
        expect(rights(flat({ xnx: false, el: 0 }), ipaOf(0))).toBe(stage2Rights(s2ap, xn, 2));
      }
    },
  );

  // H-5.1
  it("of both stages: what both allow; stage 1 is asked first", () => {
    stage2(here, {});
    for (const [ap, uxn, pxn, el1, el0] of STAGE1) {
      stage1(here, { 0: bitsFor(ap, uxn, pxn) });
      for (const [s2ap, xn] of BITS.flatMap((one) => BITS.map((two) => [one, two] as const))) {
        here.set(slotOf(0), leaf2(0, stage2Bits(s2ap, xn)));
        for (const el of [1, 0] as const) {
          const vcpu = cpu({}, { el });
          const first = el === 1 ? el1 : el0;
          const second = stage2Rights(s2ap, xn, el === 1 ? 0 : 1);
          for (const [letter, access] of KINDS) {
            const result = vcpu.translate(vaOf(0), access);
            const name = `AP ${ap} UXN ${uxn} PXN ${pxn} S2AP ${s2ap} XN ${xn} EL${el} ${letter}`;
            if (!first.includes(letter)) expect((result as Fault).stage, name).toBe(1);
            else if (!second.includes(letter)) expect((result as Fault).stage, name).toBe(2);
            else expect(result, name).toBe(paOf(0));
          }
          vcpu.dispose();
        }
      }
    }
  });

  it.each([1, 2] as const)(
    "are taken away by the table of level %i, unless TCR_EL1.HPD0",
    (level) => {
      stage2(here, { 0: RW });
      stage1(here, { 0: KERNEL | S1.USER, 1: KERNEL });
      const table = here.get(UPPER1[level]);
      const user = (registers: Partial<Registers>) => rights(cpu(registers, { el: 0 }), vaOf(0));
      const kernel = (registers: Partial<Registers>) => rights(cpu(registers), vaOf(0));
      for (const [bits, el1, el0] of [
        [0n, "rw-", "rwx"],
        [S1.READ_ONLY_TABLE, "r-x", "r-x"],
        [S1.NO_EL0_TABLE, "rwx", "--x"],
        [S1.NO_EL0_TABLE | S1.READ_ONLY_TABLE, "r-x", "--x"],
        [S1.UXN_TABLE, "rw-", "rw-"],
        [S1.READ_ONLY_TABLE | S1.PXN_TABLE, "r--", "r-x"],
        [S1.NO_EL0_TABLE | S1.PXN_TABLE | S1.UXN_TABLE, "rw-", "---"],
      ] as const) {
        here.set(UPPER1[level], table | bits);
        expect([kernel({}), user({})], bits.toString(16)).toEqual([el1, el0]);
        const off = { tcrEl1: GUEST_TCR | (1n << 41n) };
        expect([kernel(off), user(off)], "HPD0").toEqual(["rw-", "rwx"]);
        const other = { tcrEl1: GUEST_TCR | (1n << 42n) };
        expect([kernel(other), user(other)], "HPD1").toEqual([el1, el0]);
        // Remembered with the table: the same for a neighbour that goes on from it.
        const vcpu = cpu({}, { tlb: { sets: 16, ways: 2 } });
        here.set(slot1Of(1), leaf1(0, KERNEL | S1.USER));
        expect(rights(vcpu, vaOf(0))).toBe(el1);
        expect(rights(vcpu, vaOf(1))).toBe(el1);
      }
    },
  );

  it("of an unaligned access over two pages are those of both", () => {
    stage2(here, { 0: RW, 1: RO, 2: RW });
    stage1(here, { 0: KERNEL, 1: KERNEL, 2: KERNEL | S1.READ_ONLY });
    const vcpu = cpu();
    expect(vcpu.read64(vaOf(1) - 4)).toBe(0n);
    expect(vcpu.write64(vaOf(1) - 4, 1n)).toMatchObject({
      stage: 2,
      ipa: ipaOf(1),
      far: BigInt(vaOf(1)),
    });
    expect(vcpu.write64(vaOf(2) - 4, 1n)).toMatchObject({
      stage: 2,
      ipa: ipaOf(2) - 4,
      far: BigInt(vaOf(2) - 4),
    });
    here.set(slotOf(1), leaf2(1, RW));
    expect(vcpu.write64(vaOf(2) - 4, 1n)).toMatchObject({ stage: 1, far: BigInt(vaOf(2)) });
    expect(vcpu.translate(vaOf(1), Access.Read)).toBe(paOf(0) + PAGE);
    expect(here.changes()).toEqual({});
  });

  it("of tables are no matter of the access: execution from them never comes up", () => {
    stage2(here, { 0: RW });
    stage1(here, { 0: KERNEL }, [RO | S2.XN, RO | S2.XN, RO | S2.XN]);
    expect(rights(cpu(), vaOf(0))).toBe("rwx");
    here.set(tableSlotOf(2), here.get(tableSlotOf(2)) & ~S2.R);
    expect(cpu().translate(vaOf(0), Access.Fetch)).toMatchObject({
      type: "permission",
      s1ptw: true,
      fetch: true,
    });
  });
});
