/** The dirty-state cleaner (FEAT_HACDBS): reads what the structure lists, makes pages writable-clean, and says where it stopped. */
import { describe, expect, it } from "vitest";
import { type Registers, type Vcpu } from "../../src/index.ts";
import { MODES } from "../support.ts";
import { CLEAN, DIRTY, RO, RW, flatRegisters, ipaOf, leaf2, slotOf, stage2 } from "./guest.ts";
import { DATA, HOLE, VTCR, changed, hex, machine } from "./machine.ts";
import { S2, leaf } from "./paging.ts";
import { INDEX, LIST, entryFor, structure } from "./hdbss-entries.ts";

const SLOT = slotOf(0);

describe.each(MODES)("the dirty-state cleaner (%s)", (mode) => {
  const here = machine(mode);
  const ENABLED = 1n << 11n;
  const cleaner = (registers: Partial<Registers> = {}): Vcpu =>
    here.vcpu({
      hafdbs: 4,
      registers: { ...flatRegisters("HA HD"), hacdbsbrEl2: structure() | ENABLED, ...registers },
    });
  const list = (entries: readonly bigint[]) =>
    entries.forEach((value, i) => here.set(LIST + i * 8, value));
  const page = (n: number) => entryFor(ipaOf(n), 3);
  const becameClean = (n: number) => changed(slotOf(n), leaf2(n, CLEAN));
  /** Where it stopped, and whether with an error. */
  const stopped = (vcpu: Vcpu) => {
    const { hacdbsconsEl2 } = vcpu.registers;
    return { index: Number(hacdbsconsEl2 & INDEX), failed: hacdbsconsEl2 >> 19n !== 0n };
  };
  /** A reserved level. */
  const STOP = (5n << 1n) | 1n;

  it("makes pages clean that are dirty, and leaves all else", () => {
    stage2(here, { 0: DIRTY, 1: CLEAN, 2: RW, 3: RO, 4: DIRTY & ~S2.AF, 5: DIRTY });
    list([page(0), page(1), page(2), page(3), page(4), STOP, page(5)]);
    const vcpu = cleaner();
    expect(vcpu.cleanDirtyState()).toBe(5);
    expect(here.changes()).toEqual({
      ...becameClean(0),
      ...changed(slotOf(4), leaf2(4, CLEAN & ~S2.AF)),
    });
    expect(stopped(vcpu)).toEqual({ index: 5, failed: false });
  });

  it("passes over entries that are not valid", () => {
    stage2(here, { 0: DIRTY, 1: DIRTY });
    list([page(0) & ~1n, 0n, page(1), STOP]);
    const vcpu = cleaner();
    vcpu.cleanDirtyState();
    expect(here.changes()).toEqual(becameClean(1));
    expect(stopped(vcpu)).toEqual({ index: 3, failed: false });
  });

  it.each([4, 5, 6])("stops at the reserved level %i", (level) => {
    stage2(here, { 0: DIRTY });
    list([entryFor(ipaOf(0), level), page(0)]);
    const vcpu = cleaner();
    vcpu.cleanDirtyState();
    expect(stopped(vcpu)).toEqual({ index: 0, failed: false });
  });

  it("goes on from INDEX to the end", () => {
    stage2(here, { 0: DIRTY, 1: DIRTY });
    for (const size of [0, 1]) {
      const end = 512 << size;
      here.set(LIST + (end - 2) * 8, page(0));
      here.set(LIST + (end - 1) * 8, page(1));
      const vcpu = cleaner({
        hacdbsbrEl2: structure(size) | ENABLED,
        hacdbsconsEl2: BigInt(end - 1),
      });
      vcpu.cleanDirtyState();
      expect(here.changes()).toEqual(becameClean(1));
      expect(stopped(vcpu)).toEqual({ index: end, failed: false });
      stage2(here, { 1: DIRTY });
    }
  });

  it("does nothing unless it is enabled", () => {
    stage2(here, { 0: DIRTY });
    list([page(0), STOP]);
    const vcpu = cleaner({ hacdbsbrEl2: structure() });
    expect(vcpu.cleanDirtyState()).toBe(0);
    expect(vcpu.registers.hacdbsconsEl2).toBe(0n);
  });

  it.each<[string, bigint, Partial<Registers>]>([
    ["an IPA that is not mapped", entryFor(ipaOf(9), 3), {}],
    ["an IPA whose table is not there", entryFor(0x1000, 3), {}],
    ["an IPA beyond its size", entryFor(2 ** 40, 3), {}],
    ["a page that is listed as a block", entryFor(ipaOf(1), 2), {}],
    ["a table that is listed as a block", entryFor(0x80_0000_0000, 1), {}],
    ["tables of an illegal size", page(1), { vtcrEl2: 0n }],
    ["tables that are not in memory", page(1), { vttbrEl2: BigInt(HOLE) }],
  ])("stops with an error at %s", (_name, bad, registers) => {
    stage2(here, { 0: DIRTY, 1: DIRTY, 2: DIRTY });
    const whole = Object.keys(registers).length === 0;
    list(whole ? [page(0), bad, page(2)] : [bad, page(2)]);
    const vcpu = cleaner(registers);
    vcpu.cleanDirtyState();
    expect(here.changes()).toEqual(whole ? becameClean(0) : {});
    expect(stopped(vcpu)).toEqual({ index: whole ? 1 : 0, failed: true });
  });

  it("stops with an error at a block that is listed as a page", () => {
    stage2(here, {});
    const block = leaf(2, 0x9000_0000, DIRTY);
    here.set(slotOf(0) - 0x1000, block);
    list([page(0)]);
    const vcpu = cleaner();
    vcpu.cleanDirtyState();
    expect(stopped(vcpu)).toEqual({ index: 0, failed: true });
    list([entryFor(ipaOf(0), 2), STOP]);
    vcpu.setRegisters({ hacdbsconsEl2: 0n });
    expect(vcpu.cleanDirtyState()).toBe(1);
    expect(here.changes()).toEqual(changed(slotOf(0) - 0x1000, block & ~S2.W));
  });

  it("stops with an error where the list is not in memory, and tells its errors apart", () => {
    stage2(here, { 0: DIRTY });
    const reasons = [
      [{ hacdbsbrEl2: structure(0, HOLE) | ENABLED }, page(0)],
      [{}, page(9)],
      [{}, entryFor(ipaOf(0), 2)],
    ].map(([registers, entry]) => {
      list([entry as bigint, STOP]);
      const vcpu = cleaner(registers as Partial<Registers>);
      expect(vcpu.cleanDirtyState()).toBe(0);
      expect(stopped(vcpu)).toEqual({ index: 0, failed: true });
      return vcpu.registers.hacdbsconsEl2 >> 19n;
    });
    expect(new Set(reasons).size).toBe(3);
  });

  it("stops with an error at the end of memory", () => {
    stage2(here, { 0: DIRTY });
    const last = DATA.pa + DATA.size - 0x1000;
    here.set(DATA.pa + DATA.size - 8, page(0));
    const vcpu = cleaner({ hacdbsbrEl2: structure(1, last) | ENABLED }); // 8 KiB, of which 4 are there
    expect(vcpu.cleanDirtyState()).toBe(1);
    expect(here.changes()).toEqual(becameClean(0));
    expect(stopped(vcpu)).toEqual({ index: 512, failed: true });
  });

  it("leaves TLB entries: invalidation is software's duty", () => {
    stage2(here, { 0: DIRTY });
    list([page(0), STOP]);
    const writer = here.vcpu({ registers: flatRegisters("HA HD"), tlb: { sets: 16, ways: 2 } });
    expect(writer.write32(ipaOf(0), 0)).toBeUndefined();
    cleaner().cleanDirtyState();
    expect(here.changes()).toEqual(becameClean(0));
    expect(writer.write32(ipaOf(0), 0)).toBeUndefined();
    expect(here.changes(), "written through an old entry").toEqual({});
    writer.tlbi("IPAS2E1", { address: ipaOf(0) });
    writer.tlbi("VMALLE1");
    expect(writer.write32(ipaOf(0), 0)).toBeUndefined();
    expect(here.changes()).toEqual(changed(SLOT, leaf2(0, DIRTY)));
  });

  it("reads what the structure holds", () => {
    stage2(here, { 0: CLEAN, 1: CLEAN, 2: CLEAN });
    const vtcrEl2 = (flatRegisters("HA HD").vtcrEl2 as bigint) | VTCR.HDBSS;
    const vcpu = cleaner({ vtcrEl2, hdbssbrEl2: structure() });
    for (const n of [2, 0]) vcpu.write32(ipaOf(n), 0);
    expect(Object.keys(here.changes())).toHaveLength(4);
    const produced = Number(vcpu.registers.hdbssprodEl2 & INDEX);
    here.set(LIST + produced * 8, STOP);
    expect(vcpu.cleanDirtyState()).toBe(2);
    expect(here.changes()).toEqual({ ...becameClean(0), ...becameClean(2) });
    expect(hex(here.get(slotOf(1)))).toBe(hex(leaf2(1, CLEAN)));
  });
});
