/** Laws of iteration: order, laziness, early exit, and what a table that changes meanwhile shows. */
import { describe, expect, it } from "vitest";
import { type Entry, Prot, type Stage2 } from "../../src/index.ts";
import { MODES, errorOf, lab } from "../support.ts";

const PAGE = 4096;
/** More than two of the core's batches. */
const MANY = 1000;

describe.each(MODES)("iteration (%s)", (mode) => {
  const here = lab(mode);

  /** `count` pages, every second one mapped, so that nothing merges. */
  function sparse(count: number): Stage2 {
    const table = here.keep(here.engine.stage2());
    for (let i = 0; i < count; i++) {
      table.map({ ipa: 2 * i * PAGE, size: PAGE, pa: i * PAGE, prot: Prot.RW });
    }
    return table;
  }

  it("lists ascending, each address once a level, a table before what it holds", () => {
    const table = sparse(MANY);
    const seen = [...table.entries()];
    const order = (a: Entry, b: Entry): number => a.ipa - b.ipa || a.level - b.level;
    expect(seen).toEqual([...seen].sort(order));
    expect(new Set(seen.map(({ ipa, level }) => `${ipa}/${level}`)).size).toBe(seen.length);
    expect(seen.filter(({ kind }) => kind === "leaf")).toHaveLength(MANY);
  });

  it("leaves, tables and empty entries are parts of all entries", () => {
    const table = sparse(600);
    const all = [...table.entries(undefined, { empty: true })];
    expect([...table.leaves()]).toEqual(all.filter(({ kind }) => kind === "leaf"));
    expect([...table.tables()]).toEqual(all.filter(({ kind }) => kind === "table"));
    const covered = all.reduce((sum, { kind, size }) => sum + (kind === "table" ? 0 : size), 0);
    expect(covered).toBe(2 ** 40);
  });

  it("two iterations do not disturb each other, nor do operations between their steps", () => {
    const table = sparse(MANY);
    const [first, second] = [table.leaves(), table.leaves()];
    for (let i = 0; i < MANY; i++) {
      const ipa = 2 * i * PAGE;
      expect(first.next().value?.ipa).toBe(ipa);
      expect(table.lookup(ipa)).toBe(i * PAGE);
      table.getLeaf(ipa + PAGE);
      expect(second.next().value?.ipa).toBe(ipa);
    }
    expect([first.next().done, second.next().done]).toEqual([true, true]);
  });

  it("can be left early at every point", () => {
    const table = sparse(MANY);
    for (const stop of [0, 1, 383, 384, 385, MANY]) {
      let seen = 0;
      for (const leaf of table.leaves()) {
        if (seen === stop) break;
        expect(leaf.ipa).toBe(2 * seen++ * PAGE);
      }
      expect(seen).toBe(stop);
    }
    table.unmap({ ipa: 0, size: 2 ** 40 });
    expect([...table.leaves()]).toEqual([]);
  });

  it("meets what did not change, whatever changes around it", () => {
    const table = sparse(MANY);
    const kept: number[] = [];
    for (const leaf of table.leaves()) {
      kept.push(leaf.ipa);
      if (kept.length !== 10) continue;
      table.unmap({ ipa: 1200 * PAGE, size: 400 * PAGE }); // 200 of the leaves, more than a batch ahead
      table.map({ ipa: 2 * MANY * PAGE, size: PAGE, pa: 0, prot: Prot.R });
    }
    const gone = (ipa: number): boolean => ipa >= 1200 * PAGE && ipa < 1600 * PAGE;
    const all = Array.from({ length: MANY + 1 }, (_, i) => 2 * i * PAGE);
    expect(kept).toEqual(all.filter((ipa) => !gone(ipa)));
  });

  it("goes on behind where it is, though all before and after was replaced", () => {
    const table = sparse(MANY);
    const seen: Entry[] = [];
    for (const leaf of table.leaves()) {
      seen.push(leaf);
      if (seen.length === 5) table.unmap({ ipa: 0, size: 2 ** 40 });
      if (seen.length === 7) table.map({ ipa: 0, size: 2 * MANY * PAGE, pa: 0, prot: Prot.R });
    }
    expect(new Set(seen.map(({ ipa, level }) => `${ipa}/${level}`)).size).toBe(seen.length);
    const ends = seen.map(({ ipa, size }) => ipa + size);
    expect(ends).toEqual([...ends].sort((a, b) => a - b));
    expect(ends.at(-1)).toBe(2 * MANY * PAGE);
    expect(seen.find(({ level }) => level === 2)?.ipa).toBeLessThan(384 * 2 * PAGE); // shown whole
  });

  it("throws DISPOSED at its next batch once the table is gone", () => {
    const table = sparse(MANY);
    const leaves = table.leaves();
    leaves.next();
    table.dispose();
    expect(errorOf(() => [...leaves]).code).toBe("DISPOSED");
    expect(errorOf(() => table.leaves().next()).code).toBe("DISPOSED");
  });

  it("a range shows the entries that overlap it, blocks whole", () => {
    const table = here.keep(here.engine.stage2());
    table.map({ ipa: 0, size: 2 ** 30, pa: 0, prot: Prot.R });
    table.map({ ipa: 2 ** 30, size: 2 ** 21, pa: 2 ** 30, prot: Prot.R });
    const inside = [...table.leaves({ ipa: 2 ** 30 - PAGE, size: 2 * PAGE })];
    expect(inside.map(({ ipa, size }) => [ipa, size])).toEqual([
      [0, 2 ** 30],
      [2 ** 30, 2 ** 21],
    ]);
  });

  it("ranges join what looks alike and touches, and nothing else", () => {
    const table = here.keep(here.engine.stage2());
    table.map({ ipa: 0, size: 4 * PAGE, pa: 0, prot: Prot.RW });
    table.map({ ipa: 4 * PAGE, size: 4 * PAGE, pa: 64 * PAGE, prot: Prot.RW });
    table.map({ ipa: 8 * PAGE, size: PAGE, pa: 0, prot: Prot.R });
    table.setOwner({ ipa: 9 * PAGE, size: 2 * PAGE, owner: 1 });
    table.map({ ipa: 12 * PAGE, size: PAGE, pa: 0, prot: Prot.R });
    expect([...table.ranges()]).toMatchObject([
      { kind: "leaf", ipa: 0, size: 8 * PAGE, entries: 8, prot: Prot.RW, contiguous: false },
      { kind: "leaf", ipa: 8 * PAGE, size: PAGE, entries: 1, prot: Prot.R, contiguous: true },
      { kind: "annotation", ipa: 9 * PAGE, size: 2 * PAGE, entries: 2, owner: 1 },
      { kind: "leaf", ipa: 12 * PAGE, size: PAGE, entries: 1 },
    ]);
    table.testClearYoung({ ipa: 0, size: PAGE });
    expect([...table.ranges()]).toHaveLength(5);
  });

  it("dumps text and a document that say the same", () => {
    const table = here.keep(here.engine.stage2());
    table.map({ ipa: 2 ** 30, size: 2 ** 22, pa: 2 ** 35, prot: Prot.RWX | Prot.SW1 });
    table.map({ ipa: 2 ** 31, size: PAGE, pa: 2 ** 20, prot: Prot.R | Prot.DEVICE });
    expect(table.dump()).toBe(
      [
        "stage 2: 40-bit input, 4K pages, start level 1, 5 table pages",
        "0x0040000000-0x0040400000     4M  L2  rwx  af   normal        SW1  0x0800000000",
        "0x0080000000-0x0080001000     4K  L3  r--  af   device         0x0000100000",
        "",
      ].join("\n"),
    );
    expect(JSON.parse(JSON.stringify(table.dumpDocument()))).toEqual({
      regime: "stage 2",
      inputBits: 40,
      granule: "4K",
      startLevel: 1,
      tablePages: 5,
      ranges: [...table.ranges()],
    });
  });

  it("counts entries and table pages", () => {
    const table = sparse(MANY);
    table.testClearYoung({ ipa: 0, size: 20 * PAGE });
    table.setOwner({ ipa: 2 ** 35, size: PAGE, owner: 1 });
    const counters = table.counters();
    expect(counters).toMatchObject({ leaves: { 3: MANY }, leafCount: MANY, invalid: 1 });
    expect(counters.accessed).toBe(MANY - 10);
    expect(counters.mappedBytes).toBe(MANY * PAGE);
    const rootPages = table.rootBytes / PAGE;
    expect(table.memoryUsage().tablePages).toBe(rootPages + counters.tables);
  });
});
