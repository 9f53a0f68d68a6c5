/**
 * set_memory_region_test, SR8: what a memslot is refused for, check by check, and which check comes first. A region that is
 * refused changes nothing.
 */
import { describe, expect, it } from "vitest";
import { MemslotFlag, type MemslotRegion, type Vm } from "../../../src/index.ts";
import { type Configuration, configurations } from "../harness/configurations.ts";
import type { Scene } from "../harness/machine.ts";
import { refusal, stage } from "./regions.ts";

const LOG = MemslotFlag.LOG_DIRTY_PAGES;
const RO = MemslotFlag.READONLY;
const HVA = 0x7000_0000_0000;
const UNKNOWN_FLAG = 4;
const MOST_SLOTS = 32_767;
const MOST_PAGES = 2 ** 31 - 1;

type Region = MemslotRegion;
/** The slot that is there. */
type There = Record<"slot" | "ipa" | "size" | "hva", number>;

/** The one slot that is there: 4 pages in the middle of low memory. */
function present({ page }: Configuration): There {
  return { slot: 3, ipa: 64 * page, size: 4 * page, hva: HVA + 64 * page };
}

/** A change of a region, and which check it fails. */
type Case = readonly [
  check: string,
  code: string,
  region: (one: Configuration, there: There) => Region,
];

const fresh = (one: Configuration): There => ({ ...present(one), slot: 5, ipa: 0 });

const REFUSED: readonly Case[] = [
  ["M-3.1: a slot id beyond the last", "EINVAL", (one) => ({ ...fresh(one), slot: MOST_SLOTS })],
  ["M-3.1: a slot id of 16 bits", "EINVAL", (one) => ({ ...fresh(one), slot: 0xffff })],
  ["M-3.2: an unsupported flag", "EINVAL", (one) => ({ ...fresh(one), flags: UNKNOWN_FLAG })],
  [
    "M-3.3: a size that is no multiple of a page",
    "EINVAL",
    (one) => ({ ...fresh(one), size: one.page + 1 }),
  ],
  ["M-3.3: half a page", "EINVAL", (one) => ({ ...fresh(one), size: one.page / 2 })],
  ["M-3.3: an IPA inside a page", "EINVAL", (one) => ({ ...fresh(one), ipa: one.page / 2 })],
  ["M-3.3: a host address inside a page", "EINVAL", (one) => ({ ...fresh(one), hva: HVA + 8 })],
  [
    "M-3.4: a host address with a tag",
    "EINVAL",
    (one) => ({ ...fresh(one), hva: (0xb4n << 56n) | BigInt(HVA) }),
  ],
  [
    "M-3.4: a host address of the kernel",
    "EINVAL",
    (one) => ({ ...fresh(one), hva: 2n ** 64n - 64n * BigInt(one.page) }),
  ],
  [
    "M-3.4: host memory that ends beyond that of users",
    "EINVAL",
    (one) => ({ ...fresh(one), hva: 2 ** 48 - one.page }),
  ],
  ["M-3.5: another address space", "EINVAL", (one) => ({ ...fresh(one), slot: 0x1_0005 })],
  [
    "M-3.6: an end beyond 64 bits",
    "EINVAL",
    (one) => ({ ...fresh(one), ipa: 2n ** 64n - BigInt(one.page) }),
  ],
  [
    "M-3.7: too many pages",
    "EINVAL",
    (one) => ({ ...fresh(one), size: (MOST_PAGES + 1) * one.page, hva: 0 }),
  ],
  ["M-3.8: the end of a slot that is not there", "EINVAL", (one) => ({ ...fresh(one), size: 0 })],
  ["M-3.11: another size", "EINVAL", (one, there) => ({ ...there, size: there.size + one.page })],
  [
    "M-3.11: another host address",
    "EINVAL",
    (one, there) => ({ ...there, hva: there.hva + one.page }),
  ],
  ["M-3.11: READONLY that was not", "EINVAL", (_one, there) => ({ ...there, flags: RO })],
  [
    "M-3.15: a new slot over its first page",
    "EEXIST",
    (one, there) => ({ ...fresh(one), ipa: there.ipa - 3 * one.page }),
  ],
  [
    "M-3.15: a new slot over its last page",
    "EEXIST",
    (one, there) => ({ ...fresh(one), ipa: there.ipa + 3 * one.page }),
  ],
  [
    "M-3.15: a new slot inside of it",
    "EEXIST",
    (one, there) => ({ ...fresh(one), ipa: there.ipa + one.page, size: one.page }),
  ],
  [
    "M-3.15: a new slot around it",
    "EEXIST",
    (one, there) => ({ ...fresh(one), size: there.ipa + 8 * one.page }),
  ],
  [
    "M-3.17: a page beyond the limit",
    "EFAULT",
    (one) => ({ ...fresh(one), ipa: 2 ** one.ipaBits }),
  ],
  [
    "M-3.17: a slot across the limit",
    "EFAULT",
    (one) => ({ ...fresh(one), ipa: 2 ** one.ipaBits - 3 * one.page }),
  ],
  [
    "M-3.17: a slot that moves beyond the limit",
    "EFAULT",
    (one, there) => ({ ...there, ipa: 2 ** one.ipaBits }),
  ],
];

/** A region that fails two checks: the earlier one speaks. */
const ORDERED: readonly Case[] = [
  [
    "M-3.2 before M-3.15",
    "EINVAL",
    (one, there) => ({ ...there, slot: 5, flags: UNKNOWN_FLAG, hva: HVA + one.page }),
  ],
  ["M-3.3 before M-3.15", "EINVAL", (_one, there) => ({ ...there, slot: 5, hva: HVA + 1 })],
  ["M-3.5 before M-3.15", "EINVAL", (_one, there) => ({ ...there, slot: 0x1_0005 })],
  [
    "M-3.7 before M-3.15",
    "EINVAL",
    (one, there) => ({ ...there, slot: 5, size: (MOST_PAGES + 1) * one.page, hva: 0 }),
  ],
  [
    "M-3.11 before M-3.17",
    "EINVAL",
    (one, there) => ({ ...there, ipa: 2 ** one.ipaBits, flags: RO }),
  ],
  [
    "M-3.15 before M-3.17",
    "EEXIST",
    (one, there) => ({ ...fresh(one), ipa: there.ipa, size: 2 ** one.ipaBits, hva: 0 }),
  ],
];

/** All that a refused region could have changed. */
function stateOf(vm: Vm): unknown {
  const { seq, inProgress, active } = vm.state;
  return { slots: [...vm.memslots()], leaves: [...vm.stage2.leaves()], seq, inProgress, active };
}

describe.each(configurations({ ipaBits: [36, 40, 48], ha: [true], tlbs: ["no TLB"] }))(
  "$name",
  (one) => {
    const here = stage(one);
    const there = present(one);
    const refused = (scene: Scene, region: Region): string => {
      const { vm } = scene;
      vm.setMemslot(there);
      const before = stateOf(vm);
      const code = refusal(() => vm.setMemslot(region));
      expect(stateOf(vm)).toEqual(before);
      return code;
    };

    it.each(REFUSED)("SR8: set_memory_region_test: %s", (_name, code, region) => {
      expect(refused(here.scene, region(one, there))).toBe(code);
    });

    // A slot of a whole address space of 48 bits has too many pages.
    it.each(one.ipaBits <= 40 ? ORDERED : ORDERED.slice(0, -1))(
      "SR8: set_memory_region_test: %s",
      (_name, code, region) => {
        expect(refused(here.scene, region(one, there))).toBe(code);
      },
    );

    it("SR8: set_memory_region_test: M-3.9 to M-3.14: what is done", () => {
      const { vm } = here.scene;
      expect(vm.setMemslot(there), "M-3.10").toBe("create");
      expect(vm.setMemslot(there), "M-3.14").toBe("none");
      expect(vm.setMemslot({ ...there, flags: LOG }), "M-3.13").toBe("flags");
      expect(
        vm.setMemslot({ ...there, flags: LOG, ipa: there.ipa + one.page }),
        "M-3.12, over its own old range",
      ).toBe("move");
      expect(vm.setMemslot({ ...there, flags: 0 }), "M-3.12, and another flag").toBe("move");
      expect(vm.memslot(there.slot)).toMatchObject({ ...there, flags: 0 });
      expect(vm.setMemslot({ ...there, size: 0 }), "M-3.9").toBe("delete");
      expect([...vm.memslots()]).toEqual([]);
    });

    it("SR8: set_memory_region_test: M-3.17: the last page of the address space", () => {
      const { vm } = here.scene;
      const ipa = 2 ** one.ipaBits - there.size;
      expect(vm.setMemslot({ ...there, ipa })).toBe("create");
      expect(vm.memslotOf(2 ** one.ipaBits - 1)?.slot).toBe(there.slot);
    });

    it("SR8: set_memory_region_test: M-3.15: a slot that moves over another one", () => {
      const { vm } = here.scene;
      vm.setMemslot(there);
      vm.setMemslot({ ...fresh(one), slot: 9 });
      const before = stateOf(vm);
      expect(refusal(() => vm.setMemslot({ ...there, ipa: 3 * one.page }))).toBe("EEXIST");
      expect(stateOf(vm)).toEqual(before);
      expect(vm.setMemslot({ ...there, ipa: 4 * one.page })).toBe("move");
    });
  },
);
