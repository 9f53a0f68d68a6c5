/** Pages for the memcache that go with a call: nothing is guessed, nothing is left over, nothing is lost. */
import { describe, expect, it } from "vitest";
import type { CallOptions, Word } from "../../../src/index.ts";
import { MODES, errorOf } from "../../support.ts";
import { EINVAL, RWX, beds, makeGuest, snapshot, state, states } from "../support.ts";

const sealed = (pfns: Word[]): Word[] => Object.seal(pfns);
const frozen = (pfns: Word[]): Word[] => Object.freeze(pfns) as Word[];
const rigid = (pfns: Word[]): Word[] => Object.defineProperty(pfns, "length", { writable: false });

describe.each(MODES)("lists of pages (%s)", (mode) => {
  const bed = beds({}, mode);

  it.each<[string, (pages: Word[]) => unknown]>([
    ["null", () => null],
    ["a list of its own", (pages) => pages],
    ["a name that is none", (pages) => ({ memchache: pages })],
    ["a list that is none", () => ({ memcache: "12" })],
    ["null for a list", () => ({ memcache: null })],
    ["a frozen list", (pages) => ({ memcache: frozen(pages) })],
    ["a sealed list", (pages) => ({ memcache: sealed(pages) })],
    ["a list of one length", (pages) => ({ memcache: rigid(pages) })],
    ["a list with holes", (pages) => ({ memcache: [pages[0], , pages[1]] })], // prettier-ignore
    ["holes alone", () => ({ memcache: new Array(4) })],
    ["too long a list", () => ({ memcache: new Array(100_000).fill(1) })],
  ])("refuses %s, and nothing has changed", (_, options) => {
    const b = bed();
    makeGuest(b);
    const pfn = b.page();
    const first = b.pages(2);
    const before = snapshot(b.pkvm);
    const given = options([first, first + 1]) as CallOptions;
    const error = errorOf(() => b.call("shareGuest", pfn, 0x100, 1, RWX, given));
    expect(error.code).toBe("BAD_OPTION");
    expect(snapshot(b.pkvm)).toEqual(before);
  });

  it("refuses options and pages at calls that take none", () => {
    const b = bed();
    const pfn = b.page();
    const before = snapshot(b.pkvm);
    const given: unknown[] = [null, [pfn], { memchache: [] }, { memcache: [pfn] }, { memcache: 1 }];
    for (const options of given) {
      const error = errorOf(() => b.call("shareHyp", pfn, options as CallOptions));
      expect(error.code).toBe("BAD_OPTION");
    }
    expect(errorOf(() => b.call(999, { memcache: [pfn] })).code).toBe("BAD_OPTION");
    expect(snapshot(b.pkvm)).toEqual(before);
    expect(b.call("shareHyp", pfn, { memcache: [] })).toBe(0); // no pages are no pages
    expect(b.call("unshareHyp", pfn, {})).toBe(0);
  });

  it("offers no page that an earlier call was handed and did not look at", () => {
    const b = bed();
    const pfn = b.page();
    const stale = b.pages(4);
    const memcache = Array.from({ length: 4 }, (_, i) => stale + i);
    expect(b.call("shareGuest", pfn, 0x100, 1, RWX, { memcache })).toBe(EINVAL); // no vCPU is loaded
    expect(memcache.length).toBe(4);
    makeGuest(b);
    const holes = { memcache: new Array<Word>(4) };
    expect(errorOf(() => b.call("shareGuest", pfn, 0x100, 1, RWX, holes)).code).toBe("BAD_OPTION");
    expect(b.call("shareGuest", pfn, 0x100, 1, RWX)).toBe(-12);
    expect(memcache.map((page) => states(b.pkvm, page))).toEqual(["O-", "O-", "O-", "O-"]);
    expect(state(b.pkvm, pfn).guestMappings).toBe(0);
  });

  it("takes a list that only cannot grow", () => {
    const b = bed();
    makeGuest(b);
    const pfn = b.page();
    const first = b.pages(3);
    const memcache = Object.preventExtensions([first, first + 1, first + 2]);
    expect(b.call("shareGuest", pfn, 0x100, 1, RWX, { memcache })).toBe(0);
    expect(memcache).toEqual([]);
  });
});
