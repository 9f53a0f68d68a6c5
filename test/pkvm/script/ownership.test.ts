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
import { WIDTH } from "../../../src/cli/ownership/blocks.ts";
import { ownershipLegend } from "../../../src/cli/ownership/legend.ts";
import { ownershipPicture } from "../../../src/cli/ownership/picture.ts";
import { ownershipText } from "../../../src/cli/ownership/terminal.ts";
import { address, bytes, whose } from "../../../src/cli/ownership/words.ts";

const PAGE = 4096;
/** Pixels of a letter in DejaVu Sans Mono at 11, and of a digit in DejaVu Sans at 10.5: the widest fonts of the style. */
const WIDEST_MONO = 6.63;
const WIDEST_SMALL = 6.4;
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
    expect([2 ** 30 - PAGE, 1000 * 2 ** 20].map(bytes)).toEqual(["1 GiB", "1000 MiB"]);
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
    expect(svg).toContain("<title>0xa000_1000 … 0xa000_3000, 8 KiB: guest 0x1003 gfn 0x40</title>");
    expect(svg).toContain("shared with the hypervisor, 3 references");
    expect(svg).toContain("protected 0x1003");
  });

  it.each([0x8000_0000, 0x20_0000_0000, 2 ** 47])(
    "is wide enough for addresses from %i on",
    (pa) => {
      const shift = pa - BASE;
      const leaves = Array.from({ length: 30 }, (_, i) => leaf(0x1000, 3 * i, 2 * i, 1, "OWNED")); // prettier-ignore
      const map = mapOf(leaves.flatMap(() => [GONE, HOST]), leaves); // prettier-ignore
      const moved = {
        ...map,
        regions: map.regions.map((region) => ({ ...region, pa })),
        runs: map.runs.map((run) => ({ ...run, pa: run.pa + shift })),
      };
      const svg = ownershipPicture(moved);
      const shown = [...svg.matchAll(/<text class="mono" x="([\d.]+)" y="([\d.]+)">(\w+)</g)];
      expect(shown).toHaveLength(60);
      for (const [i, [, x, y, words]] of shown.entries()) {
        const [, beside, sameRow] = shown[i + 1] ?? [];
        const end = sameRow === y ? Number(beside) : WIDTH;
        expect(Number(x) + (words as string).length * WIDEST_MONO).toBeLessThan(end);
      }
    },
  );

  it("is wide enough for what is said of a guest", () => {
    const svg = ownershipPicture(mapOf([GONE, HOST], [leaf(0x1000, 2 ** 34, 0, 1, "OWNED")]));
    const width = /width="([\d.]+)"[^>]*class="cell guest"/.exec(svg)?.[1];
    // Few columns are stretched, by 1.6: what counts is the width before.
    expect(Number(width) / 1.6).toBeGreaterThan("gfn 0x400000000".length * WIDEST_SMALL);
  });

  it("says where a guest has a run: at a gfn, at several, at some for each page", () => {
    const guest = (leaves: readonly GuestLeaf[]) => ownershipPicture(mapOf([LENT, LENT], leaves));
    const at = (gfn: number, page: number, pages = 1) =>
      leaf(0x1000, gfn, page, pages, "SHARED_BORROWED");
    expect(guest([at(7, 0, 2)])).toContain(">gfn 0x7<");
    expect(guest([at(7, 0, 2), at(9, 0, 2)])).toContain(">at 2 gfns<");
    expect(guest([at(7, 1), at(9, 0)])).toContain(">scattered gfns<");
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
    expect(ownershipPicture(mapOf(pages.slice(0, 121)))).toContain("and 1 more run, in");
    expect(ownershipPicture(mapOf([HOST]))).toContain("1 run in 4 KiB");
  });

  it("takes nothing of a script for markup", () => {
    expect(ownershipPicture({ ...gibibyte(), runs: [] })).not.toContain("undefined");
  });
});

describe("the legend of an ownership map", () => {
  it("is a list of what there is, in colours that the picture has", () => {
    const legend = ownershipLegend(gibibyte());
    const items = legend.match(/<li>.*?<\/li>/g) ?? [];
    expect(items.map((item) => item.replace(/<.*?>/g, ""))).toEqual(
      ["host 1 GiB", "host, shared with the hypervisor 4 KiB", "guest 8 KiB"], // prettier-ignore
    );
    const picture = ownershipPicture(gibibyte());
    for (const [, kind] of legend.matchAll(/class="(k-[\w-]+)"/g))
      expect(picture).toContain(`.${kind}{`);
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

  it("says whose a run is, and who else has it", () => {
    const pages = [HOST, ["SHARED_OWNED", "SHARED_BORROWED", 0], LENT, ["SHARED_OWNED", "NOPAGE", 0], ["NOPAGE", "OWNED", 0], GONE, ["SHARED_BORROWED", "NOPAGE", 0], GONE] as const; // prettier-ignore
    const leaves = [
      leaf(0x1000, 1, 2, 1, "SHARED_BORROWED"),
      leaf(0x1001, 2, 5, 1, "OWNED"),
      leaf(0x1001, 3, 6, 1, "SHARED_OWNED"),
    ];
    const { runs } = mapOf(pages, leaves);
    expect(runs.map(whose)).toEqual([
      "host",
      "host, shared with the hypervisor",
      "host, shared with guest 0x1000 gfn 0x1",
      "host, shared with the secure world",
      "hypervisor",
      "guest 0x1001 gfn 0x2",
      "guest 0x1001 gfn 0x3, shared with the host",
      "nobody",
    ]);
    const pinned = runs.map((run) => whose({ ...run, references: 1 }));
    expect(pinned[1]).toBe("host, shared with the hypervisor, 1 reference");
  });

  it("counts the runs that it does not list", () => {
    const pages = Array.from({ length: 100 }, (_, i) => (i % 2 === 0 ? HOST : LENT));
    expect(ownershipText(mapOf(pages))).toContain("and 36 more runs");
  });
});
