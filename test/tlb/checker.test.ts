/** Events of TLBs: what is taken in, what is stale, what meets another entry for the same address, groups that disagree. */
import { beforeEach, describe, expect, it } from "vitest";
import {
  Access,
  type Event,
  Fault,
  type Granule,
  Prot,
  type Vcpu,
  type VcpuOptions,
} from "../../src/index.ts";
import { MODES, lab } from "../support.ts";
import { BLOCK, DATA, Guest, MACHINE, OUT, PAGE, S1, S2, type Slot, slot2 } from "./support.ts";

const VA = 0x60_0000;
const KERNEL = -0x40_0000;
const MOVED = 0x20_0000;

describe.each(MODES)("events of TLBs (%s)", (mode) => {
  const here = lab(mode, MACHINE);
  let guest: Guest;
  const make = (options: VcpuOptions = {}): Vcpu =>
    here.keep(here.engine.vcpu(guest.s2, { checker: true, events: ["tlb"], ...options }));
  const read = (vcpu: Vcpu, va: number) => vcpu.translate(va, Access.Read);
  const drain = (): Event[] => [...here.engine.events.drain()];
  const during = (step: () => unknown): Event[] => {
    here.engine.events.clear();
    step();
    return drain();
  };
  /** Puts the value back at the end of the test. */
  const borrow = (slot: Slot): Slot => {
    const before = slot.value;
    here.keep({ dispose: () => void (slot.value = before) });
    return slot;
  };

  beforeEach(() => {
    guest = new Guest(here);
    guest.s2.map({ ipa: DATA, size: 16 * PAGE, pa: OUT, prot: Prot.RW, forcePages: true });
  });

  describe("of what is taken in", () => {
    const fill = (vcpu: Vcpu) => ({
      ...{ kind: "tlbFill", cpu: vcpu.number, vmid: guest.s2.vmid, asid: 0, level: 3 },
      ...{ address: DATA + 0x18, ipa: DATA + 0x18 },
    });

    it.each([true, false])("stage 2 alone, checker %s: both arrays", (checker) => {
      const vcpu = make({ checker });
      const events = during(() => read(vcpu, DATA + 0x18));
      expect(events.filter((event) => "entry" in event && !event.entry.startsWith("walk"))).toEqual(
        [
          { ...fill(vcpu), entry: "stage2" },
          { ...fill(vcpu), entry: "combined" },
        ],
      );
      expect(during(() => read(vcpu, DATA + 0x20))).toEqual([]); // a hit takes nothing in
    });

    it("both stages: tables' pages too, with VMID and ASID", () => {
      guest.map(VA, DATA, S1.NOT_GLOBAL);
      guest.map(KERNEL, DATA + PAGE);
      const vcpu = make();
      vcpu.setRegisters(guest.registers(0x1234));
      const combined = (va: number) =>
        during(() => read(vcpu, va)).filter((e) => "entry" in e && e.entry === "combined");
      const common = { kind: "tlbFill", cpu: vcpu.number, entry: "combined", asid: 0x1234 };
      const { vmid } = guest.s2;
      expect(combined(VA)).toEqual([{ ...common, vmid, level: 3, address: VA, ipa: DATA }]);
      const kernel = { address: KERNEL, ipa: DATA + PAGE };
      expect(combined(KERNEL)).toEqual([{ ...common, vmid, level: 3, ...kernel }]);
      vcpu.tlbi("VMALLS12E1");
      const pages = during(() => read(vcpu, VA)).filter(
        (e) => "entry" in e && e.entry === "stage2",
      );
      expect(pages).toHaveLength(4); // three tables and the page
    });

    it("the level is one that there is, or none", () => {
      const vcpu = make();
      vcpu.setRegisters({ hcrEl2: 0n }); // both stages off
      const events = during(() => read(vcpu, VA));
      expect(events).toMatchObject([{ kind: "tlbFill", entry: "combined", address: VA }]);
      const [first] = events;
      expect([undefined, -1, 0, 1, 2, 3]).toContain((first as { level?: number }).level);
    });

    it("remembered tables are entries like others", () => {
      guest.map(VA, DATA);
      const vcpu = make();
      vcpu.setRegisters(guest.registers(7));
      const kinds = during(() => read(vcpu, VA)).flatMap((e) => ("entry" in e ? [e.entry] : []));
      expect(kinds).toContain("walkStage2");
      expect(kinds).toContain("walkStage1");
    });

    it("a walk that faults takes in no translation", () => {
      const vcpu = make();
      guest.s2.unmap({ ipa: DATA, size: PAGE });
      const events = during(() => read(vcpu, DATA));
      expect(events.filter((e) => "entry" in e && !e.entry.startsWith("walk"))).toEqual([]);
    });
  });

  describe("of stale entries", () => {
    it.each<[string, (slot: Slot) => void, number | undefined]>([
      ["moved", (slot) => slot.retarget(OUT + MOVED), OUT + MOVED],
      ["gone", (slot) => (slot.value = 0n), undefined],
      ["an address that is none", (slot) => (slot.value |= 1n << 46n), undefined],
    ])("%s: each use is told", (_, change, now) => {
      const vcpu = make();
      read(vcpu, DATA);
      change(borrow(guest.slot2(DATA)));
      const told = { kind: "tlbStale", cpu: vcpu.number, entry: "combined", pa: OUT + 8 };
      for (let i = 0; i < 2; i++) {
        expect(during(() => expect(read(vcpu, DATA + 8)).toBe(OUT + 8))).toEqual([
          { ...told, address: DATA + 8, now: now === undefined ? undefined : now + 8 },
        ]);
      }
      expect(vcpu.statistics.tlb.stale).toBe(2);
    });

    it("of stage 1 alike, at negative addresses too", () => {
      const slot = guest.map(KERNEL, DATA);
      const vcpu = make();
      vcpu.setRegisters(guest.registers(1));
      read(vcpu, KERNEL);
      slot.retarget(DATA + PAGE);
      expect(during(() => read(vcpu, KERNEL))).toEqual([
        {
          ...{ kind: "tlbStale", cpu: vcpu.number, entry: "combined" },
          ...{ address: KERNEL, pa: OUT, now: OUT + PAGE },
        },
      ]);
    });

    it("none where the invalidations were right, wherever they came from", () => {
      const vcpu = make();
      for (let i = 0; i < 4; i++) {
        read(vcpu, DATA);
        guest.s2.unmap({ ipa: DATA, size: PAGE });
        read(vcpu, DATA);
        guest.s2.map({ ipa: DATA, size: PAGE, pa: OUT + i * PAGE, prot: Prot.RW });
      }
      expect(drain().filter(({ kind }) => kind === "tlbStale")).toEqual([]);
    });

    // L45: an unmap whose invalidations are not what they must be is found at the first access.
    const MUTANTS: [string, ("ipa" | "all" | "walk")[]][] = [
      ["none at all", []],
      ["not by IPA", ["all"]],
      ["not of what was combined", ["ipa"]],
      ["the wrong way round", ["all", "walk", "ipa"]],
    ];
    it.each(MUTANTS)("an invalidation that is missing is found: %s", (_, steps) => {
      guest.map(VA, DATA);
      const vcpu = make();
      vcpu.setRegisters(guest.registers(1));
      read(vcpu, VA);
      here.engine.events.clear();
      borrow(guest.slot2(DATA)).value = 0n;
      for (const step of steps) {
        if (step === "ipa") vcpu.tlbi("IPAS2E1", { address: DATA });
        else if (step === "all") vcpu.tlbi("VMALLE1");
        else read(vcpu, VA);
      }
      expect(read(vcpu, VA)).toBe(OUT);
      expect(vcpu.statistics.tlb.stale).toBeGreaterThan(0);
      expect(drain()).toContainEqual(
        expect.objectContaining({ kind: "tlbStale", pa: OUT, now: undefined }),
      );
    });

    it("an invalidation that is missing is found: of a table", () => {
      const vcpu = make();
      read(vcpu, DATA);
      here.engine.events.clear();
      const other = here.keep(here.engine.stage2());
      other.map({ ipa: DATA, size: 4 * PAGE, pa: OUT + MOVED, prot: Prot.RW });
      borrow(guest.slot2(DATA, 2)).value = slot2(here.engine, other, DATA, 2).value;
      expect(read(vcpu, DATA + PAGE)).toBe(OUT + PAGE); // by the old table
      expect(vcpu.statistics.tlb.stale).toBeGreaterThan(0);
    });
  });

  describe("of two entries for one address", () => {
    const BIG = 0x7000_0000;
    const conflicts = (vcpu: Vcpu, va: number) =>
      during(() => read(vcpu, va)).filter(({ kind }) => kind === "tlbConflict");
    const conflict = (vcpu: Vcpu, entry: string, address: number, pa: number, other: number) => ({
      kind: "tlbConflict",
      cpu: vcpu.number,
      ...{ entry, address, pa, other },
    });

    it("a block that became pages behind the TLB's back", () => {
      guest.s2.map({ ipa: BIG, size: BLOCK, pa: 2 ** 33, prot: Prot.RW });
      const vcpu = make();
      expect(conflicts(vcpu, BIG)).toEqual([]);
      expect(conflicts(vcpu, BIG + PAGE)).toEqual([]); // the same block
      // A table with the same contents but for page 5.
      const block = borrow(guest.slot2(BIG, 2));
      const table = guest.paOf(guest.newTable());
      const { buffer, byteOffset } = here.engine.memoryMap.bytes(table, PAGE);
      const words = new BigUint64Array(buffer, byteOffset, 512);
      for (let i = 0; i < 512; i++) words[i] = (block.value | 2n) + BigInt(i * PAGE);
      words[5] = (words[5] as bigint) + BigInt(MOVED);
      block.value = BigInt(table) | 3n;
      const moved = 2 ** 33 + 5 * PAGE + MOVED;
      const [page5, old5] = [BIG + 5 * PAGE, 2 ** 33 + 5 * PAGE];
      expect(conflicts(vcpu, page5)).toEqual([
        conflict(vcpu, "stage2", page5, moved, old5),
        conflict(vcpu, "combined", page5, moved, old5),
      ]);
      expect(vcpu.statistics.tlb.conflicts).toBe(2);
      // The same output address, and yet two entries of different sizes
      expect(conflicts(vcpu, BIG + 6 * PAGE)).toHaveLength(2);
      // With the invalidation, none.
      vcpu.tlbi("VMALLS12E1");
      for (const page of [0, 1, 5, 6, 9]) expect(conflicts(vcpu, BIG + page * PAGE)).toEqual([]);
    });

    it("none after the engine has split, or put a block in place of pages", () => {
      guest.s2.map({ ipa: BIG, size: BLOCK, pa: 2 ** 33, prot: Prot.RW });
      const vcpu = make();
      for (let i = 0; i < 4; i++) read(vcpu, BIG + i * PAGE);
      guest.s2.split({ ipa: BIG, size: BLOCK });
      for (let i = 2; i < 8; i++) expect(conflicts(vcpu, BIG + i * PAGE)).toEqual([]);
      guest.s2.map({ ipa: BIG, size: BLOCK, pa: 2 ** 34, prot: Prot.RW });
      for (let i = 4; i < 12; i++) expect(conflicts(vcpu, BIG + i * PAGE)).toEqual([]);
      expect(vcpu.statistics.tlb.conflicts).toBe(0);
    });

    it("none between guests, address spaces, or stages on and off", () => {
      guest.map(VA, DATA, S1.NOT_GLOBAL);
      const other = new Guest(here, { offset: 0x8_0000 });
      other.s2.map({ ipa: DATA, size: PAGE, pa: OUT + MOVED, prot: Prot.RW });
      other.s2.map({ ipa: VA, size: PAGE, pa: OUT + MOVED, prot: Prot.RW });
      other.map(VA, DATA, S1.NOT_GLOBAL);
      guest.s2.map({ ipa: VA, size: PAGE, pa: OUT, prot: Prot.RW });
      const vcpu = make();
      for (let i = 0; i < 12; i++) {
        const one = i % 2 === 0 ? guest : other;
        const stage1 = i % 3 === 0 ? { sctlrEl1: 0n } : one.registers(i % 3);
        vcpu.setRegisters({ ...one.switchTo(), ...stage1 });
        read(vcpu, VA);
      }
      expect(vcpu.statistics.tlb.conflicts).toBe(0);
    });
  });

  describe("of contiguous groups", () => {
    const GROUPS: [Granule, number, number, number][] = [
      // granule, level, entries of a group, bytes of an entry
      ["4K", 3, 16, 2 ** 12],
      ["4K", 2, 16, 2 ** 21],
      ["16K", 3, 128, 2 ** 14],
      ["16K", 2, 32, 2 ** 25],
      ["64K", 3, 32, 2 ** 16],
      ["64K", 2, 32, 2 ** 29],
    ];
    it.each(GROUPS)("%s level %i: %i entries", (granule, level, members, size) => {
      const s2 = here.keep(here.engine.stage2({ granule, ipaBits: 40, parange: 4 }));
      const group = members * size;
      const forcePages = level === 3;
      s2.map({ ipa: group, size: group, pa: 4 * group, prot: Prot.RW, forcePages });
      const slots = Array.from({ length: members }, (_, i) => {
        return slot2(here.engine, s2, group + i * size, level);
      });
      for (const slot of slots) borrow(slot).value |= S2.CONTIGUOUS;
      const make = (options: VcpuOptions) =>
        here.keep(here.engine.vcpu(s2, { checker: true, events: ["tlb"], tlb: false, ...options }));
      const [alone, strict] = [make({}), make({ inconsistentContiguous: "conflict" })];
      const middle = group + 5 * size;
      const told = (vcpu: Vcpu) => during(() => vcpu.translate(middle, Access.Read));
      for (const vcpu of [alone, strict]) expect(told(vcpu)).toEqual([]);
      const odd = slots[members - 1] as Slot;
      const good = odd.value;
      const CHANGES: [(pte: bigint) => bigint, boolean][] = [
        [(pte) => pte, true],
        [(pte) => pte & ~S2.AF, true], // hardware may do that to one of them
        [(pte) => pte ^ S2.W, true],
        [(pte) => pte & ~S2.CONTIGUOUS, false],
        [(pte) => pte & ~1n, false],
        [(pte) => pte ^ S2.R, false],
        [(pte) => pte ^ (1n << 54n), false],
        [(pte) => pte ^ (3n << 2n), false], // memory type
        [(pte) => pte + BigInt(group), false],
      ];
      for (const [change, agrees] of CHANGES) {
        odd.value = change(good);
        const pte = (slots[5] as Slot).value;
        const event = {
          ...{ kind: "contiguous", stage: 2, level, slot: slots[5]?.pa, pte, member: odd.value },
        };
        for (const vcpu of [alone, strict]) {
          const events = told(vcpu);
          expect(events, String(change)).toEqual(agrees ? [] : [{ ...event, cpu: vcpu.number }]);
        }
        expect(alone.translate(middle, Access.Read)).toBe(4 * group + 5 * size);
        const result = strict.translate(middle, Access.Read);
        if (agrees) expect(result).toBe(4 * group + 5 * size);
        else expect(result).toMatchObject({ type: "tlbConflict", fsc: 0x30, level: undefined });
        odd.value = good;
      }
      // A group that does not lie where it must
      for (const slot of slots) slot.value += BigInt(size);
      expect(told(alone)).toMatchObject([{ kind: "contiguous" }]);
      here.engine.events.clear();
    });

    it("whatever the rest of the engine does, groups of its own are none", () => {
      const vcpu = make({ inconsistentContiguous: "conflict" });
      for (let i = 0; i < 16; i++) expect(read(vcpu, DATA + i * PAGE)).not.toBeInstanceOf(Fault);
    });
  });

  describe("of invalidations", () => {
    it("name who and what, at any number of fields", () => {
      const vcpu = make();
      const events = during(() => {
        vcpu.tlbi("IPAS2E1", { address: DATA, level: 3 });
        vcpu.tlbi("RIPAS2LE1", { address: DATA, pages: 512 });
        vcpu.tlbi("VAE1", { address: -PAGE, asid: 0xffff, level: 2, local: true });
        vcpu.tlbi("ASIDE1", { asid: 9 });
        vcpu.tlbi("ALLE1");
      });
      const common = { kind: "tlbi", cpu: vcpu.number, vmid: guest.s2.vmid, asid: 0 };
      const anywhere = { ...common, broadcast: true };
      expect(events).toMatchObject([
        { ...anywhere, op: "IPAS2E1", address: DATA, level: 3 },
        { ...anywhere, op: "RIPAS2LE1", address: DATA, pages: 512, level: undefined },
        { ...common, op: "VAE1", address: -PAGE, asid: 0xffff, level: 2, broadcast: false },
        { ...anywhere, op: "ASIDE1", asid: 9 },
        { ...anywhere, op: "ALLE1" },
      ]);
    });

    it("are silent where the vCPU was not asked for TLB events", () => {
      const vcpu = make({ events: ["walks", "updates"] });
      expect(during(() => vcpu.tlbi("VMALLS12E1"))).toEqual([]);
    });
  });
});
