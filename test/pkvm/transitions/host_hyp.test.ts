/** Transitions between host, hypervisor and secure world: each row of the table, and each precondition failing alone. */
import { describe, expect, it } from "vitest";
import { NOT_SUPPORTED } from "../../../src/pkvm/_abi.ts";
import { type Bench, type RecordFields, benches } from "../../ghost/bench.ts";
import type { CallName } from "../../ghost/model/model.ts";
import { EBUSY, EINVAL, EPERM } from "../../ghost/model/words.ts";
import { GENERATIONS } from "../../ghost/world.ts";

const OWNED = { host: "OWNED", hyp: "NOPAGE" } as const;
const WITH_HYP = { host: "NOPAGE", hyp: "OWNED" } as const;
const SHARED = { host: "SHARED_OWNED", hyp: "SHARED_BORROWED" } as const;
const LENT = { host: "SHARED_OWNED", hyp: "NOPAGE" } as const;

/** A row: what comes before it, what it makes, and what is wrong with a page that it refuses. */
interface Row {
  readonly call: CallName;
  /** Takes a count of pages. */
  readonly ranged: boolean;
  readonly before: readonly CallName[];
  readonly after: Partial<RecordFields>;
  /** One thing is otherwise than it has to be. */
  readonly fails: readonly (readonly [Partial<RecordFields>, number])[];
}

// prettier-ignore
const ROWS: readonly Row[] = [
  { call: "SHARE_HYP", ranged: false, before: [], after: SHARED,
    fails: [[{ host: "SHARED_OWNED" }, EPERM], [{ host: "SHARED_BORROWED" }, EPERM], [{ host: "NOPAGE" }, EPERM],
            [{ hyp: "OWNED" }, EPERM], [{ hyp: "SHARED_BORROWED" }, EPERM], [{ hyp: "SHARED_OWNED" }, EPERM]] },
  { call: "UNSHARE_HYP", ranged: false, before: ["SHARE_HYP"], after: OWNED,
    fails: [[{ host: "OWNED" }, EPERM], [{ host: "NOPAGE" }, EPERM], [{ host: "SHARED_BORROWED" }, EPERM],
            [{ hyp: "NOPAGE" }, EPERM], [{ hyp: "OWNED" }, EPERM], [{ references: 1 }, EBUSY], [{ references: 65535 }, EBUSY]] },
  { call: "DONATE_HYP", ranged: true, before: [], after: WITH_HYP,
    fails: [[{ host: "SHARED_OWNED" }, EPERM], [{ host: "SHARED_BORROWED" }, EPERM], [{ host: "NOPAGE" }, EPERM],
            [{ hyp: "SHARED_BORROWED" }, EPERM], [{ hyp: "OWNED" }, EPERM]] },
  { call: "HYP_DONATE_HOST", ranged: true, before: ["DONATE_HYP"], after: OWNED,
    fails: [[{ hyp: "SHARED_OWNED" }, EPERM], [{ hyp: "NOPAGE" }, EPERM], [{ hyp: "SHARED_BORROWED" }, EPERM],
            [{ host: "OWNED" }, EPERM], [{ host: "SHARED_OWNED" }, EPERM], [{ references: 1 }, EBUSY]] },
  { call: "SHARE_FFA", ranged: true, before: [], after: LENT,
    fails: [[{ host: "SHARED_OWNED" }, EPERM], [{ host: "SHARED_BORROWED" }, EPERM], [{ host: "NOPAGE" }, EPERM]] },
  { call: "UNSHARE_FFA", ranged: true, before: ["SHARE_FFA"], after: OWNED,
    fails: [[{ host: "OWNED" }, EPERM], [{ host: "SHARED_BORROWED" }, EPERM], [{ host: "NOPAGE" }, EPERM],
            [{ guests: 1 }, EPERM], [{ guests: 2 ** 32 - 1 }, EPERM], [{ hyp: "SHARED_BORROWED" }, EPERM]] },
  { call: "PIN", ranged: true, before: ["SHARE_HYP"], after: { ...SHARED, references: 1 },
    fails: [[{ host: "OWNED" }, EPERM], [{ host: "NOPAGE" }, EPERM], [{ hyp: "NOPAGE" }, EPERM], [{ hyp: "OWNED" }, EPERM],
            [{ references: 65535 }, EBUSY]] },
  { call: "UNPIN", ranged: true, before: ["SHARE_HYP", "PIN"], after: SHARED,
    fails: [[{ references: 0 }, EINVAL], [{ hyp: "NOPAGE" }, EINVAL], [{ hyp: "OWNED" }, EINVAL]] },
  { call: "EARLY_DONATE_HYP", ranged: true, before: [], after: WITH_HYP,
    fails: [[{ host: "SHARED_OWNED" }, EPERM], [{ host: "SHARED_BORROWED" }, EPERM], [{ host: "NOPAGE" }, EPERM], [{ hyp: "OWNED" }, EPERM]] },
];

const PAGES = 3;

/** Pages as the row needs them; the first. */
function bring(bench: Bench, { before }: Row): number {
  const page = bench.base + 8;
  for (let index = 0; index < PAGES; index++)
    for (const call of before) expect(bench.call(call, page + index, 1)).toBe(0);
  return page;
}

describe.each(GENERATIONS)("rows of host and hypervisor (%s)", (generation) => {
  const lab = benches(generation);

  describe.each(ROWS)("$call", (row) => {
    const words = (page: number, count: number) => (row.ranged ? [page, count] : [page]);

    it("does what the table says, to each page of its range and to no other", () => {
      const { bench } = lab;
      const page = bring(bench, row);
      const count = row.ranged ? 2 : 1;
      const others = [page - 1, page + count].map((pfn) => bench.record(pfn));
      expect(bench.call(row.call, ...words(page, count))).toBe(0);
      for (let index = 0; index < count; index++)
        expect(bench.record(page + index)).toMatchObject(row.after);
      expect([page - 1, page + count].map((pfn) => bench.record(pfn))).toEqual(others);
    });

    it.each(row.fails)("%j alone is refused (%i), and changes nothing", (wrong, errno) => {
      const { bench } = lab;
      const page = bring(bench, row);
      bench.forge(page, wrong);
      lab.spoil();
      bench.expectRefused(errno, row.call, ...words(page, 1));
    });

    if (row.ranged) {
      it("P-4.3: refuses all for the last page of a range", () => {
        const { bench } = lab;
        const page = bring(bench, row);
        const [wrong, errno] = row.fails[0] as readonly [Partial<RecordFields>, number];
        bench.forge(page + 2, wrong);
        lab.spoil();
        bench.expectRefused(errno, row.call, ...words(page, 3));
      });
    }

    it("P-4.2: refuses what is not memory, is nobody's, or goes beyond a region", () => {
      const { bench } = lab;
      const { regions, frames } = bench.pair.state.memory;
      const [low, high, nobodys] = regions as [
        (typeof regions)[0],
        (typeof regions)[0],
        (typeof regions)[0],
      ];
      expect(bench.call(row.call, ...words(low.end, 1))).toBe(-EPERM); // the hole
      expect(bench.call(row.call, ...words(0, 1))).toBe(-EPERM);
      expect(bench.call(row.call, ...words(nobodys.first, 1))).toBe(-EPERM);
      expect(bench.call(row.call, ...words(frames - 1, 1))).toBe(-EPERM);
      expect(bench.call(row.call, ...words(frames, 1))).toBe(-EINVAL);
      for (const pfn of [2n ** 52n, 2n ** 64n - 1n, BigInt(low.first) + 2n ** 52n])
        expect(bench.call(row.call, pfn, 1)).toBe(-EINVAL);
      if (!row.ranged) return;
      expect(bench.call(row.call, low.first, 0)).toBe(-EINVAL);
      expect(bench.call(row.call, low.end - 1, 2)).toBe(-EINVAL); // into the hole
      expect(bench.call(row.call, high.first - 1, 2)).toBe(-EINVAL); // out of it
      expect(bench.call(row.call, high.end - 1, 2)).toBe(-EINVAL); // into what is nobody's
      expect(bench.call(row.call, 0, frames)).toBe(-EINVAL);
      expect(bench.call(row.call, low.first, 2n ** 64n - 1n)).toBe(-EINVAL);
      expect(bench.call(row.call, low.first, 2n ** 64n - BigInt(low.first))).toBe(-EINVAL);
    });
  });
});

describe.each(GENERATIONS)("what else the rows promise (%s)", (generation) => {
  const lab = benches(generation);

  it("pins up to 65,535 times, and unpins as often", () => {
    const { bench } = lab;
    expect(bench.call("SHARE_HYP", bench.base)).toBe(0);
    for (let pins = 1; pins < 65_535; pins++) bench.raw("PIN", bench.base, 1);
    expect(bench.record(bench.base).references).toBe(65_534);
    expect(bench.raw("PIN", bench.base, 1)).toBe(0);
    expect(bench.raw("PIN", bench.base, 1)).toBe(-EBUSY);
    for (let pins = 0; pins < 65_535; pins++) expect(bench.raw("UNPIN", bench.base, 1)).toBe(0);
    expect(bench.raw("UNPIN", bench.base, 1)).toBe(-EINVAL);
    expect(bench.call("UNSHARE_HYP", bench.base)).toBe(0);
  });

  it("donates blocks of pages, and takes single ones back", () => {
    const { bench } = lab;
    const first = Math.ceil(bench.base / 512) * 512;
    expect(bench.call("DONATE_HYP", first, 512)).toBe(0);
    expect(bench.call("HYP_DONATE_HOST", first + 100, 1)).toBe(0);
    expect(bench.call("HYP_DONATE_HOST", first, 512)).toBe(-EPERM);
    expect(bench.call("HYP_DONATE_HOST", first + 101, 411)).toBe(0);
    expect(bench.call("HYP_DONATE_HOST", first, 100)).toBe(0);
  });

  it("hyp_donate_host gives the page to the host; the newest maps it at once", () => {
    const { bench } = lab;
    expect(bench.call("DONATE_HYP", bench.base, 2)).toBe(0);
    expect(bench.call("HYP_DONATE_HOST", bench.base, 1)).toBe(0);
    expect(bench.isInHost(bench.base)).toBe(generation === "newest");
    expect(bench.isInHost(bench.base + 1)).toBe(false);
  });

  it("P-3.1: early donations end when protection is final on any CPU", () => {
    const { bench } = lab;
    expect(bench.call("EARLY_DONATE_HYP", bench.base, 1)).toBe(0);
    expect(bench.call("PROT_FINALIZE", 3)).toBe(0);
    expect(bench.call("EARLY_DONATE_HYP", bench.base + 1, 1)).toBe(NOT_SUPPORTED);
    expect(bench.call("DONATE_HYP", bench.base + 1, 1)).toBe(0);
  });

  it("P-5.2: only guests are shared with again", () => {
    const { bench } = lab;
    for (const call of ["SHARE_HYP", "SHARE_FFA"] as const) {
      const page = bench.fresh();
      expect(bench.call(call, page, 1)).toBe(0);
      expect(bench.call("SHARE_HYP", page)).toBe(-EPERM);
      expect(bench.call("SHARE_FFA", page, 1)).toBe(-EPERM);
    }
  });
});

describe("where generations differ", () => {
  const seed = benches("seed");
  const now = benches("default");
  const trap = benches("default", { options: 128 });

  it("P-4.2: the hypervisor maps a shared page at the first pin; the first generations at once", () => {
    for (const [{ bench }, mapped] of [
      [seed, [true, true, true]],
      [now, [false, true, false]],
    ] as const) {
      const page = bench.base;
      const seen = (["SHARE_HYP", "PIN", "UNPIN"] as const).map((call) => {
        expect(bench.call(call, page, 1)).toBe(0);
        return bench.isInHyp(page);
      });
      expect(seen).toEqual(mapped);
      expect(bench.call("UNSHARE_HYP", page)).toBe(0);
      expect(bench.isInHyp(page)).toBe(false);
    }
  });

  it("unshare_ffa takes a page shared with the hypervisor for its own where it does not look", () => {
    const page = now.bench.base;
    expect(now.bench.call("SHARE_HYP", page)).toBe(0);
    expect(now.bench.call("UNSHARE_FFA", page, 1)).toBe(-EPERM);
    expect(trap.bench.raw("SHARE_HYP", page)).toBe(0);
    expect(trap.bench.raw("UNSHARE_FFA", page, 1)).toBe(0);
    expect(trap.bench.record(page)).toMatchObject({ host: "OWNED", hyp: "SHARED_BORROWED" });
    trap.spoil();
  });
});
