/** Rows M-3.x: KVM_SET_USER_MEMORY_REGION: its error table in order, what each change does. */
import { beforeEach, describe, expect, it } from "vitest";
import type { VmCore } from "../../../src/vm/_abi.ts";
import type { Memslot } from "../../../src/index.ts";
import { MODES, errorOf, lab } from "../../support.ts";
import { GRANULES, Guest, HVA, IPA, LOG, READONLY, SIZES } from "./support.ts";

const MIB = 2 ** 20;

interface Region {
  slot: number;
  ipa: number;
  size: number;
  hva: number;
  flags?: number;
}
const REGION: Region = { slot: 5, ipa: IPA, size: MIB, hva: HVA };

describe.each(MODES)("the error table of memslots (%s)", (mode) => {
  const here = lab(mode);
  let guest: Guest;
  /** Slot 5 of 1 MiB at IPA, slot 6 right behind it. */
  beforeEach(() => {
    guest = new Guest(here, { size: 0, ipaBits: 40 });
    guest.vm.setMemslot(REGION);
    guest.vm.setMemslot({ slot: 6, ipa: IPA + MIB, size: MIB, hva: HVA + MIB });
  });
  /** The error, and that nothing changed. */
  function refused(change: Partial<Region>, version: 1 | 2 = 2): string {
    const before = guest.vm.memslots();
    const region = { ...REGION, ...change };
    const { code } = errorOf(() =>
      version === 1 ? guest.vm.setUserMemoryRegion(region) : guest.vm.setMemslot(region),
    );
    expect(guest.vm.memslots()).toEqual(before);
    return code;
  }
  const free = { slot: 7, ipa: 2 * IPA };

  it("M-3.1: v1: flags beyond bits 0 and 1, slot ids from 32767 on", () => {
    for (let at = 2; at < 31; at++) {
      expect(refused({ ...free, flags: 1 << at }, 1), `bit ${at}`).toBe("EINVAL");
    }
    expect(refused({ ...free, slot: 32767 }, 1)).toBe("EINVAL");
    expect(refused({ ...free, slot: 65535 })).toBe("EINVAL");
    expect(guest.vm.setUserMemoryRegion({ ...REGION, ...free, slot: 32766 })).toBe("create");
    expect(guest.vm.setUserMemoryRegion({ ...REGION, flags: LOG })).toBe("flags");
  });

  it("M-3.2: v2: unsupported flags, guest_memfd (bit 2) among them", () => {
    for (let at = 2; at < 31; at++) {
      expect(refused({ ...free, flags: (1 << at) | LOG }), `bit ${at}`).toBe("EINVAL");
    }
  });

  it.each(GRANULES)("M-3.3: size, IPA and hva are multiples of the page, %s", (granule) => {
    guest = new Guest(here, { size: 0, granule });
    const { page } = SIZES[granule];
    const region = { ...REGION, size: 4 * page };
    for (const off of [1, 2048, page / 2, page - 1]) {
      expect(refused({ ...region, size: region.size + off })).toBe("EINVAL");
      expect(refused({ ...region, ipa: IPA + off })).toBe("EINVAL");
      expect(refused({ ...region, hva: HVA + off })).toBe("EINVAL");
    }
    expect(guest.vm.setMemslot(region)).toBe("create");
  });

  it("M-3.4: the hva range is of user addresses", () => {
    const limit = 2 ** 52;
    expect(refused({ ...free, hva: limit })).toBe("EINVAL");
    expect(refused({ ...free, hva: limit - 4096, size: 8192 })).toBe("EINVAL");
    // Tagged, and kernel addresses: 64 bits, which only the core takes.
    for (const hva of [0xb400_0000_1000_0000n, 0xffff_8000_0000_0000n]) {
      expect(region64({ hva }), hva.toString(16)).toBe(-22);
    }
  });

  /** The core's answer to a region of 64-bit words. */
  function region64(region: Partial<Record<"ipa" | "size" | "hva", bigint>>, slot = 7): number {
    const { context } = here.engine;
    const core = context.core as unknown as VmCore;
    const words = { ipa: BigInt(2 * IPA), size: BigInt(MIB), hva: BigInt(HVA), ...region };
    [words.ipa, words.size, words.hva].forEach((word, at) => context.setArgument(at, word));
    const status = core.vm_region_begin(guest.vm.pointer, slot, 0, 2);
    if (status >= 0) core.vm_region_end(guest.vm.pointer);
    return status;
  }

  it("M-3.5: there is one address space", () => {
    for (const space of [1, 2, 0x7fff]) expect(refused({ slot: (space << 16) | 7 })).toBe("EINVAL");
  });

  it("M-3.6: IPA + size must not wrap", () => {
    const page = 4096n;
    expect(region64({})).toBe(1); // CREATE
    expect(region64({ ipa: 2n ** 64n - page, size: 2n * page })).toBe(-22);
    expect(region64({ ipa: 2n ** 64n - 2n * page, size: 4n * page })).toBe(-22);
  });

  it("M-3.7: at most 2^31 - 1 pages", () => {
    guest = new Guest(here, { size: 0, ipaBits: 48 });
    const most = (2 ** 31 - 1) * 4096;
    expect(refused({ ...free, size: most + 4096 })).toBe("EINVAL");
    expect(guest.vm.setMemslot({ ...REGION, ...free, size: most })).toBe("create");
  });

  it("M-3.8: size 0 of a slot that is not there", () => {
    expect(refused({ ...free, size: 0 })).toBe("EINVAL");
  });

  it("M-3.9: size 0 deletes", () => {
    expect(guest.vm.setMemslot({ ...REGION, size: 0 })).toBe("delete");
    expect(guest.vm.memslots().map(({ slot }) => slot)).toEqual([6]);
    expect(guest.vm.memslot(5)).toBeUndefined();
    expect(refused({ size: 0 })).toBe("EINVAL");
  });

  it("M-3.10: a slot that is not there is created", () => {
    expect(guest.vm.setMemslot({ ...REGION, ...free })).toBe("create");
    const made: Memslot | undefined = guest.vm.memslot(7);
    expect(made).toMatchObject({ slot: 7, ipa: 2 * IPA, size: MIB, hva: HVA, flags: 0 });
    expect(guest.vm.memslotOf(2 * IPA + MIB - 1)).toEqual(made);
    expect(guest.vm.memslotOf(2 * IPA + MIB)).toBeUndefined();
  });

  it("M-3.11: size, hva and READONLY of a slot never change", () => {
    expect(refused({ size: MIB / 2 })).toBe("EINVAL");
    expect(refused({ size: 2 * MIB })).toBe("EINVAL");
    expect(refused({ hva: HVA + 4096 })).toBe("EINVAL");
    expect(refused({ flags: READONLY })).toBe("EINVAL");
    expect(refused({ flags: READONLY | LOG })).toBe("EINVAL");
  });

  it("M-3.12: another base moves, also with another LOG flag", () => {
    expect(guest.vm.setMemslot({ ...REGION, ipa: 2 * IPA })).toBe("move");
    expect(guest.vm.setMemslot({ ...REGION, ipa: 3 * IPA, flags: LOG })).toBe("move");
    expect(guest.vm.memslot(5)).toMatchObject({ ipa: 3 * IPA, flags: LOG, logging: true });
    expect(guest.vm.setMemslot({ ...REGION, ipa: 2 * IPA })).toBe("move");
    expect(guest.vm.memslot(5)).toMatchObject({ ipa: 2 * IPA, flags: 0, logging: false });
  });

  it("M-3.13: LOG alone changes flags", () => {
    expect(guest.vm.setMemslot({ ...REGION, flags: LOG })).toBe("flags");
    expect(guest.vm.setMemslot({ ...REGION, flags: 0 })).toBe("flags");
  });

  it("M-3.14: the same again is nothing", () => {
    const { generation } = guest.vm.state;
    expect(guest.vm.setMemslot(REGION)).toBe("none");
    expect(guest.vm.state.generation).toBe(generation);
  });

  it("M-3.15: an overlap with another slot; a move may overlap its own old range", () => {
    const bases = [IPA - MIB + 4096, IPA - 4096, IPA, IPA + 4096, IPA + 2 * MIB - 4096];
    for (const ipa of bases) expect(refused({ slot: 7, ipa }), `at ${ipa - IPA}`).toBe("EEXIST");
    expect(refused({ slot: 7, ipa: IPA - 4096, size: 4 * MIB })).toBe("EEXIST");
    expect(refused({ ipa: IPA + 4096 })).toBe("EEXIST"); // the move into slot 6
    expect(guest.vm.setMemslot({ ...REGION, ipa: IPA - 4096 })).toBe("move");
    expect(guest.vm.setMemslot({ ...REGION, slot: 7, ipa: IPA + 2 * MIB })).toBe("create");
  });

  it("M-3.16: without memory for the bitmap nothing changes", () => {
    // 2^31 - 1 pages: bitmap and scratch take half a GiB, which no budget of this engine has.
    guest = new Guest(here, { size: 0, ipaBits: 48 });
    expect(refused({ ...free, size: (2 ** 31 - 1) * 4096, flags: LOG })).toBe("ENOMEM");
    expect(guest.vm.setMemslot({ ...REGION, ...free })).toBe("create");
  });

  it.each(GRANULES)(
    "M-3.17: what ends beyond the IPA space is EFAULT, at its end not, %s",
    (granule) => {
      for (const ipaBits of [36, 40, 41]) {
        guest = new Guest(here, { size: 0, ipaBits, granule });
        const { page } = guest;
        const end = 2 ** ipaBits;
        expect(refused({ ...free, ipa: end, size: page })).toBe("EFAULT");
        expect(refused({ ...free, ipa: end - page, size: 2 * page })).toBe("EFAULT");
        expect(guest.vm.setMemslot({ ...REGION, ...free, ipa: end - page, size: page })).toBe(
          "create",
        );
        guest.vm.dispose();
      }
    },
  );

  it("M-3.18: a VM with MTE takes no backing that forbids it", () => {
    guest = new Guest(here, { size: 0, mte: true });
    guest.facts.inspection = { noMte: true };
    expect(refused(free)).toBe("EINVAL");
    guest.facts.inspection = {};
    expect(guest.vm.setMemslot(REGION)).toBe("create");
    const plain = new Guest(here, { size: 0 });
    plain.facts.inspection = { noMte: true };
    expect(plain.vm.setMemslot(REGION)).toBe("create");
  });

  it("M-3.19: PFN-mapped backing is not logged", () => {
    guest.facts.inspection = { pfnMapped: true };
    expect(refused({ ...free, flags: LOG })).toBe("EINVAL");
    expect(refused({ flags: LOG })).toBe("EINVAL");
    expect(refused({ ipa: 2 * IPA, flags: LOG })).toBe("EINVAL");
    expect(guest.vm.setMemslot({ ...REGION, ...free })).toBe("create");
  });

  /** What violates a row, in the order of the table, and the error. All parts fit together unless listed as excluded. */
  const rows: [row: string, change: Partial<Region>, code: string][] = [
    ["M-3.1", { slot: 40_000 }, "EINVAL"],
    ["M-3.2", { flags: 4 }, "EINVAL"],
    ["M-3.3", { hva: HVA + 1 }, "EINVAL"],
    ["M-3.4", { hva: 2 ** 52 }, "EINVAL"],
    ["M-3.8", { slot: 9, size: 0 }, "EINVAL"],
    ["M-3.11", { slot: 5, hva: HVA + 4096 }, "EINVAL"],
    ["M-3.15", { ipa: IPA + 2 * MIB - 4096 }, "EEXIST"],
    ["M-3.17", { ipa: 2 ** 40 - 4096 }, "EFAULT"],
  ];
  const apart = (a: Partial<Region>, b: Partial<Region>) =>
    Object.keys(a).every((key) => !(key in b));
  const pairs = rows.flatMap((first, at) =>
    rows
      .slice(at + 1)
      .filter((second) => apart(first[1], second[1]))
      .map((second) => [first[0], second[0], { ...second[1], ...first[1] }, first[2]] as const),
  );
  it.each(pairs)("M-3.1 to M-3.19 in order: %s wins over %s", (_first, _second, change, code) => {
    expect(refused({ slot: 7, ipa: 2 * IPA, ...change })).toBe(code);
  });

  it("M-3.15 to M-3.19 in order: overlap, then memory, then the IPA space, then the backing", () => {
    guest = new Guest(here, { size: 0, ipaBits: 40, mte: true });
    const end = 2 ** 40;
    guest.vm.setMemslot({ ...REGION, ipa: end - MIB });
    const beyond = { slot: 7, ipa: end - 4096, size: MIB };
    guest.facts.inspection = { noMte: true, pfnMapped: true };
    expect(refused({ ...beyond, flags: LOG })).toBe("EEXIST");
    guest.vm.setMemslot({ ...REGION, size: 0 });
    expect(refused({ ...beyond, flags: LOG })).toBe("EFAULT");
    expect(refused({ ...beyond, ipa: IPA, flags: LOG })).toBe("EINVAL");
    const huge = { slot: 7, ipa: IPA, size: 2 ** 42, flags: LOG }; // its bitmaps: 64 MiB
    expect(refused(huge)).toBe("ENOMEM");
    expect(refused({ ...huge, size: 2 ** 42 + 1 })).toBe("EINVAL");
  });
});
