/** Levels and roots by granule and input size, and that a table of that shape reaches every corner of its space. */
import { describe, expect, it } from "vitest";
import { type Granule, Prot, geometry, vtcr } from "../../src/index.ts";
import { MODES, onEngine } from "../engines.ts";

interface Row {
  granule: Granule;
  ipaBits: number;
  levels: number;
  startLevel: number;
  sl0: number;
  t0sz: number;
  /** Entries of the whole root, all its tables together. */
  entries: number;
  rootPages: number;
  rootBytes: number;
  /** Table pages that mapping one page can need. */
  minimumCache: number;
}

// granule, IPA, levels, start, SL0, T0SZ, root entries, concatenated tables, root bytes, pages for one map
// prettier-ignore
const TABLE = [
  ["4K",  32, 2, 2, 0, 32,   2048,  4,   16384, 1],
  ["4K",  34, 2, 2, 0, 30,   8192, 16,   65536, 1],
  ["4K",  35, 3, 1, 1, 29,     32,  1,    4096, 2],
  ["4K",  36, 3, 1, 1, 28,     64,  1,    4096, 2],
  ["4K",  39, 3, 1, 1, 25,    512,  1,    4096, 2],
  ["4K",  40, 3, 1, 1, 24,   1024,  2,    8192, 2],
  ["4K",  42, 3, 1, 1, 22,   4096,  8,   32768, 2],
  ["4K",  43, 3, 1, 1, 21,   8192, 16,   65536, 2],
  ["4K",  44, 4, 0, 2, 20,     32,  1,    4096, 3],
  ["4K",  48, 4, 0, 2, 16,    512,  1,    4096, 3],
  ["4K",  52, 4, 0, 2, 12,   8192, 16,   65536, 3],
  ["16K", 36, 2, 2, 1, 28,   2048,  1,   16384, 1],
  ["16K", 39, 2, 2, 1, 25,  16384,  8,  131072, 1],
  ["16K", 40, 2, 2, 1, 24,  32768, 16,  262144, 1],
  ["16K", 42, 3, 1, 2, 22,     64,  1,   16384, 2],
  ["16K", 47, 3, 1, 2, 17,   2048,  1,   16384, 2],
  ["16K", 48, 3, 1, 2, 16,   4096,  2,   32768, 2],
  ["16K", 52, 4, 0, 3, 12,     32,  1,   16384, 3],
  ["64K", 32, 2, 2, 1, 32,      8,  1,   65536, 1],
  ["64K", 40, 2, 2, 1, 24,   2048,  1,   65536, 1],
  ["64K", 42, 2, 2, 1, 22,   8192,  1,   65536, 1],
  ["64K", 46, 2, 2, 1, 18, 131072, 16, 1048576, 1],
  ["64K", 47, 3, 1, 2, 17,     32,  1,   65536, 2],
  ["64K", 48, 3, 1, 2, 16,     64,  1,   65536, 2],
  ["64K", 52, 3, 1, 2, 12,   1024,  1,   65536, 2],
] as const;

const ROWS: Row[] = TABLE.map(
  ([
    granule,
    ipaBits,
    levels,
    startLevel,
    sl0,
    t0sz,
    entries,
    rootPages,
    rootBytes,
    minimumCache,
  ]) => ({
    ...{
      granule,
      ipaBits,
      levels,
      startLevel,
      sl0,
      t0sz,
      entries,
      rootPages,
      rootBytes,
      minimumCache,
    },
  }),
);

function shape({ granule, ipaBits }: Row) {
  const wide = ipaBits > 48;
  return { granule, ipaBits, lpa2: wide && granule !== "64K", pa52: wide && granule === "64K" };
}

const PAGE = { "4K": 4096, "16K": 16384, "64K": 65536 } as const;

describe("geometry", () => {
  it.each(ROWS)("$granule, $ipaBits bits: levels and root", (row) => {
    const found = geometry(shape(row));
    const { levels, startLevel, rootPages, rootBytes } = row;
    expect(found).toMatchObject({ levels, startLevel, rootPages, rootBytes });
    expect(2 ** row.ipaBits / found.entrySizes[startLevel]!).toBe(row.entries);
    const register = vtcr(shape(row));
    expect({ t0sz: Number(register & 63n), sl0: Number((register >> 6n) & 3n) }).toEqual({
      t0sz: row.t0sz,
      sl0: row.sl0,
    });
  });

  it.each([
    ["4K", [12, 21, 30, 39], [1, 2, 3]],
    ["16K", [14, 25, 36, 47], [2, 3]],
    ["64K", [16, 29, 42], [2, 3]],
  ] as const)("%s: bytes per entry, and leaf levels", (granule, shifts, leafLevels) => {
    const {
      entrySizes,
      leafLevels: found,
      entriesPerTable,
    } = geometry({
      ...{ granule, ipaBits: 52, lpa2: granule !== "64K", pa52: granule === "64K" },
    });
    const expected = shifts.map((shift, i) => [3 - i, 2 ** shift]);
    expect(entrySizes).toEqual(Object.fromEntries(expected));
    expect(found).toEqual(leafLevels);
    expect(entriesPerTable).toBe(PAGE[granule] / 8);
  });
});

describe.each(MODES)("tables of every shape, %s build", (mode) => {
  it.each(ROWS)("$granule, $ipaBits bits: first, last and middle page", async (row) => {
    await onEngine(mode, (engine) => {
      const table = engine.stage2(shape(row));
      expect(table.memoryUsage().tablePages).toBe(row.rootPages);
      const page = PAGE[row.granule];
      const end = 2 ** row.ipaBits;
      const corners = [0, end / 2 - page, end / 2, end - page];
      corners.forEach((ipa, i) =>
        table.map({ ipa, size: page, pa: 0x4000_0000 + i * page, prot: Prot.RW, forcePages: true }),
      );
      expect(corners.map((ipa) => table.lookup(ipa + 8))).toEqual(
        corners.map((_, i) => 0x4000_0000 + i * page + 8),
      );
      expect(() => table.map({ ipa: end, size: page, pa: 0, prot: Prot.R })).toThrow(/ERANGE/);
      expect([...table.leaves()].map(({ ipa, level }) => [ipa, level])).toEqual(
        corners.map((ipa) => [ipa, 3]),
      );
      table.dispose();
    });
  });

  it.each(ROWS)("$granule, $ipaBits bits: one map takes $minimumCache pages", async (row) => {
    await onEngine(mode, (engine) => {
      const table = engine.stage2(shape(row));
      const one = { ipa: 0, size: PAGE[row.granule], pa: 0x4000_0000, prot: Prot.R };
      const cache = engine.cache({ granule: row.granule });
      cache.topup(row.minimumCache - 1);
      expect(() => table.map({ ...one, cache })).toThrow(/ENOMEM/);
      table.unmap(one);
      cache.topup(row.minimumCache);
      expect(table.map({ ...one, cache })).toBe("ok");
      expect(cache.count).toBe(0);
      cache.dispose();
      table.dispose();
    });
  });
});
