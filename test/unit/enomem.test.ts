/**
 * No memory, at every allocation of every operation: with a stock of 0, 1, 2, ... pages until the operation goes
 * through. It reports ENOMEM each time, keeps the table consistent, and can simply be done again with more.
 */
import { describe, expect, it } from "vitest";
import { type Engine, type Granule, Prot, type Stage2, type TableCache } from "../../src/index.ts";
import { MODES, errorOf, lab } from "../support.ts";

const GRANULES: readonly Granule[] = ["4K", "16K", "64K"];
const PAGE = { "4K": 2 ** 12, "16K": 2 ** 14, "64K": 2 ** 16 } as const;
const BLOCK = { "4K": 2 ** 21, "16K": 2 ** 25, "64K": 2 ** 29 } as const;

interface Operation {
  /** Brings the table into the state the operation starts from; takes pages from the pool. */
  prepare?(table: Stage2, granule: Granule): void;
  run(table: Stage2, granule: Granule, cache: TableCache | null | undefined): void;
  /** What of the table must come out the same. */
  leaves(table: Stage2): unknown;
}

/** A range that begins in one table and ends in the next, below different entries of the level above. */
function straddling(granule: Granule): { ipa: number; size: number } {
  return { ipa: 64 * BLOCK[granule] - PAGE[granule], size: 2 * PAGE[granule] };
}

function mapped(table: Stage2): unknown {
  return [...table.entries(undefined, { tables: false })];
}

const OPERATIONS: Record<string, Operation> = {
  "map of pages": {
    run: (table, granule, cache) =>
      void table.map({ ...straddling(granule), pa: 0, prot: Prot.RWX, cache }),
    leaves: mapped,
  },
  "map that breaks blocks": {
    prepare: (table, granule) =>
      void table.map({ ipa: 0, size: 4 * BLOCK[granule], pa: 0, prot: Prot.R }),
    run: (table, granule, cache) => {
      const ipa = BLOCK[granule] - PAGE[granule];
      table.map({ ipa, size: 2 * PAGE[granule], pa: 0, prot: Prot.RW, cache });
    },
    leaves: mapped,
  },
  setOwner: {
    run: (table, granule, cache) => table.setOwner({ ...straddling(granule), owner: 1, cache }),
    leaves: mapped,
  },
  split: {
    prepare: (table, granule) =>
      void table.map({ ipa: 0, size: 2 * BLOCK[granule], pa: 0, prot: Prot.RW }),
    run: (table, granule, cache) => void table.split({ ipa: 0, size: 2 * BLOCK[granule], cache }),
    leaves: mapped,
  },
};

/** Tries with ever larger stocks; how many tries failed. */
function untilEnough(attempt: (pages: number) => void): number {
  for (let pages = 0; pages < 600; pages++) {
    try {
      attempt(pages);
      return pages;
    } catch (error) {
      expect(error).toMatchObject({ code: "ENOMEM", errno: 12 });
    }
  }
  throw new Error("600 pages were not enough");
}

/** Lets the engine hand out `pages` more table pages while `action` runs, and no limit afterwards. */
function withPages(engine: Engine, granule: Granule, pages: number, action: () => void): void {
  engine.tableBudget = engine.memoryUsage().used + (pages * PAGE[granule]) / PAGE["4K"];
  try {
    action();
  } finally {
    engine.tableBudget = engine.memoryUsage().capacity;
  }
}

describe.each(MODES)("no memory (%s)", (mode) => {
  const here = lab(mode, { maxTablePages: 40_000, maxObjects: 64 });

  for (const granule of GRANULES) {
    describe.each(Object.entries(OPERATIONS))(`%s, ${granule}`, (_name, operation) => {
      function fresh(): Stage2 {
        const table = here.engine.stage2({ granule, ipaBits: 42 });
        operation.prepare?.(table, granule);
        return table;
      }

      it("fails at every allocation, and the table goes away whole", () => {
        const wanted = here.keep(fresh());
        operation.run(wanted, granule, unlimited(granule));
        const needed = untilEnough((pages) => {
          const table = here.keep(fresh());
          const cache = here.keep(here.engine.cache({ granule }));
          cache.topup(pages);
          operation.run(table, granule, cache);
          expect(operation.leaves(table)).toEqual(operation.leaves(wanted));
        });
        expect(needed).toBeGreaterThan(0);
      });

      it("fails at every allocation from the pool, just as often", () => {
        const failures = [true, false].map((fromPool) =>
          untilEnough((pages) => {
            const table = here.keep(fresh());
            const cache = here.keep(here.engine.cache({ granule }));
            if (!fromPool) cache.topup(pages);
            withPages(here.engine, granule, fromPool ? pages : 0, () =>
              operation.run(table, granule, fromPool ? undefined : cache),
            );
          }),
        );
        expect(failures[0]).toBe(failures[1]);
      });

      it("can be done again, page by page", () => {
        const [wanted, table] = [here.keep(fresh()), here.keep(fresh())];
        operation.run(wanted, granule, unlimited(granule));
        const cache = here.keep(here.engine.cache({ granule }));
        untilEnough(() => {
          cache.topup(1);
          operation.run(table, granule, cache);
        });
        expect(operation.leaves(table)).toEqual(operation.leaves(wanted));
      });

      it("without a cache page at all is ENOMEM, and changes nothing that was mapped", () => {
        const table = here.keep(fresh());
        const before = operation.leaves(table);
        expect(errorOf(() => operation.run(table, granule, null)).code).toBe("ENOMEM");
        expect(operation.leaves(table)).toEqual(before);
      });
    });
  }

  it("createUnlinked gives back what it took", () => {
    const table = here.keep(here.engine.stage2());
    const { used } = here.engine.memoryUsage();
    const failures = untilEnough((pages) => {
      expect(here.engine.memoryUsage().used).toBe(used);
      withPages(here.engine, "4K", pages, () => {
        const request = { pa: 0, level: 1, prot: Prot.R, forcePages: true };
        table.freeUnlinked(table.createUnlinked(request));
      });
    });
    expect(failures).toBe(1 + 512); // the level-2 table, and one of pages for each of its entries
  });

  it.each(GRANULES)("a %s table without room for its root is not made", (granule) => {
    const failures = untilEnough((pages) => {
      withPages(here.engine, granule, pages, () => here.engine.stage2({ granule }).dispose());
    });
    expect(failures).toBe({ "4K": 2, "16K": 16, "64K": 1 }[granule]);
  });

  it("hypervisor maps keep what they built, and can be done again", () => {
    const hyp = here.keep(here.engine.hyp({ vaBits: 48 }));
    const request = { va: 2 ** 39 - 4096, size: 8192, pa: 0, prot: Prot.RW };
    const failures = untilEnough(() => withPages(here.engine, "4K", 1, () => hyp.map(request)));
    expect(failures).toBe(5); // three levels on either side of the boundary, one page a try
    expect([...hyp.leaves()].map(({ va, pa }) => [va, pa])).toEqual([
      [2 ** 39 - 4096, 0],
      [2 ** 39, 4096],
    ]);
  });

  it("a stock keeps what could be had", () => {
    const cache = here.keep(here.engine.cache());
    withPages(here.engine, "4K", 3, () => {
      expect(errorOf(() => cache.topup(5)).code).toBe("ENOMEM");
    });
    expect(cache.count).toBe(3);
  });

  function unlimited(granule: Granule): TableCache {
    const cache = here.keep(here.engine.cache({ granule }));
    cache.topup(600);
    return cache;
  }
});
