/** The ownership map: runs from records and leaves, and what is drawn of them. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { totalsOf } from "../../../src/cli/ownership/category.ts";
import type {
  GuestLeaf,
  OwnershipMap,
  PageState,
  PlainRun,
} from "../../../src/cli/ownership/map.ts";
import { runAt } from "../../../src/cli/ownership/map.ts";
import { mergeRuns, sameAnswer } from "../../../src/cli/ownership/merge.ts";
import { ownershipPicture } from "../../../src/cli/ownership/picture.ts";
import { ownershipText } from "../../../src/cli/ownership/terminal.ts";
import { address, bytes } from "../../../src/cli/ownership/words.ts";

const PAGE = 4096;
const BASE = 0x8000_0000;
const STATES: readonly PageState[] = ["OWNED", "SHARED_OWNED", "SHARED_BORROWED", "NOPAGE"];

type Pages = readonly (readonly [PageState, PageState, number])[];

function plain(pages: Pages): PlainRun[] {
  return pages.map(([host, hyp, count], i) => ({
    pa: BASE + i * PAGE,
    size: PAGE,
    host,
    hyp,
    count,
    references: 0,
  }));
}

function mapOf(pages: Pages, leaves: readonly GuestLeaf[] = []): OwnershipMap {
  const handles = [...new Set(leaves.map(({ handle }) => handle))];
  return {
    pageSize: PAGE,
    regions: [{ pa: BASE, size: pages.length * PAGE, noMap: false }],
    runs: mergeRuns(plain(pages), leaves, PAGE),
    guests: handles.map((handle) => ({
      handle,
      protected: false,
      dying: false,
      leaves: leaves.filter((leaf) => leaf.handle === handle).length,
      poisoned: [],
    })),
  };
}

const leaf = (handle: number, gfn: number, page: number, pages: number, state: PageState) => ({
  handle,
  gfn,
  pa: BASE + page * PAGE,
  size: pages * PAGE,
  state,
});

const HOST = ["OWNED", "NOPAGE", 0] as const;
const LENT = ["SHARED_OWNED", "NOPAGE", 1] as const;
const GONE = ["NOPAGE", "NOPAGE", 0] as const;

describe("an ownership map", () => {
  it("says of every page what its records and leaves say, and merges all that is alike", () => {
    const page = fc.tuple(fc.constantFrom(...STATES), fc.constantFrom(...STATES), fc.nat(2));
    const leaves = fc.array(
      fc.record({
        handle: fc.integer({ min: 0x1000, max: 0x1002 }),
        gfn: fc.nat(100),
        page: fc.nat(39),
        pages: fc.integer({ min: 1, max: 9 }),
        state: fc.constantFrom<PageState>("OWNED", "SHARED_OWNED", "SHARED_BORROWED"),
      }),
      { maxLength: 8 },
    );
    fc.assert(
      fc.property(fc.array(page, { minLength: 1, maxLength: 40 }), leaves, (pages, wanted) => {
        const given = wanted.map((l) => leaf(l.handle, l.gfn, l.page, l.pages, l.state));
        const map = mapOf(pages, given);
        pages.forEach(([host, hyp, count], i) => {
          const pa = BASE + i * PAGE;
          const run = runAt(map, pa);
          expect(run).toMatchObject({ host, hyp, count });
          const over = given.filter((l) => l.pa <= pa && pa < l.pa + l.size);
          const total = run?.guests.reduce((sum, { leaves: n }) => sum + n, 0);
          expect(total).toBe(over.length);
          for (const { handle, state, leaves: n, gfn } of run?.guests ?? []) {
            const own = over.filter((l) => l.handle === handle && l.state === state);
            expect(own).toHaveLength(n);
            if (gfn === undefined || run === undefined) continue;
            const [only] = own as [GuestLeaf];
            expect(gfn + (pa - run.pa) / PAGE).toBe(only.gfn + (pa - only.pa) / PAGE);
          }
        });
        const { runs } = map;
        runs
          .slice(1)
          .forEach((run, i) => expect(sameAnswer(run, runs[i] as typeof run)).toBe(false));
      }),
    );
  });

  it("finds no run beside memory", () => {
    const map = mapOf([HOST]);
    expect(runAt(map, BASE - 1)).toBeUndefined();
    expect(runAt(map, BASE + PAGE)).toBeUndefined();
    expect(runAt(map, BASE + PAGE - 1)?.owner).toBe("host");
  });

  it("tells owners and sharers apart", () => {
    const pages = [HOST, ["SHARED_OWNED", "SHARED_BORROWED", 0], LENT, ["SHARED_OWNED", "NOPAGE", 0], ["NOPAGE", "OWNED", 0], GONE, ["SHARED_BORROWED", "NOPAGE", 0], GONE] as const; // prettier-ignore
    const leaves = [
      leaf(0x1000, 1, 2, 1, "SHARED_BORROWED"),
      leaf(0x1001, 2, 5, 1, "OWNED"),
      leaf(0x1001, 3, 6, 1, "SHARED_OWNED"),
    ];
    expect(totalsOf(mapOf(pages, leaves)).map(([kind]) => kind)).toEqual(
      ["host", "host-hyp", "host-guest", "host-secure", "hyp", "guest", "guest-host", "nobody"], // prettier-ignore
    );
  });

  it("writes sizes and addresses for people", () => {
    expect([PAGE, 2 ** 21, 1.5 * 2 ** 30].map(bytes)).toEqual(["4 KiB", "2 MiB", "1.5 GiB"]);
    expect([0, BASE, 2 ** 40].map(address)).toEqual(
      ["0x0000_0000", "0x8000_0000", "0x100_0000_0000"], // prettier-ignore
    );
  });
});

/** A GiB in which one page is shared with the hypervisor and two are a guest's. */
function gibibyte(): OwnershipMap {
  const runs: PlainRun[] = [
    { pa: BASE, size: 2 ** 29, host: "OWNED", hyp: "NOPAGE", count: 0, references: 0 },
    { pa: BASE + 2 ** 29, size: PAGE, host: "SHARED_OWNED", hyp: "SHARED_BORROWED", count: 0, references: 3 },
    { pa: BASE + 2 ** 29 + PAGE, size: 2 * PAGE, host: "NOPAGE", hyp: "NOPAGE", count: 0, references: 0 },
    { pa: BASE + 2 ** 29 + 3 * PAGE, size: 2 ** 29 - 3 * PAGE, host: "OWNED", hyp: "NOPAGE", count: 0, references: 0 },
  ]; // prettier-ignore
  const page = 2 ** 29 / PAGE + 1;
  return {
    pageSize: PAGE,
    regions: [{ pa: BASE, size: 2 ** 30, noMap: false }],
    runs: mergeRuns(runs, [leaf(0x1003, 64, page, 2, "OWNED")], PAGE),
    guests: [{ handle: 0x1003, protected: true, dying: false, leaves: 1, poisoned: [] }],
  };
}

describe("the picture of an ownership map", () => {
  it("is an SVG that needs nothing else and no script", () => {
    const svg = ownershipPicture(gibibyte());
    expect(svg).toMatch(/^<svg [^>]*role="img"/);
    expect(svg).not.toMatch(/<script|<image|href=|@import|on\w+=/);
    const used = [...svg.matchAll(/url\(#([\w-]+)\)/g)].map(([, name]) => name);
    for (const name of used) expect(svg).toContain(`id="${name}"`);
  });

  it("shows a page in a GiB, and says of each run whose it is", () => {
    const svg = ownershipPicture(gibibyte());
    expect(svg).toContain('class="k-host-hyp"');
    expect(svg).toContain('class="k-guest"');
    expect(svg).toContain(
      "<title>0xa000_1000 … 0xa000_3000, 8 KiB: guest 0x1003 gfn 0x40's</title>",
    );
    expect(svg).toContain("shared with the hypervisor, 3 references");
    expect(svg).toContain("protected 0x1003");
  });

  it("follows light and dark, and says states in words beside colours", () => {
    const svg = ownershipPicture(gibibyte());
    expect(svg).toContain("prefers-color-scheme:dark");
    for (const word of ["OWNED", "SHARED_OWNED", "BORROWED"]) expect(svg).toContain(`>${word}<`);
  });

  it("stays small and tells what it leaves out, however scattered memory is", () => {
    const pages = Array.from({ length: 20_000 }, (_, i) => (i % 2 === 0 ? HOST : GONE));
    const leaves = pages.flatMap((_, i) => (i % 2 === 0 ? [] : [leaf(0x1000, i, i, 1, "OWNED")]));
    const svg = ownershipPicture(mapOf(pages, leaves));
    expect(svg.length).toBeLessThan(500_000);
    expect(svg).toContain("and 19880 more runs, in the strip only");
    expect(svg).toContain("20000 runs in 78.1 MiB");
  });

  it("takes nothing of a script for markup", () => {
    expect(ownershipPicture({ ...gibibyte(), runs: [] })).not.toContain("undefined");
  });
});

describe("the text of an ownership map", () => {
  it("is a bar and a table of runs, as wide as each other line of it", () => {
    const text = ownershipText(gibibyte());
    expect(text).toMatch(/│░{32}[hG]░{31}│/);
    const table = text.split("\n").filter((line) => /^[┌│├└]/.test(line)).slice(1); // prettier-ignore
    expect(new Set(table.map((line) => line.length)).size).toBe(1);
    expect(text).toMatch(/│ 0xa000_1000 +│ 8 KiB +│ · +│ · +│ OWNED 0x1003 gfn 0x40 +│/);
  });

  it("counts the runs that it does not list", () => {
    const pages = Array.from({ length: 100 }, (_, i) => (i % 2 === 0 ? HOST : LENT));
    expect(ownershipText(mapOf(pages))).toContain("and 36 more runs");
  });
});
