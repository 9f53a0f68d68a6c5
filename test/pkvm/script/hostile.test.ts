/** Scripts of a host that says anything: each ends with a map in which every page has an owner. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { type ArgumentKind, CALLS } from "../../../src/cli/pkvm_script/calls.ts";
import { runJson } from "./support.ts";

/** What arguments are as a rule, and what they can be besides: any word. */
const USUAL: Readonly<Record<ArgumentKind, readonly string[]>> = {
  pfn: ["$page", "$page", "$page + 1", "@0x8020_0000", "@0x83ff_f000"],
  gfn: ["@0x4000_0000", "@0x4000_0000", "@0x4000_1000", "@0x4020_0000"],
  n: ["1", "1", "1", "512"],
  prot: ["RWX", "R", "RW"],
  handle: ["$a", "$b"],
  other: ["0", "1", "$page"],
};
const HOSTILE = [
  "0",
  "513",
  "@0x9000_0000",
  "0x1002",
  "0x8000_0000",
  "0xffff_ffff_ffff_ffff",
  "0 - 2",
  "0x7fff_ffff_ffff_ffff",
];
const MEMCACHES = ["", "", " with none", " with $page, 0, 0 - 1"];

const call = fc.constantFrom(...CALLS.values()).chain(({ script, arguments: list, memcache }) => {
  const words = list.map(({ kind }) =>
    fc.oneof(
      { arbitrary: fc.constantFrom(...USUAL[kind]), weight: 9 },
      { arbitrary: fc.constantFrom(...HOSTILE), weight: 1 },
    ),
  );
  const pages = fc.constantFrom(...(memcache ? MEMCACHES : [""]));
  return fc
    .tuple(fc.tuple(...words), pages)
    .map(([given, tail]) => `${script} ${given.join(" ")}${tail}`);
});
const statement = fc.oneof(
  { arbitrary: call, weight: 8 },
  {
    arbitrary: fc.constantFrom("load $a", "load $b 1", "show", "expect host $page OWNED"),
    weight: 1,
  },
);

it("ends, with a map in which every page of memory has one owner, whatever is called", async () => {
  const generation = fc.constantFrom("seed", "default", "newest");
  const script = fc.tuple(generation, fc.array(statement, { minLength: 10, maxLength: 40 }));
  let done = 0;
  await fc.assert(
    fc.asyncProperty(script, async ([name, lines]) => {
      const kind = name === "newest" ? "guest protected" : "guest";
      const start = [`generation ${name}`, "$page = @0x8010_0000", "$a = guest", `$b = ${kind}`];
      const { code, result } = await runJson([...start, ...lines].join("\n"));
      expect([0, 1]).toContain(code);
      const made = result.steps.filter(({ kind }) => kind === "call").flatMap(({ calls }) => calls);
      done += made.filter((each) => each.result === 0).length;
      const { runs, regions, guests } = result.ownership;
      const size = runs.reduce((sum, run) => sum + run.size, 0);
      expect(size).toBe(regions.reduce((sum, region) => sum + region.size, 0));
      for (const run of runs) {
        expect(run.owner).not.toBe("nobody");
        const sides = [run.host, run.hyp, ...run.guests.map(({ state }) => state)];
        const owners = sides.filter((state) => state === "OWNED" || state === "SHARED_OWNED");
        expect(owners).toHaveLength(1);
        if (sides.includes("SHARED_BORROWED")) expect(owners[0]).toBe("SHARED_OWNED");
        const leaves = run.guests.filter(({ state }) => state === "SHARED_BORROWED");
        expect(leaves.reduce((sum, { leaves: n }) => sum + n, 0)).toBe(run.count);
      }
      expect(guests.length).toBeLessThanOrEqual(2);
    }),
    { numRuns: 150 },
  );
  expect(done).toBeGreaterThan(200); // not all is refused
});
