/** Every option of a vCPU that changes what software meets: both its values, told apart by what happens. */
import { beforeEach, describe, expect, it } from "vitest";
import { Access, Fault, Prot, type Stage2, type Vcpu, type VcpuOptions } from "../../src/index.ts";
import { MODES, SMALL, lab } from "../support.ts";

const RAM = { pa: 0x8000_0000, size: 0x10000 };
const PAGE = 0x1000;
const AF = 1n << 10n;
const DBM = 1n << 51n;
const HCR_DC = 1n << 12n;

describe.each(MODES)("knobs (%s)", (mode) => {
  const here = lab(mode, { ...SMALL, guestRam: RAM });
  let s2: Stage2;

  /** IPA = PA - 0x4000_0000 of guest memory: page 0 R, page 1 R and aged, page 2 RWX, from page 4 on RW. */
  beforeEach(() => {
    s2 = here.keep(here.engine.stage2());
    const page = (n: number, prot: number) =>
      s2.map({ ipa: 0x4000_0000 + n * PAGE, size: PAGE, pa: RAM.pa + n * PAGE, prot });
    page(0, Prot.R);
    page(1, Prot.R);
    page(2, Prot.RWX);
    s2.map({ ipa: 0x4000_4000, size: 8 * PAGE, pa: RAM.pa + 4 * PAGE, prot: Prot.RW });
    age(1);
  });

  const va = (page: number) => 0x4000_0000 + page * PAGE;
  const age = (page: number) => s2.testClearYoung({ ipa: va(page), size: PAGE });
  const make = (options: VcpuOptions): Vcpu => {
    const vcpu = here.keep(here.engine.vcpu(s2, options));
    vcpu.setRegisters({ hcrEl2: vcpu.registers.hcrEl2 | HCR_DC }); // memory is not Device
    return vcpu;
  };
  const value = (page: number) => s2.getLeaf(va(page)).pte;
  /** Changes a page's entry, with no TLB invalidation. */
  function edit(page: number, change: (pte: bigint) => bigint): void {
    const { steps } = here.keep(here.engine.vcpu(s2, { tlb: false })).trace(va(page), Access.Read);
    const { buffer, byteOffset } = here.engine.memoryMap.bytes(steps[2]!.pa, 8);
    const entry = new BigUint64Array(buffer, byteOffset, 1);
    entry[0] = change(entry[0]!);
  }
  const isDirty = (page: number) => (value(page) & (1n << 7n)) !== 0n;
  const isYoung = (page: number) => (value(page) & AF) !== 0n;

  it("tableBaseLowBits", () => {
    const low = (tableBaseLowBits: "zero" | "kept") => {
      const vcpu = make({ tableBaseLowBits });
      vcpu.setRegisters({ vttbrEl2: vcpu.registers.vttbrEl2 | 0x1000n }); // the root is 8 KiB
      return vcpu.translate(va(0), Access.Read);
    };
    expect(low("zero")).toBe(RAM.pa);
    expect(low("kept")).toMatchObject({ type: "translation", level: 1 });
  });

  it("reservedShareability", () => {
    edit(0, (pte) => (pte & ~0x300n) | 0x100n);
    const sh = (reservedShareability: "non" | "outer") =>
      make({ reservedShareability }).probe(va(0), Access.Read);
    expect(sh("non")).toMatchObject({ sh: 0 });
    expect(sh("outer")).toMatchObject({ sh: 2 });
  });

  it("inconsistentContiguous", () => {
    edit(0, (pte) => pte | (1n << 52n));
    const outcome = (inconsistentContiguous: "alone" | "conflict") =>
      make({ inconsistentContiguous }).translate(va(0), Access.Read);
    expect(outcome("alone")).toBe(RAM.pa);
    expect(outcome("conflict")).toMatchObject({ type: "tlbConflict", fsc: 0x30, level: undefined });
  });

  it("s1ptwWrite", () => {
    const written = (s1ptwWrite: "access" | "walk", access: number) => {
      const vcpu = make({ s1ptwWrite });
      vcpu.setRegisters({
        ...{ hcrEl2: (1n << 31n) | 1n, sctlrEl1: 1n, ttbr0El1: 0x4000_3000n, mairEl1: 0xffn },
        tcrEl1: 25n | (2n << 32n),
      });
      const fault = vcpu.translate(0x10, access) as Fault;
      expect(fault).toMatchObject({ type: "translation", s1ptw: true, ipa: 0x4000_3000 });
      return fault.write;
    };
    expect([Access.Read, Access.Write].map((access) => written("access", access))).toEqual([
      false,
      true,
    ]);
    expect([Access.Read, Access.Write].map((access) => written("walk", access))).toEqual([
      false,
      false,
    ]);
  });

  it("hpfarOnPermission", () => {
    const fault = (hpfarOnPermission: "correct" | "poison", page: number) =>
      make({ hpfarOnPermission }).translate(va(page) + 8, Access.Write) as Fault;
    const right = { hpfar: 0x40_0000n, ipa: va(0) + 8 };
    expect(fault("correct", 0)).toMatchObject({ type: "permission", ...right });
    const poisoned = fault("poison", 0);
    expect(poisoned).toMatchObject({ type: "permission", ipa: undefined, far: BigInt(va(0) + 8) });
    expect(poisoned.hpfar).not.toBe(right.hpfar);
    expect(fault("poison", 3)).toMatchObject({
      type: "translation",
      ipa: va(3) + 8,
      hpfar: 0x40_0030n,
    });
  });

  it("execNeedsRead", () => {
    edit(2, (pte) => pte & ~(1n << 6n));
    const fetch = (execNeedsRead: boolean) =>
      make({ execNeedsRead }).translate(va(2), Access.Fetch);
    expect(fetch(false)).toBe(RAM.pa + 2 * PAGE);
    expect(fetch(true)).toMatchObject({ type: "permission", fetch: true });
  });

  it("reservedMemAttr", () => {
    edit(0, (pte) => (pte & ~0x3cn) | 0x10n); // MemAttr 0100: outer non-cacheable, inner reserved
    const attr = (reservedMemAttr: "nc" | "bits") =>
      make({ reservedMemAttr }).probe(va(0), Access.Read);
    expect(attr("nc")).toMatchObject({ attr: 0x44, memory: "Normal non-cacheable" });
    expect(attr("bits")).toMatchObject({ attr: 0x4f }); // the inner half is stage 1's
    const forced = { hcrEl2: (1n << 46n) | (1n << 31n) | HCR_DC | 1n };
    for (const [reservedMemAttr, expected] of [
      ["nc", 0x44],
      ["bits", 0],
    ] as const) {
      const vcpu = make({ reservedMemAttr });
      vcpu.setRegisters(forced);
      expect(vcpu.probe(va(0), Access.Read)).toMatchObject({ attr: expected });
    }
  });

  it("afOnPermissionFault", () => {
    for (const afOnPermissionFault of [false, true]) {
      age(1);
      expect(make({ afOnPermissionFault }).translate(va(1), Access.Write)).toMatchObject({
        type: "permission",
      });
      expect(isYoung(1)).toBe(afOnPermissionFault);
    }
  });

  it("failedCasDirty", () => {
    for (const failedCasDirty of [true, false]) {
      edit(5, (pte) => (pte & ~(1n << 7n)) | DBM);
      const vcpu = make({ failedCasDirty, hd: true });
      expect(vcpu.compareAndSwap(va(5), 8, 1n, 2n)).toBe(0n);
      expect(isDirty(5)).toBe(failedCasDirty);
      expect(vcpu.compareAndSwap(va(5), 8, 0n, 0n)).toBe(0n);
      expect(isDirty(5)).toBe(true);
    }
  });

  it("failedStxrDirty", () => {
    for (const failedStxrDirty of [false, true]) {
      edit(5, (pte) => (pte & ~(1n << 7n)) | DBM);
      const vcpu = make({ failedStxrDirty, hd: true });
      expect(vcpu.storeExclusive(va(5), 8, 2n)).toBe(false);
      expect(isDirty(5)).toBe(failedStxrDirty);
      expect(vcpu.loadExclusive(va(5), 8)).toBe(0n);
      expect(vcpu.storeExclusive(va(5), 8, 0n)).toBe(true);
      expect(isDirty(5)).toBe(true);
    }
  });

  it("atomicUpdates", () => {
    expect(make({ atomicUpdates: false }).translate(va(1), Access.Read)).toMatchObject({
      ...{ type: "unsupportedAtomicUpdate", fsc: 0x31, level: undefined },
    });
    expect(isYoung(1)).toBe(false);
    expect(make({ atomicUpdates: false }).translate(va(0), Access.Read)).toBe(RAM.pa);
    expect(make({ atomicUpdates: true }).translate(va(1), Access.Read)).toBe(RAM.pa + PAGE);
    expect(isYoung(1)).toBe(true);
  });

  it("atUpdates", () => {
    for (const atUpdates of [false, true]) {
      age(1);
      edit(5, (pte) => (pte & ~(1n << 7n)) | DBM);
      const vcpu = make({ atUpdates, hd: true });
      vcpu.el = 2;
      expect(vcpu.at("S12E1R", va(1))).toMatchObject({ ok: true });
      expect(isYoung(1)).toBe(atUpdates);
      expect(vcpu.at("S12E1R", va(5))).toMatchObject({ ok: true });
      expect(isDirty(5)).toBe(false);
      expect(vcpu.at("S12E1W", va(5))).toMatchObject({ ok: true });
      expect(isDirty(5)).toBe(atUpdates);
    }
  });

  it("permissionFaultDropsEntry", () => {
    for (const permissionFaultDropsEntry of [true, false]) {
      edit(0, (pte) => pte & ~(1n << 7n));
      const vcpu = make({ permissionFaultDropsEntry });
      vcpu.translate(va(0), Access.Read);
      edit(0, (pte) => pte | (1n << 7n));
      const stale = { type: "permission", fromTlb: true };
      expect(vcpu.translate(va(0), Access.Write)).toMatchObject(stale);
      const again = vcpu.translate(va(0), Access.Write);
      if (permissionFaultDropsEntry) expect(again).toBe(RAM.pa);
      else expect(again).toMatchObject(stale);
      vcpu.tlbi("VMALLS12E1");
      expect(vcpu.translate(va(0), Access.Write)).toBe(RAM.pa);
      expect(vcpu.statistics.tlb.spuriousFaults).toBe(permissionFaultDropsEntry ? 1 : 2);
    }
  });

  it("ownStoreClearsMonitor", () => {
    const stores = (options: VcpuOptions, beside: number) => {
      const vcpu = make(options);
      vcpu.loadExclusive(va(5), 8);
      vcpu.write32(va(5) + beside, 1);
      return vcpu.storeExclusive(va(5), 8, 5n);
    };
    for (const strictMonitor of [false, true]) {
      expect(stores({ strictMonitor }, 32)).toBe(true);
      expect(stores({ strictMonitor, ownStoreClearsMonitor: true }, 32)).toBe(false);
      expect(stores({ strictMonitor, ownStoreClearsMonitor: true }, 64)).toBe(true);
    }
  });

  it("exclusivesGranule", () => {
    const reaches = (exclusivesGranule: number, beside: number) => {
      const vcpu = make({ exclusivesGranule, ownStoreClearsMonitor: true });
      vcpu.loadExclusive(va(5), 8);
      vcpu.write8(va(5) + beside, 1);
      return !vcpu.storeExclusive(va(5), 8, 5n);
    };
    for (const granule of [16, 64, 2048]) {
      expect([reaches(granule, granule - 1), reaches(granule, granule)]).toEqual([true, false]);
    }
  });

  it("speculation", () => {
    const walks = (speculation: number) => {
      const vcpu = make({ speculation, hd: true });
      edit(5, (pte) => (pte & ~((1n << 7n) | AF)) | DBM);
      edit(7, (pte) => (pte & ~((1n << 7n) | AF)) | DBM);
      for (let i = 0; i < 40; i++) {
        vcpu.tlbi("VMALLS12E1");
        expect(vcpu.translate(va(6), Access.Write)).toBe(RAM.pa + 6 * PAGE);
      }
      return vcpu.statistics.speculativeWalks;
    };
    expect(walks(0)).toBe(0);
    expect([isYoung(5), isYoung(7)]).toEqual([false, false]);
    expect(walks(2)).toBeGreaterThan(5);
    expect([isYoung(5), isYoung(7)]).toEqual([true, true]); // nobody asked for these
    expect([isDirty(5), isDirty(7)]).toEqual([false, false]); // but never dirty
  });

  it("spuriousExclusiveFailures and seed", () => {
    const failures = (options: VcpuOptions) => {
      const vcpu = make(options);
      return Array.from({ length: 60 }, () => {
        vcpu.loadExclusive(va(5), 8);
        return vcpu.storeExclusive(va(5), 8, 1n) ? "." : "x";
      }).join("");
    };
    expect(failures({})).toBe(".".repeat(60));
    const some = failures({ spuriousExclusiveFailures: 3, seed: 7 });
    expect(some).toContain("x");
    expect(some).toContain(".");
    expect(failures({ spuriousExclusiveFailures: 3, seed: 7 })).toBe(some);
    expect(failures({ spuriousExclusiveFailures: 3, seed: 8 })).not.toBe(some);
  });

  it("hafdbs and hd", () => {
    const outcome = (options: VcpuOptions) => {
      age(1);
      edit(5, (pte) => (pte & ~(1n << 7n)) | DBM);
      const vcpu = make(options);
      const [read, write] = [
        vcpu.translate(va(1), Access.Read),
        vcpu.translate(va(5), Access.Write),
      ];
      return [read, write].map((result) => (result instanceof Fault ? result.type : "ok"));
    };
    expect(outcome({ hafdbs: 0, hd: true })).toEqual(["accessFlag", "permission"]);
    expect(outcome({ hafdbs: 1, hd: true })).toEqual(["ok", "permission"]);
    expect(outcome({ hafdbs: 2, hd: true })).toEqual(["ok", "ok"]);
    expect(outcome({ hafdbs: 2, hd: false })).toEqual(["ok", "permission"]);
    expect(outcome({})).toEqual(["ok", "permission"]);
  });

  it("hafdbs 4: dirty pages are recorded, until there is no room", () => {
    const vcpu = make({ hafdbs: 4, hd: true });
    const base = BigInt(RAM.pa + 0xc000);
    vcpu.setRegisters({
      ...{ vtcrEl2: vcpu.registers.vtcrEl2 | (1n << 45n), hdbssbrEl2: base },
      hdbssprodEl2: 511n, // one entry of 512 is left
    });
    for (const page of [5, 6]) edit(page, (pte) => (pte & ~(1n << 7n)) | DBM);
    expect(vcpu.write32(va(5), 1)).toBeUndefined();
    const bytes = here.engine.memoryMap.bytes(RAM.pa + 0xc000 + 511 * 8, 8);
    const entry = new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true);
    expect(entry).toBe(BigInt(va(5)) | (3n << 1n) | 1n);
    expect(vcpu.registers.hdbssprodEl2).toBe(512n);
    expect(vcpu.write32(va(6), 1)).toMatchObject({
      type: "permission",
      hdbssFull: true,
      write: true,
    });
    expect(isDirty(6)).toBe(false);
    expect(vcpu.statistics.hdbssEntries).toBe(1);
    vcpu.setRegisters({ hacdbsbrEl2: base | (1n << 11n), hacdbsconsEl2: 511n });
    expect(vcpu.cleanDirtyState()).toBe(1);
    expect(isDirty(5)).toBe(false);
    expect(vcpu.registers.hacdbsconsEl2).toBe(512n);
  });

  it("xnx", () => {
    const fetches = (xnx: boolean, xn: bigint) => {
      edit(2, (pte) => (pte & ~(3n << 53n)) | (xn << 53n));
      const vcpu = make({ xnx });
      return ([1, 0] as const).map((el) => {
        vcpu.el = el;
        return typeof vcpu.translate(va(2), Access.Fetch) === "number";
      });
    };
    expect([0n, 1n, 2n, 3n].map((xn) => fetches(true, xn))).toEqual([
      [true, true],
      [false, true],
      [false, false],
      [true, false],
    ]);
    expect([0n, 1n, 2n, 3n].map((xn) => fetches(false, xn))).toEqual([
      [true, true],
      [true, true],
      [false, false],
      [false, false],
    ]);
  });

  it("tlb", () => {
    const hits = (tlb: (VcpuOptions["tlb"] & object) | false) => {
      const vcpu = make({ tlb });
      for (let i = 0; i < 12; i++) vcpu.translate(va(4 + (i % 4)), Access.Read);
      return vcpu.statistics.tlb.hits;
    };
    expect(hits(false)).toBe(0);
    expect(hits({ sets: 1, ways: 1 })).toBe(0);
    expect(hits({ sets: 4, ways: 1 })).toBe(8);
    expect(hits({ sets: 1, ways: 4 })).toBe(8);
    expect(hits({ sets: 512, ways: 4 })).toBe(8);
  });
});
