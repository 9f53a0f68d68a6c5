/** Bad input: every kind, for every method that takes it. The table is unchanged afterwards. */
import { describe, expect, it } from "vitest";
import { Engine, type Entry, type ErrorCode, Prot, type Stage2 } from "../../src/index.ts";
import { MODES, SMALL, errorOf, lab } from "../support.ts";

const BAD_ADDRESSES: readonly unknown[] = [
  -1,
  0.5,
  NaN,
  Infinity,
  2 ** 53 + 2,
  -1n,
  2n ** 53n + 1n,
  "0",
  undefined,
];
const BAD_SIZES: readonly unknown[] = [
  0,
  -4096,
  0.5,
  NaN,
  0n,
  2 ** 53,
  2n ** 64n,
  "4096",
  undefined,
];
const BAD_PROTS: readonly unknown[] = [512, -1, 0.5, NaN, 7n, "7", undefined];
const BAD_FLAGS: readonly unknown[] = [128, -1, 0.5, 8n, "8"];

const GOOD = { ipa: 0x4000_0000, size: 0x2000, pa: 0x8000_0000, prot: Prot.RW };
const SPLIT_LEVEL = 2;

type Call = (table: Stage2, change: object) => unknown;

/** Methods by the arguments they take: each is called with one argument made bad. */
const RANGED: Record<string, Call> = {
  map: (table, change) => table.map({ ...GOOD, ...change }),
  setOwner: (table, change) => table.setOwner({ ...GOOD, owner: 1, ...change }),
  unmap: (table, change) => table.unmap({ ...GOOD, ...change }),
  wrprotect: (table, change) => table.wrprotect({ ...GOOD, ...change }),
  flush: (table, change) => table.flush({ ...GOOD, ...change }),
  testClearYoung: (table, change) => table.testClearYoung({ ...GOOD, ...change }),
  split: (table, change) => table.split({ ...GOOD, ...change }),
  tlbFlushRange: (table, change) => table.tlbFlushRange({ ...GOOD, ...change }),
  walk: (table, change) => table.walk({ ...GOOD, ...change }, () => 0),
  leaves: (table, change) => [...table.leaves({ ...GOOD, ...change })],
  tables: (table, change) => [...table.tables({ ...GOOD, ...change })],
  entries: (table, change) => [...table.entries({ ...GOOD, ...change })],
  ranges: (table, change) => [...table.ranges({ ...GOOD, ...change })],
  dump: (table, change) => table.dump({ ...GOOD, ...change }),
  dumpDocument: (table, change) => table.dumpDocument({ ...GOOD, ...change }),
};
const POINTED: Record<string, (table: Stage2, ipa: never) => unknown> = {
  relaxPerms: (table, ipa) => table.relaxPerms({ ipa, prot: Prot.R }),
  mkyoung: (table, ipa) => table.mkyoung(ipa),
  getLeaf: (table, ipa) => table.getLeaf(ipa),
  lookup: (table, ipa) => table.lookup(ipa),
};
const PROTECTED: Record<string, Call> = {
  map: RANGED["map"] as Call,
  relaxPerms: (table, change) => table.relaxPerms({ ...GOOD, ...change }),
  createUnlinked: (table, change) =>
    table.createUnlinked({ pa: 0, level: SPLIT_LEVEL, prot: Prot.R, ...change }),
};
/** Reference errno for a range or address above the input space. Lookups answer, listings and flushes are cut or lenient. */
const OUT_OF_RANGE = [
  "map",
  "setOwner",
  "unmap",
  "wrprotect",
  "flush",
  "testClearYoung",
  "split",
  "walk",
];

describe.each(MODES)("bad input (%s)", (mode) => {
  const here = lab(mode);

  /** A table with one page of each kind, and what it says about itself. */
  function table(): { table: Stage2; state: () => string } {
    const made = here.keep(here.engine.stage2());
    made.map({ ...GOOD, size: 0x1000 });
    made.setOwner({ ipa: GOOD.ipa + 0x1000, size: 0x1000, owner: 1 });
    const entry = ({ ipa, level, pte }: Entry): string => `${ipa} ${level} ${pte}`;
    const state = (): string =>
      Array.from(made.entries(undefined, { empty: true }), entry).join("\n");
    return { table: made, state };
  }

  function refuses(call: (table: Stage2) => unknown, code: ErrorCode): void {
    const { table: made, state } = table();
    const before = state();
    expect(errorOf(() => call(made)).code).toBe(code);
    expect(state()).toBe(before);
    expect(here.engine.memoryUsage().used).toBe(made.memoryUsage().tablePages);
    made.dispose();
  }

  describe.each(Object.entries(RANGED))("%s", (_name, call) => {
    it("refuses what is no address", () => {
      for (const ipa of BAD_ADDRESSES) refuses((made) => call(made, { ipa }), "BAD_ADDRESS");
    });
    it("refuses what is no size", () => {
      for (const size of BAD_SIZES) refuses((made) => call(made, { size }), "BAD_SIZE");
    });
  });

  describe.each(Object.entries(POINTED))("%s", (_name, call) => {
    it("refuses what is no address", () => {
      for (const ipa of BAD_ADDRESSES) refuses((made) => call(made, ipa as never), "BAD_ADDRESS");
    });
  });

  describe.each(Object.entries(PROTECTED))("%s", (_name, call) => {
    it("refuses what is no protection", () => {
      for (const prot of BAD_PROTS) refuses((made) => call(made, { prot }), "BAD_PROT");
    });
  });

  it("map and createUnlinked refuse what is no output address", () => {
    for (const pa of BAD_ADDRESSES as never[]) {
      refuses((made) => made.map({ ...GOOD, pa }), "BAD_ADDRESS");
      refuses((made) => made.createUnlinked({ pa, level: 2, prot: Prot.R }), "BAD_ADDRESS");
    }
  });

  it("map and walk refuse unknown flags", () => {
    for (const flags of BAD_FLAGS as never[]) {
      refuses((made) => made.map({ ...GOOD, flags }), "BAD_OPTION");
      refuses((made) => made.walk({ ...GOOD, flags }, () => 0), "BAD_OPTION");
    }
  });

  it("setOwner refuses what is no owner", () => {
    for (const owner of [-1, 0.5, 256, "1", undefined] as never[]) {
      refuses((made) => made.setOwner({ ...GOOD, owner }), "BAD_OPTION");
    }
  });

  it("createUnlinked refuses what is no level", () => {
    for (const level of [-2, 4, 0.5, "2", undefined] as never[]) {
      refuses((made) => made.createUnlinked({ pa: 0, level, prot: Prot.R }), "BAD_OPTION");
    }
  });

  it.each(OUT_OF_RANGE)("%s: a range above the input space is ERANGE", (name) => {
    refuses((made) => (RANGED[name] as Call)(made, { ipa: 2 ** 40 - 0x1000 }), "ERANGE");
    refuses((made) => (RANGED[name] as Call)(made, { ipa: 2 ** 52 }), "ERANGE");
  });

  it("entry operations above the input space are ERANGE, and lookup answers", () => {
    refuses((made) => made.getLeaf(2 ** 40), "ERANGE");
    refuses((made) => made.mkyoung(2 ** 40), "ERANGE");
    refuses((made) => made.relaxPerms({ ipa: 2 ** 40, prot: Prot.R }), "ERANGE");
    expect(table().table.lookup(2 ** 40)).toBeUndefined();
  });

  it("protections that no entry can express are EINVAL", () => {
    for (const prot of [
      Prot.DEVICE | Prot.X,
      Prot.NORMAL_NC | Prot.X,
      Prot.DEVICE | Prot.NORMAL_NC,
    ]) {
      refuses((made) => made.map({ ...GOOD, prot }), "EINVAL");
    }
    refuses((made) => made.relaxPerms({ ipa: GOOD.ipa, prot: Prot.SW0 }), "EINVAL");
  });

  it("an owner above 1 is EINVAL", () => {
    refuses((made) => made.setOwner({ ...GOOD, owner: 2 }), "EINVAL");
  });

  it("a table that cannot be built aside is EINVAL", () => {
    refuses((made) => made.createUnlinked({ pa: 0, level: 3, prot: Prot.R }), "EINVAL");
    refuses((made) => made.createUnlinked({ pa: 0x1000, level: 2, prot: Prot.R }), "EINVAL");
  });

  it("errors carry the errno and the offending values", () => {
    const error = errorOf(() => table().table.map({ ...GOOD, ipa: 2n ** 40n }));
    expect(error).toMatchObject({ code: "ERANGE", errno: 34, name: "Stage2Error" });
    expect(error.details).toMatchObject({ ipa: 2n ** 40n, size: GOOD.size });
    expect(error.message).toContain("0x10000000000");
  });

  it("a disposed table refuses every method", () => {
    const { table: made } = table();
    made.dispose();
    const calls = [
      ...Object.values(RANGED).map((call) => () => call(made, {})),
      ...Object.values(POINTED).map((call) => () => call(made, 0 as never)),
      ...Object.values(PROTECTED).map((call) => () => call(made, {})),
      () => made.counters(),
      () => made.memoryUsage(),
      () => made.handle,
      () => made.setEvents(["writes"]),
      () => made.adoptUnlinked({ kind: "unlink", pa: 2 ** 30, level: 2 }),
      () => made.raw.map(0, 4096, 0, 4),
      () => made.raw.lookup(0),
    ];
    for (const call of calls) expect(errorOf(call).code).toBe("DISPOSED");
  });

  it("foreign objects are refused", async () => {
    const other = await Engine.create({ ...SMALL, mode });
    const cache = other.cache();
    const theirs = other.stage2();
    const unlinked = theirs.createUnlinked({ pa: 0, level: 2, prot: Prot.R });
    refuses((made) => made.map({ ...GOOD, cache }), "FOREIGN");
    refuses((made) => made.freeUnlinked(unlinked), "FOREIGN");
    expect(errorOf(() => here.engine.attachStage2(theirs.handle)).code).toBe("FOREIGN");
    theirs.freeUnlinked(unlinked);
    expect(errorOf(() => theirs.freeUnlinked(unlinked)).code).toBe("DISPOSED");
    other.dispose();
  });

  it("a cache for another page size is refused", () => {
    const cache = here.keep(here.engine.cache({ granule: "16K" }));
    refuses((made) => made.map({ ...GOOD, cache }), "FOREIGN");
  });
});
