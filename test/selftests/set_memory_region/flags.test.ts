/** set_memory_region_test, SR1 to SR4: flags that nobody knows, and as many slots as there can be. */
import { describe, expect, it } from "vitest";
import { MemslotFlag } from "../../../src/index.ts";
import { configuration, configurations } from "../harness/configurations.ts";
import { refusal, stage } from "./regions.ts";

const MOST_SLOTS = 32_767;
const TWO_MEGABYTES = 2 ** 21;
const BITS = Array.from({ length: 32 }, (_, bit) => bit);
const KNOWN = [MemslotFlag.LOG_DIRTY_PAGES, MemslotFlag.READONLY];

const flagOf = (bit: number): number => 2 ** bit;
const known = BITS.filter((bit) => (KNOWN as number[]).includes(flagOf(bit)));
const unknown = BITS.filter((bit) => !known.includes(bit));

describe.each(configurations({ ipaBits: [40, 48], ha: [true], tlbs: ["no TLB"] }))(
  "$name",
  (one) => {
    const here = stage(one);
    const region = (bit: number) => ({
      ...{ slot: 0, ipa: 0, size: one.page, hva: 0x7000_0000_0000 },
      flags: flagOf(bit),
    });

    it.each(unknown)(
      "SR1: set_memory_region_test: flag %i alone is refused by the first ioctl",
      (bit) => {
        const { vm } = here.scene;
        expect(refusal(() => vm.setUserMemoryRegion(region(bit)))).toBe("EINVAL");
        expect([...vm.memslots()]).toEqual([]);
      },
    );

    it.each(unknown)(
      "SR2: set_memory_region_test: flag %i alone is refused by the second ioctl",
      (bit) => {
        const { vm } = here.scene;
        expect(refusal(() => vm.setMemslot(region(bit)))).toBe("EINVAL");
        expect([...vm.memslots()]).toEqual([]);
      },
    );

    it.each(known)("SR1, SR2: set_memory_region_test: flag %i alone is taken by both", (bit) => {
      const { vm } = here.scene;
      expect(vm.setMemslot(region(bit))).toBe("create");
      expect(vm.setMemslot({ ...region(bit), size: 0 })).toBe("delete");
      expect(vm.setUserMemoryRegion(region(bit))).toBe("create");
      expect(vm.memslot(0)).toMatchObject({ flags: flagOf(bit) });
    });
  },
);

describe.each([configuration("4K", 40), configuration("16K", 48), configuration("64K", 52)])(
  "$name",
  (one) => {
    const here = stage(one, { events: 0, maxTablePages: 8192 });

    it("SR3, SR4: set_memory_region_test: 32,767 slots of 2 MiB back to back, and not one more", () => {
      const { vm } = here.scene;
      const regionOf = (slot: number) => {
        const ipa = slot * TWO_MEGABYTES;
        return { slot, ipa, size: TWO_MEGABYTES, hva: 0x7000_0000_0000 + ipa };
      };
      for (let slot = 0; slot < MOST_SLOTS; slot++) vm.setMemslot(regionOf(slot));
      expect(vm.memslot(MOST_SLOTS - 1)).toMatchObject(regionOf(MOST_SLOTS - 1));
      expect(vm.state.generation % 2).toBe(0);
      expect(refusal(() => vm.setMemslot(regionOf(MOST_SLOTS)))).toBe("EINVAL");
      expect(refusal(() => vm.setUserMemoryRegion(regionOf(MOST_SLOTS)))).toBe("EINVAL");
      const ids = Array.from(vm.memslots(), ({ slot }) => slot);
      expect(ids).toEqual(Array.from({ length: MOST_SLOTS }, (_, slot) => slot));
      for (const slot of [0, 1, 16_383, 32_765, 32_766]) {
        expect(vm.memslotOf(slot * TWO_MEGABYTES + TWO_MEGABYTES - 1)?.slot).toBe(slot);
      }
      expect(vm.memslotOf(MOST_SLOTS * TWO_MEGABYTES)).toBeUndefined();
    });
  },
);
