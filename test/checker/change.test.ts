/** Which changes of a valid entry need break-before-make: a row for each kind of change (Arm ARM D8.16.1). */
import { describe, expect, it } from "vitest";
import { Checker, type BbmLevel } from "../../src/checker/checker.ts";
import {
  A,
  B,
  BLOCK_MAPPED,
  IPA,
  MAPPED,
  ROOT,
  SPARE,
  WATCHED,
  block,
  checked,
  page,
  rules,
  store,
  table,
} from "./lists.ts";

const LEVELS: readonly BbmLevel[] = [0, 1, 2];
const NT = 1n << 16n;
const CONTIGUOUS = 1n << 52n;
const BBM = "break-before-make";

/** Of a page, to another value: the levels of FEAT_BBM at which that is wrong. */
const PAGES: [string, bigint, readonly BbmLevel[]][] = [
  ["the output address", page(B), LEVELS],
  ["the output address and a permission", page(B) & ~0x80n, LEVELS],
  ["the memory type to device", page(A) & ~0x38n, LEVELS],
  ["the memory type to non-cacheable", page(A) & ~0x28n, LEVELS],
  ["the shareability", page(A) & ~0x100n, LEVELS],
  ["the contiguous hint", page(A) | CONTIGUOUS, [0, 1]],
  ["write permission", page(A) & ~0x80n, []],
  ["read permission", page(A) & ~0x40n, []],
  ["execute permission", page(A) & ~(1n << 54n), []],
  ["the access flag", page(A) & ~0x400n, []],
  ["DBM", page(A) | (1n << 51n), []],
  ["software bits", page(A) | (15n << 55n), []],
  ["page-based hardware attributes", page(A) | (15n << 59n), []],
  ["nothing", page(A), []],
];

/** The same of a block of 2 MiB. */
const BLOCKS: [string, bigint, bigint, readonly BbmLevel[]][] = [
  ["a table", block(A), table(SPARE), [0, 1]],
  ["a table, with nT", block(A) | NT, table(SPARE), [0]],
  ["another block", block(A), block(B), LEVELS],
  ["another block, with nT", block(A) | NT, block(B) | NT, LEVELS],
  ["the same with nT", block(A), block(A) | NT, []],
  ["the same, contiguous", block(A), block(A) | CONTIGUOUS, [0, 1]],
  ["the same, contiguous, both with nT", block(A) | NT, block(A) | NT | CONTIGUOUS, [0]],
  ["the same, contiguous, no longer with nT", block(A) | NT, block(A) | CONTIGUOUS, [0, 1]],
  ["a block in the place of a table", table(SPARE), block(A), [0, 1]],
  ["a block with nT in the place of a table", table(SPARE), block(A) | NT, [0]],
  ["another table", table(SPARE), table(SPARE + 0x1000), LEVELS],
  ["the same table, with an access flag", table(SPARE), table(SPARE) | 0x400n, []],
];

describe.each(LEVELS)("with FEAT_BBM level %i", (bbm) => {
  it.each(PAGES)("judges a page that changes %s", (_, next, wrong) => {
    const found = rules([...MAPPED, store(3, next)], { bbm });
    expect(found).toEqual(wrong.includes(bbm) ? [BBM] : []);
  });

  it.each(BLOCKS)("judges a block that becomes %s", (_, old, next, wrong) => {
    const before = [...MAPPED.slice(0, 4), { kind: "alloc", pa: SPARE } as const, store(2, old)];
    expect(rules([...before, store(2, next)], { bbm })).toEqual(wrong.includes(bbm) ? [BBM] : []);
  });
});

describe("a change without a break", () => {
  it("is said once, not again for what is written under it", () => {
    const aside = { kind: "alloc", pa: SPARE } as const;
    const leaf = {
      kind: "write",
      level: 3,
      slot: SPARE,
      pte: page(B),
      ipa: IPA,
      thread: 0,
    } as const;
    expect(rules([...BLOCK_MAPPED, aside, store(2, table(SPARE)), leaf])).toEqual([BBM]);
  });
});

describe("other formats", () => {
  it("knows that LPA2 descriptors hold an address where the shareability would be", () => {
    const judge = (lpa2: boolean): string[] => {
      const checker = new Checker();
      checker.watch({ ...WATCHED, lpa2 });
      for (const event of [...MAPPED, store(3, page(A) ^ 0x200n)]) checker.observe(event);
      return checker.violations.map(({ what }) => what.split(" under")[0] as string);
    };
    expect(judge(false)).toEqual(["the shareability changes"]);
    expect(judge(true)).toEqual(["the output address changes"]);
  });

  it("knows the high address bits of 64K pages", () => {
    const checker = new Checker();
    checker.watch({ root: ROOT, rootBytes: 0x10000, granule: "64K" });
    const leaf = { kind: "write", level: 2, slot: ROOT, pte: block(2 ** 33), ipa: 0 } as const;
    checker.observe(leaf);
    checker.observe({ ...leaf, pte: leaf.pte | (5n << 12n) }); // PA[51:48] of a block
    expect(checker.violations).toMatchObject([{ rule: BBM, slot: ROOT, address: 0 }]);
  });

  it("takes level 3 with a block's type as invalid", () => {
    expect(rules([...MAPPED, store(3, page(A) & ~2n)])).toEqual([]);
    expect(checked([...MAPPED, store(3, page(A) & ~2n)]).settle()).toHaveLength(1);
  });

  it("judges a hypervisor's stage 1 by attribute index, and its own TLBIs", () => {
    const hyp = (events: Parameters<Checker["observe"]>[0][]): string[] => {
      const checker = new Checker();
      checker.watch({ root: ROOT, rootBytes: 4096, hyp: true });
      for (const event of [...MAPPED.slice(1), ...events]) checker.observe(event);
      return [...checker.violations, ...checker.settle()].map(({ rule }) => rule);
    };
    expect(hyp([store(3, page(A) ^ 0x20n)])).toEqual([]); // bit 5 is NS there, not memory type
    expect(hyp([store(3, page(A) ^ 0x04n)])).toEqual([BBM]);
    const [dsb, done] = [{ kind: "dsbIshst" }, { kind: "dsbIsh" }] as const;
    const va = { kind: "tlbiVale2is", va: IPA, level: 3 } as const;
    expect(hyp([store(3, 0n), dsb, va, done, store(3, page(B))])).toEqual([]);
    expect(hyp([store(3, 0n), va, done, store(3, page(B))])).toEqual(["early-make"]);
    expect(hyp([store(3, 0n), dsb, va, store(3, page(B))])).toEqual(["early-make"]);
    expect(hyp([store(3, 0n), { kind: "tlbiVmid" }, store(3, page(B))])).toEqual(["early-make"]);
  });
});

describe("invalid entries", () => {
  it("become valid, and change, as they like", () => {
    const free = [store(3, 0n), { kind: "tlbiIpa", ipa: IPA, level: 3 } as const];
    expect(rules([...MAPPED, ...free, store(3, 4n), store(3, 0n), store(3, page(B))])).toEqual([]);
  });

  it("are unknown where nobody said what they held", () => {
    const checker = new Checker();
    checker.observe(store(3, page(A)));
    expect(checker.violations).toEqual([]);
    checker.observe(store(3, page(B)));
    expect(checker.violations).toHaveLength(1);
  });

  it("are unknown again when events were lost", () => {
    const checker = checked([...BLOCK_MAPPED, { kind: "lost", count: 3 }, store(2, block(B))]);
    expect(checker.violations).toEqual([]);
    expect(checker.lost).toBe(3);
    checker.observe(store(2, block(A)));
    expect(checker.violations).toHaveLength(1);
  });
});

describe("the locked marker", () => {
  const foreign: [string, bigint][] = [
    ["overwrites", page(B)],
    ["clears", 0n],
    ["takes", 0x400n],
  ];
  it.each(foreign)("is watched when another thread %s it", (_, value) => {
    const made = [
      store(3, 0n),
      { kind: "tlbiIpa", ipa: IPA, level: 3 } as const,
      store(3, 0x400n, 1),
    ];
    const checker = checked([...MAPPED, ...made, store(3, value, 2)]);
    expect(checker.violations).toMatchObject([
      { rule: "locked-marker", agents: ["thread 2", "thread 1"] },
    ]);
    expect(rules([...MAPPED, ...made, store(3, value, 1)])).toEqual([]);
  });
});
