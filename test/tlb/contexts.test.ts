/** Whose entry an access may use: VMIDs, ASIDs, global entries, PAN, Exception levels, stages that go on and off. */
import { beforeEach, describe, expect, it } from "vitest";
import { Access, Prot, type Registers, type Vcpu, type VcpuOptions } from "../../src/index.ts";
import { MODES, lab } from "../support.ts";
import { DATA, Guest, MACHINE, OUT, PAGE, S1, TABLES } from "./support.ts";

const VA = 0x60_0000;
const FAR = 0x2000_0000;
const HCR_VM = 1n;
const HCR_DC = 1n << 12n;

describe.each(MODES)("contexts of TLB entries (%s)", (mode) => {
  const here = lab(mode, { ...MACHINE, maxObjects: 600 });
  let guest: Guest;
  let vcpu: Vcpu;
  const read = (va: number) => vcpu.translate(va, Access.Read);
  const make = (options: VcpuOptions = {}) => here.keep(here.engine.vcpu(guest.s2, options));

  beforeEach(() => {
    guest = new Guest(here);
    guest.s2.map({ ipa: DATA, size: 0x10_0000, pa: OUT, prot: Prot.RWX });
    vcpu = make();
  });

  /** An address space of its own: 8 pages from VA on to DATA + `offset`; its root, as TTBR0. */
  function space(offset: number, bits = S1.NOT_GLOBAL): number {
    const [root, middle, last] = [guest.newTable(), guest.newTable(), guest.newTable()];
    const word = (table: number, index: number, value: bigint) => {
      const { buffer, byteOffset } = here.engine.memoryMap.bytes(guest.paOf(table), PAGE);
      new BigUint64Array(buffer, byteOffset, 512)[index] = value;
    };
    word(root, 0, BigInt(middle) | 3n);
    word(middle, VA / 0x20_0000, BigInt(last) | 3n);
    for (let i = 0; i < 8; i++) word(last, i, BigInt(DATA + offset + i * PAGE) | S1.PAGE | bits);
    return root;
  }
  const enterSpace = (asid: number, root: number, more: Partial<Registers> = {}) =>
    vcpu.setRegisters({ ...guest.registers(asid, { ttbr0: root }), ...more });

  it("ASIDs: each has its own, and comes back to it", () => {
    const roots = [0, 1, 2, 3].map((i) => space(i * PAGE)); // as many as a set has ways
    for (let round = 0; round < 4; round++) {
      for (const [i, root] of roots.entries()) {
        enterSpace(i + 1, root);
        expect(read(VA)).toBe(OUT + i * PAGE);
      }
    }
    expect(vcpu.statistics.tlb).toMatchObject({ hits: 12, misses: 4 });
  });

  it("ASIDs: 8 or 16 bits of them, as TCR_EL1.AS says", () => {
    const [a, b] = [space(0), space(PAGE)];
    const eight = guest.registers(0).tcrEl1 & ~(1n << 36n);
    enterSpace(0x101, a);
    expect(read(VA)).toBe(OUT);
    enterSpace(0x201, b);
    expect(read(VA)).toBe(OUT + PAGE);
    vcpu.tlbi("VMALLE1");
    enterSpace(0x101, a, { tcrEl1: eight });
    expect(read(VA)).toBe(OUT);
    enterSpace(0x201, b, { tcrEl1: eight }); // the same ASID: software should have invalidated
    expect(read(VA)).toBe(OUT);
  });

  it("ASIDs: of TTBR0 or of TTBR1, as TCR_EL1.A1 says", () => {
    const [a, b] = [space(0), space(PAGE)];
    const { tcrEl1, ttbr1El1 } = guest.registers(0);
    const by1 = (asid: bigint) => ({
      tcrEl1: tcrEl1 | (1n << 22n),
      ttbr1El1: ttbr1El1 | (asid << 48n),
    });
    enterSpace(7, a, by1(1n));
    expect(read(VA)).toBe(OUT);
    enterSpace(7, b, by1(2n));
    expect(read(VA)).toBe(OUT + PAGE);
    enterSpace(8, b, by1(1n));
    expect(read(VA)).toBe(OUT);
  });

  it("global entries serve every ASID of their VMID, and none of another", () => {
    const other = new Guest(here, { offset: 0x8_0000 });
    other.s2.map({ ipa: DATA, size: 0x10_0000, pa: OUT + FAR, prot: Prot.RWX });
    other.map(VA, DATA);
    const [global, own] = [space(0, 0n), space(PAGE)];
    enterSpace(1, global);
    expect(read(VA)).toBe(OUT);
    enterSpace(2, own); // what is here is not looked at: the guest has broken its promise
    expect(read(VA)).toBe(OUT);
    expect(vcpu.statistics.tlb).toMatchObject({ hits: 1, misses: 1 });
    vcpu.setRegisters({ ...other.switchTo(), ...other.registers(1) });
    expect(read(VA)).toBe(OUT + FAR);
    vcpu.setRegisters({ ...guest.switchTo() });
    enterSpace(2, own);
    vcpu.tlbi("ASIDE1", { asid: 2 });
    expect(read(VA)).toBe(OUT);
    vcpu.tlbi("VAE1", { address: VA, asid: 2 });
    expect(read(VA)).toBe(OUT + PAGE);
    // One that is not global serves its own ASID alone.
    enterSpace(3, global);
    expect(read(VA)).toBe(OUT);
  });

  it("VMIDs: entries of two guests never match, stage 2 alone included", () => {
    const other = new Guest(here, { offset: 0x8_0000 });
    other.s2.map({ ipa: DATA, size: 0x10_0000, pa: OUT + FAR, prot: Prot.RWX });
    const guests = [guest, other] as const;
    for (const one of guests) one.map(VA, DATA, S1.NOT_GLOBAL);
    for (let round = 0; round < 6; round++) {
      for (const [i, one] of guests.entries()) {
        const stage1 = round % 2 === 0 ? { sctlrEl1: 0n } : one.registers(1);
        vcpu.setRegisters({ ...one.switchTo(), ...stage1 });
        const va = round % 2 === 0 ? DATA : VA;
        expect(read(va + round)).toBe(OUT + i * FAR + round);
      }
    }
    expect(vcpu.statistics.tlb.hits).toBe(8);
  });

  it("VMIDs: 8 or 16 bits of them, as VTCR_EL2.VS says", () => {
    const { vtcrEl2, vttbrEl2 } = vcpu.registers;
    const root = vttbrEl2 & (2n ** 48n - 1n);
    const other = new Guest(here, { offset: 0x8_0000 });
    other.s2.map({ ipa: DATA, size: PAGE, pa: OUT + FAR, prot: Prot.RWX });
    const theirs = other.s2.vttbr() & (2n ** 48n - 1n);
    vcpu.setRegisters({ vttbrEl2: root | (0x0105n << 48n) });
    expect(read(DATA)).toBe(OUT);
    vcpu.setRegisters({ vttbrEl2: theirs | (0x0205n << 48n) });
    expect(read(DATA)).toBe(OUT + FAR);
    vcpu.tlbi("ALLE1");
    const eight = vtcrEl2 & ~(1n << 19n);
    vcpu.setRegisters({ vtcrEl2: eight, vttbrEl2: root | (0x0105n << 48n) });
    expect(read(DATA)).toBe(OUT);
    vcpu.setRegisters({ vttbrEl2: theirs | (0x0205n << 48n) }); // both are VMID 5
    expect(read(DATA)).toBe(OUT);
    here.engine.tlbi("VMALLS12E1", { vmid: 5 });
    expect(read(DATA)).toBe(OUT + FAR);
  });

  it("PAN: an entry made without it does not serve with it", () => {
    guest.map(VA, DATA, S1.USER);
    vcpu.setRegisters(guest.registers(1));
    const refused = { type: "permission", stage: 1, el: 1 };
    for (let round = 0; round < 3; round++) {
      vcpu.pan = false;
      expect(read(VA)).toBe(OUT);
      vcpu.pan = true;
      expect(read(VA)).toMatchObject(refused);
      // EL0's own accesses, and those as EL0, know no PAN.
      expect(vcpu.translate(VA, Access.Read | Access.Unprivileged)).toBe(OUT);
      vcpu.el = 0;
      expect(read(VA)).toBe(OUT);
      vcpu.el = 1;
    }
  });

  it("Exception levels: EL1's entry does not let EL0 in, nor EL0's EL1 execute", () => {
    guest.map(VA, DATA);
    guest.map(VA + PAGE, DATA + PAGE, S1.USER);
    guest.map(VA + 2 * PAGE, DATA + 2 * PAGE, S1.USER | S1.READ_ONLY | (1n << 53n)); // PXN
    vcpu.setRegisters(guest.registers(1));
    const permission = { type: "permission", stage: 1 };
    for (let round = 0; round < 3; round++) {
      vcpu.el = 1;
      expect(read(VA)).toBe(OUT);
      expect(vcpu.translate(VA + PAGE, Access.Fetch)).toMatchObject(permission); // EL0 writes it
      expect(vcpu.translate(VA + 2 * PAGE, Access.Fetch)).toMatchObject(permission);
      expect(vcpu.translate(VA, Access.Read | Access.Unprivileged)).toMatchObject(permission);
      vcpu.el = 0;
      expect(read(VA)).toMatchObject(permission);
      expect(vcpu.translate(VA + PAGE, Access.Fetch)).toBe(OUT + PAGE);
      expect(vcpu.translate(VA + 2 * PAGE, Access.Fetch)).toBe(OUT + 2 * PAGE);
    }
  });

  it("Exception levels: at EL2 nothing of the guest's is used", () => {
    guest.map(VA, DATA);
    vcpu.setRegisters({ ...guest.registers(1), sctlrEl2: 0n });
    expect(read(VA)).toBe(OUT);
    vcpu.el = 2;
    expect(read(VA)).toBe(VA);
    vcpu.el = 1;
    expect(read(VA)).toBe(OUT);
    expect(vcpu.statistics.tlb).toMatchObject({ hits: 1, misses: 1 });
  });

  it("XNX: what stage 2 lets EL0 and EL1 execute is told apart on entries too", () => {
    const slot = guest.slot2(DATA);
    const before = slot.value;
    for (const xn of [0n, 1n, 2n, 3n]) {
      slot.value = (before & ~(3n << 53n)) | (xn << 53n);
      vcpu.tlbi("VMALLS12E1");
      read(DATA);
      for (const el of [1, 0, 1, 0] as const) {
        vcpu.el = el;
        read(DATA);
        const allowed = el === 1 ? xn === 0n || xn === 3n : xn === 0n || xn === 1n;
        const result = vcpu.translate(DATA, Access.Fetch);
        if (allowed) expect(result, `XN ${xn} EL${el}`).toBe(OUT);
        else expect(result, `XN ${xn} EL${el}`).toMatchObject({ type: "permission", stage: 2 });
      }
      vcpu.el = 1;
    }
    slot.value = before;
  });

  it("stages that go on and off use no entry of another combination", () => {
    const at = TABLES + 0x100; // a VA with a meaning everywhere: memory of guest and host
    guest.map(at - 0x100, DATA);
    const { hcrEl2 } = vcpu.registers;
    const combinations: [string, Partial<Registers>, number][] = [
      ["both", { ...guest.registers(1), hcrEl2 }, OUT + 0x100],
      ["stage 2", { sctlrEl1: 0n, hcrEl2 }, at + 0x4000_0000],
      ["neither", { sctlrEl1: 0n, hcrEl2: hcrEl2 & ~HCR_VM }, at],
      ["stage 2, cacheable", { sctlrEl1: 0n, hcrEl2: hcrEl2 | HCR_DC }, at + 0x4000_0000],
    ];
    for (let round = 0; round < 4; round++) {
      for (const [what, registers, wanted] of combinations) {
        vcpu.setRegisters(registers);
        expect(read(at), what).toBe(wanted);
        expect(read(at), what).toBe(wanted);
      }
      combinations.reverse();
    }
    // DC with VM is stage 2 alone, like the second.
    expect(vcpu.statistics.tlb.misses).toBe(3);
  });

  it("stage 1 alone is told from both stages", () => {
    const { hcrEl2 } = vcpu.registers;
    guest.map(VA, DATA);
    vcpu.setRegisters(guest.registers(1));
    expect(read(VA)).toBe(OUT);
    vcpu.setRegisters({ hcrEl2: hcrEl2 & ~HCR_VM });
    // The addresses of the guest's tables are physical now, and lead elsewhere.
    expect(read(VA)).toMatchObject({ stage: 1, el: 1, fromTlb: false });
    vcpu.setRegisters({ hcrEl2 });
    expect(read(VA)).toBe(OUT);
    expect(vcpu.statistics.tlb.hits).toBe(1);
  });

  describe("more contexts than there are names", () => {
    it("4,095: names start anew, and no entry is taken for another's", () => {
      const [a, b] = [space(0), space(0x8_0000)];
      // Entries of the first names, each in a set of its own, where nothing drives them out.
      for (let i = 0; i < 8; i++) {
        enterSpace(1 + i, a);
        expect(read(VA + i * PAGE)).toBe(OUT + i * PAGE);
      }
      for (let asid = 100; asid < 4150; asid++) enterSpace(asid, b);
      // Whoever has their names now
      for (let asid = 5000; asid < 5200; asid++) {
        enterSpace(asid, b);
        for (let i = 0; i < 8; i++) expect(read(VA + i * PAGE)).toBe(OUT + 0x8_0000 + i * PAGE);
        vcpu.tlbi("ASIDE1", { asid });
      }
      for (let i = 0; i < 8; i++) {
        enterSpace(1 + i, a);
        expect(read(VA + i * PAGE)).toBe(OUT + i * PAGE);
      }
    });

    it("the same where names start anew between a context's own and its global one", () => {
      // An invalidation of all takes two names: after some number of them, the first is the last one that there is. Which
      // number is no business of this test: all near it are tried. An entry of then must not be met a round of names later.
      const slot = guest.slot2(DATA);
      const before = slot.value;
      for (const odd of [0, 1]) {
        for (let first = 2038; first <= 2049; first++) {
          vcpu = here.engine.vcpu(guest.s2, { tlb: { sets: 2, ways: 4 } });
          if (odd === 1) vcpu.setRegisters(guest.registers(1));
          vcpu.setRegisters({ sctlrEl1: 0n });
          const rounds = (count: number) => {
            for (let i = 0; i < count; i++) {
              vcpu.tlbi("VMALLS12E1");
              vcpu.poll();
            }
          };
          slot.value = before;
          rounds(first);
          expect(read(DATA)).toBe(OUT);
          slot.value = before + BigInt(PAGE);
          rounds(2044);
          for (let i = 0; i < 5; i++) {
            rounds(1);
            expect(read(DATA), `${odd} ${first} ${i}`).toBe(OUT + PAGE);
          }
          vcpu.dispose();
        }
      }
      slot.value = before;
    });

    it("each with another table under the same ASID again, after its invalidation", () => {
      const roots = [space(0), space(PAGE)];
      for (let i = 0; i < 1500; i++) {
        enterSpace(1 + (i & 3), roots[i % 2] as number);
        vcpu.tlbi("ASIDE1", { asid: 1 + (i & 3) });
        expect(read(VA)).toBe(OUT + (i % 2) * PAGE);
        expect(read(VA)).toBe(OUT + (i % 2) * PAGE);
      }
    });

    it("of one VMID that is invalidated as a whole over and over: generations", () => {
      const slot = guest.slot2(DATA);
      const before = slot.value;
      for (let i = 0; i < 3000; i++) {
        slot.value = before + BigInt((i & 1) * PAGE);
        vcpu.tlbi("VMALLS12E1");
        expect(read(DATA)).toBe(OUT + (i & 1) * PAGE);
      }
      slot.value = before;
      expect(vcpu.statistics.tlb).toMatchObject({ hits: 0, misses: 3000 });
    });

    it("of many VMIDs, more than have generations of their own", () => {
      const guests = Array.from({ length: 40 }, (_, i) => {
        const s2 = here.keep(here.engine.stage2());
        s2.map({ ipa: DATA, size: PAGE, pa: OUT + i * PAGE, prot: Prot.RW });
        return { s2, registers: { vttbrEl2: s2.vttbr({ vmid: s2.vmid }) } };
      });
      const enter = (i: number) => vcpu.setRegisters(guests[i]!.registers);
      for (const i of guests.keys()) {
        enter(i);
        expect(read(DATA)).toBe(OUT + i * PAGE);
      }
      for (let step = 0; step < 1000; step++) {
        const i = (step * 7) % 40;
        enter(i);
        if (step % 5 === 0) {
          const { s2 } = guests[(step * 3) % 40]!;
          here.engine.tlbi("VMALLS12E1", { vmid: s2.vmid });
        }
        expect(read(DATA)).toBe(OUT + i * PAGE);
      }
    });
  });

  it("are dropped with their table: the next one with its VMID starts empty", () => {
    const first = here.engine.stage2();
    first.map({ ipa: DATA, size: PAGE, pa: OUT + FAR, prot: Prot.RW });
    const { vmid } = first;
    vcpu.setRegisters({ vttbrEl2: first.vttbr({ vmid }) });
    expect(read(DATA)).toBe(OUT + FAR);
    first.dispose();
    const second = here.keep(here.engine.stage2());
    expect(second.vmid).toBe(vmid);
    vcpu.setRegisters({ vttbrEl2: second.vttbr({ vmid }) });
    expect(read(DATA)).toMatchObject({ type: "translation", stage: 2 });
  });

  it("are each vCPU's own, be ASID and VMID the same (L51)", () => {
    const [a, b] = [space(0), space(PAGE)];
    const other = make();
    for (let i = 0; i < 3; i++) {
      vcpu.setRegisters(guest.registers(1, { ttbr0: a }));
      other.setRegisters(guest.registers(1, { ttbr0: b }));
      expect(vcpu.translate(VA, Access.Read)).toBe(OUT);
      expect(other.translate(VA, Access.Read)).toBe(OUT + PAGE);
    }
  });

  it("do not outlive their vCPU: one in its place holds nothing", () => {
    const slot = guest.slot2(DATA);
    const before = slot.value;
    const used = here.engine.memoryUsage().used;
    for (let i = 0; i < 8; i++) {
      slot.value = before + BigInt(i * PAGE);
      const next = here.engine.vcpu(guest.s2, { tlb: { sets: 16, ways: 4 } });
      for (const page of [0, 1]) {
        expect(next.translate(DATA + page * PAGE, Access.Read)).toBe(OUT + (page ? 1 : i) * PAGE);
      }
      expect(next.statistics.tlb).toMatchObject({ hits: 0, misses: 2, stage2Hits: 0 });
      next.dispose();
      expect(here.engine.memoryUsage().used).toBe(used);
    }
    slot.value = before;
  });

  it("hold batches' addresses like others", () => {
    const batch = here.keep(here.engine.batch(64));
    for (let i = 0; i < 64; i++) batch.addresses[i] = DATA + ((i * 5) % 16) * PAGE + i;
    for (let again = 0; again < 2; again++) {
      expect(vcpu.translateMany(batch, Access.Read)).toBe(0);
      for (let i = 0; i < 64; i++) expect(batch.results[i]).toBe(OUT + ((i * 5) % 16) * PAGE + i);
    }
    expect(vcpu.statistics.tlb).toMatchObject({ hits: 112, misses: 16 });
    guest.s2.unmap({ ipa: DATA, size: PAGE });
    expect(vcpu.translateMany(batch, Access.Read)).toBe(4);
    expect([...batch.results].filter((pa) => pa < 0)).toEqual([-8, -8, -8, -8]); // translation, level 3
  });
});
