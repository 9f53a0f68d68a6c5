/** Both halves of a guest's address space: their ends, tags in the top byte, and what only one Exception level may use. */
import { beforeEach, describe, expect, it } from "vitest";
import { Access, type TlbiOperation, type Vcpu, type VcpuTlbiRequest } from "../../src/index.ts";
import { MODES, lab } from "../support.ts";
import { DATA, Guest, MACHINE, OUT, PAGE, S1 } from "./support.ts";

const MOVED = 0x10_0000;
const LOW_END = 2 ** 39;
const TBI0 = 1n << 37n;
const TBI1 = 1n << 38n;
const E0PD0 = 1n << 55n;
const E0PD1 = 1n << 56n;

/** A page in the first and the last table of each half. */
const PLACES: [string, number][] = [
  ["the first page of the low half", 0],
  ["the last page of the low half", LOW_END - PAGE],
  ["the first page of the high half", -LOW_END],
  ["a page of the high half", -0x4000_0000],
  ["the last page of the high half", -PAGE],
];

/** Each way that takes the leaf, and the ways that take the table above it, too. */
const ALSO_TABLE: [TlbiOperation, (va: number) => VcpuTlbiRequest][] = [
  ["VAE1", (address) => ({ address, asid: 1 })],
  ["VAAE1", (address) => ({ address })],
  ["RVAE1", (address) => ({ address, pages: 1, asid: 1 })],
  ["RVAAE1", (address) => ({ address, pages: 1 })],
  ["RVAAE1", (address) => ({ address: address - (address & (PAGE * 3)), pages: 4 })],
  ["RVAAE1", (address) => ({ address, pages: 16 })],
  ["ASIDE1", () => ({ asid: 1 })],
];
const LEAF_ONLY: typeof ALSO_TABLE = [
  ["VALE1", (address) => ({ address, asid: 1 })],
  ["VAALE1", (address) => ({ address })],
  ["RVALE1", (address) => ({ address, pages: 1, asid: 1 })],
  ["RVAALE1", (address) => ({ address: address - (address & PAGE), pages: 2 })],
];

describe.each(MODES)("halves of the address space (%s)", (mode) => {
  const here = lab(mode, MACHINE);
  let guest: Guest;
  let vcpu: Vcpu;
  const read = (va: number | bigint) => vcpu.translate(va, Access.Read);

  beforeEach(() => {
    guest = new Guest(here);
    guest.s2.map({ ipa: DATA, size: 0x20_0000, pa: OUT, prot: 7 });
    vcpu = here.keep(here.engine.vcpu(guest.s2));
    vcpu.setRegisters(guest.registers(1));
  });

  describe.each(PLACES)("%s", (_, va) => {
    it.each([...ALSO_TABLE, ...LEAF_ONLY])("is invalidated by %s", (op, request) => {
      const slot = guest.map(va, DATA, S1.NOT_GLOBAL);
      expect(read(va)).toBe(OUT);
      slot.value += BigInt(MOVED);
      expect(read(va)).toBe(OUT);
      vcpu.tlbi(op, request(va));
      expect(read(va)).toBe(OUT + MOVED);
    });

    it.each(ALSO_TABLE)("has the table above it invalidated by %s", (op, request) => {
      const neighbour = va % 0x20_0000 === 0 ? va + PAGE : va - PAGE;
      guest.map(va, DATA, S1.NOT_GLOBAL);
      guest.map(neighbour, DATA + PAGE, S1.NOT_GLOBAL);
      expect(read(va)).toBe(OUT);
      const parent = guest.slot1(va, 2);
      const old = parent.value;
      const word = guest.slot1(neighbour).value;
      parent.value = BigInt(guest.newTable()) | 3n;
      guest.slot1(neighbour).value = word + BigInt(MOVED);
      expect([parent.value === old, read(neighbour)]).toEqual([false, OUT + PAGE]); // the old table
      vcpu.tlbi("VALE1", { address: neighbour, asid: 1 });
      vcpu.tlbi(op, request(va));
      expect(read(neighbour)).toBe(OUT + PAGE + MOVED);
    });
  });

  describe("with tags in the top byte", () => {
    const TAGS = [0n, 1n, 0x80n, 0xffn];
    const tagged = (va: number, tag: bigint) =>
      (BigInt.asUintN(64, BigInt(va)) & (2n ** 56n - 1n)) | (tag << 56n);

    it.each([0x60_0000, -0x40_0000])("%i: any tag's invalidation takes any tag's entry", (va) => {
      vcpu.setRegisters(guest.registers(1, { tcr: TBI0 | TBI1 }));
      const slot = guest.map(va, DATA);
      for (const filled of TAGS) {
        for (const named of TAGS) {
          expect(read(tagged(va, filled))).toBe(OUT);
          slot.value += BigInt(MOVED);
          expect(read(tagged(va, filled))).toBe(OUT);
          vcpu.tlbi("VAE1", { address: tagged(va, named), asid: 1 });
          expect(read(tagged(va, filled)), `${filled} ${named}`).toBe(OUT + MOVED);
          slot.value -= BigInt(MOVED);
          vcpu.tlbi("VMALLE1");
        }
      }
    });
  });

  describe("of which EL0 may not use one (E0PD)", () => {
    it.each([
      [0x60_0000, E0PD0],
      [-0x40_0000, E0PD1],
    ])("%i: an entry that EL1 made is none for EL0", (va, bit) => {
      const { idAa64mmfr2El1 } = vcpu.registers;
      vcpu.setRegisters({ idAa64mmfr2El1: idAa64mmfr2El1 | (1n << 60n) });
      vcpu.setRegisters(guest.registers(1, { tcr: bit }));
      guest.map(va, DATA, S1.USER);
      const refused = { type: "translation", level: 0, stage: 1, el: 1 };
      vcpu.el = 0;
      expect(read(va)).toMatchObject(refused);
      vcpu.el = 1;
      expect(read(va)).toBe(OUT);
      vcpu.el = 0;
      expect(read(va)).toMatchObject(refused);
      vcpu.el = 1;
      expect(read(va)).toBe(OUT);
      expect(vcpu.read32(va, { unprivileged: true })).toMatchObject(refused);
    });
  });
});
