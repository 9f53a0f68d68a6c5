/** Rows P-2.11 to P-2.13, and the operations on ranges of the helper table: which records they meet, and what ends them. */
import { describe, expect, it } from "vitest";
import { Prot } from "../../../src/index.ts";
import { errorOf } from "../../support.ts";
import { BLOCK, BLOCK_PFN, type Bed, PAGE, beds, openBed, state } from "../support.ts";
import {
  ALL,
  BLOCK_BYTES,
  GENERATIONS,
  type Guests,
  IPA,
  block,
  forgeLeaves,
  guestOf,
  page,
  pagesOf,
} from "./support.ts";

/** A guest with so many pages in a row, and their pfns. */
function mapped(b: Bed, count: number): Guests & { readonly pfns: readonly number[] } {
  const guests = guestOf(b);
  const first = b.pages(count);
  const pfns = Array.from({ length: count }, (_, at) => first + at);
  pfns.forEach((pfn, at) => guests.s2.map(page(at, pfn)));
  guests.step(() => undefined);
  return { ...guests, pfns };
}

const range = (from: number, bytes: number, skew = 0) => ({
  ipa: IPA + from * PAGE + skew,
  size: bytes,
});

describe.each(GENERATIONS)("ranges (%s)", (generation) => {
  const bed = beds({ generation });
  const rounds = generation === "seed";

  it.each([
    ["whole pages", range(1, 2 * PAGE), [0, 3, 4], [0, 3, 4]],
    ["part of a page at the end", range(1, 2 * PAGE - 1), [0, 2, 3, 4], [0, 3, 4]],
    ["one byte", range(1, 1), [0, 1, 2, 3, 4], [0, 2, 3, 4]],
    ["one byte at a page's end", range(1, 1, PAGE - 1), [0, 2, 3, 4], [0, 2, 3, 4]],
    ["part of a page at the start", range(1, PAGE, 8), [0, 2, 3, 4], [0, 3, 4]],
    ["everything", ALL, [], []],
    ["what is before", { ipa: 0, size: IPA }, [0, 1, 2, 3, 4], [0, 1, 2, 3, 4]],
    ["what is behind", range(5, BLOCK_BYTES), [0, 1, 2, 3, 4], [0, 1, 2, 3, 4]],
  ])("P-2.11: the end is rounded down, or a part counts: %s", (_name, span, down, up) => {
    const { s2, step } = mapped(bed(), 5);
    step(() => s2.unmap(span));
    expect(pagesOf(s2)).toEqual(rounds ? down : up);
  });

  it("P-2.12: iteration survives that records go, over holes and many pages of records", () => {
    const b = bed();
    const { s2, step } = guestOf(b);
    const pfn = b.page();
    for (let at = 0; at < 3000; at++) if (at % 7 !== 3) s2.map(page(at, pfn));
    step(() => s2.unmap(range(5, 2990 * PAGE)));
    expect(pagesOf(s2)).toEqual([0, 1, 2, 4, 2995, 2996, 2997, 2998]);
    step(() => s2.unmap(ALL));
    expect([pagesOf(s2), state(b.pkvm, pfn).host]).toEqual([[], "OWNED"]);
  });

  it("P-2.13: every record is asked, also behind the first that is young", () => {
    const { s2, step } = mapped(bed(), 4);
    expect(step(() => s2.testClearYoung(ALL))).toBe(true);
    expect([...s2.leaves()].map(({ accessed }) => accessed)).toEqual([false, false, false, false]);
    expect(step(() => s2.testClearYoung(ALL))).toBe(false);
    s2.mkyoung(IPA + 2 * PAGE);
    expect(s2.testClearYoung(range(0, 2 * PAGE), { clear: false })).toBe(false);
    expect(s2.testClearYoung(range(1, 3 * PAGE), { clear: false })).toBe(true);
    expect(s2.testClearYoung(ALL)).toBe(true);
    expect([s2.testClearYoung(ALL), s2.warnings]).toEqual([false, 0]);
  });

  it("P-2.1: wrprotect takes W from each record's leaf, and needs a flush of its own", () => {
    const b = bed();
    const { s2, step } = mapped(b, 3);
    s2.setEvents(["maintenance"]);
    step(() => s2.wrprotect(range(1, 2 * PAGE)));
    expect([...s2.leaves()].map(({ prot }) => prot & Prot.RWX)).toEqual([Prot.RW, Prot.R, Prot.R]);
    expect([...b.engine.events.drain()]).toEqual([]);
    s2.tlbFlushRange(range(1, PAGE));
    expect([...b.engine.events.drain()].map(({ kind }) => kind)).toContain("tlbiVmid");
  });

  it("P-2.1: a flush cleans each record's pages, without a hypercall", async () => {
    const b = bed();
    const { s2, step, pfns } = mapped(b, 3);
    s2.setEvents(["maintenance"]);
    step(() => s2.flush(range(1, 2 * PAGE)));
    const cleaned = [...b.engine.events.drain()].flatMap((event) =>
      event.kind === "dcacheClean" ? [event.pa / PAGE] : [],
    );
    expect(cleaned).toEqual(pfns.slice(1));
    const forced = await openBed({ generation, fwb: true });
    const other = guestOf(forced);
    other.s2.map(page(0, forced.page()));
    other.s2.setEvents(["maintenance"]);
    other.step(() => other.s2.flush(ALL));
    expect([...forced.engine.events.drain()]).toEqual([]);
    expect(forced.close()).toBe(0);
  });

  it("P-2.1: an unmap that fails ends there: that record and later ones stay, with a warning", () => {
    const b = bed();
    const { s2, step, pfns } = mapped(b, 4);
    const bad = pfns[1] as number;
    forgeLeaves(b, bad, 0);
    const { warnings } = s2;
    expect(errorOf(() => s2.unmap(ALL)).code).toBe("EINVAL");
    expect(s2.warnings).toBeGreaterThan(warnings);
    expect([...s2.leaves()].map(({ ipa }) => (ipa - IPA) / PAGE)).toEqual([1, 2, 3]);
    forgeLeaves(b, bad, 1);
    step(() => expect(pagesOf(s2)).toEqual([1, 2, 3]));
    step(() => s2.unmap(ALL));
    expect(pagesOf(s2)).toEqual([]);
  });

  it("P-2.1: the end unshares every record, errors or not; then there is nothing left to do", () => {
    const b = bed();
    const { s2, pfns } = mapped(b, 4);
    const [first, bad, ...others] = pfns as [number, number, ...number[]];
    forgeLeaves(b, bad, 0);
    s2.dispose();
    s2.dispose();
    expect(b.pkvm.vms()).toEqual([]);
    for (const pfn of [first, ...others]) {
      expect(state(b.pkvm, pfn)).toMatchObject({ host: "OWNED", guestMappings: 0 });
    }
    expect(errorOf(() => s2.unmap(ALL)).code).toBe("DISPOSED");
  });
});

describe.each(["default", "newest"] as const)("ranges with blocks (%s)", (generation) => {
  const bed = beds({ generation });

  it.each([
    ["a page in its middle", { ipa: IPA + 5 * PAGE, size: PAGE }],
    ["its first byte", { ipa: IPA, size: 1 }],
    ["its last byte", { ipa: IPA + BLOCK_BYTES - 1, size: 1 }],
    ["more than it", { ipa: IPA - PAGE, size: BLOCK_BYTES + 2 * PAGE }],
  ])("P-2.11: a block that is met in part goes whole: %s", (_name, span) => {
    const b = bed();
    const { s2, step } = guestOf(b);
    step(() => s2.map(block(0, BLOCK_PFN)));
    step(() => s2.map(page(BLOCK + 3, b.page())));
    step(() => s2.wrprotect(span));
    expect([...s2.leaves()].map(({ prot }) => prot & Prot.RWX)).toEqual([Prot.R, Prot.RW]);
    expect(step(() => s2.testClearYoung(span))).toBe(true);
    step(() => s2.unmap(span));
    expect(pagesOf(s2)).toEqual([BLOCK + 3]);
    expect(state(b.pkvm, BLOCK_PFN + BLOCK - 1).host).toBe("OWNED");
  });

  it("P-2.11: its neighbours are not met", () => {
    const { s2, step } = guestOf(bed());
    step(() => s2.map(block(1, BLOCK_PFN)));
    for (const ipa of [IPA, IPA + 2 * BLOCK_BYTES])
      step(() => s2.unmap({ ipa, size: BLOCK_BYTES }));
    expect(pagesOf(s2)).toEqual([BLOCK]);
  });
});

describe("what ranges follow is an option each", () => {
  it.each([
    [true, { generation: "default" }, 1],
    [false, { generation: "seed" }, 0],
  ] as const)("P-2.11: gfnRounding: %s", async (gfnRounding, preset, left) => {
    const b = await openBed({ ...preset, gfnRounding });
    const { s2, step } = guestOf(b);
    step(() => s2.map(page(0, b.page())));
    step(() => s2.unmap(range(0, PAGE - 1)));
    expect(pagesOf(s2)).toHaveLength(left);
    expect(b.close()).toBe(0);
  });

  it.each([true, false])(
    "P-2.13: a hypercall that fails is young: %s; it warns",
    async (errorIsYoung) => {
      const b = await openBed({ generation: "newest", errorIsYoung });
      const s2 = b.keep(b.pkvm.stage2({ protectedGuest: true })); // who ages it gets EINVAL
      for (const at of [0, 1]) expect(s2.map(page(at, b.page(), Prot.RWX))).toBe("ok");
      expect(s2.testClearYoung(ALL)).toBe(errorIsYoung);
      expect(s2.warnings).toBe(2);
      expect(errorOf(() => s2.wrprotect(ALL)).code).toBe("EINVAL");
      expect(s2.warnings).toBe(3); // the first failure ends it
      expect(b.close()).toBe(0);
    },
  );
});
