/** Rows M-8.20 to M-8.28: KVM_CLEAR_DIRTY_LOG. */
import { describe, expect, it } from "vitest";
import { Prot } from "../../../src/index.ts";
import { MODES, errorOf, lab } from "../../support.ts";
import { Guest, HVA, IPA, LOG, bitmapOf } from "./support.ts";

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

  const clear = (firstPage: number, pages: number, set: readonly number[] = []) => ({
    ...{ firstPage, pages, bitmap: bitmapOf(Math.max(pages, 1), set) },
  });
  const clearError = (guest: Guest, slot: number, request: ReturnType<typeof clear>) =>
    errorOf(() => guest.vm.clearDirtyLog(slot, request)).code;

  it("M-8.20: a clear with rings alone, before all else", () => {
    const guest = guestOf({ size: 0 });
    guest.vcpu.dispose();
    guest.vm.enableDirtyRing({ bytes: 4096 });
    expect(clearError(guest, 40_000, clear(1, 1))).toBe("ENXIO");
  });

  it("M-8.21 to M-8.25: the errors of a clear, in order", () => {
    const guest = logging();
    const { vm } = guest;
    vm.setMemslot({ slot: 1, ipa: 2 * IPA, size: PAGE, hva: HVA });
    expect(clearError(guest, 32767, clear(0, 64)), "M-8.21").toBe("EINVAL");
    expect(clearError(guest, 0x1_0000, clear(0, 64)), "M-8.21").toBe("EINVAL");
    expect(clearError(guest, 0, clear(1, 64)), "M-8.22").toBe("EINVAL");
    expect(clearError(guest, 9, clear(63, 64)), "M-8.22 before M-8.23").toBe("EINVAL");
    expect(clearError(guest, 9, clear(0, 64)), "M-8.23").toBe("ENOENT");
    expect(clearError(guest, 1, clear(0, 1)), "M-8.23: no log").toBe("ENOENT");
    expect(clearError(guest, 9, clear(640, 64)), "M-8.23 before M-8.24").toBe("ENOENT");
    expect(clearError(guest, 0, clear(256, 64)), "M-8.24").toBe("EINVAL");
    expect(clearError(guest, 0, clear(256, 0)), "M-8.24").toBe("EINVAL");
    expect(clearError(guest, 0, clear(128, 73)), "M-8.24").toBe("EINVAL");
    expect(clearError(guest, 0, clear(0, 256)), "M-8.24").toBe("EINVAL");
    expect(clearError(guest, 0, clear(0, 63)), "M-8.25").toBe("EINVAL");
    expect(clearError(guest, 0, clear(128, 71)), "M-8.25").toBe("EINVAL");
    expect(vm.clearDirtyLog(0, clear(128, 72))).toBe(0); // up to the very end
    expect(calls(guest)).toEqual([]);
  });

  it("M-8.22, M-8.24, M-8.25: each alone", () => {
    const guest = logging();
    for (const first of [1, 32, 63, 65])
      expect(clearError(guest, 0, clear(first, 64))).toBe("EINVAL");
    expect(clearError(guest, 0, clear(192, 64))).toBe("EINVAL");
    for (const pages of [1, 65, 199]) expect(clearError(guest, 0, clear(0, pages))).toBe("EINVAL");
  });

  it("M-8.26: a bitmap that does not reach as far, after all else; and what is none", () => {
    const guest = logging();
    dirty(guest, [0]);
    const ask = (slot: number, bitmap: unknown, pages = 64) =>
      errorOf(() => guest.vm.clearDirtyLog(slot, { firstPage: 0, pages, bitmap: bitmap as never }))
        .code;
    for (const short of [new BigUint64Array(0), new Uint8Array(7)]) {
      expect(ask(0, short)).toBe("EFAULT");
      expect(ask(9, short)).toBe("ENOENT");
      expect(ask(0, short, 63)).toBe("EINVAL");
    }
    for (const none of [undefined, null, 5, "bits", [1n]]) expect(ask(0, none)).toBe("BAD_OPTION");
    expect(writable(guest)).toEqual([0]);
    expect(guest.dirtyPages()).toEqual([0]);
  });

  it("M-8.27: clears what is asked and set: by words, first to last cleared bit, one flush", () => {
    const guest = manual();
    guest.vm.setMemslot({ ...REGION, flags: LOG });
    const set = [1, 3, 9, 64, 66, 130, 199];
    dirty(guest, set);
    guest.forget();
    guest.vm.clearDirtyLog(0, {
      firstPage: 0,
      pages: PAGES,
      bitmap: bitmapOf(PAGES, [0, 3, 5, 9, 130]),
    });
    expect(calls(guest)).toEqual([
      ["wrprotect", 3, 7],
      ["wrprotect", 130, 1],
      ["flushTlb", 0, PAGES],
    ]);
    expect(guest.dirtyPages()).toEqual([1, 64, 66, 199]);
    expect(writable(guest)).toEqual([1, 64, 66, 199]);
    guest.vm.clearDirtyLog(0, { firstPage: 64, pages: 64, bitmap: new BigUint64Array([4n]) });
    expect(guest.dirtyPages()).toEqual([1, 64, 199]);
    expect(writable(guest)).toEqual([1, 64, 199]);
    guest.vm.clearDirtyLog(0, { firstPage: 192, pages: 8, bitmap: new Uint8Array([0x80]) });
    expect(guest.dirtyPages()).toEqual([1, 64]);
  });

  it("M-8.27: a page that was clean between cleared ones is protected too, and not lost", () => {
    const guest = manual();
    guest.vm.setMemslot({ ...REGION, flags: LOG });
    dirty(guest, [1, 2, 3]);
    guest.vm.clearDirtyLog(0, clear(0, 64, [1, 3]));
    expect(writable(guest)).toEqual([]);
    expect(guest.dirtyPages()).toEqual([2]);
  });

  it("M-8.27: initially set: the range is split at once, word by word, by chunks", () => {
    const guest = manual(true);
    const { block } = guest;
    guest.vm.eagerSplitChunk = block;
    const region = { slot: 0, ipa: IPA, size: 2 * block, hva: HVA };
    guest.vm.setMemslot(region);
    guest.facts.everywhere = { hostSize: block };
    guest.write(IPA);
    guest.vm.setMemslot({ ...region, flags: LOG });
    guest.forget();
    guest.vm.clearDirtyLog(0, clear(0, 128, [2, 5, 64]));
    expect(calls(guest)).toEqual([
      ["wrprotect", 2, 4],
      ["split", 2, 4],
      ["wrprotect", 64, 1],
      ["split", 64, 1],
      ["flushTlb", 0, 1024],
    ]);
    expect(guest.leaf(IPA)).toMatchObject({ size: PAGE });
    expect(guest.vm.getDirtyLog(0).count).toBe(1024 - 3);
  });

  it("M-8.28: clean pages and bits beyond the slot do nothing; allowed without manual protection", () => {
    const guest = logging();
    dirty(guest, [10]);
    guest.forget();
    const ones = new BigUint64Array(4).fill(2n ** 64n - 1n);
    guest.vm.clearDirtyLog(0, { firstPage: 128, pages: 72, bitmap: ones });
    guest.vm.clearDirtyLog(0, clear(0, 0));
    guest.vm.clearDirtyLog(0, clear(192, 0));
    expect(calls(guest)).toEqual([]);
    expect(writable(guest)).toEqual([10]);
    guest.vm.clearDirtyLog(0, { firstPage: 0, pages: PAGES, bitmap: ones });
    expect(guest.dirtyPages()).toEqual([]);
    expect(writable(guest)).toEqual([]);
  });
});
