/** What a TLB may hold, for how much, and what an access does with it: access flags, permissions, dirty state, sizes. */
import { beforeEach, describe, expect, it } from "vitest";
import { Access, Fault, Prot, type Vcpu, type VcpuOptions } from "../../src/index.ts";
import { MODES, lab } from "../support.ts";
import { BLOCK, DATA, Guest, MACHINE, OUT, PAGE, S1, S2 } from "./support.ts";

const VA = 0x60_0000;
const MOVED = 0x10_0000;

describe.each(MODES)("TLB entries (%s)", (mode) => {
  const here = lab(mode, MACHINE);
  let guest: Guest;
  const make = (options: VcpuOptions = {}, asid?: number): Vcpu => {
    const vcpu = here.keep(here.engine.vcpu(guest.s2, options));
    if (asid !== undefined) vcpu.setRegisters(guest.registers(asid));
    return vcpu;
  };
  const read = (vcpu: Vcpu, va: number) => vcpu.translate(va, Access.Read);
  const write = (vcpu: Vcpu, va: number) => vcpu.translate(va, Access.Write);
  const map = (prot: number = Prot.RWX, size = 0x1_0000) =>
    guest.s2.map({ ipa: DATA, size, pa: OUT, prot, forcePages: true });

  beforeEach(() => {
    guest = new Guest(here);
  });

  describe("of leaves that fault", () => {
    /** Changes of a stage-2 leaf that make a read fail, from the first failing test of the walk on. */
    const BAD: [string, (pte: bigint) => bigint, string][] = [
      ["invalid", (pte) => pte & ~1n, "translation"],
      ["reserved at level 3", (pte) => pte & ~2n, "translation"],
      ["beyond the output size", (pte) => pte | (1n << 46n), "addressSize"],
      ["no access flag", (pte) => pte & ~S2.AF, "accessFlag"],
      ["no read permission", (pte) => pte & ~S2.R, "permission"],
    ];
    it.each(BAD)("%s: there are none, so a repair needs no invalidation", (_, breaks, type) => {
      guest = new Guest(here, { ha: false });
      map();
      const vcpu = make();
      const slot = guest.slot2(DATA);
      const good = slot.value;
      for (let round = 0; round < 3; round++) {
        slot.value = breaks(good);
        expect(read(vcpu, DATA)).toMatchObject({ type, stage: 2, fromTlb: false, level: 3 });
        expect(read(vcpu, DATA)).toMatchObject({ type, fromTlb: false });
        slot.value = good;
        expect(read(vcpu, DATA)).toBe(OUT);
        vcpu.tlbi("VMALLS12E1");
      }
      expect(vcpu.statistics.tlb).toMatchObject({ hits: 0, stage2Hits: 0 });
    });

    it.each([
      ["invalid", (pte: bigint) => pte & ~1n, "translation"],
      ["no access flag", (pte: bigint) => pte & ~S1.AF, "accessFlag"],
      ["an address that is none", (pte: bigint) => pte | (1n << 44n), "addressSize"],
    ])("of stage 1, %s: there are none", (_, breaks, type) => {
      map();
      const slot = guest.map(VA, DATA);
      const vcpu = make({}, 1);
      const good = slot.value;
      for (let round = 0; round < 3; round++) {
        slot.value = breaks(good);
        expect(read(vcpu, VA)).toMatchObject({ type, stage: 1, el: 1, fromTlb: false });
        slot.value = good;
        expect(read(vcpu, VA)).toBe(OUT);
        vcpu.tlbi("VMALLE1");
      }
      expect(vcpu.statistics.tlb.hits).toBe(0);
    });

    it("hold no level above either: a table appears without an invalidation", () => {
      const vcpu = make();
      expect(read(vcpu, DATA)).toMatchObject({ type: "translation", level: 2 });
      map();
      expect(read(vcpu, DATA)).toBe(OUT);
    });
  });

  describe("and access flags", () => {
    it("are made of leaves whose flag was set first, by software", () => {
      guest = new Guest(here, { ha: false });
      map();
      const vcpu = make();
      const slot = guest.slot2(DATA);
      slot.value &= ~S2.AF;
      for (let i = 0; i < 3; i++) expect(read(vcpu, DATA)).toMatchObject({ type: "accessFlag" });
      expect(guest.s2.mkyoung(DATA)).toBe(true);
      expect(read(vcpu, DATA)).toBe(OUT);
    });

    it("are made of leaves whose flag was set first, by hardware: then not again", () => {
      map();
      const vcpu = make();
      const slot = guest.slot2(DATA);
      slot.value &= ~S2.AF;
      expect(read(vcpu, DATA)).toBe(OUT);
      expect(slot.value & S2.AF).toBe(S2.AF);
      slot.value &= ~S2.AF; // software ages, with no invalidation
      for (const access of [Access.Read, Access.Write, Access.Fetch]) {
        expect(vcpu.translate(DATA, access)).toBe(OUT);
        expect(slot.value & S2.AF, "an entry that is held updates nothing").toBe(0n);
      }
      expect(vcpu.statistics.accessFlagUpdates.stage2).toBe(1);
      vcpu.tlbi("IPAS2E1", { address: DATA });
      vcpu.tlbi("VMALLE1");
      expect(read(vcpu, DATA)).toBe(OUT);
      expect(slot.value & S2.AF).toBe(S2.AF);
    });

    it("are not made by a walk that faults behind the flag", () => {
      map(Prot.R);
      const vcpu = make();
      const slot = guest.slot2(DATA);
      slot.value &= ~S2.AF;
      expect(write(vcpu, DATA)).toMatchObject({ type: "permission" });
      expect(slot.value & S2.AF).toBe(0n);
      expect(read(vcpu, DATA)).toBe(OUT);
      expect(slot.value & S2.AF).toBe(S2.AF);
      expect(vcpu.statistics.tlb.hits).toBe(0);
    });
  });

  describe("that lack a permission which memory has", () => {
    const relax = () => (guest.slot2(DATA).value |= S2.W);

    it("give one spurious fault, then memory decides", () => {
      map(Prot.R);
      const vcpu = make();
      expect(read(vcpu, DATA)).toBe(OUT);
      relax();
      expect(write(vcpu, DATA)).toMatchObject({ type: "permission", fromTlb: true, stage: 2 });
      expect(write(vcpu, DATA)).toBe(OUT);
      expect(write(vcpu, DATA)).toBe(OUT);
      expect(vcpu.statistics.tlb.spuriousFaults).toBe(1);
      expect(vcpu.statistics.faults).toBe(1);
    });

    it("give one, also where the entry of stage 2 alone would give another", () => {
      map(Prot.R);
      guest.map(VA, DATA);
      guest.map(VA + PAGE, DATA);
      const vcpu = make({}, 1);
      expect(read(vcpu, VA)).toBe(OUT);
      relax();
      expect(write(vcpu, VA)).toMatchObject({ type: "permission", fromTlb: true, stage: 2 });
      expect(write(vcpu, VA)).toBe(OUT);
      // By another name, where only the stage-2 entry answers
      guest.slot2(DATA).value &= ~S2.W;
      vcpu.tlbi("VMALLS12E1");
      expect(read(vcpu, VA)).toBe(OUT);
      relax();
      expect(write(vcpu, VA + PAGE)).toMatchObject({
        type: "permission",
        fromTlb: true,
        ipa: DATA,
      });
      expect(write(vcpu, VA + PAGE)).toBe(OUT);
    });

    it("give one of stage 1 alike", () => {
      map();
      const slot = guest.map(VA, DATA, S1.READ_ONLY);
      const vcpu = make({}, 1);
      expect(read(vcpu, VA)).toBe(OUT);
      slot.value &= ~S1.READ_ONLY;
      expect(write(vcpu, VA)).toMatchObject({ type: "permission", fromTlb: true, stage: 1, el: 1 });
      expect(write(vcpu, VA)).toBe(OUT);
    });

    it("go on faulting until an invalidation, if faults leave entries", () => {
      map(Prot.R);
      const vcpu = make({ permissionFaultDropsEntry: false });
      expect(read(vcpu, DATA)).toBe(OUT);
      relax();
      for (let i = 0; i < 3; i++) {
        expect(write(vcpu, DATA)).toMatchObject({ type: "permission", fromTlb: true });
      }
      expect(vcpu.statistics.tlb.spuriousFaults).toBe(3);
      vcpu.tlbi("VMALLE1"); // one half of it: the stage-2 entry goes on
      expect(write(vcpu, DATA)).toMatchObject({ type: "permission", fromTlb: true });
      vcpu.tlbi("IPAS2E1", { address: DATA });
      vcpu.tlbi("VMALLE1");
      expect(write(vcpu, DATA)).toBe(OUT);
    });

    it("are no spurious faults while memory lacks it too", () => {
      map(Prot.R);
      const vcpu = make();
      for (let i = 0; i < 4; i++) {
        expect(read(vcpu, DATA)).toBe(OUT);
        expect(write(vcpu, DATA)).toMatchObject({ type: "permission", fromTlb: true });
      }
      expect(vcpu.statistics.tlb.spuriousFaults).toBe(0);
      expect(vcpu.statistics.faults).toBe(4);
    });

    it("go on allowing what memory has forbidden, until an invalidation", () => {
      map();
      const vcpu = make();
      expect(write(vcpu, DATA)).toBe(OUT);
      guest.slot2(DATA).value &= ~S2.W;
      expect(write(vcpu, DATA)).toBe(OUT);
      guest.s2.tlbFlushRange({ ipa: DATA, size: PAGE });
      expect(write(vcpu, DATA)).toMatchObject({ type: "permission", fromTlb: false });
    });
  });

  describe("that are writable-clean", () => {
    it("let no write pass before memory is dirty", () => {
      map(Prot.R);
      const slot = guest.slot2(DATA);
      slot.value |= S2.DBM;
      const vcpu = make({ hd: true });
      expect(read(vcpu, DATA)).toBe(OUT);
      expect(slot.value & S2.W).toBe(0n);
      expect(write(vcpu, DATA)).toBe(OUT);
      expect(slot.value & S2.W).toBe(S2.W);
      expect(vcpu.statistics.dirtyUpdates.stage2).toBe(1);
      expect(write(vcpu, DATA)).toBe(OUT);
      expect(vcpu.statistics.dirtyUpdates.stage2).toBe(1);
    });

    it.each([
      ["moved", (pte: bigint) => pte + BigInt(MOVED), OUT + MOVED],
      ["no longer to be dirtied", (pte: bigint) => pte & ~S2.DBM, { type: "permission" }],
      ["invalid", () => 0n, { type: "translation" }],
      ["software's own bits", (pte: bigint) => pte | (7n << 55n), OUT],
    ])("read memory anew for a write: %s", (_, change, wanted) => {
      map(Prot.R);
      const slot = guest.slot2(DATA);
      slot.value |= S2.DBM;
      const vcpu = make({ hd: true });
      expect(read(vcpu, DATA)).toBe(OUT);
      const before = slot.value;
      here.keep({ dispose: () => void (slot.value = before) });
      const changed = change(before);
      slot.value = changed;
      const result = write(vcpu, DATA);
      if (typeof wanted === "number") expect(result).toBe(wanted);
      else expect(result).toMatchObject(wanted);
      const dirty = typeof wanted === "number" ? S2.W : 0n;
      expect(slot.value, "nothing of the old value comes back").toBe(changed | dirty);
    });

    it("of stage 1 likewise, and stage 2 is dirtied by it", () => {
      map();
      const slot = guest.map(VA, DATA, S1.READ_ONLY | S1.DBM);
      const hardware = (1n << 39n) | (1n << 40n); // TCR_EL1.HA, HD
      const vcpu = make({ hd: true });
      vcpu.setRegisters(guest.registers(1, { tcr: hardware }));
      expect(read(vcpu, VA)).toBe(OUT);
      expect(slot.value & S1.READ_ONLY).toBe(S1.READ_ONLY);
      slot.value += BigInt(PAGE); // the next page
      expect(write(vcpu, VA)).toBe(OUT + PAGE);
      expect(slot.value & S1.READ_ONLY).toBe(0n);
      expect(vcpu.statistics.dirtyUpdates.stage1).toBe(1);
    });

    it("are dirty for this vCPU, and clean for another that still holds them so", () => {
      map(Prot.R);
      const slot = guest.slot2(DATA);
      slot.value |= S2.DBM;
      const [a, b] = [make({ hd: true }), make({ hd: true })];
      for (const vcpu of [a, b]) expect(read(vcpu, DATA)).toBe(OUT);
      expect([write(a, DATA), write(b, DATA)]).toEqual([OUT, OUT]);
      expect(a.statistics.dirtyUpdates.stage2 + b.statistics.dirtyUpdates.stage2).toBe(1);
      // Cleaned by software: one that holds it dirty writes on until the invalidation.
      slot.value &= ~S2.W;
      expect(write(b, DATA)).toBe(OUT);
      expect(slot.value & S2.W).toBe(0n);
      guest.s2.tlbFlushRange({ ipa: DATA, size: PAGE });
      expect(write(b, DATA)).toBe(OUT);
      expect(slot.value & S2.W).toBe(S2.W);
    });
  });

  describe("of leaves of two sizes cover the smaller", () => {
    const BIG = DATA & ~(BLOCK - 1);
    /** Stage-1 level, stage-2 level, bytes that one invalidation by VA takes (of what is held). */
    const SIZES: [number, number, number][] = [
      [3, 3, PAGE],
      [3, 2, PAGE],
      [2, 3, BLOCK],
      [2, 2, BLOCK],
    ];
    it.each(SIZES)("levels %i and %i", (level1, level2, covered) => {
      const forcePages = level2 === 3;
      guest.s2.map({ ipa: BIG, size: 2 * BLOCK, pa: 2 ** 33, prot: 7, forcePages });
      for (let i = 0; i < 8; i++) {
        if (level1 === 3) guest.map(VA + i * PAGE, BIG + i * PAGE);
        else guest.map(VA, BIG, 0n, 2);
      }
      const vcpu = make({}, 1);
      const pages = [0, 1, 2, 7];
      for (const page of pages) expect(read(vcpu, VA + page * PAGE)).toBe(2 ** 33 + page * PAGE);
      // Memory says otherwise now for all of it, and a page that was never touched does not know the old way.
      const far = 2 ** 34;
      guest.s2.map({ ipa: far, size: 2 * BLOCK, pa: far, prot: 7, forcePages });
      for (let page = 0; page < 8; page++) {
        if (level1 === 3) guest.slot1(VA + page * PAGE).retarget(far + page * PAGE);
        else guest.slot1(VA, 2).retarget(far);
      }
      expect(read(vcpu, VA + 5 * PAGE)).toBe(far + 5 * PAGE);
      for (const page of pages) expect(read(vcpu, VA + page * PAGE)).toBe(2 ** 33 + page * PAGE);
      vcpu.tlbi("VALE1", { address: VA + PAGE, asid: 1 });
      for (const page of pages) {
        const gone = covered === BLOCK || page === 1;
        expect(read(vcpu, VA + page * PAGE)).toBe((gone ? far : 2 ** 33) + page * PAGE);
      }
    });

    it("by IPA, one page of a stage-2 block takes all that came from the block", () => {
      guest.s2.map({ ipa: BIG, size: BLOCK, pa: 2 ** 33, prot: 7 });
      const vcpu = make();
      for (const page of [0, 3, 511]) read(vcpu, BIG + page * PAGE);
      guest.slot2(BIG, 2).retarget(2 ** 34);
      vcpu.tlbi("IPAS2E1", { address: BIG + 5 * PAGE, level: 2 });
      vcpu.tlbi("VMALLE1");
      for (const page of [0, 3, 511]) {
        expect(read(vcpu, BIG + page * PAGE)).toBe(2 ** 34 + page * PAGE);
      }
    });
  });

  describe("need two invalidations to go, stage 2 first", () => {
    // H-10.4: each half alone, and the wrong order with a walk in between, leaves the old translation in use.
    const ORDERS: [string, ("ipa" | "all" | "walk")[], boolean][] = [
      ["none", ["walk"], true],
      ["by IPA alone", ["ipa", "walk"], true],
      ["of all combined alone", ["all", "walk"], true],
      ["the wrong way round", ["all", "walk", "ipa", "walk"], true],
      ["the right way round", ["ipa", "walk", "all", "walk"], false],
      ["the right way round at once", ["ipa", "all", "walk"], false],
    ];
    it.each(ORDERS)("%s", (_, order, stale) => {
      map();
      guest.map(VA, DATA);
      const vcpu = make({}, 1);
      expect(read(vcpu, VA)).toBe(OUT);
      const slot = guest.slot2(DATA);
      const before = slot.value;
      here.keep({ dispose: () => void (slot.value = before) });
      slot.value = 0n;
      for (const step of order) {
        if (step === "ipa") vcpu.tlbi("IPAS2E1", { address: DATA });
        else if (step === "all") vcpu.tlbi("VMALLE1");
        else read(vcpu, VA);
      }
      const result = read(vcpu, VA);
      if (stale) expect(result).toBe(OUT);
      else expect(result).toMatchObject({ type: "translation", stage: 2, ipa: DATA });
    });
  });

  describe("and attributes", () => {
    it("of Device memory still forbid unaligned accesses", () => {
      guest.s2.map({ ipa: DATA, size: PAGE, pa: OUT, prot: Prot.RW | Prot.DEVICE });
      guest.map(VA, DATA);
      const vcpu = make({}, 1);
      for (let i = 0; i < 2; i++) {
        expect(vcpu.translate(VA, Access.Read)).toBe(OUT);
        expect(vcpu.read32(VA + 1)).toMatchObject({ type: "alignment", fromTlb: false });
      }
    });
  });

  describe("below tables that take rights away", () => {
    // Bits 62:59 of a table descriptor: no writes, no EL0, UXN, PXN.
    it.each<[string, bigint, 0 | 1, number]>([
      ["writes", 1n << 62n, 1, Access.Write],
      ["EL0", 1n << 61n, 0, Access.Read],
      ["execution at EL0", 1n << 60n, 0, Access.Fetch],
      ["execution at EL1", 1n << 59n, 1, Access.Fetch],
    ])("%s: also of pages found through a remembered table", (_, bit, el, access) => {
      map();
      const user = el === 0 ? S1.USER | S1.READ_ONLY : 0n;
      for (let i = 0; i < 4; i++) guest.map(VA + i * PAGE, DATA + i * PAGE, user);
      const vcpu = make({}, 1);
      vcpu.el = el;
      expect(vcpu.translate(VA, access)).toBe(OUT);
      for (const level of [1, 2]) {
        const table = guest.slot1(VA, level);
        table.value |= bit;
        vcpu.tlbi("VMALLE1");
        vcpu.el = 1;
        for (let i = 0; i < 3; i++) expect(read(vcpu, VA + i * PAGE)).toBe(OUT + i * PAGE);
        vcpu.el = el;
        for (let i = 0; i < 4; i++) {
          const refused = { type: "permission", stage: 1, level: 3 };
          expect(vcpu.translate(VA + i * PAGE, access), `${level}, ${i}`).toMatchObject(refused);
        }
        table.value &= ~bit;
      }
      vcpu.tlbi("VMALLE1");
      expect(vcpu.translate(VA, access)).toBe(OUT);
    });
  });

  it("decide with the same words as memory does", () => {
    // Every reason to fault that an entry knows, compared field by field with a vCPU that has no TLB.
    map(Prot.R);
    guest.s2.map({ ipa: DATA + PAGE, size: PAGE, pa: OUT + PAGE, prot: Prot.RX });
    guest.s2.map({ ipa: DATA + 4 * PAGE, size: PAGE, pa: OUT + 4 * PAGE, prot: Prot.W });
    for (const user of [0n, S1.USER]) {
      const base = user === 0n ? VA : VA + 16 * PAGE;
      guest.map(base, DATA, user);
      guest.map(base + PAGE, DATA + PAGE, user | S1.READ_ONLY);
      guest.map(base + 2 * PAGE, DATA + 2 * PAGE, user | S1.READ_ONLY);
      guest.map(base + 3 * PAGE, DATA + 3 * PAGE, user | (1n << 53n) | (1n << 54n));
    }
    guest.slot2(DATA).value |= S2.DBM; // of no use with HD off, but it is told
    for (const hafdbs of [2, 4]) {
      const [tlb, none] = [make({ hafdbs }, 1), make({ hafdbs, tlb: false }, 1)];
      let fromTlb = 0;
      for (const el of [0, 1] as const) {
        for (const page of [0, 1, 2, 3, 16, 17, 18, 19]) {
          const va = VA + page * PAGE + 0x128;
          const calls: ((vcpu: Vcpu) => unknown)[] = [
            (vcpu) => vcpu.translate(va, Access.Read),
            (vcpu) => vcpu.translate(va, Access.Write),
            (vcpu) => vcpu.translate(va, Access.ReadWrite),
            (vcpu) => vcpu.translate(va, Access.Fetch),
            (vcpu) => vcpu.write64(va, 1n, { unprivileged: true }),
            (vcpu) => vcpu.loadExclusive(va, 8),
            (vcpu) => vcpu.storeExclusive(va, 8, 1n),
          ];
          for (const call of calls) {
            for (const vcpu of [tlb, none]) {
              vcpu.el = 1;
              vcpu.translate(va, Access.Read); // fills
              vcpu.el = el;
            }
            const [a, b] = [call(tlb), call(none)];
            if (a instanceof Fault) {
              if (a.fromTlb) fromTlb++;
              expect({ ...a, fromTlb: false }, `${hafdbs} EL${el} ${page} ${call}`).toEqual(b);
            } else expect(a).toEqual(b);
          }
        }
      }
      expect(fromTlb).toBeGreaterThan(20);
    }
  });
});
