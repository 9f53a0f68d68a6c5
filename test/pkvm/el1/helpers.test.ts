/** Rows P-2.1 to P-2.10: one helper for each operation of a page table, without a page table. */
import { describe, expect, it } from "vitest";
import { Prot } from "../../../src/index.ts";
import { errorOf } from "../../support.ts";
import { BLOCK, BLOCK_PFN, PAGE, R, RW, beds, snapshot } from "../support.ts";
import {
  ALL,
  BLOCK_BYTES,
  GENERATIONS,
  IPA,
  block,
  expectMirrored,
  guestOf,
  page,
  pagesOf,
  records,
} from "./support.ts";

describe.each(GENERATIONS)("the host's side of a guest (%s)", (generation) => {
  const bed = beds({ generation });

  it("P-2.1: init makes no record and shares nothing; operations on nothing are no hypercalls", () => {
    const b = bed();
    const { s2, step } = guestOf(b);
    const before = snapshot(b.pkvm);
    step(() => {
      s2.unmap(ALL);
      s2.wrprotect(ALL);
      s2.flush(ALL);
      expect(s2.testClearYoung(ALL)).toBe(false);
    });
    expect(snapshot(b.pkvm)).toEqual(before);
    expect(s2.statistics).toMatchObject({ mappings: 0, warnings: 0 });
  });

  it("P-2.1: relax_perms and mkyoung go to the loaded vCPU, and take no records", () => {
    const b = bed();
    const { s2, step } = guestOf(b);
    step(() => s2.map(page(0, b.page(), Prot.R)));
    expect(step(() => s2.relaxPerms({ ipa: IPA, prot: Prot.X }))).toBe("ok");
    expect([...s2.leaves()].map(({ prot }) => prot & Prot.RWX)).toEqual([Prot.RX]);
    s2.testClearYoung(ALL);
    expect(step(() => s2.mkyoung(IPA))).toBe(true);
    expect(s2.testClearYoung(ALL)).toBe(true);
    expect(b.pkvm.loaded).toEqual({ handle: s2.vmHandle, index: expect.any(Number) as number });
    expect(errorOf(() => s2.relaxPerms({ ipa: IPA, prot: Prot.SW0 })).code).toBe("EINVAL");
  });

  it("P-2.1: mkyoung that the hypervisor refuses only warns", () => {
    const { s2, step } = guestOf(bed());
    expect(step(() => s2.mkyoung(IPA))).toBe(false);
    expect(s2.warnings).toBe(0);
    expect(step(() => s2.raw.mkyoung(2 ** 40))).toBeLessThan(0);
    expect(s2.warnings).toBe(1);
  });

  it("P-2.1: split, create_unlinked and free_unlinked warn, and do nothing", () => {
    const b = bed();
    const { s2, step } = guestOf(b);
    step(() => s2.map(page(0, b.page())));
    const before = snapshot(b.pkvm);
    step(() => {
      expect(errorOf(() => s2.split({ ipa: IPA, size: BLOCK_BYTES })).code).toBe("EINVAL");
      expect(s2.createUnlinked({ pa: BLOCK_PFN * PAGE, level: 2, prot: Prot.RW })).toBeNull();
      s2.freeUnlinked(null);
    });
    expect(s2.warnings).toBe(3);
    expect(snapshot(b.pkvm)).toEqual(before);
  });

  it("P-2.3: a record is gfn, pfn and how many pages; they are found by ranges", () => {
    const b = bed();
    const { s2, step } = guestOf(b);
    const pfn = b.page();
    for (const at of [9, 2, 700, 4]) step(() => s2.map(page(at, pfn)));
    expect(pagesOf(s2)).toEqual([2, 4, 9, 700]);
    const found = [...s2.mappings({ ipa: IPA + 3 * PAGE, size: 7 * PAGE })];
    expect(found.map(({ ipa }) => (ipa - IPA) / PAGE)).toEqual([4, 9]);
    if (generation === "seed") return;
    step(() => s2.map(block(2, BLOCK_PFN)));
    expect(records(s2).at(-1)).toEqual([IPA / PAGE + 2 * BLOCK, BLOCK_PFN, BLOCK]);
    const inside = { ipa: IPA + 2 * BLOCK_BYTES + 5 * PAGE, size: 1 };
    expect([...s2.mappings(inside)]).toHaveLength(1);
  });

  it("P-2.10: relax_guest_perms is another name of relax_perms_guest", () => {
    const b = bed();
    const { s2, step } = guestOf(b);
    step(() => s2.map(page(0, b.page(), Prot.R)));
    const gfn = IPA / PAGE;
    expect(step(() => b.pkvm.hypercall("relaxGuestPerms", gfn, RW))).toBe(0);
    expect([...s2.leaves()].map(({ prot }) => prot & Prot.RWX)).toEqual([Prot.RW]);
    const answers = (["relaxGuestPerms", "relaxPermsGuest"] as const).map((name) => [
      b.pkvm.hypercall(name, gfn + 1, R),
      b.pkvm.hypercall(name, gfn, 8),
    ]);
    expect(answers[0]).toEqual(answers[1]);
  });
});

/** Small numbers that look like chance. */
function dice(seed: number): (sides: number) => number {
  let state = seed;
  return (sides) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return (state >>> 8) % sides;
  };
}

describe.each(GENERATIONS)("records, leaves and counts (%s)", (generation) => {
  const bed = beds({ generation });

  it.each([1, 2, 3])(
    "P-2.4: agree after every step of two guests that share pages; seed %i",
    (seed) => {
      const b = bed();
      const roll = dice(seed);
      const guests = [b.keep(b.pkvm.stage2()), b.keep(b.pkvm.stage2())] as const;
      const first = b.pages(16);
      for (let step = 0; step < 150; step++) {
        const s2 = guests[roll(2) as 0 | 1];
        const at = roll(24) * 64; // three blocks' worth of guest memory, thinly
        const pages = { ipa: IPA + at * PAGE, size: (1 + roll(200)) * PAGE };
        const kind = roll(8);
        if (kind < 4) s2.map(page(at, first + roll(16)));
        else if (kind === 4 && generation !== "seed")
          s2.map(block(roll(3), BLOCK_PFN + roll(2) * BLOCK));
        else if (kind === 5) s2.wrprotect(pages);
        else if (kind === 6) s2.testClearYoung(pages);
        else s2.unmap(pages);
        expectMirrored(b.pkvm, guests);
      }
      const { warnings } = guests[0].statistics;
      expect(warnings).toBe(0);
      guests[0].dispose();
      expectMirrored(b.pkvm, guests.slice(1));
    },
  );
});
