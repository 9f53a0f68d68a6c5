/** Rows M-6.x: operations on ranges, in pieces. */
import { describe, expect, it } from "vitest";
import { RANGE, type VmCore } from "../../../src/vm/_abi.ts";
import { Prot } from "../../../src/index.ts";
import { MODES, errorOf, lab } from "../../support.ts";
import { GRANULES, Guest, HVA, IPA, LOG, PA } from "./support.ts";

const KINDS = ["unmap", "wrprotect", "split", "flush", "flushTlb"] as const;
interface Piece {
  ipa: number;
  size: number;
}

/** M-6.1: cut at multiples of `piece`. */
function cut(start: number, end: number, piece: number): Piece[] {
  const pieces: Piece[] = [];
  for (let at = start; at < end;) {
    const next = Math.min(at - (at % piece) + piece, end);
    pieces.push({ ipa: at, size: next - at });
    at = next;
  }
  return pieces;
}

describe.each(MODES)("range operations (%s)", (mode) => {
  const here = lab(mode);
  const pieces = (guest: Guest) => guest.logged(...KINDS).map(({ ipa, size }) => ({ ipa, size }));
  const core = () => here.engine.context.core as unknown as VmCore;

  describe.each(GRANULES)("%s pages", (granule) => {
    it("M-6.1: pieces end at multiples of the largest block", () => {
      const guest = new Guest(here, { granule, vmEvents: ["range"], size: 0, ipaBits: 40 });
      const { vm, page, largest } = guest;
      const ranges: [start: number, end: number][] = [
        [IPA, IPA + page],
        [IPA, IPA + largest],
        [IPA + page, IPA + 2 * largest + page],
        [IPA + largest - page, IPA + 3 * largest],
        [2 ** 40 - 2 * largest - page, 2 ** 40],
      ];
      for (const [start, end] of ranges) {
        const range = { ipa: start, size: end - start };
        for (const work of [
          () => vm.unmapRange(range),
          () => vm.wrprotectRange(range),
          () => vm.flushRange(range),
        ]) {
          guest.forget();
          work();
          expect(pieces(guest)).toEqual(cut(start, end, largest));
        }
      }
    });

    it("M-6.1: what lies on both sides of a cut is done", () => {
      const guest = new Guest(here, { granule, size: 0, frames: 4 * 2 ** 30, ipaBits: 44 });
      const { page, largest, vm } = guest;
      vm.setMemslot({ slot: 0, ipa: IPA, size: 3 * largest, hva: HVA });
      const at = [largest - page, largest, 2 * largest - page, 2 * largest];
      for (const off of at) guest.write(IPA + off);
      vm.wrprotectRange({ ipa: IPA + largest - page, size: largest + 2 * page });
      expect(guest.leaves.map(({ prot }) => prot)).toEqual([Prot.R, Prot.R, Prot.R, Prot.R]);
      vm.unmapRange({ ipa: IPA + largest, size: largest });
      expect(guest.leaves.map(({ ipa }) => ipa - IPA)).toEqual([at[0], at[3]]);
    });
  });

  it("M-6.2, M-6.3: between pieces nothing is held; each piece looks for the page table anew", () => {
    const guest = new Guest(here, { size: 0, frames: 4 * 2 ** 30 });
    const { vm, largest } = guest;
    vm.setMemslot({ slot: 0, ipa: IPA, size: 3 * largest, hva: HVA });
    for (let i = 0; i < 3; i++) guest.write(IPA + i * largest);
    const step = (ipa: number, size: number, resumed: number) =>
      core().vm_range(vm.pointer, RANGE.UNMAP, ipa, size, 1, resumed);
    expect(step(IPA, 3 * largest, 0)).toBe(largest);
    guest.write(IPA); // a fault in between: the lock is free
    expect(guest.leaves.map(({ ipa }) => (ipa - IPA) / largest)).toEqual([0, 1, 2]);
    vm.release();
    expect(step(IPA + largest, 2 * largest, 1)).toBe(2 * largest); // teardown won: all is done
    expect(step(IPA + largest, 2 * largest, 0)).toBe(-22); // the lock was never dropped
  });

  it("M-6.2: the asynchronous form drops the lock, and can be aborted between pieces", async () => {
    const guest = new Guest(here, { size: 0, frames: 4 * 2 ** 30 });
    const { vm, largest } = guest;
    vm.setMemslot({ slot: 0, ipa: IPA, size: 4 * largest, hva: HVA });
    for (let i = 0; i < 4; i++) guest.write(IPA + i * largest);
    let progressed = 0;
    await vm.unmapRangeAsync(
      { ipa: IPA, size: 4 * largest },
      {
        onProgress: () => {
          progressed++;
          guest.vcpu.handleAbort({ esr: 0x9200_0047n, far: 0n, hpfar: BigInt(IPA / 256) });
        },
      },
    );
    expect(progressed).toBeGreaterThan(0);
    expect(guest.leaves.filter(({ ipa }) => ipa !== IPA)).toEqual([]);
    const aborted = vm.unmapRangeAsync({ ipa: IPA, size: 4096 }, { signal: AbortSignal.abort() });
    await expect(aborted).rejects.toThrow();
  });

  it("M-6.3: without a page table: EINVAL", () => {
    const guest = new Guest(here);
    const range = { ipa: IPA, size: 4096 };
    guest.vm.release();
    const { vm } = guest;
    for (const work of [
      () => vm.unmapRange(range),
      () => vm.wrprotectRange(range),
      () => vm.flushRange(range),
    ]) {
      expect(errorOf(work).code).toBe("EINVAL");
    }
  });

  it("M-6.4: the first piece that fails ends it; what lies before is done", () => {
    const guest = new Guest(here, { size: 0, ipaBits: 36 });
    const { vm, largest } = guest;
    const end = 2 ** 36;
    vm.setMemslot({ slot: 0, ipa: end - largest, size: largest, hva: HVA });
    guest.write(end - 4096);
    const range = { ipa: end - largest, size: 3 * largest };
    expect(errorOf(() => vm.wrprotectRange(range)).code).toBe("ERANGE");
    expect(guest.leaf(end - 4096)).toMatchObject({ prot: Prot.R });
    expect(errorOf(() => vm.unmapRange(range)).code).toBe("ERANGE");
    expect(guest.leaves).toEqual([]);
  });

  it("M-6.10: an unmap is of whole pages", () => {
    for (const granule of GRANULES) {
      const guest = new Guest(here, { granule });
      const { vm, page } = guest;
      guest.write(IPA);
      for (const size of [page - 1, page / 2, page + 1]) {
        const { code } = errorOf(() => vm.unmapRange({ ipa: IPA, size }));
        expect(code, `${size}`).toBe("EINVAL");
      }
      expect(guest.leaf(IPA)).toBeDefined();
      vm.dispose();
    }
  });

  it("M-6.11: unmapAll leaves alone what has no VMA, or is PFN-mapped", () => {
    const guest = new Guest(here, { size: 0 });
    const { vm, facts } = guest;
    for (let slot = 0; slot < 2; slot++) {
      const at = slot * 0x10_0000;
      vm.setMemslot({ slot, ipa: IPA + at, size: 0x8000, hva: HVA + at });
      for (let page = 0; page < 8; page++) guest.write(IPA + at + page * 4096);
    }
    facts.parts = (hva) => [
      { hva: hva + 0x1000, size: 0x2000 },
      { hva: hva + 0x6000, size: 0x1000 },
    ];
    vm.unmapAll();
    const stay = guest.leaves.map(({ ipa }) => (ipa - IPA) / 4096);
    expect(stay).toEqual([0, 3, 4, 5, 7, 256, 259, 260, 261, 263]);
    facts.parts = undefined;
    vm.unmapAll();
    expect(guest.leaves).toEqual([]);
  });

  it("M-6.12: ioremap: page by page, DEVICE, never X, never blocks; size by the IPA's page", () => {
    for (const granule of GRANULES) {
      const guest = new Guest(here, { granule, size: 0 });
      const { vm, page, block } = guest;
      vm.ioremap({ ipa: IPA, pa: PA, size: block, writable: true });
      const { leaves, leafCount } = vm.stage2.counters();
      expect([leaves[3], leafCount]).toEqual([block / page, block / page]);
      expect(guest.leaf(IPA)).toMatchObject({ prot: Prot.RW | Prot.DEVICE, pa: PA });
      vm.ioremap({ ipa: 2 * IPA + 0x10, pa: PA, size: page, writable: false });
      expect(guest.leaf(2 * IPA)).toMatchObject({ prot: Prot.R | Prot.DEVICE, pa: PA });
      expect(guest.leaf(2 * IPA + page)).toMatchObject({ pa: PA + page }); // size + IPA mod page
      expect(guest.leaf(2 * IPA + 2 * page)).toBeUndefined();
      vm.dispose();
    }
  });

  it("M-6.12: not for protected VMs; an error leaves earlier pages mapped", () => {
    const guarded = new Guest(here, { protected: true, size: 0 });
    const request = { ipa: IPA, pa: PA, size: 4096, writable: true };
    expect(errorOf(() => guarded.vm.ioremap(request)).code).toBe("EPERM");
    const guest = new Guest(here, { size: 0, ipaBits: 36 });
    const end = 2 ** 36;
    const over = { ipa: end - 8192, pa: PA, size: 4 * 4096, writable: true };
    expect(errorOf(() => guest.vm.ioremap(over)).code).toBe("ERANGE");
    expect(guest.leaves.map(({ ipa }) => end - ipa)).toEqual([8192, 4096]);
    const { engine } = here;
    engine.tableBudget = engine.memoryUsage().used;
    const elsewhere = { ...request, ipa: 2 ** 33 };
    expect(errorOf(() => guest.vm.ioremap(elsewhere)).code).toBe("ENOMEM");
    engine.tableBudget = 4096;
    expect(guest.leaves).toHaveLength(2);
  });

  it("M-6.1: log protection of a slot goes in pieces too", () => {
    const guest = new Guest(here, { size: 0, vmEvents: ["range"], ipaBits: 40 });
    const { vm, largest } = guest;
    const slot = { slot: 0, ipa: IPA - 4096, size: 2 * largest, hva: HVA };
    vm.setMemslot({ ...slot, flags: LOG });
    const pieces = guest.logged("wrprotect").map(({ ipa, size }) => ({ ipa, size }));
    expect(pieces).toEqual(cut(slot.ipa, slot.ipa + slot.size, largest));
  });
});
