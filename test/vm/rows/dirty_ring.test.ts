/** Rows M-8.30 to M-8.36: dirty rings. */
import { describe, expect, it } from "vitest";
import { Cap, Prot, type VmVcpu } from "../../../src/index.ts";
import { MODES, SMALL, errorOf, lab } from "../../support.ts";
import { Guest, HVA, IPA, LOG, abort } from "./support.ts";

const PAGE = 4096;
/** The least ring: a page of entries of 16 bytes. */
const ENTRIES = 256;
const RESERVED = 64;
const PAGES = 2048;
const REGION = { slot: 0, ipa: IPA, size: PAGES * PAGE, hva: HVA, flags: LOG };

describe.each(MODES)("dirty rings (%s)", (mode) => {
  const here = lab(mode, { ...SMALL, maxTablePages: 8192 });
  const ringed = (options: { backupBitmap?: boolean; bytes?: number } = {}) => {
    const guest = new Guest(here, { size: 0, vmEvents: ["range"] });
    guest.vcpu.dispose();
    guest.vm.enableDirtyRing({ bytes: PAGE, backupBitmap: true, ...options });
    guest.vm.setMemslot(REGION);
    return { ...guest, guest, vm: guest.vm, vcpu: guest.vm.createVcpu() };
  };
  const write = (vcpu: VmVcpu, page: number) => {
    vcpu.handleAbort(abort({ ipa: IPA + page * PAGE, write: true }));
  };
  const harvest = (vcpu: VmVcpu) => [...vcpu.dirtyRing!.harvest()];
  const offsets = (vcpu: VmVcpu) => harvest(vcpu).map(({ offset }) => offset);
  const writable = (guest: Guest) =>
    guest.leaves.filter(({ prot }) => (prot & Prot.W) !== 0).map(({ ipa }) => (ipa - IPA) / PAGE);

  it("M-8.30: sizes: a power of two from a page (and 1,024 bytes) to 1 MiB; once; before any vCPU", () => {
    const { vm, vcpu } = new Guest(here, { size: 0 });
    const enable = (bytes: number) => errorOf(() => vm.enableDirtyRing({ bytes })).code;
    expect(enable(PAGE), "there is a vCPU").toBe("EINVAL");
    vcpu.dispose();
    const bad = [0, 1, 3, 1000, 5000, 3 * PAGE, PAGE + 1];
    for (const bytes of bad) expect(enable(bytes), `${bytes}`).toBe("EINVAL");
    for (const bytes of [16, 512, 1024, 2048]) expect(enable(bytes), `${bytes}`).toBe("EINVAL");
    for (const bytes of [2 ** 21, 2 ** 24]) expect(enable(bytes), `${bytes}`).toBe("E2BIG");
    vm.enableDirtyRing({ bytes: 2 ** 20 });
    expect(enable(2 ** 20), "already").toBe("EINVAL");
    const large = vm.createVcpu().dirtyRing!;
    expect(large).toMatchObject({ entries: 65_536, softLimit: 65_536 - RESERVED });
    const wide = new Guest(here, { size: 0, granule: "16K" });
    wide.vcpu.dispose();
    expect(errorOf(() => wide.vm.enableDirtyRing({ bytes: 8192 })).code).toBe("EINVAL");
    wide.vm.enableDirtyRing({ bytes: 16_384 });
  });

  it("M-8.30: the backup bitmap: with rings on, no slots, no flags", () => {
    const cap = Cap.DIRTY_LOG_RING_WITH_BITMAP;
    const without = new Guest(here, { size: 0 });
    expect(errorOf(() => without.vm.enableCap(cap, 0)).code).toBe("EINVAL");
    without.vcpu.dispose();
    without.vm.enableDirtyRing({ bytes: PAGE });
    expect(errorOf(() => without.vm.enableCap(cap, 0, 1)).code).toBe("EINVAL");
    without.vm.setMemslot(REGION);
    expect(errorOf(() => without.vm.enableCap(cap, 0)).code).toBe("EINVAL");
    without.vm.setMemslot({ ...REGION, size: 0 });
    without.vm.enableCap(cap, 0);
  });

  it("M-8.31: the soft limit is 64 below the size; an entry is slot and page, oldest first", () => {
    const { vcpu, vm } = ringed();
    expect(vcpu.dirtyRing).toMatchObject({ entries: ENTRIES, softLimit: ENTRIES - RESERVED });
    vm.setMemslot({ slot: 7, ipa: 2 * IPA, size: 16 * PAGE, hva: HVA, flags: LOG });
    write(vcpu, 9);
    vcpu.handleAbort(abort({ ipa: 2 * IPA + 3 * PAGE, write: true }));
    write(vcpu, 2);
    const found = harvest(vcpu).map(({ slot, offset }) => [slot, offset]);
    expect(found).toEqual([[0, 9], [7, 3], [0, 2]]); // prettier-ignore
    expect(harvest(vcpu)).toEqual([]); // harvested, not yet reset: not given out again
  });

  it("M-8.32: at the soft limit every run ends with the full exit, until a reset", () => {
    const { vcpu, vm } = ringed();
    const { softLimit } = vcpu.dirtyRing!;
    for (let page = 0; page < softLimit - 1; page++) write(vcpu, page);
    expect(vcpu.dirtyRing?.full).toBe(false);
    let ran = 0;
    const run = () => vcpu.run(() => ++ran);
    expect(run()).toBe(1);
    write(vcpu, softLimit - 1);
    expect(vcpu.dirtyRing?.full).toBe(true);
    for (let i = 0; i < 3; i++) {
      expect(run()).toMatchObject({ reason: "dirtyRingFull", ret: 0 });
    }
    expect(ran).toBe(1); // without running
    expect(vm.resetDirtyRings()).toBe(0); // nothing was harvested: it stays full
    expect(run()).toMatchObject({ reason: "dirtyRingFull" });
    expect(offsets(vcpu)).toHaveLength(softLimit);
    expect(run()).toMatchObject({ reason: "dirtyRingFull" }); // harvested is not reset
    expect(vm.resetDirtyRings()).toBe(softLimit);
    expect(vcpu.dirtyRing?.full).toBe(false);
    expect(run()).toBe(2);
  });

  it("M-8.33: reset: harvested entries are free, their pages protected by windows of 64, one flush", () => {
    const { vcpu, vm, guest } = ringed();
    const pages = [0, 5, 63, 70, 64, 700, 3];
    for (const page of pages) write(vcpu, page);
    expect(offsets(vcpu)).toEqual(pages);
    expect(writable(guest)).toHaveLength(pages.length);
    guest.forget();
    expect(vm.resetDirtyRings()).toBe(pages.length);
    expect(writable(guest)).toEqual([]);
    const kinds = guest.logged("wrprotect", "flushTlb").map(({ kind }) => kind);
    expect(kinds.filter((kind) => kind === "wrprotect").length).toBeLessThan(pages.length);
    expect(vm.resetDirtyRings()).toBe(0);
    for (const page of [5, 700])
      vcpu.handleAbort(abort({ ipa: IPA + page * PAGE, write: true, fsc: 15 }));
    expect(offsets(vcpu)).toEqual([5, 700]);
  });

  it("M-8.33: a window coalesces what lies within 64 pages of its first, also below it", () => {
    const { vcpu, vm, guest } = ringed();
    for (const page of [100, 110, 90, 163, 300]) write(vcpu, page);
    harvest(vcpu);
    guest.forget();
    vm.resetDirtyRings();
    const spans = guest
      .logged("wrprotect")
      .map(({ ipa, size }) => [(ipa - IPA) / PAGE, size / PAGE]);
    // 90 moves the window down; 163 is 73 above it and starts another.
    expect(spans).toEqual([[90, 21], [163, 1], [300, 1]]); // prettier-ignore
  });

  it("M-8.33: stops at the first entry that was not harvested", () => {
    const { vcpu, vm, guest } = ringed();
    for (let page = 0; page < 6; page++) write(vcpu, page);
    const ring = vcpu.dirtyRing!.harvest()[Symbol.iterator]();
    expect([ring.next().value?.offset, ring.next().value?.offset]).toEqual([0, 1]);
    ring.return?.();
    expect(vm.resetDirtyRings()).toBe(2);
    expect(writable(guest)).toEqual([2, 3, 4, 5]);
    expect(offsets(vcpu)).toEqual([2, 3, 4, 5]);
    expect(vm.resetDirtyRings()).toBe(4);
  });

  it("M-8.33: each vCPU has its ring; a reset takes them all and flushes the VMID once", () => {
    const { vcpu, vm, guest } = ringed();
    const other = vm.createVcpu();
    write(vcpu, 1);
    write(other, 2);
    write(other, 3);
    expect([offsets(vcpu), offsets(other)]).toEqual([[1], [2, 3]]);
    vm.stage2.setEvents(["maintenance"]);
    guest.forget();
    expect(vm.resetDirtyRings()).toBe(3);
    expect(guest.logged("tlbiVmid", "tlbiRange").length).toBe(1);
    expect(vm.resetDirtyRings()).toBe(0);
    expect(guest.logged("tlbiVmid", "tlbiRange")).toEqual([]);
    other.dispose();
  });

  it("M-8.33: without rings: EINVAL", () => {
    const { vm } = new Guest(here);
    expect(errorOf(() => vm.resetDirtyRings()).code).toBe("EINVAL");
  });

  it("M-8.33: a reset splits what it protects where a chunk is set", () => {
    const guest = new Guest(here, { size: 0, vmEvents: ["range"] });
    const { vm, block } = guest;
    guest.vcpu.dispose();
    vm.eagerSplitChunk = block;
    vm.enableDirtyRing({ bytes: PAGE, backupBitmap: true });
    const vcpu = vm.createVcpu();
    const region = { ...REGION, size: 2 * block };
    vm.setMemslot(region);
    write(vcpu, 700);
    harvest(vcpu);
    guest.forget();
    expect(vm.resetDirtyRings()).toBe(1);
    const calls = guest
      .logged("wrprotect", "split")
      .map(({ kind, ipa }) => [kind, (ipa - IPA) / PAGE]);
    expect(calls[0]).toEqual(["wrprotect", 700]);
  });

  it("M-8.34: entries of slots that are gone, or beyond them, are dropped and counted", () => {
    const { vcpu, vm, guest } = ringed();
    write(vcpu, 1);
    write(vcpu, 1000);
    harvest(vcpu);
    vm.setMemslot({ ...REGION, size: 0 });
    vm.setMemslot({ ...REGION, size: 16 * PAGE });
    guest.forget();
    expect(vm.resetDirtyRings()).toBe(2);
    const spans = guest.logged("wrprotect").map(({ ipa }) => (ipa - IPA) / PAGE);
    expect(spans).toEqual([1]);
    write(vcpu, 2);
    harvest(vcpu);
    vm.setMemslot({ ...REGION, size: 0 });
    guest.forget();
    expect(vm.resetDirtyRings()).toBe(1);
    expect(guest.logged("wrprotect")).toEqual([]);
  });

  it("M-8.35: a write without a vCPU goes to the backup bitmap, not to a ring", () => {
    const { vcpu, vm } = ringed();
    write(vcpu, 4);
    vm.markDirty(IPA + 5 * PAGE);
    vm.writeGuest(IPA + 6 * PAGE, new Uint8Array(4));
    expect([...vm.getDirtyLog(0)]).toEqual([5, 6]);
    expect(offsets(vcpu)).toEqual([4]);
  });

  it("M-8.36: a page of the log may be reported again, and is not lost", () => {
    const { vcpu, vm } = ringed();
    const seen = new Set<number>();
    for (let round = 0; round < 5; round++) {
      for (let page = 0; page < 50; page++) {
        const ipa = IPA + page * PAGE;
        const mapped = [...vm.stage2.leaves({ ipa, size: PAGE })].length > 0;
        vcpu.handleAbort(abort({ ipa, write: true, fsc: mapped ? 15 : 7 }));
      }
      for (const { offset } of harvest(vcpu)) seen.add(offset);
      expect(seen.size).toBe(50);
      seen.clear();
      vm.resetDirtyRings();
    }
  });
});
