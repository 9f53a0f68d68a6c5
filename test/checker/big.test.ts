import fc from "fast-check";
import { it, expect } from "vitest";
import { Engine } from "../../src/index.ts";
import { judge, mutants, recordings } from "./streams.ts";
it("big", async () => {
  const engine = await Engine.create({ maxTablePages: 8192, eventCapacity: 2 ** 18 });
  let planted = 0, events = 0, t = 0; const missed: string[] = [];
  fc.assert(fc.property(recordings(engine, "4K"), fc.nat(), (r, seed) => {
    const t0 = performance.now();
    expect(judge(r, r.events)).toEqual([]);
    t += performance.now() - t0; events += r.events.length;
    const wrong = mutants(r.events);
    for (let i = 0; i < Math.min(12, wrong.length); i++) { const w = wrong[(seed + i * 7919) % wrong.length]!; planted++; if (judge(r, w.events()).length === 0) missed.push(w.name); }
  }), { numRuns: 2000 });
  console.log("planted", planted, "missed", missed.length, missed.slice(0, 5), "events", events, "ns/event", t * 1e6 / events);
  engine.dispose();
}, 500000);
