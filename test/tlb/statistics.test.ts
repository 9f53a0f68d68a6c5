/** What is counted, to the last descriptor: hits and misses, entries of stage 2 alone, remembered tables; and the bracket. */
import { beforeEach, describe, expect, it } from "vitest";
import { Access, Prot, type Vcpu, type VcpuOptions } from "../../src/index.ts";
import { MODES, lab } from "../support.ts";
import { BLOCK, DATA, Guest, MACHINE, OUT, PAGE, RAM, S1, TABLES } from "./support.ts";

const VA = 0x60_0000;

describe.each(MODES)("TLB statistics (%s)", (mode) => {
  const here = lab(mode, MACHINE);
  let guest: Guest;
  const make = (options: VcpuOptions = {}): Vcpu => here.keep(here.engine.vcpu(guest.s2, options));

  beforeEach(() => {
    guest = new Guest(here);
    // Guest memory by pages, so that each of its tables has a stage-2 walk of its own.
    guest.s2.map({ ipa: TABLES, size: RAM.size, pa: RAM.pa, prot: Prot.RW, forcePages: true });
    guest.s2.map({ ipa: DATA, size: 16 * PAGE, pa: OUT, prot: Prot.RW, forcePages: true });
  });

  /** What one step adds, in short: hits, misses, stage-2 hits, remembered tables; descriptors of levels 1, 2, 3. */
  function counted(vcpu: Vcpu, step: () => unknown): object {
    vcpu.resetStatistics();
    step();
    const { tlb, descriptorReads, faults } = vcpu.statistics;
    const { hits, misses, stage2Hits, walkCacheHits } = tlb;
    const levels = (stage: "stage1" | "stage2") =>
      [1, 2, 3].map((i) => descriptorReads[stage][i as 1]);
    const [stage1, stage2] = [levels("stage1"), levels("stage2")];
    return { hits, misses, stage2Hits, walkCacheHits, faults, stage1, stage2 };
  }
  const NOTHING = {
    ...{ hits: 0, misses: 0, stage2Hits: 0, walkCacheHits: 0, faults: 0 },
    ...{ stage1: [0, 0, 0], stage2: [0, 0, 0] },
  };

  it("of stage 2 alone", () => {
    const vcpu = make();
    const read = (page: number) => () =>
      expect(vcpu.translate(DATA + page * PAGE, Access.Read)).toBe(OUT + page * PAGE);
    const steps: [string, () => unknown, object][] = [
      ["cold", read(0), { misses: 1, stage2: [1, 1, 1] }],
      ["again", read(0), { hits: 1 }],
      ["to write", () => vcpu.translate(DATA, Access.Write), { hits: 1 }],
      ["to write and read", () => vcpu.translate(DATA, Access.ReadWrite), { hits: 1 }],
      ["a neighbour", read(1), { misses: 1, walkCacheHits: 1, stage2: [0, 0, 1] }],
      ["as a load", () => vcpu.read8(DATA + 5), { hits: 1, faults: 1 }], // nothing is there
      ["probed", () => vcpu.probe(DATA + 2 * PAGE, Access.Read), {}],
      ["through AT", () => vcpu.at("S12E1R", DATA), { walkCacheHits: 1, stage2: [0, 0, 1] }],
      ["of all combined", () => vcpu.tlbi("VMALLE1"), {}],
      ["from stage 2's entry", read(0), { misses: 1, stage2Hits: 1 }],
      ["of one IPA's leaf", () => vcpu.tlbi("IPAS2LE1", { address: DATA }), {}],
      ["from what was combined", read(0), { hits: 1 }],
      ["of all combined", () => vcpu.tlbi("VMALLE1"), {}],
      ["from its table", read(0), { misses: 1, walkCacheHits: 1, stage2: [0, 0, 1] }],
      ["the other", read(1), { misses: 1, stage2Hits: 1 }],
      ["of all of it", () => vcpu.tlbi("VMALLS12E1"), {}],
      ["cold again", read(1), { misses: 1, stage2: [1, 1, 1] }],
      ["not executable", () => vcpu.translate(DATA + PAGE, Access.Fetch), { faults: 1 }],
      ["which drops it", read(1), { misses: 1, walkCacheHits: 1, stage2: [0, 0, 1] }],
      ["a hole", () => vcpu.translate(DATA + 20 * PAGE, 1), { misses: 1, walkCacheHits: 1, stage2: [0, 0, 1], faults: 1 }],
      ["no table", () => vcpu.translate(DATA + 8 * BLOCK, 1), { misses: 1, stage2: [1, 1, 0], faults: 1 }],
      ["too large", () => vcpu.translate(2 ** 41, 1), { misses: 1, faults: 1 }],
    ]; // prettier-ignore
    for (const [what, step, wanted] of steps) {
      expect(counted(vcpu, step), what).toEqual({ ...NOTHING, ...wanted });
    }
  });

  it("of both stages", () => {
    for (let i = 0; i < 4; i++) guest.map(VA + i * PAGE, DATA + i * PAGE, S1.NOT_GLOBAL);
    const walking = make({ tlb: false });
    walking.setRegisters(guest.registers(1));
    const cold = counted(walking, () => walking.translate(VA, Access.Read));
    expect(cold, "3 + 4 * 3").toEqual({ ...NOTHING, stage1: [1, 1, 1], stage2: [4, 4, 4] });
    const vcpu = make();
    vcpu.setRegisters(guest.registers(1));
    const read = (page: number) => () =>
      expect(vcpu.translate(VA + page * PAGE, Access.Read)).toBe(OUT + page * PAGE);
    const steps: [string, () => unknown, object][] = [
      // Three tables of the guest in one stage-2 table, its data in another.
      ["cold", read(0), { misses: 1, walkCacheHits: 2, stage1: [1, 1, 1], stage2: [2, 2, 4] }],
      ["again", read(0), { hits: 1 }],
      ["a neighbour", read(1), { misses: 1, walkCacheHits: 2, stage1: [0, 0, 1], stage2: [0, 0, 1] }],
      ["of all combined", () => vcpu.tlbi("VMALLE1"), {}],
      ["with stage 2's entries", read(0), { misses: 1, stage2Hits: 4, stage1: [1, 1, 1] }],
      ["of a page", () => vcpu.tlbi("VALE1", { address: VA, asid: 1 }), {}],
      ["from its table", read(0), { misses: 1, walkCacheHits: 1, stage2Hits: 1, stage1: [0, 0, 1] }],
      ["of a page and tables", () => vcpu.tlbi("VAE1", { address: VA, asid: 1 }), {}],
      ["from the root", read(0), { misses: 1, stage2Hits: 4, stage1: [1, 1, 1] }],
      ["in another address space", () => (vcpu.setRegisters(guest.registers(2)), read(0)()), { misses: 1, stage2Hits: 4, stage1: [1, 1, 1] }],
      ["back in the first", () => (vcpu.setRegisters(guest.registers(1)), read(0)()), { hits: 1 }],
    ]; // prettier-ignore
    for (const [what, step, wanted] of steps) {
      expect(counted(vcpu, step), what).toEqual({ ...NOTHING, ...wanted });
    }
  });

  it("of two guests with the same addresses, whose stage-2 entries stand beside each other", () => {
    const other = new Guest(here, { offset: 0x8_0000 });
    other.s2.map({ ipa: DATA, size: PAGE, pa: OUT + BLOCK, prot: Prot.RW });
    const vcpu = make();
    const run = (one: Guest) => {
      vcpu.setRegisters(one.switchTo());
      return vcpu.translate(DATA, Access.Read);
    };
    expect([run(guest), run(other)]).toEqual([OUT, OUT + BLOCK]);
    for (const one of [guest, other]) here.engine.tlbi("VMALLE1", { vmid: one.s2.vmid });
    const steps: [Guest, object][] = [
      [guest, { misses: 1, stage2Hits: 1 }],
      [other, { misses: 1, stage2Hits: 1 }],
      [guest, { hits: 1 }],
      [other, { hits: 1 }],
    ];
    for (const [one, wanted] of steps) {
      expect(counted(vcpu, () => run(one))).toEqual({ ...NOTHING, ...wanted });
    }
  });

  it("of invalidations: times that there were any", () => {
    const [vcpu, issuer] = [make(), make()];
    const applied = () => vcpu.statistics.tlb.invalidations;
    expect(applied()).toBe(0);
    for (let i = 1; i <= 3; i++) {
      issuer.tlbi("VMALLE1");
      issuer.tlbi("VAE1", { address: 0 });
      vcpu.translate(DATA, Access.Read);
      vcpu.translate(DATA, Access.Read);
      expect(applied()).toBe(i);
    }
  });

  it("of stale entries, in checker mode and nowhere else", () => {
    const [vcpu, silent] = [make({ checker: true }), make()];
    const slot = guest.slot2(DATA);
    for (const one of [vcpu, silent]) one.translate(DATA, Access.Read);
    const before = slot.value;
    const stale = () => [vcpu, silent].map(({ statistics }) => statistics.tlb.stale);
    const read = () => [vcpu, silent].map((one) => one.translate(DATA, Access.Read));
    expect([read(), stale()]).toEqual([[OUT, OUT], [0, 0]]); // prettier-ignore
    slot.value = before + BigInt(PAGE);
    expect([read(), read(), stale()]).toEqual([[OUT, OUT], [OUT, OUT], [2, 0]]); // prettier-ignore
    slot.value = 0n;
    expect([read(), stale()]).toEqual([[OUT, OUT], [3, 0]]); // prettier-ignore
    slot.value = before & ~(1n << 7n); // permissions may lag: that is no stale translation
    expect([read(), stale()]).toEqual([[OUT, OUT], [3, 0]]); // prettier-ignore
    slot.value = before;
    expect([read(), stale()]).toEqual([[OUT, OUT], [3, 0]]); // prettier-ignore
  });

  it("go to zero all together", () => {
    const vcpu = make({ checker: true, speculation: 2 });
    for (let i = 0; i < 20; i++) vcpu.translate(DATA + i * PAGE, Access.Write);
    const sum = (value: unknown): number =>
      typeof value === "number"
        ? value
        : Object.values(value as object).reduce((a, b) => a + sum(b), 0);
    expect(sum(vcpu.statistics)).toBeGreaterThan(40);
    vcpu.resetStatistics();
    expect(sum(vcpu.statistics)).toBe(0);
  });

  describe("the bracket", () => {
    it("applies what was invalidated when it opens and when it is polled, and says how many", () => {
      const [vcpu, issuer] = [make(), make()];
      const slot = guest.slot2(DATA);
      vcpu.translate(DATA, Access.Read);
      expect([vcpu.enter(), vcpu.poll()]).toEqual([0, 0]);
      for (const count of [1, 2, 5, 1024]) {
        for (let i = 0; i < count; i++) issuer.tlbi("VAE1", { address: i, local: true });
        expect(vcpu.poll()).toBe(count);
        expect(vcpu.poll()).toBe(0);
      }
      vcpu.exit();
      for (let i = 0; i < 3; i++) issuer.tlbi("VMALLS12E1");
      expect(vcpu.enter()).toBe(3);
      vcpu.exit();
      for (let i = 0; i < 1025; i++) issuer.tlbi("VMALLS12E1"); // more than the log has: all is dropped, once
      expect(vcpu.enter()).toBe(1);
      // A translation inside applies as well, and leaves poll nothing.
      expect(vcpu.translate(DATA, Access.Read)).toBe(OUT);
      slot.value += BigInt(PAGE);
      issuer.tlbi("VMALLS12E1", { local: true });
      expect(vcpu.translate(DATA, Access.Read)).toBe(OUT + PAGE);
      expect(vcpu.poll()).toBe(0);
      vcpu.exit();
      slot.value -= BigInt(PAGE);
    });

    it("is of no use to a vCPU without a TLB, and harms none", () => {
      const [vcpu, issuer] = [make({ tlb: false }), make()];
      issuer.tlbi("VMALLS12E1");
      expect([vcpu.enter(), vcpu.enter(), vcpu.poll()]).toEqual([0, 0, 0]);
      vcpu.exit();
      vcpu.exit();
      expect(vcpu.poll()).toBe(0);
    });
  });
});
