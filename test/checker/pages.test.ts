/** Table pages: none is given back, stored to or walked while a walk can come to it. */
import { describe, expect, it } from "vitest";
import {
  A,
  B,
  IPA,
  LOCKED,
  MAPPED,
  type Observed,
  ROOT,
  SLOT,
  TABLE2,
  TABLE3,
  block,
  checked,
  page,
  rules,
  store,
  table,
} from "./lists.ts";

const freed: Observed = { kind: "free", pa: TABLE3 };
const flushed: Observed = { kind: "tlbiVmid" };
const read: Observed = {
  kind: "hwRead",
  cpu: 1,
  stage: 2,
  level: 3,
  slot: SLOT[3],
  pte: 0n,
  address: IPA,
};
const REUSE = ["early-reuse"];
/** The level-3 table hangs below the next entry of the level-2 table. */
const elsewhere: Observed = {
  ...store(2, table(TABLE3)),
  slot: SLOT[2] + 8,
  ipa: IPA + 2 ** 21,
} as Observed;

describe("a table page", () => {
  const rows: [string, Observed[], string[]][] = [
    ["unlinked, invalidated, freed", [store(2, LOCKED), flushed, freed], []],
    ["freed before the invalidation", [store(2, LOCKED), freed, flushed], REUSE],
    ["freed before it is unlinked", [freed, store(2, LOCKED), flushed], REUSE],
    ["freed with no invalidation", [store(2, LOCKED), freed], REUSE],
    ["freed twice, the first time early", [store(2, LOCKED), freed, flushed, freed], REUSE],
    [
      "freed after part of its addresses",
      [store(2, LOCKED), { kind: "tlbiIpa", ipa: IPA, level: 2 }, freed],
      REUSE,
    ],
    ["stored to when it was freed", [store(2, LOCKED), flushed, freed, store(3, page(B))], REUSE],
    ["walked when it was freed", [store(2, LOCKED), flushed, freed, read], REUSE],
    ["walked while it is linked", [read], []],
    ["handed out anew", [store(2, LOCKED), flushed, freed, { kind: "alloc", pa: TABLE3 }], []],
    ["handed out while linked", [{ kind: "alloc", pa: TABLE3 }], REUSE],
    [
      "freed with the table above it",
      [store(1, LOCKED), flushed, freed, { kind: "free", pa: TABLE2 }],
      [],
    ],
    [
      "freed with the table above it, too early",
      [store(1, LOCKED), freed, { kind: "free", pa: TABLE2 }],
      REUSE,
    ],
    [
      "linked elsewhere, and freed there",
      [store(2, LOCKED), flushed, elsewhere, freed, store(2, 0n)],
      REUSE,
    ],
    ["linked elsewhere, and freed", [store(2, LOCKED), flushed, elsewhere, freed], []],
    [
      "never linked, and freed",
      [
        { kind: "alloc", pa: 0x9000 },
        { kind: "free", pa: 0x9000 },
      ],
      [],
    ],
    ["of nobody, and freed", [{ kind: "free", pa: 0x7000 }], []],
  ];
  it.each(rows)("is judged when %s", (_, events, found) => {
    expect(rules([...MAPPED, ...events])).toEqual(found);
  });

  it("is right to be freed while linked if all of its page table goes", () => {
    const destroyed: Observed[] = [
      freed,
      { kind: "free", pa: TABLE2 },
      { kind: "freeExact", pa: ROOT, pages: 1 },
    ];
    const checker = checked([...MAPPED, ...destroyed]);
    expect(checker.settle()).toEqual([]);
    const alive = checked([...MAPPED, ...destroyed.slice(0, 2)]);
    expect(alive.settle().map(({ rule }) => rule)).toEqual(["early-reuse", "early-reuse"]);
  });

  it("names who freed it, and who unlinked or linked it", () => {
    const early = checked([...MAPPED, store(2, LOCKED, 1), { ...freed, thread: 2 }]);
    expect(early.violations).toMatchObject([
      { agents: ["thread 2", "thread 1"], slot: TABLE3, address: IPA },
    ]);
    const linked = checked([...MAPPED, { ...freed, thread: 2 }, store(2, block(A), 0)]);
    expect(linked.violations[0]).toMatchObject({ agents: ["thread 2", "thread 0"], slot: TABLE3 });
    const walked = checked([...MAPPED, store(2, LOCKED), flushed, freed, read]);
    expect(walked.violations).toMatchObject([{ agents: ["thread 0", "vCPU 1"], slot: SLOT[3] }]);
  });
});
