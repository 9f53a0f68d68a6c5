import fc from "fast-check";
import { it, expect } from "vitest";
import { Engine } from "../../src/index.ts";
import { judge, mutants, recordings } from "./streams.ts";
it.each(["4K", "16K"] as const)("big", async (g) => {
  const engine = await Engine.create({ maxTablePages: 8192, eventCapacity: 2 ** 18 });
  let planted = 0; const missed: string[] = [];
  fc.assert(fc.property(recordings(engine, g), fc.nat(), (r, seed) => {
    expect(judge(r, r.events)).toEqual([]);
    const wrong = mutants(r);
    for (let i = 0; i < Math.min(g === "4K" ? 12 : 3, wrong.length); i++) { const w = wrong[(seed + i * 7919) % wrong.length]!; planted++; if (judge(r, w.events()).length === 0) missed.push(w.name); }
  }), { numRuns: g === "4K" ? 3000 : 200 });
  console.log("planted", planted, "missed", missed.length, missed.slice(0, 5));
  engine.dispose();
}, 500000);
