/**
 * Guests, and halves of one address space, whose pages differ in size share one TLB: invalidations find entries that were
 * made under another granule than the one that is current.
 */
import { describe, expect, it } from "vitest";
import { Access, Fault, type Granule, Prot, type Vcpu } from "../../src/index.ts";
import { MODES, lab } from "../support.ts";
import { DATA, Guest, MACHINE, OUT, RAM, S2, type Shift, TABLES } from "./support.ts";

const GRANULES: readonly Granule[] = ["4K", "16K", "64K"];
const SHIFTS: readonly Shift[] = [12, 14, 16];
const PAIRS = GRANULES.flatMap((a) => GRANULES.map((b): [Granule, Granule] => [a, b]));
const sizeOf = (granule: Granule) => Number.parseInt(granule) * 1024;
const MOVED = 0x1000_0000;
/** Table pages: the block that maps guest memory has no room for them in the pool. */
const FAR = 0x2000_0000;

describe.each(MODES)("two granules in one TLB (%s)", (mode) => {
  const here = lab(mode, { ...MACHINE, maxTablePages: 16384 });
  const read = (vcpu: Vcpu, va: number) => vcpu.translate(va, Access.Read);
  const guestOf = (granule: Granule) => {
    const guest = new Guest(here, { granule, ipaBits: 40, parange: 2 });
    guest.s2.map({ ipa: DATA, size: 0x10_0000, pa: OUT, prot: 7, forcePages: true });
    return guest;
  };

  it.each(PAIRS)("of guests: %s is invalidated while %s runs", (granule, other) => {
    const [ours, theirs] = [guestOf(granule), guestOf(other)];
    for (const sets of [1, 16, 256]) {
      const vcpu = here.keep(here.engine.vcpu(ours.s2, { tlb: { sets, ways: 1 } }));
      const page = sizeOf(granule);
      for (const index of [0, 1, 3]) {
        const ipa = DATA + index * page;
        vcpu.setRegisters(ours.switchTo());
        expect(read(vcpu, ipa)).toBe(OUT + index * page);
        vcpu.setRegisters(theirs.switchTo());
        const slot = ours.slot2(ipa);
        slot.value += BigInt(MOVED);
        const { vmid } = ours.s2;
        here.engine.tlbi("IPAS2E1", { vmid, address: ipa });
        here.engine.tlbi("VMALLE1", { vmid });
        read(vcpu, DATA); // applied under the other granule
        vcpu.setRegisters(ours.switchTo());
        expect(read(vcpu, ipa), `${sets} sets, page ${index}`).toBe(OUT + index * page + MOVED);
        slot.value -= BigInt(MOVED);
        vcpu.tlbi("VMALLS12E1");
      }
    }
  });

  it.each(PAIRS)("of guests: a table of %s goes while %s runs", (granule, other) => {
    const [ours, theirs] = [guestOf(granule), guestOf(other)];
    const vcpu = here.keep(here.engine.vcpu(ours.s2));
    expect(read(vcpu, DATA)).toBe(OUT);
    vcpu.setRegisters(theirs.switchTo());
    expect(read(vcpu, DATA)).toBe(OUT);
    const parent = ours.slot2(DATA, 2);
    const before = parent.value;
    here.keep({ dispose: () => void (parent.value = before) });
    ours.s2.map({ ipa: DATA + FAR, size: 2 ** 20, pa: OUT + FAR, prot: 7, forcePages: true });
    parent.value = ours.slot2(DATA + FAR, 2).value; // another table
    const { vmid } = ours.s2;
    here.engine.tlbi("IPAS2E1", { vmid, address: DATA });
    here.engine.tlbi("VMALLE1", { vmid });
    read(vcpu, DATA);
    vcpu.setRegisters(ours.switchTo());
    expect(read(vcpu, DATA)).toBe(OUT + FAR);
  });

  it.each(SHIFTS.flatMap((a) => SHIFTS.map((b): [Shift, Shift] => [a, b])))(
    "of halves: low 2^%i, high 2^%i",
    (shift, highShift) => {
      const guest = new Guest(here, { shift, highShift });
      guest.s2.map({ ipa: DATA, size: 0x10_0000, pa: OUT, prot: 7 });
      guest.s2.map({ ipa: DATA + FAR, size: 0x10_0000, pa: OUT + FAR, prot: 7 });
      const vcpu = here.keep(here.engine.vcpu(guest.s2));
      vcpu.setRegisters(guest.registers(1));
      for (const va of [0x4000_0000, -0x4000_0000]) {
        const page = 2 ** (va < 0 ? highShift : shift);
        const ipa = Math.ceil(DATA / 65536) * 65536;
        const pa = ipa - DATA + OUT;
        const held = guest.map(va, ipa);
        guest.map(va + page, ipa + page);
        expect(read(vcpu, va)).toBe(pa);
        // The leaf
        held.value += BigInt(FAR);
        expect(read(vcpu, va)).toBe(pa);
        vcpu.tlbi("VALE1", { address: va, asid: 1 });
        expect(read(vcpu, va)).toBe(pa + FAR);
        // The table above it
        const table = guest.newTable(va < 0 ? highShift : shift);
        const parent = guest.slot1(va, 2);
        const neighbour = guest.slot1(va + page).value + BigInt(FAR);
        parent.value = BigInt(table) | 3n;
        guest.slot1(va + page).value = neighbour;
        vcpu.tlbi("VAE1", { address: va, asid: 1 });
        expect(read(vcpu, va + page), `table of ${va}`).toBe(pa + page + FAR);
      }
    },
  );
});

/** A stage-1 table that is larger than a stage-2 page lies wherever stage 2 has put its pieces. */
describe.each(MODES)("a table in pieces (%s)", (mode) => {
  const here = lab(mode, MACHINE);

  it.each([14, 16] as const)("of 2^%i bytes", (shift) => {
    const guest = new Guest(here, { shift });
    guest.s2.map({ ipa: DATA, size: 0x10_0000, pa: OUT, prot: 7 });
    const page = 2 ** shift;
    const ipa = Math.ceil(DATA / 65536) * 65536;
    const vas = Array.from({ length: page / 4096 }, (_, i) => 0x4000_0000 + i * 512 * page);
    for (const [i, va] of vas.entries()) guest.map(va, ipa + (i % 8) * page);
    // The pieces of its last table in the opposite order
    const table = guest.slot1(0x4000_0000).pa;
    const { memoryMap } = here.engine;
    const before = memoryMap.bytes(table, page).slice();
    guest.s2.map({ ipa: TABLES, size: RAM.size, pa: RAM.pa, prot: Prot.RW, forcePages: true });
    for (let i = 0; i < vas.length; i++) {
      const pa = table + (vas.length - 1 - i) * 4096;
      guest.s2.map({ ipa: table - RAM.pa + TABLES + i * 4096, size: 4096, pa, prot: Prot.RW });
      memoryMap.bytes(pa, 4096).set(before.subarray(i * 4096, (i + 1) * 4096));
    }
    const vcpu = here.keep(here.engine.vcpu(guest.s2));
    vcpu.setRegisters(guest.registers(1));
    for (let again = 0; again < 2; again++) {
      for (const [i, va] of vas.entries()) {
        const pa = ipa - DATA + OUT + (i % 8) * page;
        expect(vcpu.translate(va, Access.Read), `piece ${i}`).toBe(pa);
      }
      vcpu.tlbi("VMALLE1");
    }
  });
});

/** A fault that an entry decides has the address of the access, not of the access that filled the entry. */
describe.each(MODES)("the address of a fault from a large page's entry (%s)", (mode) => {
  const here = lab(mode, { ...MACHINE, maxTablePages: 16384 });

  it.each(GRANULES.flatMap((granule) => [0x0, 0x1008, 0x3ff8].map((at) => ({ granule, at }))))(
    "%o",
    ({ granule, at }) => {
      const guest = new Guest(here, { granule });
      const ipa = Math.ceil(DATA / 65536) * 65536;
      guest.s2.map({ ipa, size: 65536, pa: OUT, prot: Prot.R, forcePages: true });
      const vcpu = here.keep(here.engine.vcpu(guest.s2));
      const walking = here.keep(here.engine.vcpu(guest.s2, { tlb: false }));
      expect(vcpu.translate(ipa, Access.Read)).toBe(OUT);
      if (at < sizeOf(granule)) expect(vcpu.translate(ipa + at, Access.Read)).toBe(OUT + at);
      else vcpu.translate(ipa + at, Access.Read);
      const fault = vcpu.translate(ipa + at, Access.Write) as Fault;
      const wanted = walking.translate(ipa + at, Access.Write) as Fault;
      expect(fault).toMatchObject({ fromTlb: true, type: "permission", far: BigInt(ipa + at) });
      expect(fault.ipa).toBe(wanted.ipa);
      expect(fault.hpfar).toBe(wanted.hpfar);
      expect(wanted.ipa).toBe(ipa + at);
      expect(guest.slot2(ipa).value & S2.W).toBe(0n);
    },
  );
});

/** Addresses of 52 bits pass through the TLB whole. */
describe.each(MODES)("wide addresses in a TLB (%s)", (mode) => {
  const here = lab(mode, { ...MACHINE, maxTablePages: 16384 });

  it.each([
    ["4K", { granule: "4K", lpa2: true }],
    ["16K", { granule: "16K", lpa2: true }],
    ["64K", { granule: "64K", pa52: true }],
  ] as const)("%s", (granule, options) => {
    const s2 = here.keep(here.engine.stage2({ ...options, ipaBits: 52, parange: 6 }));
    const page = sizeOf(granule);
    const [ipa, pa] = [2 ** 52 - 4 * page, 2 ** 52 - 2 ** 30];
    s2.map({ ipa, size: 4 * page, pa, prot: Prot.R });
    const vcpu = here.keep(here.engine.vcpu(s2));
    for (let again = 0; again < 3; again++) {
      for (let i = 0; i < 4; i++) {
        const at = ipa + i * page + 0x18;
        expect(vcpu.translate(at, Access.Read)).toBe(pa + i * page + 0x18);
      }
    }
    expect(vcpu.statistics.tlb).toMatchObject({ hits: 8, misses: 4 });
    vcpu.tlbi("VMALLE1");
    expect(vcpu.translate(ipa + 8, Access.Read)).toBe(pa + 8); // from stage 2's own entry
    expect(vcpu.statistics.tlb.stage2Hits).toBe(1);
    expect(vcpu.translate(ipa + 0x28, Access.Write)).toMatchObject({
      fromTlb: true,
      ipa: ipa + 0x28,
    });
    vcpu.tlbi("IPAS2E1", { address: ipa + page });
    s2.unmap({ ipa: ipa + page, size: page });
    expect(vcpu.translate(ipa + page, Access.Read)).toMatchObject({ type: "translation" });
    expect(vcpu.translate(ipa + 2 * page, Access.Read)).toBe(pa + 2 * page);
  });
});
