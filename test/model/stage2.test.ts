/** Random operations on a page table and on the plain model: same answers, same leaves, and no page left at the end. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Engine, type Granule } from "../../src/index.ts";
import { MODES } from "../support.ts";
import { commands } from "./commands.ts";
import { PlainStage2 } from "./plain.ts";

/** Larger blocks take longer to compare, so they run less often. */
const SIZES = {
  "4K": { page: 2 ** 12, block: 2 ** 21, runs: 600 },
  "16K": { page: 2 ** 14, block: 2 ** 25, runs: 200 },
  "64K": { page: 2 ** 16, block: 2 ** 29, runs: 100 },
} as const;

describe.each(MODES)("a page table against a plain Map (%s)", (mode) => {
  it.each(Object.keys(SIZES) as Granule[])("does the same, with %s pages", async (granule) => {
    const { page, block, runs } = SIZES[granule];
    const engine = await Engine.create({ mode, maxTablePages: 8192 });
    fc.assert(
      fc.property(commands({ page, block }), fc.boolean(), (steps, fwb) => {
        const table = engine.stage2({ granule, fwb, tlbiRange: fwb });
        try {
          fc.modelRun(() => ({ model: new PlainStage2(page, block), real: table }), steps);
        } finally {
          table.dispose();
        }
        expect(engine.memoryUsage().used).toBe(0);
      }),
      { numRuns: runs },
    );
    engine.dispose();
  });
});
