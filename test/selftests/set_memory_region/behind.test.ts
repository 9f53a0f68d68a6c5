/** set_memory_region_test, SR8: memslots that are refused for what is behind them, and for want of memory. */
import { describe, expect, it } from "vitest";
import { type BackingFacts, MemslotFlag } from "../../../src/index.ts";
import { configuration } from "../harness/configurations.ts";
import { refusal, stage } from "./regions.ts";

const LOG = MemslotFlag.LOG_DIRTY_PAGES;
const HVA = 0x7000_0000_0000;
const PAGE = 4096;

/** Backing of which all that counts is what it says of its VMAs. */
function memoryWith(facts: BackingFacts) {
  return { resolve: () => "unmapped" as const, inspect: () => facts };
}

describe("what is behind a slot", () => {
  const one = configuration("4K", 40);
  const there = { slot: 3, ipa: 64 * PAGE, size: 4 * PAGE, hva: HVA + 64 * PAGE };

  describe("MTE", () => {
    const here = stage(one, {}, { mte: true, memory: memoryWith({ noMte: true }) });
    it("SR8: set_memory_region_test: M-3.18: a VMA without tags in a VM with them", () => {
      const { vm } = here.scene;
      expect(refusal(() => vm.setMemslot(there))).toBe("EINVAL");
      expect([...vm.memslots()]).toEqual([]);
    });
  });

  describe("devices", () => {
    const here = stage(one, {}, { memory: memoryWith({ noMte: true, pfnMapped: true }) });
    it("SR8: set_memory_region_test: M-3.19: the log of a device's pages", () => {
      const { vm } = here.scene;
      expect(refusal(() => vm.setMemslot({ ...there, flags: LOG }))).toBe("EINVAL");
      expect(vm.setMemslot(there)).toBe("create");
      expect(refusal(() => vm.setMemslot({ ...there, flags: LOG }))).toBe("EINVAL");
      expect(vm.memslot(there.slot)).toMatchObject({ flags: 0 });
    });
  });

  describe("little memory", () => {
    const here = stage(one, { maxTablePages: 1024 });
    const size = 2 ** 38; // two bitmaps of 8 MiB
    it("SR8: set_memory_region_test: M-3.16: no room for the dirty bitmap", () => {
      const { vm } = here.scene;
      const region = { ...there, ipa: 0, size, hva: HVA };
      expect(refusal(() => vm.setMemslot({ ...region, flags: LOG }))).toBe("ENOMEM");
      expect([...vm.memslots()]).toEqual([]);
      expect(vm.setMemslot(region)).toBe("create");
      expect(refusal(() => vm.setMemslot({ ...region, flags: LOG }))).toBe("ENOMEM");
      expect(vm.memslot(there.slot)).toMatchObject({ flags: 0 });
    });

    it("SR8: set_memory_region_test: M-3.16 before M-3.17", () => {
      const { vm } = here.scene;
      const region = { ...there, ipa: 2 ** 40 - size / 2, size, hva: HVA };
      expect(refusal(() => vm.setMemslot({ ...region, flags: LOG }))).toBe("ENOMEM");
      expect(refusal(() => vm.setMemslot(region))).toBe("EFAULT");
    });
  });
});
