/** What vCPUs are made with: options, registers, limits, ownership, ends. */
import { describe, expect, it } from "vitest";
import { KNOB } from "../../src/_abi.ts";
import { checkedSettings } from "../../src/_vcpu_options.ts";
import { Access, Engine, Prot, type Vcpu, type VcpuOptions } from "../../src/index.ts";
import { MODES, SMALL, errorOf, lab } from "../support.ts";

const PAGE = { ipa: 0x4000_0000, size: 0x1000, pa: 0x8000_0000, prot: Prot.RW };

describe("options", () => {
  it("have defaults", () => {
    expect(checkedSettings({})).toEqual({
      ...{ sets: 512, ways: 4, hd: false, hafdbs: 2, xnx: true, registers: {}, knobs: 0 },
      ...{ events: 0, granuleShift: 6, speculate: 0, spurious: 0, seed: 1 },
    });
  });

  const knobs: [VcpuOptions, VcpuOptions, number][] = [
    [{ tableBaseLowBits: "zero" }, { tableBaseLowBits: "kept" }, KNOB.BASE_KEPT],
    [{ reservedShareability: "non" }, { reservedShareability: "outer" }, KNOB.SH_OUTER],
    [
      { inconsistentContiguous: "alone" },
      { inconsistentContiguous: "conflict" },
      KNOB.CONTIGUOUS_CONFLICT,
    ],
    [{ s1ptwWrite: "access" }, { s1ptwWrite: "walk" }, KNOB.WNR_WALK],
    [{ hpfarOnPermission: "correct" }, { hpfarOnPermission: "poison" }, KNOB.HPFAR_POISON],
    [{ execNeedsRead: false }, { execNeedsRead: true }, KNOB.EXEC_NEEDS_R],
    [{ reservedMemAttr: "nc" }, { reservedMemAttr: "bits" }, KNOB.MEMATTR_BITS],
    [{ afOnPermissionFault: false }, { afOnPermissionFault: true }, KNOB.AF_ON_PERMISSION],
    [{ failedCasDirty: true }, { failedCasDirty: false }, KNOB.CAS_FAIL_CLEAN],
    [{ failedStxrDirty: false }, { failedStxrDirty: true }, KNOB.STXR_FAIL_DIRTY],
    [{ atomicUpdates: true }, { atomicUpdates: false }, KNOB.NO_ATOMIC_UPDATE],
    [{ atUpdates: false }, { atUpdates: true }, KNOB.AT_UPDATES],
    [{ permissionFaultDropsEntry: true }, { permissionFaultDropsEntry: false }, KNOB.KEEP_ON_FAULT],
    [{ ownStoreClearsMonitor: false }, { ownStoreClearsMonitor: true }, KNOB.OWN_STORE_CLEARS],
    [{ strictMonitor: false }, { strictMonitor: true }, KNOB.STRICT_MONITOR],
    [{ checker: false }, { checker: true }, KNOB.CHECKER],
  ];
  it.each(knobs)("%o and %o differ in their bit alone", (usual, other, bit) => {
    expect(checkedSettings(usual)).toEqual(checkedSettings({}));
    expect(checkedSettings(other)).toEqual({ ...checkedSettings({}), knobs: bit });
  });

  it("cover every knob that there is", () => {
    const all = knobs.reduce((bits, [, , bit]) => bits | bit, 0);
    expect(all).toBe(Object.values(KNOB).reduce((bits, bit) => bits | bit, 0));
  });

  it("of events name groups", () => {
    expect(checkedSettings({ events: ["walks"] }).events).toBe(1);
    expect(checkedSettings({ events: ["updates"] }).events).toBe(2);
    expect(checkedSettings({ events: ["tlb", "walks"] }).events).toBe(5);
  });

  it("of sizes are taken over", () => {
    const sizes = {
      exclusivesGranule: 2048,
      speculation: 7,
      spuriousExclusiveFailures: 9,
      seed: 3,
    };
    const settings = checkedSettings({
      ...sizes,
      tlb: { sets: 4096, ways: 4 },
      hafdbs: 4,
      hd: true,
    });
    expect(settings).toMatchObject({ granuleShift: 11, speculate: 7, spurious: 9, seed: 3 });
    expect(settings).toMatchObject({ sets: 4096, ways: 4, hafdbs: 4, hd: true });
    expect(checkedSettings({ tlb: false })).toMatchObject({ sets: 0, ways: 0 });
    expect(checkedSettings({ tlb: { sets: 1, ways: 1 } })).toMatchObject({ sets: 1, ways: 1 });
  });
});

describe.each(MODES)("a vCPU (%s)", (mode) => {
  const here = lab(mode, { ...SMALL, guestRam: { pa: 0x8000_0000, size: 0x10000 } });

  it("is not made with options that are none", () => {
    const bad: object[] = [
      { tlb: true },
      { tlb: 0 },
      { tlb: { sets: 3, ways: 1 } },
      { tlb: { sets: 0, ways: 0 } },
      { tlb: { sets: 8192, ways: 1 } },
      { tlb: { sets: 4, ways: 9 } },
      { tlb: { sets: 4, ways: 0 } },
      { tlb: { sets: 4, ways: 3 } },
      { tlb: { sets: 4 } },
      { tlb: { sets: 4, ways: 4, depth: 1 } },
      { hafdbs: 5 },
      { hd: 1 },
      { events: "walks" },
      { events: ["reads"] },
      { exclusivesGranule: 8 },
      { exclusivesGranule: 4096 },
      { exclusivesGranule: 48 },
      { speculation: 1 },
      { spuriousExclusiveFailures: -1 },
      { seed: 2 ** 31 },
      { s1ptwWrite: "both" },
      { execNeedsRead: "yes" },
      { registers: { hcrEl2: 1 } },
      { registers: { hcrEl2: 2n ** 64n } },
      { registers: { hcrEl2: -1n } },
      { registers: { hcr: 1n } },
      { registers: 5 },
      { speed: 3 },
      { register: {} },
    ];
    for (const options of bad) {
      const error = errorOf(() => here.engine.vcpu(undefined, options as VcpuOptions));
      expect(
        error.code,
        JSON.stringify(options, (_, v) => String(v)),
      ).toBe("BAD_OPTION");
    }
    expect(errorOf(() => here.engine.vcpu(undefined, null as never)).code).toBe("BAD_OPTION");
    expect(here.engine.memoryUsage().used).toBe(0);
    here.keep(here.engine.vcpu(undefined, { tlb: { sets: 4, ways: 4 } }));
  });

  it("belongs to a page table of its engine", async () => {
    const other = await Engine.create({ ...SMALL, mode });
    const foreign = other.stage2();
    expect(errorOf(() => here.engine.vcpu(foreign)).code).toBe("FOREIGN");
    expect(errorOf(() => here.engine.vcpu({} as never)).code).toBe("FOREIGN");
    expect(errorOf(() => here.engine.vcpu(null as never)).code).toBe("FOREIGN");
    other.dispose();
    const own = here.engine.stage2();
    own.dispose();
    expect(errorOf(() => here.engine.vcpu(own)).code).toBe("DISPOSED");
    expect(here.engine.memoryUsage().used).toBe(0);
  });

  it("takes memory, and gives it back", () => {
    const { engine } = here;
    const vcpu = engine.vcpu();
    expect(engine.memoryUsage().used).toBeGreaterThan(1);
    vcpu.dispose();
    vcpu.dispose();
    expect(engine.memoryUsage().used).toBe(0);
    const walking = engine.vcpu(undefined, { tlb: false });
    expect(engine.memoryUsage().used).toBe(1);
    walking[Symbol.dispose]();
    engine.tableBudget = 5;
    expect(errorOf(() => engine.vcpu())).toMatchObject({ code: "ENOMEM", errno: 12 });
    expect(engine.memoryUsage().used).toBe(0);
    engine.tableBudget = 4096;
  });

  it("is one of so many objects", () => {
    const made: Vcpu[] = [];
    const error = errorOf(() => {
      for (;;) made.push(here.engine.vcpu(undefined, { tlb: false }));
    });
    expect(error).toMatchObject({ code: "EMFILE", errno: 24 });
    expect(made).toHaveLength(SMALL.maxObjects as number);
    expect(new Set(made.map(({ number }) => number)).size).toBe(made.length);
    for (const vcpu of made) vcpu.dispose();
  });

  it("refuses every use after its end", () => {
    const s2 = here.keep(here.engine.stage2());
    s2.map(PAGE);
    const batch = here.keep(here.engine.batch(4));
    const gone = here.engine.vcpu(s2);
    gone.dispose();
    for (const call of uses(gone)) expect(errorOf(call).code, String(call)).toBe("DISPOSED");
    expect(errorOf(() => gone.translateMany(batch, Access.Read)).code).toBe("DISPOSED");
    const vcpu = here.keep(here.engine.vcpu(s2)); // takes the place of the other
    for (const call of uses(gone)) expect(errorOf(call).code, String(call)).toBe("DISPOSED");
    expect(vcpu.translate(PAGE.ipa, Access.Read)).toBe(PAGE.pa);
  });

  it("refuses every use after its engine's end", async () => {
    const engine = await Engine.create({ ...SMALL, mode });
    const vcpu = engine.vcpu();
    engine.dispose();
    for (const call of uses(vcpu)) expect(errorOf(call).code, String(call)).toBe("DISPOSED");
    vcpu.dispose();
    expect(errorOf(() => engine.vcpu()).code).toBe("DISPOSED");
    expect(errorOf(() => engine.batch(1)).code).toBe("DISPOSED");
    expect(errorOf(() => engine.tlbi("ALLE1")).code).toBe("DISPOSED");
  });

  it("has the registers that its page table needs", () => {
    const s2 = here.keep(here.engine.stage2({ ipaBits: 40, parange: 5 }));
    const { registers } = here.keep(here.engine.vcpu(s2));
    expect(registers.vtcrEl2).toBe(0x802d_3558n);
    expect(registers.vttbrEl2).toBe(s2.vttbr({ vmid: s2.vmid }));
    expect(registers.vttbrEl2 >> 48n).toBe(BigInt(s2.vmid));
    expect(registers.hcrEl2).toBe((1n << 31n) | 1n);
    expect(registers.idAa64mmfr0El1 & 15n).toBe(5n);
    expect(registers.sctlrEl1).toBe(0n);
    const fwb = here.keep(here.engine.stage2({ fwb: true }));
    expect(here.keep(here.engine.vcpu(fwb)).registers.hcrEl2 >> 46n).toBe(1n);
    const noFwb = here.keep(here.engine.stage2({ fwb: true, noFwb: true }));
    expect(here.keep(here.engine.vcpu(noFwb)).registers.hcrEl2 >> 46n).toBe(0n);
  });

  it("has the features that it is asked for", () => {
    const s2 = here.keep(here.engine.stage2());
    const of = (options: VcpuOptions) => here.keep(here.engine.vcpu(s2, options)).registers;
    expect(of({}).vtcrEl2 & (1n << 22n)).toBe(0n);
    expect(of({ hd: true }).vtcrEl2).toBe(s2.vtcr | (1n << 22n));
    expect(of({ hafdbs: 1 }).idAa64mmfr1El1 & 15n).toBe(1n);
    expect((of({}).idAa64mmfr1El1 >> 28n) & 15n).toBe(1n);
    expect((of({ xnx: false }).idAa64mmfr1El1 >> 28n) & 15n).toBe(0n);
    expect(of({ registers: { hcrEl2: 5n, mairEl1: 0xffn } })).toMatchObject({
      ...{ hcrEl2: 5n, mairEl1: 0xffn, vtcrEl2: s2.vtcr },
    });
    const bare = here.keep(here.engine.vcpu()).registers;
    expect(bare).toMatchObject({ vtcrEl2: 0n, vttbrEl2: 0n, hcrEl2: 1n << 31n });
    expect(bare.idAa64mmfr0El1 & 15n).toBe(6n);
  });

  it("keeps what is written to its registers, and refuses what is none", () => {
    const vcpu = here.keep(here.engine.vcpu());
    const names = Object.keys(vcpu.registers);
    expect(names).toHaveLength(20);
    for (const [index, name] of names.entries()) {
      vcpu.setRegisters({ [name]: (BigInt(index + 1) << 56n) | BigInt(index) });
    }
    expect(Object.values(vcpu.registers)).toEqual(
      names.map((_, index) => (BigInt(index + 1) << 56n) | BigInt(index)),
    );
    const before = vcpu.registers;
    const bad: object[] = [
      { hcr: 1n },
      { hcrEl2: 1, vtcrEl2: 5n },
      { vtcrEl2: 5n, hcrEl2: 2n ** 64n },
    ];
    for (const values of bad) {
      expect(errorOf(() => vcpu.setRegisters(values)).code).toBe("BAD_OPTION");
      expect(vcpu.registers).toEqual(before);
    }
    expect(vcpu.number).toBeGreaterThan(0);
  });

  it("has an Exception level and PAN", () => {
    const vcpu = here.keep(here.engine.vcpu());
    expect([vcpu.el, vcpu.pan]).toEqual([1, false]);
    vcpu.pan = true;
    for (const level of [0, 2, 1] as const) {
      vcpu.el = level;
      expect([vcpu.el, vcpu.pan]).toEqual([level, true]);
    }
    vcpu.pan = false;
    expect([vcpu.el, vcpu.pan]).toEqual([1, false]);
    for (const bad of [3, -1, "1", undefined]) {
      expect(errorOf(() => (vcpu.el = bad as never)).code).toBe("BAD_OPTION");
    }
    expect(errorOf(() => (vcpu.pan = 1 as never)).code).toBe("BAD_OPTION");
    expect(vcpu.el).toBe(1);
  });

  it("of one table has another VMID than that of another", () => {
    const [a, b] = [0, 1].map(() => here.keep(here.engine.stage2()));
    expect(a!.vmid).not.toBe(b!.vmid);
    expect(Math.min(a!.vmid, b!.vmid)).toBeGreaterThan(0);
    a!.map(PAGE);
    b!.map({ ...PAGE, pa: 0x9000_0000 });
    const [va, vb] = [a, b].map((table) => here.keep(here.engine.vcpu(table)));
    expect([va!.translate(PAGE.ipa, 1), vb!.translate(PAGE.ipa, 1)]).toEqual([
      PAGE.pa,
      0x9000_0000,
    ]);
    // The same TLB, switched between the two, never mixes them up.
    const both = here.keep(here.engine.vcpu(a));
    for (let i = 0; i < 4; i++) {
      both.setRegisters({ vttbrEl2: (i & 1 ? vb! : va!).registers.vttbrEl2 });
      expect(both.translate(PAGE.ipa, Access.Read)).toBe(i & 1 ? 0x9000_0000 : PAGE.pa);
    }
    expect(both.statistics.tlb).toMatchObject({ hits: 2, misses: 2 });
  });
});

describe("more page tables than VMIDs", () => {
  it("are refused a vCPU", async () => {
    const engine = await Engine.create({ maxTablePages: 4096, maxObjects: 300 });
    const tables = Array.from({ length: 256 }, () => engine.stage2({ vmidBits: 8 }));
    const narrow = tables.slice(0, 255);
    expect(narrow.map(({ vmid }) => vmid)).toEqual(narrow.map((_, i) => 255 - i));
    expect(tables[255]!.vmid).toBeGreaterThan(0xffff); // fits into no VTTBR
    const last = tables[254]!;
    engine.vcpu(last, { tlb: false }).dispose();
    expect(errorOf(() => engine.vcpu(tables[255], { tlb: false }))).toMatchObject({
      code: "EMFILE",
    });
    last.dispose();
    expect(engine.stage2({ vmidBits: 8 }).vmid).toBe(1); // free again
    engine.dispose();
  });
});

/** Every use of a vCPU but of a batch. */
function uses(vcpu: Vcpu): (() => unknown)[] {
  const va = PAGE.ipa;
  return [
    () => vcpu.translate(va, Access.Read),
    () => vcpu.translate(2n ** 63n, Access.Read),
    () => vcpu.probe(va, Access.Read),
    () => vcpu.trace(va, Access.Read),
    () => vcpu.read8(va),
    () => vcpu.read16(va),
    () => vcpu.read32(va, { unprivileged: true }),
    () => vcpu.read64(va),
    () => vcpu.readPair(va),
    () => vcpu.write8(va, 0),
    () => vcpu.write16(va, 0),
    () => vcpu.write32(va, 0),
    () => vcpu.write64(va, 0n),
    () => vcpu.writePair(va, [0n, 0n]),
    () => vcpu.fetch(va),
    () => vcpu.atomic("add", va, 4, 1n),
    () => vcpu.compareAndSwap(va, 4, 0n, 1n),
    () => vcpu.loadExclusive(va, 4),
    () => vcpu.storeExclusive(va, 4, 0n),
    () => vcpu.clearExclusive(),
    () => vcpu.at("S12E1R", va),
    () => vcpu.tlbi("VMALLE1"),
    () => vcpu.enter(),
    () => vcpu.poll(),
    () => vcpu.exit(),
    () => vcpu.registers,
    () => vcpu.setRegisters({ hcrEl2: 0n }),
    () => vcpu.el,
    () => (vcpu.el = 1),
    () => vcpu.pan,
    () => (vcpu.pan = true),
    () => vcpu.statistics,
    () => vcpu.resetStatistics(),
    () => vcpu.cleanDirtyState(),
  ];
}
