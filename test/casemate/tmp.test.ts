import { it } from "vitest";
import fc from "fast-check";
import { writeFileSync } from "node:fs";
import { Engine } from "../../src/index.ts";
import { casemateTrace } from "../../src/casemate/trace.ts";
import { mutants, recordings } from "../checker/streams.ts";
it("x", async () => {
  const engine = await Engine.create({ maxTablePages: 8192, eventCapacity: 2 ** 18 });
  let n = 0, refused = 0;
  const save = (name: string, events: any) => { try { writeFileSync(`/tmp/helperD/mut/${name}.log`, [...casemateTrace(events)].join("\n") + "\n"); } catch (e) { refused++; console.log(name, String(e)); } };
  fc.assert(fc.property(recordings(engine, "4K"), fc.nat(), (r, seed) => {
    const i = n++;
    save(`${i}-clean`, [...r.events, ...r.end]);
    const wrong = mutants(r.events);
    for (let k = 0; k < Math.min(5, wrong.length); k++) { const w = wrong[(seed + k * 7919) % wrong.length]!; save(`${i}-bad-${k}-${w.name.replace(/[^a-z]+/g, "_")}`, [...w.events(), ...r.end]); }
  }), { numRuns: 120 });
  console.log("refused", refused);
  engine.dispose();
});
