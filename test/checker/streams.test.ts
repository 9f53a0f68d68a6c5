/** The engine's own operations are clean; the same with one step left out or out of order is not. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Engine, type Granule, Prot, type Stage2 } from "../../src/index.ts";
import { MODES } from "../support.ts";
import { SIZES, judge, mutants, record, recordings } from "./streams.ts";

const ENGINE = { maxTablePages: 8192, eventCapacity: 2 ** 17 };

/** Maps, splits, merges, moves, protects, ages, unmaps, and leaves something for the end. */
function session(table: Stage2, page: number, block: number): void {
  const at = { ipa: block, size: block };
  table.map({ ...at, pa: 8 * block, prot: Prot.RW });
  table.map({ ipa: block + page, size: page, pa: 8 * block, prot: Prot.R });
  table.map({ ipa: block + page, size: page, pa: 9 * block, prot: Prot.RWX });
  table.map({ ...at, pa: 10 * block, prot: Prot.RW });
  table.split(at);
  table.wrprotect(at);
  table.tlbFlushRange(at);
  table.testClearYoung(at);
  table.relaxPerms({ ipa: block, prot: Prot.RW });
  table.mkyoung(block);
  table.map({ ipa: block, size: page, pa: 10 * block, prot: Prot.RW });
  table.setOwner({ ipa: block, size: 2 * page, owner: 1 });
  table.unmap({ ipa: block, size: block / 2 });
  table.unmap(at);
  table.map({ ipa: 0, size: 2 * block, pa: 0, prot: Prot.R, forcePages: false });
  table.map({ ipa: 4 * block, size: page, pa: 0, prot: Prot.R });
}

describe.each(MODES)("a session (%s)", (mode) => {
  const features = [
    {},
    { tlbiRange: true },
    { fwb: true },
    { fwb: true, tlbiRange: true },
    { lpa2: true },
    { granule: "16K" },
    { granule: "64K", pa52: true },
    { granule: "16K", fwb: true, tlbiRange: true },
    { ipaBits: 32 },
    { ipaBits: 48 },
    { keepUnlinked: true },
  ] as const;
  it.each(features)("is clean with %o", async (options) => {
    const engine = await Engine.create({ ...ENGINE, mode });
    const { page, block } = SIZES["granule" in options ? options.granule : "4K"];
    const recording = record(engine, options, (table) => session(table, page, block));
    expect(recording.events.length).toBeGreaterThan(1000);
    expect(judge(recording, recording.events)).toEqual([]);
    engine.dispose();
  });
});

describe("a session with one thing wrong", () => {
  it.each([{}, { tlbiRange: true }, { fwb: true, tlbiRange: true }])(
    "is found with %o",
    async (options) => {
      const engine = await Engine.create(ENGINE);
      const { page, block } = SIZES["4K"];
      const recording = record(engine, options, (table) => session(table, page, block));
      const wrong = mutants(recording).filter((_, i) => i < 40 || i % 37 === 0);
      expect(wrong.length).toBeGreaterThan(10);
      const missed = wrong.filter(({ events }) => judge(recording, events()).length === 0);
      expect(missed.map(({ name }) => name)).toEqual([]);
      engine.dispose();
    },
  );

  it("is found if a deferred unmap forgets its flush, for each page", async () => {
    const engine = await Engine.create(ENGINE);
    const recording = record(engine, { fwb: true, tlbiRange: true }, (table) => {
      table.map({ ipa: 0, size: 8 * 4096, pa: 2 ** 30, prot: Prot.RW });
      table.unmap({ ipa: 0, size: 8 * 4096 });
    });
    const flush = recording.events.findLastIndex(({ kind }) => kind === "tlbiRange");
    expect(judge(recording, recording.events)).toEqual([]);
    expect(judge(recording, recording.events.toSpliced(flush, 1))).toHaveLength(7); // the flush of the table covers one
    engine.dispose();
  });

  it("is found if the caller skips the invalidation of a map", async () => {
    const engine = await Engine.create(ENGINE);
    const recording = record(engine, {}, (table) => {
      const skip = 32; // WalkFlag.SKIP_BBM_TLBI
      table.map({ ipa: 0, size: 4096, pa: 2 ** 30, prot: Prot.RW });
      table.map({ ipa: 0, size: 4096, pa: 2 ** 31, prot: Prot.RW, flags: skip });
    });
    expect(judge(recording, recording.events)).toEqual([expect.stringMatching(/^early-make/)]);
    engine.dispose();
  });
});

const RUNS: Record<Granule, number> = { "4K": 80, "16K": 12, "64K": 20 };

describe("random operations", () => {
  it.each(Object.keys(RUNS) as Granule[])(
    "are clean, and no mutant of them is, with %s pages",
    async (granule) => {
      const engine = await Engine.create({ ...ENGINE, eventCapacity: 2 ** 18 });
      let planted = 0;
      fc.assert(
        fc.property(recordings(engine, granule), fc.nat(), (recording, seed) => {
          expect(judge(recording, recording.events)).toEqual([]);
          const wrong = mutants(recording);
          for (let i = 0; i < Math.min(4, wrong.length); i++) {
            const { name, events } = wrong[(seed + i * 7919) % wrong.length]!;
            planted++;
            expect(judge(recording, events()), name).not.toEqual([]);
          }
        }),
        { numRuns: RUNS[granule] },
      );
      expect(planted).toBeGreaterThan(RUNS[granule] / 10);
      engine.dispose();
    },
  );
});
