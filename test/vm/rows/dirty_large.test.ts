/** Rows M-8.10 to M-8.27 where a log is long, or lies across the pieces in which ranges are protected. */
import { describe, expect, it } from "vitest";
import { Prot } from "../../../src/index.ts";
import { MODES, SMALL, lab } from "../../support.ts";
import { Guest, HVA, IPA, LOG, bitmapOf } from "./support.ts";

const PAGE = 4096;
/** 2 GiB: eight times as many words as the facade takes at a time. */
const PAGES = 2 ** 19;
const SET = [0, 63, 64, 65_535, 65_536, 65_599, 65_600, 131_071, 131_072, 400_000, PAGES - 1];

describe.each(MODES)("long dirty logs (%s)", (mode) => {
  const here = lab(mode, { ...SMALL, maxTablePages: 8192 });
  const logging = (options: object = {}) => {
    const guest = new Guest(here, {
      size: PAGES * PAGE,
      frames: PAGES * PAGE,
      flags: LOG,
      vmEvents: ["range"],
      ...options,
    });
    guest.forget();
    return guest;
  };
  const write = (guest: Guest, pages: readonly number[]) => {
    for (const page of pages) guest.write(IPA + page * PAGE);
  };
  const writable = (guest: Guest) =>
    guest.leaves.filter(({ prot }) => (prot & Prot.W) !== 0).map(({ ipa }) => (ipa - IPA) / PAGE);

  it("M-8.10, M-8.12: all of it comes out, at once and in slices, and once", async () => {
    for (const later of [false, true]) {
      const guest = logging();
      write(guest, SET);
      const log = later ? await guest.vm.getDirtyLogAsync(0) : guest.vm.getDirtyLog(0);
      expect([...log]).toEqual(SET);
      expect(log).toMatchObject({ pages: PAGES, count: SET.length });
      expect(log.bits).toEqual(bitmapOf(PAGES, SET));
      expect(writable(guest)).toEqual([]);
      expect(guest.dirtyPages()).toEqual([]);
      guest.vm.dispose();
    }
  });

  it("M-8.27: masks in the middle, at once and in slices", async () => {
    for (const later of [false, true]) {
      const guest = logging();
      guest.vm.manualDirtyLogProtect();
      write(guest, SET);
      const bitmap = bitmapOf(65_600 + 64, [0, 64, 65_471, 65_536, 65_599]);
      const request = { firstPage: 64, pages: 65_600, bitmap };
      const cleared = later
        ? await guest.vm.clearDirtyLogAsync(0, request)
        : guest.vm.clearDirtyLog(0, request);
      expect(cleared).toBe(3); // 64, 65,535 and 65,600: 128 and 65,663 were clean
      const left = SET.filter((page) => ![64, 65_535, 65_600].includes(page));
      expect(guest.dirtyPages()).toEqual(left);
      expect(writable(guest)).toEqual(left);
      guest.vm.dispose();
    }
  });

  it("M-8.10, M-6.1: a word on both sides of a cut is protected in two calls", () => {
    const guest = new Guest(here, { size: 0, vmEvents: ["range"] });
    const base = IPA + 2 ** 30 - 32 * PAGE;
    guest.vm.setMemslot({ slot: 0, ipa: base, size: 64 * PAGE, hva: HVA, flags: LOG });
    for (const page of [3, 31, 32, 60]) guest.write(base + page * PAGE);
    guest.forget();
    expect(guest.dirtyPages()).toEqual([3, 31, 32, 60]);
    const calls = guest
      .logged("wrprotect")
      .map(({ ipa, size }) => [(ipa - base) / PAGE, size / PAGE]);
    expect(calls).toEqual([[3, 29], [32, 29]]); // prettier-ignore
  });

  it("M-8.13: a collection that is aborted hands nothing out, and loses nothing", async () => {
    const guest = logging();
    write(guest, SET);
    const controller = new AbortController();
    const pending = guest.vm.getDirtyLogAsync(0, { signal: controller.signal });
    controller.abort(new RangeError("enough"));
    const handed = await pending.then(
      (log) => [...log],
      (error: unknown) => {
        expect(error).toMatchObject({ message: "enough" });
        return [];
      },
    );
    expect([...handed, ...guest.dirtyPages()]).toEqual(SET); // the one or the other
    const gone = guest.vm.getDirtyLogAsync(0, { signal: AbortSignal.abort() });
    await expect(gone).rejects.toThrow();
    guest.vm.markDirty(IPA);
    expect(guest.dirtyPages()).toEqual([0]);
  });
});
