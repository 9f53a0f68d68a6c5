/** Scripts of a host that says anything: each ends with a map in which every page has an owner. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { CALLS } from "../../../src/cli/pkvm_script/calls.ts";
import { runJson } from "./support.ts";

/** Words that mean something now and then: pages of memory and beside it, handles, counts, sums that wrap. */
const WORDS = [
  "0",
  "1",
  "2",
  "512",
  "513",
  "$a",
  "$b",
  "$page",
  "$page + 1",
  "@0x8020_0000",
  "@0x4000_0000",
  "@0x83ff_f000",
  "@0x9000_0000",
  "0x1001",
  "0x8000_0000",
  "0xffff_ffff_ffff_ffff",
  "0 - 2",
  "0x7fff_ffff_ffff_ffff",
];

const call = fc
  .tuple(
    fc.constantFrom(...CALLS.values()),
    fc.array(fc.constantFrom(...WORDS), { minLength: 8, maxLength: 8 }),
    fc.constantFrom("", " with none", " with $page, 0, 0 - 1"),
  )
  .map(([{ script, arguments: list, memcache }, words, pages]) => {
    const given = list.map((_, i) => words[i]).join(" ");
    return `${script} ${given}${memcache ? pages : ""}`;
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
  await fc.assert(
    fc.asyncProperty(script, async ([name, lines]) => {
      const kind = name === "newest" ? "guest protected" : "guest";
      const start = [`generation ${name}`, "$page = @0x8010_0000", "$a = guest", `$b = ${kind}`];
      const { code, result } = await runJson([...start, ...lines].join("\n"));
      expect([0, 1]).toContain(code);
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
    { numRuns: 60 },
  );
});
