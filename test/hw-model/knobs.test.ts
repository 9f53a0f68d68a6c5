/** The freedoms K-1 to K-8, of walks and faults: each value of each, told apart by what a guest or a hypervisor can see. */
import { describe, expect, it } from "vitest";
import { Access, Fault, type Probe, type VcpuOptions } from "../../src/index.ts";
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
  vaOf,
  cpusOf,
} from "./guest.ts";
import { HCR, changed, machine } from "./machine.ts";
import { S1, S2 } from "./paging.ts";

const TLB = { sets: 16, ways: 2 };

describe.each(MODES)("freedoms (%s)", (mode) => {
  const here = machine(mode);
  const { flat, guest } = cpusOf(here);
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
});
