/**
 * Walks that no program asked for (K-16): they may set access flags and fill the TLB; they never make anything dirty, never
 * fault, and never use what an invalidation has taken.
 */
import { describe, expect, it } from "vitest";
import { Access, Prot, type Stage2, type Vcpu, type VcpuOptions } from "../../src/index.ts";
import { MODES, lab } from "../support.ts";
import {
  BLOCK,
  DATA,
  Guest,
  MACHINE,
  OUT,
  PAGE,
  RAM,
  S1,
  S2,
  type Slot,
  TABLES,
} from "./support.ts";

const VA = 0x60_0000;

describe.each(MODES)("speculation (%s)", (mode) => {
  const here = lab(mode, MACHINE);
  const make = (guest: Guest, options: VcpuOptions = {}): Vcpu =>
    here.keep(here.engine.vcpu(guest.s2, { speculation: 2, ...options }));
  const read = (vcpu: Vcpu, va: number) => vcpu.translate(va, Access.Read);

  it("walks about as often as it was asked to, and repeats itself with the same seed", () => {
    const guest = new Guest(here);
    guest.s2.map({ ipa: DATA, size: BLOCK, pa: OUT, prot: Prot.RW });
    const run = (options: VcpuOptions) => {
      const vcpu = make(guest, { tlb: false, ...options });
      for (let i = 0; i < 2000; i++) read(vcpu, DATA + (i % 512) * PAGE);
      return vcpu.statistics.speculativeWalks;
    };
    for (const speculation of [2, 10, 100]) {
      const walks = run({ speculation });
      const mean = 2000 / speculation;
      expect(Math.abs(walks - mean)).toBeLessThan(5 * Math.sqrt(mean));
      expect(run({ speculation })).toBe(walks);
    }
    expect(run({ speculation: 0 })).toBe(0);
    const seeds = [1, 2, 3, 4, 5, 6].map((seed) => run({ speculation: 10, seed }));
    expect(new Set(seeds).size).toBeGreaterThan(1);
  });

  it.each([false, { sets: 16, ways: 2 }] as const)(
    "sets access flags of neighbours and nothing else (tlb %o)",
    (tlb) => {
      const guest = new Guest(here);
      guest.s2.map({ ipa: DATA, size: 64 * PAGE, pa: OUT, prot: Prot.R, forcePages: true });
      const slots = Array.from({ length: 64 }, (_, i) => guest.slot2(DATA + i * PAGE));
      for (const slot of slots) slot.value = (slot.value & ~S2.AF) | S2.DBM;
      const before = slots.map(({ value }) => value);
      const vcpu = make(guest, { tlb, hd: true });
      // Every fourth page is written; none is read.
      for (let round = 0; round < 8; round++) {
        for (let i = 2; i < 62; i += 4) {
          vcpu.tlbi("VMALLS12E1");
          expect(vcpu.translate(DATA + i * PAGE, Access.Write)).toBe(OUT + i * PAGE);
        }
      }
      let speculated = 0;
      for (const [i, slot] of slots.entries()) {
        const changed = slot.value ^ (before[i] as bigint);
        if (i % 4 === 2 && i < 62) expect(changed).toBe(S2.AF | S2.W);
        else {
          expect([0n, S2.AF], `page ${i}`).toContain(changed);
          if (changed !== 0n) speculated++;
        }
      }
      expect(speculated).toBeGreaterThan(10);
      expect(vcpu.statistics.faults).toBe(0);
      expect(vcpu.statistics.dirtyUpdates.stage2).toBe(15);
    },
  );

  it("at stage 1 sets access flags of neighbours, which stage 2 sees as writes to their table", () => {
    const guest = new Guest(here);
    guest.s2.map({ ipa: DATA, size: 8 * PAGE, pa: OUT, prot: Prot.R });
    for (let i = 0; i < 8; i++) guest.map(VA + i * PAGE, DATA + i * PAGE, S1.READ_ONLY | S1.DBM);
    const slots = Array.from({ length: 8 }, (_, i) => guest.slot1(VA + i * PAGE));
    for (const slot of slots) slot.value &= ~S1.AF;
    const vcpu = make(guest);
    vcpu.setRegisters(guest.registers(1, { tcr: (1n << 39n) | (1n << 40n) })); // HA, HD
    for (let i = 0; i < 40; i++) {
      vcpu.tlbi("VMALLE1");
      expect(read(vcpu, VA + 4 * PAGE)).toBe(OUT + 4 * PAGE);
    }
    expect(slots.map(({ value }) => (value & S1.AF) !== 0n)).toEqual(
      [0, 1, 2, 3, 4, 5, 6, 7].map((i) => i >= 3 && i <= 5),
    );
    expect(slots.every(({ value }) => (value & S1.READ_ONLY) !== 0n)).toBe(true);
    expect(vcpu.statistics.dirtyUpdates.stage1).toBe(0);
  });

  it.each([false, undefined])("writes to no clean page behind stage 2's back (tlb %o)", (tlb) => {
    // Stage-1 access flags are writes to the table's page: with dirty tracking at stage 2, either the page is dirty then, or
    // nothing is written. And speculation alone makes nothing dirty.
    const guest = new Guest(here);
    guest.s2.map({ ipa: TABLES, size: RAM.size, pa: RAM.pa, prot: Prot.RW, forcePages: true });
    guest.s2.map({ ipa: DATA, size: 64 * PAGE, pa: OUT, prot: Prot.RW });
    for (let i = 0; i < 64; i++) guest.map(VA + i * PAGE, DATA + i * PAGE);
    const slots = Array.from({ length: 64 }, (_, i) => guest.slot1(VA + i * PAGE));
    for (const [i, slot] of slots.entries()) if (i % 4 !== 2) slot.value &= ~S1.AF;
    const table = guest.slot2((slots[0] as Slot).pa - RAM.pa + TABLES);
    table.value = (table.value & ~S2.W) | S2.DBM;
    const options = { hd: true, ...(tlb === false ? { tlb } : {}) };
    const vcpu = make(guest, options);
    vcpu.setRegisters(guest.registers(1, { tcr: 1n << 39n })); // HA
    for (let i = 2; i < 64; i += 4) {
      const before = slots.map(({ value }) => value);
      expect(read(vcpu, VA + i * PAGE)).toBe(OUT + i * PAGE); // whose flag is set: needs no update
      const written = slots.some(({ value }, at) => value !== before[at]);
      expect([written, (table.value & S2.W) !== 0n], `page ${i}`).toEqual([false, false]);
    }
    expect(vcpu.statistics.speculativeWalks).toBeGreaterThan(2);
    // The program's own access does both.
    expect(read(vcpu, VA)).toBe(OUT);
    expect([(slots[0] as Slot).value & S1.AF, table.value & S2.W]).toEqual([S1.AF, S2.W]);
  });

  it("never faults, whatever is there", () => {
    const guest = new Guest(here, { ha: false });
    guest.s2.map({ ipa: DATA, size: 3 * PAGE, pa: OUT, prot: Prot.RW });
    const around = [DATA - PAGE, DATA, DATA + 2 * PAGE, DATA + 3 * PAGE];
    guest.slot2(DATA).value &= ~S2.AF; // an access flag fault, on the other side a hole
    guest.slot2(DATA + 2 * PAGE).value |= 1n << 46n; // an address that is none
    for (const tlb of [false, { sets: 4, ways: 1 }] as const) {
      const vcpu = make(guest, { tlb });
      for (let i = 0; i < 200; i++) {
        if (i % 8 === 0) vcpu.tlbi("VMALLS12E1");
        expect(read(vcpu, DATA + PAGE)).toBe(OUT + PAGE);
      }
      expect(vcpu.statistics.speculativeWalks).toBeGreaterThan(50);
      expect(vcpu.statistics.faults).toBe(0);
      // A fault that the program makes is its own, not that of the walk which came before.
      for (const va of around) {
        for (let i = 0; i < 6; i++) expect(read(vcpu, va)).toMatchObject({ far: BigInt(va) });
      }
    }
  });

  it("fills the TLB with nothing that a walk of the program's would not", () => {
    const guest = new Guest(here);
    guest.s2.map({ ipa: DATA, size: 16 * PAGE, pa: OUT, prot: Prot.RW, forcePages: true });
    const vcpu = make(guest);
    const plain = here.keep(here.engine.vcpu(guest.s2, { tlb: false }));
    for (let i = 0; i < 400; i++) {
      const va = DATA + ((i * 7) % 16) * PAGE;
      for (const access of [Access.Read, Access.Write]) {
        expect(vcpu.translate(va, access)).toBe(plain.translate(va, access));
      }
    }
    expect(vcpu.statistics.tlb.hits).toBeGreaterThan(100);
  });

  describe("after an invalidation that is not applied yet", () => {
    /**
     * A table page goes back to the pool and comes again as another guest's. The walk that comes before the program's own
     * must not go on where the old table was. `look` once for each seed.
     */
    function reuse(look: (vcpu: Vcpu, slots: Slot[], seed: number) => void): void {
      for (let seed = 1; seed <= 24; seed++) {
        const [ours, theirs] = [new Guest(here), new Guest(here, { offset: 0x8_0000 })];
        const { s2 } = ours;
        const page = { size: PAGE, prot: Prot.RW };
        s2.map({ ipa: DATA, pa: OUT, ...page });
        s2.map({ ipa: DATA + BLOCK, pa: OUT + BLOCK, ...page });
        const vcpu = make(ours, { seed });
        expect(read(vcpu, DATA)).toBe(OUT);
        const freed = tableOf(s2);
        s2.unmap({ ipa: DATA, size: PAGE });
        theirs.s2.map({ ipa: DATA, size: 16 * PAGE, pa: 2 ** 33, prot: 7, forcePages: true });
        expect(tableOf(theirs.s2), "the pool hands the page out again").toBe(freed);
        const slots = [0, 1, 2].map((i) => theirs.slot2(DATA + i * PAGE));
        for (const slot of slots) slot.value &= ~S2.AF;
        read(vcpu, DATA); // and perhaps of a neighbour
        look(vcpu, slots, seed);
        for (const object of [vcpu, ours.s2, theirs.s2]) object.dispose();
      }
    }
    const tableOf = (s2: Stage2) =>
      [...s2.tables()].find(({ ipa, level }) => ipa === DATA && level === 2)?.pa;

    it("leaves another guest's table alone", () => {
      reuse((_, slots, seed) => {
        expect(
          slots.map(({ value }) => value & S2.AF),
          `seed ${seed}`,
        ).toEqual([0n, 0n, 0n]);
      });
    });

    it("takes nothing from another guest's table", () => {
      reuse((vcpu, _, seed) => {
        for (const va of [DATA + PAGE, DATA - PAGE, DATA]) {
          expect(read(vcpu, va), `seed ${seed}`).toMatchObject({ type: "translation" });
        }
      });
    });
  });
});
