/** Rows M-8.1 to M-8.14: logging goes on and off, KVM_GET_DIRTY_LOG. */
import { describe, expect, it } from "vitest";
import { Cap, Prot } from "../../../src/index.ts";
import { MODES, errorOf, lab } from "../../support.ts";
import { GRANULES, Guest, HVA, IPA, LOG, READONLY, bitmapOf } from "./support.ts";

const PAGE = 4096;
const KINDS = ["wrprotect", "split", "flushTlb", "unmap"] as const;
const PAGES = 200; // no multiple of 64
const REGION = { slot: 0, ipa: IPA, size: PAGES * PAGE, hva: HVA };

describe.each(MODES)("dirty logging (%s)", (mode) => {
  const here = lab(mode);
  const calls = (guest: Guest) =>
    guest.logged(...KINDS).map(({ kind, ipa, size }) => [kind, (ipa - IPA) / PAGE, size / PAGE]);
  /** A VM that logs its calls, with a slot of 200 pages. */
  const guestOf = (options: object = {}) =>
    new Guest(here, { size: PAGES * PAGE, vmEvents: ["range"], ...options });
  const logging = (options: object = {}) => {
    const guest = guestOf({ flags: LOG, ...options });
    guest.forget();
    return guest;
  };
  /** Manual protection. */
  const manual = (initiallySet = false) => {
    const guest = guestOf({ size: 0 });
    guest.vm.manualDirtyLogProtect({ initiallySet });
    return guest;
  };
  const dirty = (guest: Guest, pages: readonly number[]) => {
    for (const page of pages) {
      const ipa = IPA + page * PAGE;
      if (guest.leaf(ipa) === undefined) guest.write(ipa);
      else guest.writeDenied(ipa);
    }
  };
  const writable = (guest: Guest) =>
    guest.leaves.filter(({ prot }) => (prot & Prot.W) !== 0).map(({ ipa }) => (ipa - IPA) / PAGE);

  it("M-8.1: LOG on: bitmap of zeros, whole slot protected, one flush, then the split", () => {
    const guest = guestOf();
    guest.write(IPA);
    for (const make of ["flags", "move", "create"] as const) {
      if (make === "create") guest.vm.setMemslot({ ...REGION, size: 0 });
      guest.forget();
      const ipa = make === "move" ? IPA + 2 ** 30 : IPA;
      expect(guest.vm.setMemslot({ ...REGION, ipa, flags: LOG })).toBe(make);
      const off = (ipa - IPA) / PAGE;
      const expected = [
        ["wrprotect", off, PAGES],
        ["flushTlb", off, PAGES],
      ];
      expect(calls(guest).filter(([kind]) => kind !== "unmap")).toEqual(expected);
      expect(guest.vm.getDirtyLog(0).count).toBe(0);
      guest.vm.setMemslot({ ...REGION, ipa, flags: 0 });
    }
  });

  it("M-8.1: mapped pages lose W when LOG goes on", () => {
    const guest = guestOf();
    dirty(guest, [0, 5, 199]);
    expect(writable(guest)).toEqual([0, 5, 199]);
    guest.vm.setMemslot({ ...REGION, flags: LOG });
    expect(writable(guest)).toEqual([]);
    expect(guest.leaves).toHaveLength(3);
    expect(guest.dirtyPages()).toEqual([]);
  });

  it("M-8.1: with a chunk the split comes after the flush, in pieces of the chunk", () => {
    const guest = guestOf({ size: 0 });
    const { block } = guest;
    guest.vm.eagerSplitChunk = block;
    const region = { slot: 0, ipa: IPA, size: 3 * block, hva: HVA };
    guest.vm.setMemslot(region);
    guest.facts.everywhere = { hostSize: block };
    guest.write(IPA);
    guest.write(IPA + 2 * block);
    guest.forget();
    guest.vm.setMemslot({ ...region, flags: LOG });
    const size = block / PAGE;
    expect(calls(guest)).toEqual([
      ["wrprotect", 0, 3 * size],
      ["flushTlb", 0, 3 * size],
      ...[0, 1, 2].map((i) => ["split", i * size, size]),
    ]);
    expect(guest.vm.stage2.counters().leaves).toMatchObject({ 2: 0, 3: 1024 });
  });

  it("M-8.2: initially set: all ones, and no protection, split or flush", () => {
    const guest = manual(true);
    guest.vm.eagerSplitChunk = guest.block;
    guest.vm.setMemslot(REGION);
    guest.write(IPA);
    guest.forget();
    guest.vm.setMemslot({ ...REGION, flags: LOG });
    expect(calls(guest)).toEqual([]);
    expect(guest.vm.getDirtyLog(0).count).toBe(PAGES);
    expect(writable(guest)).toEqual([0]); // writes need no fault before the first clear
  });

  it("M-8.3: LOG off: entries stay as they are; blocks come back by faults only", () => {
    const guest = guestOf({ size: 0 });
    const { block } = guest;
    const region = { slot: 0, ipa: IPA, size: 2 * block, hva: HVA };
    guest.vm.setMemslot({ ...region, flags: LOG });
    guest.facts.everywhere = { hostSize: block };
    guest.read(IPA);
    guest.write(IPA + PAGE);
    guest.write(IPA + block);
    const before = guest.leaves;
    guest.forget();
    guest.vm.setMemslot(region);
    expect(calls(guest)).toEqual([]);
    expect(guest.leaves).toEqual(before);
    expect(errorOf(() => guest.vm.getDirtyLog(0)).code).toBe("ENOENT");
    guest.read(IPA + block + PAGE); // a page never mapped, in an eligible block
    expect(guest.leaf(IPA + block)).toMatchObject({ size: block });
    expect(guest.leaf(IPA)).toMatchObject({ size: PAGE, prot: Prot.R });
    guest.writeDenied(IPA); // M-5.65
    expect(guest.leaf(IPA)).toMatchObject({ size: block, prot: Prot.RW });
  });

  it("M-8.4: deleting a slot that logs only unmaps", () => {
    const guest = logging();
    guest.write(IPA);
    guest.forget();
    guest.vm.setMemslot({ ...REGION, size: 0 });
    expect(calls(guest)).toEqual([["unmap", 0, PAGES]]);
  });

  it("M-8.5: with rings alone the slot still counts as logging (stricter than Linux 6.12)", () => {
    const guest = guestOf({ size: 0 });
    guest.vcpu.dispose();
    guest.vm.enableDirtyRing({ bytes: 4096 });
    const vcpu = guest.vm.createVcpu();
    guest.vm.setMemslot({ ...REGION, flags: LOG });
    expect(calls(guest).map(([kind]) => kind)).toEqual(["wrprotect", "flushTlb"]);
    expect(guest.vm.memslot(0)).toMatchObject({ logging: true });
    vcpu.handleAbort({ esr: 0x9200_0007n, far: 0n, hpfar: BigInt(IPA / 256) });
    expect(guest.leaf(IPA)).toMatchObject({ prot: Prot.R });
    expect(errorOf(() => guest.vm.getDirtyLog(0)).code).toBe("ENXIO");
  });

  it("M-8.10: auto protection: words ascending, first to last bit of each, then one flush", () => {
    const guest = logging();
    dirty(guest, [3, 7, 60, 130, 199]);
    guest.read(IPA + 5 * PAGE);
    guest.forget();
    const log = guest.vm.getDirtyLog(0);
    expect([...log]).toEqual([3, 7, 60, 130, 199]);
    expect(log).toMatchObject({ slot: 0, pages: PAGES, count: 5 });
    expect(log.has(7)).toBe(true);
    expect(log.has(8)).toBe(false);
    expect(calls(guest)).toEqual([
      ["wrprotect", 3, 58],
      ["wrprotect", 130, 1],
      ["wrprotect", 199, 1],
      ["flushTlb", 0, PAGES],
    ]);
    expect(writable(guest)).toEqual([]);
    expect(guest.dirtyPages()).toEqual([]);
    expect(calls(guest)).toEqual([]); // nothing set: no call, no flush
  });

  it("M-8.11: manual protection: a copy, again and again; nothing is protected", () => {
    const guest = manual();
    guest.vm.setMemslot({ ...REGION, flags: LOG });
    dirty(guest, [1, 64]);
    guest.forget();
    expect(guest.dirtyPages()).toEqual([1, 64]);
    dirty(guest, [65]);
    expect(guest.dirtyPages()).toEqual([1, 64, 65]);
    expect(calls(guest)).toEqual([]);
    expect(writable(guest)).toEqual([1, 64, 65]);
  });

  it("M-8.12: whole words, bits beyond the slot are 0", () => {
    for (const pages of [1, 63, 64, 65, 127, 128, 200]) {
      const guest = guestOf({ size: 0 });
      guest.vm.setMemslot({ ...REGION, size: pages * PAGE, flags: LOG });
      dirty(guest, [0, pages - 1]);
      const { bits } = guest.vm.getDirtyLog(0);
      expect(bits).toEqual(bitmapOf(pages, [0, pages - 1]));
      guest.vm.dispose();
    }
    const all = manual(true);
    all.vm.setMemslot({ ...REGION, size: 65 * PAGE, flags: LOG });
    expect([...all.vm.getDirtyLog(0).bits]).toEqual([2n ** 64n - 1n, 1n]);
  });

  it("M-8.13: a write beside a get is in this log or the next one", () => {
    const guest = logging();
    const seen: number[] = [];
    for (let round = 0; round < 50; round++) {
      dirty(guest, [round % 8]);
      seen.push(...guest.dirtyPages());
      // Between the protection and the next get: the page faults again, or is not written.
      expect(writable(guest)).toEqual([]);
    }
    expect(seen).toHaveLength(50);
  });

  it("M-8.14: guest writes and writes by the VM's own calls are logged, loads are not", () => {
    const guest = logging();
    expect(guest.vm.writeGuest(IPA + 4 * PAGE + 0xff0, new Uint8Array(0x20))).not.toBe(false);
    guest.vm.readGuest(IPA + 9 * PAGE, 8);
    guest.vm.markDirty(IPA + 30 * PAGE + 17);
    guest.read(IPA + 40 * PAGE);
    guest.facts.write(HVA + 50 * PAGE, new Uint8Array(1)); // a host store through the hva
    expect(guest.dirtyPages()).toEqual([4, 5, 30]);
    guest.vm.markDirty(2 * IPA); // no slot: nothing
    expect(guest.dirtyPages()).toEqual([]);
  });

  it("M-8.10: the errors of a get, in order", () => {
    const guest = guestOf();
    expect(errorOf(() => guest.vm.getDirtyLog(32767)).code).toBe("EINVAL");
    expect(errorOf(() => guest.vm.getDirtyLog(0x1_0000)).code).toBe("EINVAL");
    expect(errorOf(() => guest.vm.getDirtyLog(1)).code).toBe("ENOENT");
    expect(errorOf(() => guest.vm.getDirtyLog(0)).code).toBe("ENOENT");
    const ring = guestOf({ size: 0 });
    ring.vcpu.dispose();
    ring.vm.enableDirtyRing({ bytes: 4096 });
    expect(errorOf(() => ring.vm.getDirtyLog(32767)).code).toBe("ENXIO");
  });

  it.each(GRANULES)("M-8.10, M-8.12: bit i is page i of the slot, %s", (granule) => {
    const guest = new Guest(here, { granule, flags: LOG });
    for (const page of [0, 1, 63, 64, 100]) guest.write(IPA + page * guest.page);
    expect(guest.dirtyPages()).toEqual([0, 1, 63, 64, 100]);
  });

  it("M-8.1, M-8.10: a READONLY slot is protected and collected, and its log stays empty", () => {
    const guest = guestOf({ flags: LOG | READONLY });
    guest.read(IPA);
    expect(guest.dirtyPages()).toEqual([]);
    guest.vm.markDirty(IPA);
    expect(guest.dirtyPages()).toEqual([0]);
  });

  it("M-8.1: the modes: what the caps refuse", () => {
    const { vm } = guestOf({ size: 0 });
    const cap = Cap.MANUAL_DIRTY_LOG_PROTECT2;
    for (const value of [2, 4, 5, 8, 2 ** 31]) {
      expect(errorOf(() => vm.enableCap(cap, value)).code, `${value}`).toBe("EINVAL");
    }
    expect(errorOf(() => vm.enableCap(cap, 1, 1)).code).toBe("EINVAL");
    for (const value of [1, 3, 0, 3]) expect(() => vm.enableCap(cap, value)).not.toThrow();
  });
});
