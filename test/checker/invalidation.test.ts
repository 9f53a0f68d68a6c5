/** What must happen between breaking an entry and writing the next one: each step left out, or out of order, is found. */
import { describe, expect, it } from "vitest";
import {
  A,
  B,
  BLOCK_MAPPED,
  IPA,
  LOCKED,
  MAPPED,
  type Observed,
  PAGE,
  SPARE,
  block,
  checked,
  ish,
  ishst,
  page,
  rules,
  store,
  storePage,
  table,
  tlbi,
} from "./lists.ts";

const LOGGED = { barriersLogged: true };
const BROKEN = store(3, LOCKED);
const MADE = store(3, page(B));
/** store, DSB, by IPA, DSB, what was combined, DSB. */
const SEQUENCE = [ishst(), tlbi("IPAS2E1"), ish(), tlbi("VMALLE1"), ish()];
const without = (index: number): Observed[] => SEQUENCE.filter((_, i) => i !== index);
const replaced = (index: number, event: Observed): Observed[] =>
  SEQUENCE.map((each, i) => (i === index ? event : each));

describe("break, invalidate, make", () => {
  const right: [string, Observed[]][] = [
    ["in the order of the architecture", SEQUENCE],
    ["with a full barrier first", replaced(0, ish())],
    ["all of the VMID at once", [ishst(), tlbi("VMALLS12E1"), ish()]],
    ["all of every VMID", [ishst(), tlbi("ALLE1"), ish()]],
    ["by range", replaced(1, tlbi("RIPAS2E1", { address: IPA - 16 * PAGE, pages: 32 }))],
    ["with the right level", replaced(1, tlbi("IPAS2E1", { level: 3 }))],
    ["the last level only", replaced(1, tlbi("IPAS2LE1"))],
    ["as KVM's flush of a page", [{ kind: "tlbiIpa", ipa: IPA, level: 3 }]],
    ["as KVM's flush of a VMID", [{ kind: "tlbiVmid" }]],
    ["as KVM's flush of a range", [{ kind: "tlbiRange", ipa: IPA, pages: 4 }]],
    ["twice", [...SEQUENCE, ...SEQUENCE]],
    [
      "by another thread, from its own first barrier on",
      [ish(1), tlbi("IPAS2E1", { thread: 1 }), ish(1), tlbi("VMALLE1", { thread: 1 }), ish(1)],
    ],
  ];
  it.each(right)("is right %s", (_, between) => {
    expect(rules([...MAPPED, BROKEN, ...between, MADE], LOGGED)).toEqual([]);
  });

  const wrong: [string, Observed[]][] = [
    ["with nothing in between", []],
    ["without the barrier behind the store", without(0)],
    ["without the TLBI by IPA", without(1)],
    ["without the barrier between the TLBIs", without(2)],
    ["without the TLBI of combined entries", without(3)],
    ["without the barrier at the end", without(4)],
    [
      "with the TLBIs the wrong way round",
      [ishst(), tlbi("VMALLE1"), ish(), tlbi("IPAS2E1"), ish()],
    ],
    ["with a barrier for stores at the end", replaced(4, ishst())],
    ["with a barrier for stores between the TLBIs", replaced(2, ishst())],
    ["of another page", replaced(1, tlbi("IPAS2E1", { address: IPA + PAGE }))],
    ["of another VMID", replaced(1, tlbi("IPAS2E1", { vmid: 8 }))],
    ["of combined entries of another VMID", replaced(3, tlbi("VMALLE1", { vmid: 8 }))],
    ["with the level of a block", replaced(1, tlbi("IPAS2E1", { level: 2 }))],
    ["on one CPU", replaced(1, tlbi("IPAS2E1", { broadcast: false }))],
    ["of combined entries on one CPU", replaced(3, tlbi("VMALLE1", { broadcast: false }))],
    ["by a guest's virtual address", replaced(1, tlbi("VAE1"))],
    ["of a VMID without a barrier", [ishst(), tlbi("VMALLS12E1")]],
    [
      "with the barriers of another thread",
      [ishst(1), tlbi("IPAS2E1", { thread: 0 }), ish(1), tlbi("VMALLE1", { thread: 0 }), ish(1)],
    ],
    ["as KVM's flush on this CPU", [{ kind: "tlbiIpaNsh", ipa: IPA, level: 3 }]],
    ["as KVM's flush of the next page", [{ kind: "tlbiIpa", ipa: IPA + PAGE, level: 3 }]],
    ["as KVM's flush of the range before", [{ kind: "tlbiRange", ipa: IPA - 4 * PAGE, pages: 4 }]],
  ];
  it.each(wrong)("is found %s", (_, between) => {
    expect(rules([...MAPPED, BROKEN, ...between, MADE], LOGGED)).toEqual(["early-make"]);
  });

  it("is found at the end if nothing is made", () => {
    const checker = checked([...MAPPED, store(3, 0n)], LOGGED);
    expect(checker.violations).toEqual([]);
    expect(checker.settle()).toMatchObject([{ rule: "missing-tlbi", address: IPA }]);
    expect(checker.settle()).toEqual([]);
    const clean = checked([...MAPPED, store(3, 0n), ...SEQUENCE], LOGGED);
    expect(clean.settle()).toEqual([]);
  });

  it("takes calls that invalidate TLBs to have their barriers in them", () => {
    const calls = [tlbi("IPAS2E1"), tlbi("VMALLE1")];
    expect(rules([...MAPPED, BROKEN, ...calls, MADE])).toEqual([]);
    expect(rules([...MAPPED, BROKEN, ...calls.reverse(), MADE])).toEqual(["early-make"]);
  });

  it("names who made, and who broke", () => {
    const [violation] = checked([...MAPPED, store(3, LOCKED, 1), store(3, page(B), 1)]).violations;
    expect(violation?.agents).toEqual(["thread 1", "thread 1"]);
    expect(String(violation)).toBe(
      "early-make: a valid entry is written with no TLB invalidation of the old one (thread 1, entry 0x80002000, " +
        "address 0x40000000, event 10)",
    );
  });

  it("says whether an invalidation was begun", () => {
    const [violation] = checked([...MAPPED, BROKEN, ...without(4), MADE], LOGGED).violations;
    expect(violation?.what).toContain("before the TLB invalidation of the old one is complete");
  });
});

describe("tables in the place of blocks and back", () => {
  const flush: Observed = { kind: "tlbiIpa", ipa: IPA + 7 * PAGE, level: 2 };
  const aside: Observed[] = [{ kind: "alloc", pa: SPARE }];

  it("accepts one invalidation by any address of a block", () => {
    const split = [store(2, LOCKED), flush, store(2, table(SPARE))];
    expect(rules([...BLOCK_MAPPED, ...aside, ...split])).toEqual([]);
    expect(rules([...BLOCK_MAPPED, ...aside, ...split.filter((each) => each !== flush)])).toEqual([
      "early-make",
    ]);
  });

  it("wants all addresses of a table with leaves invalidated", () => {
    const merge = (between: Observed[]): Observed[] => [
      ...MAPPED,
      store(2, LOCKED),
      ...between,
      store(2, block(B)),
    ];
    expect(rules(merge([{ kind: "tlbiVmid" }]))).toEqual([]);
    expect(rules(merge([{ kind: "tlbiRange", ipa: IPA, pages: 512 }]))).toEqual([]);
    const halves = [0, 256].map(
      (first) => ({ kind: "tlbiRange", ipa: IPA + first * PAGE, pages: 256 }) as const,
    );
    expect(rules(merge(halves))).toEqual([]);
    expect(rules(merge(halves.slice(1)))).toEqual(["early-make"]);
    expect(rules(merge([{ kind: "tlbiRange", ipa: IPA, pages: 511 }]))).toEqual(["early-make"]);
    expect(rules(merge([{ kind: "tlbiIpa", ipa: IPA, level: undefined }]))).toEqual(["early-make"]);
  });

  it("wants one address of an empty table invalidated, of its walk-cache entry too", () => {
    const empty: Observed[] = [...MAPPED, store(3, 0n), { kind: "tlbiIpa", ipa: IPA, level: 3 }];
    const unlinked = (between: Observed[]): Observed[] => [
      ...empty,
      store(2, 0n),
      ...between,
      store(2, block(B)),
    ];
    expect(rules(unlinked([{ kind: "tlbiIpa", ipa: IPA, level: undefined }]))).toEqual([]);
    expect(rules(unlinked([{ kind: "tlbiIpa", ipa: IPA, level: 2 }]))).toEqual([]);
    expect(rules(unlinked([{ kind: "tlbiIpa", ipa: IPA, level: 3 }]))).toEqual(["early-make"]);
    const lastLevel = [ishst(), tlbi("IPAS2LE1"), ish(), tlbi("VMALLE1"), ish()];
    expect(rules(unlinked(lastLevel), LOGGED)).toEqual(["early-make"]);
    expect(rules(unlinked([]))).toEqual(["early-make"]);
  });
});

describe("an entry of 1 GiB", () => {
  const huge = [...MAPPED.slice(0, 1), store(1, LOCKED), store(1, block(2 ** 32))];
  const replaced = (between: Observed[]): Observed[] => [
    ...huge,
    store(1, LOCKED),
    ...between,
    store(1, block(2 ** 33)),
  ];

  it("is invalidated by any address in it, and by no other", () => {
    const flush = (ipa: number): Observed => ({ kind: "tlbiIpa", ipa, level: 1 });
    expect(rules(replaced([flush(IPA)]))).toEqual([]);
    expect(rules(replaced([flush(IPA + 2 ** 30 - PAGE)]))).toEqual([]);
    expect(rules(replaced([flush(IPA + 2 ** 30)]))).toEqual(["early-make"]);
    expect(rules(replaced([flush(IPA - PAGE)]))).toEqual(["early-make"]);
  });

  it("is in the way of a page in its middle", () => {
    const page7: Observed = {
      kind: "write",
      level: 3,
      slot: SPARE,
      pte: page(B),
      ipa: IPA + 2 ** 29,
      thread: 0,
    };
    const below: Observed[] = [{ kind: "alloc", pa: SPARE }, store(1, 0n), page7];
    expect(rules([...huge, ...below])).toEqual(["early-make"]);
  });
});

describe("many at once", () => {
  const COUNT = 64;
  const indexes = Array.from({ length: COUNT }, (_, i) => i);
  const mapped = [...MAPPED, ...indexes.slice(1).map((i) => storePage(i, page(A + i * PAGE)))];
  const gone = indexes.map((i) => storePage(i, 0n));

  it("are invalidated by one range", () => {
    const range: Observed = { kind: "tlbiRange", ipa: IPA, pages: COUNT };
    const checker = checked([...mapped, ...gone, range]);
    expect(checker.settle()).toEqual([]);
  });

  it("are each found if the range is too short", () => {
    const range: Observed = { kind: "tlbiRange", ipa: IPA, pages: COUNT - 3 };
    const checker = checked([...mapped, ...gone, range]);
    const missing = checker.settle().map(({ address }) => (address! - IPA) / PAGE);
    expect(missing.sort()).toEqual([COUNT - 3, COUNT - 2, COUNT - 1]);
  });
});
