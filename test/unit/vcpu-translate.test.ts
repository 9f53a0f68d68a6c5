/** Translations, and what they tell of themselves: addresses, faults, probes, traces, AT, statistics. */
import { beforeEach, describe, expect, it } from "vitest";
import {
  Access,
  Engine,
  Fault,
  Prot,
  type Registers,
  type Stage2,
  type Vcpu,
  type VcpuOptions,
  decodeSyndrome,
} from "../../src/index.ts";
import { boot } from "../../src/_vcpu_boot.ts";
import { VcpuCore } from "../../src/_vcpu_core.ts";
import { stage1Form, stage2Form } from "../../src/_vcpu_form.ts";
import { checkedSettings } from "../../src/_vcpu_options.ts";
import { traced } from "../../src/_vcpu_trace.ts";
import { MODES, SMALL, errorOf, lab } from "../support.ts";

const RAM = { pa: 0x8000_0000, size: 0x10000 };
const PAGE = 0x1000;
const NONE = { "-1": 0, 0: 0, 1: 0, 2: 0, 3: 0 };

/** Guest tables at the start of guest memory (IPA = PA - 0x4000_0000): 4K pages, 39 bits, three levels. */
const STAGE1 = {
  ...{ ttbr0El1: 0x4000_0000n, ttbr1El1: 0x4000_0000n, mairEl1: 0xff44n, sctlrEl1: 1n },
  tcrEl1: 25n | (25n << 16n) | (2n << 30n) | (2n << 32n),
};

describe("forms of descriptors", () => {
  const registers = (changes: Partial<Registers>): Registers => {
    const none = { tcrEl1: 0n, tcrEl2: 0n, vtcrEl2: 0n, hcrEl2: 0n, idAa64mmfr0El1: 0n };
    return { ...none, idAa64mmfr1El1: 0n, idAa64mmfr2El1: 0n, ...changes } as Registers;
  };
  /** 4K, 16K and 64K with 52-bit descriptors at stage 1, and so at stage 2. */
  const WIDE = { idAa64mmfr0El1: (1n << 28n) | (2n << 20n) | 6n };

  it("of stage 1 go by the half of the addresses, and by EL2's own register", () => {
    const tcrEl1 = (1n << 14n) | (1n << 30n) | (1n << 59n); // TG0 64K, TG1 16K, DS
    const all = registers({ ...WIDE, tcrEl1, tcrEl2: 2n << 14n });
    expect(stage1Form(all, false, false)).toEqual({ granule: "64K", ds: true, el2: false });
    expect(stage1Form(all, false, true)).toEqual({ granule: "16K", ds: true, el2: false });
    expect(stage1Form(all, true, false)).toEqual({ granule: "16K", ds: false, el2: true });
    const narrow = registers({ tcrEl1, tcrEl2: 1n << 32n, idAa64mmfr0El1: 5n });
    expect(stage1Form(narrow, false, false).ds).toBe(false);
    expect(stage1Form(narrow, false, true).ds).toBe(false);
    expect(stage1Form(registers({ ...WIDE, tcrEl2: 1n << 32n }), true, false).ds).toBe(true);
  });

  it("of stage 2 go by VTCR_EL2 and what the CPU has", () => {
    const vtcrEl2 = 1n << 32n;
    expect(stage2Form(registers({ ...WIDE, vtcrEl2 }))).toEqual({
      ...{ granule: "4K", ds: true, fwb: false, xnx: false },
    });
    expect(stage2Form(registers({ vtcrEl2 })).ds).toBe(false);
    const own = (code: bigint) => ({ idAa64mmfr0El1: (1n << 28n) | (code << 40n), vtcrEl2 });
    expect([2n, 3n].map((code) => stage2Form(registers(own(code))).ds)).toEqual([false, true]);
    const wide16 = { idAa64mmfr0El1: 3n << 32n, vtcrEl2: vtcrEl2 | (2n << 14n) };
    expect(stage2Form(registers(wide16))).toMatchObject({ granule: "16K", ds: true });
    const fwb = { hcrEl2: 1n << 46n, idAa64mmfr1El1: 1n << 28n };
    expect(stage2Form(registers(fwb))).toMatchObject({ fwb: false, xnx: true });
    const hasFwb = { ...fwb, idAa64mmfr2El1: 1n << 40n };
    expect(stage2Form(registers(hasFwb))).toMatchObject({ fwb: true });
  });
});

describe.each(MODES)("translations (%s)", (mode) => {
  const here = lab(mode, { ...SMALL, guestRam: RAM });
  let s2: Stage2;
  const make = (options: VcpuOptions = {}): Vcpu => here.keep(here.engine.vcpu(s2, options));
  const words = () => {
    const { buffer, byteOffset } = here.engine.memoryMap.bytes(RAM.pa, RAM.size);
    return new BigUint64Array(buffer, byteOffset, RAM.size / 8);
  };

  /** IPA 0x4000_0000: guest memory; 0x5000_0000: R, R aged, RWX block at level 2; 0x6000_0000: a GiB away. */
  beforeEach(() => {
    s2 = here.keep(here.engine.stage2({ ipaBits: 40, parange: 5 }));
    s2.map({ ipa: 0x4000_0000, size: RAM.size, pa: RAM.pa, prot: Prot.RW });
    s2.map({ ipa: 0x5000_0000, size: 2 * PAGE, pa: 0x9000_0000, prot: Prot.R });
    s2.testClearYoung({ ipa: 0x5000_1000, size: PAGE });
    s2.map({ ipa: 0x6000_0000, size: 2 ** 21, pa: 0xa000_0000, prot: Prot.RWX });
  });

  /** VA 0 -> IPA 0x5000_0000 and so on for `pages` pages, for EL1, writable. */
  function stage1(pages: bigint[]): void {
    const tables = words();
    tables[0] = 0x4000_1003n;
    tables[511] = 0x4000_1003n; // VA -2^30 on, in the upper half
    tables[512] = 0x4000_2003n;
    pages.forEach((descriptor, i) => (tables[1024 + i] = descriptor));
  }
  /** A page descriptor: AttrIndx 1, inner shareable, AF; `more`: other bits. */
  const page = (ipa: bigint, more = 0n) => ipa | (1n << 2n) | (3n << 8n) | (1n << 10n) | 3n | more;

  it.each([{}, { tlb: false }] as VcpuOptions[])(
    "give addresses, and faults as objects (%o)",
    (options) => {
      const vcpu = make(options);
      for (let again = 0; again < 2; again++) {
        expect(vcpu.translate(0x5000_0123, Access.Read)).toBe(0x9000_0123);
        expect(vcpu.translate(0x6012_3456n, Access.Fetch)).toBe(0xa012_3456);
        expect(vcpu.translate(0x6012_3456, Access.ReadWrite)).toBe(0xa012_3456);
        const write = vcpu.translate(0x5000_0123, Access.Write) as Fault;
        expect(write).toBeInstanceOf(Fault);
        expect(write).toMatchObject({ type: "permission", fsc: 0x0f, level: 3, stage: 2, el: 2 });
        expect(write).toMatchObject({
          write: true,
          fetch: false,
          ipa: 0x5000_0123,
          far: 0x5000_0123n,
        });
        expect(write.hpfar).toBe(0x50_0000n);
        expect(decodeSyndrome(write.esr).abort).toMatchObject({
          kind: "data",
          lower: true,
          write: true,
        });
        const fetch = vcpu.translate(0x5000_0000, Access.Fetch) as Fault;
        expect(fetch).toMatchObject({ type: "permission", fetch: true, write: false });
        expect(decodeSyndrome(fetch.esr).ec).toBe(0x20);
        expect(vcpu.translate(0x7000_0000, Access.Read)).toMatchObject({
          type: "translation",
          level: 2,
        });
        expect(vcpu.translate(2 ** 40, Access.Read)).toMatchObject({
          type: "translation",
          level: 0,
        });
        expect(vcpu.translate(-1, Access.Read)).toMatchObject({
          type: "addressSize",
          stage: 1,
          el: 1,
        });
      }
      expect(vcpu.statistics.faults).toBe(10);
    },
  );

  it("know their accesses", () => {
    const vcpu = make();
    const bad = [0, 5, 6, 7, 8, 12, 16, 33, -1, 1.5, NaN, "1", 1n, undefined, null];
    for (const access of bad) {
      expect(errorOf(() => vcpu.translate(0x5000_0000, access as never)).code, String(access)).toBe(
        "BAD_OPTION",
      );
      expect(errorOf(() => vcpu.probe(0x5000_0000, access as never)).code).toBe("BAD_OPTION");
      expect(errorOf(() => vcpu.trace(0x5000_0000, access as never)).code).toBe("BAD_OPTION");
    }
    expect(vcpu.statistics.tlb.misses).toBe(0);
    expect(vcpu.translate(0x5000_0000, Access.Read | Access.Unprivileged)).toBe(0x9000_0000);
  });

  it("set the access flag and, as hardware dirty state, write permission", () => {
    const vcpu = make({ hd: true });
    expect(s2.getLeaf(0x5000_1000)).toMatchObject({ accessed: false });
    expect(vcpu.translate(0x5000_1000, Access.Read)).toBe(0x9000_1000);
    expect(s2.getLeaf(0x5000_1000)).toMatchObject({ accessed: true });
    const root = here.engine.memoryMap.bytes(Number(s2.vttbr()), PAGE);
    expect(root).toHaveLength(PAGE);
    const slot = vcpu.trace(0x5000_0000, Access.Read).steps.at(-1)!.pa;
    const entry = new BigUint64Array(
      here.engine.memory.buffer,
      here.engine.memoryMap.bytes(slot, 8).byteOffset,
      1,
    );
    entry[0]! |= 1n << 51n; // DBM: writable-clean
    vcpu.tlbi("VMALLS12E1");
    expect(vcpu.translate(0x5000_0008, Access.Write)).toBe(0x9000_0008);
    expect(s2.getLeaf(0x5000_0000)).toMatchObject({ prot: Prot.RW });
    expect(vcpu.statistics).toMatchObject({
      ...{ accessFlagUpdates: { stage1: 0, stage2: 1 }, dirtyUpdates: { stage1: 0, stage2: 1 } },
    });
  });

  it("of two stages: both tables, both permissions, both kinds of faults", () => {
    const vcpu = make({ tlb: false });
    stage1([page(0x5000_0000n), page(0x7000_0000n), page(0x6000_0000n, 1n << 7n), 0n]);
    vcpu.setRegisters(STAGE1);
    expect(vcpu.translate(0x10, Access.Read)).toBe(0x9000_0010);
    expect(vcpu.translate(-(2 ** 30) + 0x10, Access.Read)).toBe(0x9000_0010);
    expect(vcpu.translate(0xffff_ffff_c000_0010n, Access.Read)).toBe(0x9000_0010);
    expect(vcpu.translate(0x10, Access.Write)).toMatchObject({
      type: "permission",
      stage: 2,
      el: 2,
      ipa: 0x5000_0010,
    });
    expect(vcpu.translate(0x1010, Access.Read)).toMatchObject({
      type: "translation",
      stage: 2,
      ipa: 0x7000_0010,
      far: 0x1010n,
    });
    expect(vcpu.translate(0x2010, Access.Read)).toBe(0xa000_0010);
    expect(vcpu.translate(0x2010, Access.Write)).toMatchObject({
      type: "permission",
      stage: 1,
      el: 1,
      ipa: undefined,
    });
    expect(vcpu.translate(0x3010, Access.Read)).toMatchObject({
      type: "translation",
      stage: 1,
      level: 3,
      el: 1,
    });
    s2.unmap({ ipa: 0x4000_2000, size: PAGE });
    const walk = vcpu.translate(0x18, Access.Write) as Fault;
    expect(walk).toMatchObject({
      type: "translation",
      stage: 2,
      level: 3,
      s1ptw: true,
      el: 2,
      write: true,
    });
    expect(walk).toMatchObject({ ipa: 0x4000_2000, far: 0x18n, hpfar: 0x40_0020n });
    expect(walk.withSyndrome({ size: 4 })).toBe(walk);
    expect(String(walk)).toContain("(a stage-1 descriptor)");
  });

  it("are probed without a trace", () => {
    const vcpu = make({ events: ["walks", "updates", "tlb"] });
    here.engine.events.clear();
    const before = s2.dump();
    expect(vcpu.probe(0x5000_1010, Access.Read)).toEqual({
      ...{ pa: 0x9000_1010, ipa: 0x5000_1010, attr: 0, memory: "Device-nGnRnE", sh: 2 },
      allowed: { read: true, write: false, execute: false },
      ...{ stage1: undefined, stage2: { level: 3, size: PAGE } },
    });
    expect(vcpu.probe(0x6000_0010, Access.ReadWrite)).toMatchObject({
      allowed: { read: true, write: true, execute: true },
      stage2: { level: 2, size: 2 ** 21 },
    });
    expect(vcpu.probe(0x5000_1010, Access.Write)).toMatchObject({ type: "permission", level: 3 });
    expect(vcpu.probe(2n ** 63n, Access.Write)).toMatchObject({ stage: 1, far: 2n ** 63n });
    stage1([page(0x5000_0000n, 3n << 53n)]);
    vcpu.setRegisters(STAGE1);
    expect(vcpu.probe(0x10, Access.Read)).toEqual({
      ...{ pa: 0x9000_0010, ipa: 0x5000_0010, attr: 0xff, memory: "Normal write-back", sh: 3 },
      allowed: { read: true, write: false, execute: false },
      ...{ stage1: { level: 3, size: PAGE }, stage2: { level: 3, size: PAGE } },
    });
    vcpu.setRegisters({ hcrEl2: 1n << 31n, ttbr0El1: 0x7000_0000n }); // stage 2 off, and no memory there
    expect(vcpu.probe(0x10, Access.Read)).toMatchObject({
      type: "externalAbortOnWalk",
      level: 1,
      stage: 1,
    });
    vcpu.setRegisters({ sctlrEl1: 0n });
    expect(vcpu.probe(0x10, Access.Read)).toMatchObject({
      pa: 0x10,
      stage1: undefined,
      stage2: undefined,
    });
    expect(s2.dump()).toBe(before);
    expect(here.engine.events.count).toBe(0);
    expect(vcpu.statistics).toMatchObject({
      ...{
        faults: 0,
        descriptorReads: { stage1: NONE, stage2: NONE },
        accessFlagUpdates: { stage2: 0 },
      },
      tlb: { hits: 0, misses: 0 },
    });
  });

  it("are traced step by step", () => {
    const vcpu = make({ tlb: false });
    const { steps, outcome } = vcpu.trace(0x5000_1010, Access.Read);
    expect(outcome).toBe(0x9000_1010);
    expect(steps.map(({ kind, stage, level }) => [kind, stage, level])).toEqual([
      ["read", 2, 1],
      ["read", 2, 2],
      ["read", 2, 3],
      ["update", 2, 3],
    ]);
    const [first, , leaf, update] = steps;
    expect(first).toMatchObject({
      pa: Number(s2.vttbr()) + 8,
      address: 0x5000_1010,
      fields: { kind: "table" },
    });
    expect(leaf).toMatchObject({
      fields: { kind: "page", oa: 0x9000_1000, af: false, read: true, write: false },
    });
    expect(update).toMatchObject({
      pa: leaf!.pa,
      accessFlag: true,
      dirty: false,
      fields: { af: true },
    });
    expect(update!.value).toBe(leaf!.value | (1n << 10n));
    expect(here.engine.events.count).toBe(0);
    const fault = vcpu.trace(0x7000_0000, Access.Read);
    expect(fault.outcome).toMatchObject({ type: "translation", level: 2 });
    expect(fault.steps.at(-1)).toMatchObject({ level: 2, value: 0n, fields: { kind: "invalid" } });
    vcpu.translate(0x5000_0000, Access.Read); // logs nothing any more
    expect(here.engine.events.count).toBe(0);
  });

  it("of two stages are traced, each stage in its own form", () => {
    const vcpu = make({ tlb: false });
    stage1([page(0x6000_0000n, 1n << 6n)]);
    vcpu.setRegisters(STAGE1);
    const { steps, outcome } = vcpu.trace(-(2 ** 30) + 8, Access.Read);
    expect(outcome).toBe(0xa000_0008);
    expect(steps.map(({ stage, level }) => `${stage}.${level}`).join(" ")).toBe(
      "2.1 2.2 2.3 1.1 2.1 2.2 2.3 1.2 2.1 2.2 2.3 1.3 2.1 2.2",
    );
    const own = steps.filter(({ stage }) => stage === 1);
    expect(own.map(({ pa }) => pa)).toEqual([RAM.pa + 511 * 8, RAM.pa + PAGE, RAM.pa + 2 * PAGE]);
    expect(own.every(({ address }) => address === -(2 ** 30) + 8)).toBe(true);
    expect(own.at(-1)!.fields).toMatchObject({
      stage: 1,
      attrIndex: 1,
      el0: true,
      oa: 0x6000_0000,
    });
    expect(steps.at(-1)!.fields).toMatchObject({ stage: 2, kind: "block", oa: 0xa000_0000 });
    expect(steps.at(-1)!.address).toBe(0x6000_0008);
    const { descriptorReads } = vcpu.statistics;
    expect(descriptorReads.stage1).toEqual({ ...NONE, 1: 1, 2: 1, 3: 1 });
    expect(descriptorReads.stage2).toEqual({ ...NONE, 1: 4, 2: 4, 3: 3 });
  });

  it("are traced only while no events wait, and take no others' events", async () => {
    const vcpu = make();
    s2.setEvents(["writes"]);
    s2.mkyoung(0x5000_1000);
    const waiting = here.engine.events.count;
    expect(waiting).toBeGreaterThan(0);
    expect(errorOf(() => vcpu.trace(0x5000_0000, Access.Read))).toMatchObject({
      code: "EBUSY",
      errno: 16,
    });
    expect(here.engine.events.count).toBe(waiting);
    here.engine.events.clear();
    expect(vcpu.trace(0x5000_0000, Access.Read).steps).toHaveLength(3);
    expect(vcpu.trace(0x5000_0000, Access.Read)).toEqual({ steps: [], outcome: 0x9000_0000 }); // the TLB answers
    const short = await Engine.create({ ...SMALL, mode, eventCapacity: 16 });
    expect(errorOf(() => short.vcpu().trace(0, Access.Read)).code).toBe("BAD_OPTION");
    short.dispose();
  });

  it("leave all in the log if somebody else logged meanwhile", () => {
    const { engine } = here;
    const table = here.keep(engine.stage2({ events: ["writes"] }));
    const { registers } = make();
    engine.events.clear();
    const cpu = new VcpuCore(engine.context, engine.core.vcpu_create(0, 0) >>> 0);
    boot(cpu, checkedSettings({ tlb: false }), registers);
    const { steps } = traced(cpu, () => {
      table.map({ ipa: 0, size: PAGE, pa: 0, prot: Prot.R });
      return engine.core.vcpu_translate(cpu.pointer, 0x5000_0000, Access.Read);
    });
    expect(steps.map(({ level }) => level)).toEqual([1, 2, 3]);
    const kinds = [...engine.events.drain()].map(({ kind }) => kind);
    expect(kinds.filter((kind) => kind === "hwRead")).toHaveLength(3);
    expect(kinds.filter((kind) => kind === "write").length).toBeGreaterThan(0);
    cpu.dispose();
  });

  it("by instruction end in PAR_EL1", () => {
    const vcpu = make();
    stage1([page(0x5000_0000n), page(0x7000_0000n), 0n]);
    vcpu.setRegisters(STAGE1);
    const failed = { fst: undefined, stage: undefined, s1ptw: undefined };
    expect(vcpu.at("S1E1R", 0x10)).toEqual({
      ...{ ok: true, pa: 0x5000_0000, attr: 0xff, sh: 3, par: vcpu.registers.parEl1, ...failed },
    });
    vcpu.el = 2;
    expect(vcpu.at("S12E1R", 0x10n)).toMatchObject({ ok: true, pa: 0x9000_0000 });
    const none = { pa: undefined, attr: undefined, sh: undefined };
    expect(vcpu.at("S12E1W", 0x10)).toMatchObject({
      ok: false,
      fst: 0x0f,
      stage: 2,
      s1ptw: false,
      ...none,
    });
    expect(vcpu.at("S12E1R", 0x1000)).toMatchObject({
      ok: false,
      fst: 0x06,
      stage: 2,
      s1ptw: false,
    });
    expect(vcpu.at("S12E1R", 0x2000)).toMatchObject({
      ok: false,
      fst: 0x07,
      stage: 1,
      s1ptw: false,
    });
    s2.unmap({ ipa: 0x4000_1000, size: PAGE });
    expect(vcpu.at("S12E0R", 0x10)).toMatchObject({ ok: false, fst: 0x07, stage: 2, s1ptw: true });
    const par = vcpu.registers.parEl1;
    vcpu.el = 1;
    const taken = vcpu.at("S1E1R", 0x10) as Fault;
    expect(taken).toMatchObject({
      type: "translation",
      stage: 2,
      s1ptw: true,
      el: 2,
      ipa: 0x4000_1000,
    });
    expect(decodeSyndrome(taken.esr).abort).toMatchObject({ cacheMaintenance: true, write: true });
    expect(vcpu.registers.parEl1).toBe(par);
    for (const name of ["S1E3R", "S12E1", 0, undefined]) {
      expect(errorOf(() => vcpu.at(name as never, 0)).code).toBe("BAD_OPTION");
    }
  });

  it("are counted, until they are not", () => {
    const vcpu = make({ tlb: { sets: 4, ways: 2 } });
    for (let i = 0; i < 3; i++) vcpu.translate(0x5000_0000, Access.Read);
    vcpu.translate(0x7000_0000, Access.Read);
    const { tlb, faults, descriptorReads } = vcpu.statistics;
    expect(tlb).toMatchObject({ hits: 2, misses: 2, stale: 0, conflicts: 0 });
    expect(faults).toBe(1);
    expect(descriptorReads).toEqual({ stage1: NONE, stage2: { ...NONE, 1: 2, 2: 2, 3: 1 } });
    const copy = vcpu.statistics;
    vcpu.resetStatistics();
    expect(copy.faults).toBe(1);
    expect(vcpu.statistics.faults).toBe(0);
    expect(vcpu.statistics.descriptorReads.stage2).toEqual(NONE);
    // Short walks count as long ones do.
    const quick = make({ tlb: false });
    quick.translate(0x5000_0000, Access.Read);
    quick.translate(0x6000_0000, Access.Read);
    expect(quick.statistics.descriptorReads.stage2).toEqual({ ...NONE, 1: 2, 2: 2, 3: 1 });
  });
});
