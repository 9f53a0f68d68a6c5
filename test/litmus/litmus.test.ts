/** The whole catalogue, as `npm run litmus` explores it: every test holds on the engine and catches each of its mutants. */
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import { catalogue } from "./catalogue/index.ts";
import type { Build } from "../../src/explorer/world.ts";
import { Mutants, type Row, check, engineBuild } from "./check.ts";
import { mutantBuild } from "./mutants.ts";
import { mutants } from "./mutants/index.ts";

const BUDGET = { seed: 1, seconds: 2 };
const COMPILING = 300_000;
const SEARCHING = 300_000;

let engine: Build;
let wrong: Mutants;

beforeAll(async () => {
  engine = engineBuild();
  const root = fileURLToPath(new URL("../..", import.meta.url));
  wrong = new Mutants(mutants, await mutantBuild(mutants, root));
}, COMPILING);

describe.each(catalogue.map((litmus) => [litmus.name, litmus.title, litmus] as const))(
  "%s: %s",
  (_name, _title, litmus) => {
    let row: Row;

    beforeAll(() => {
      row = check(litmus, engine, wrong, BUDGET);
    }, SEARCHING);

    it("ends in nothing forbidden, in any order", () => {
      expect(row.report).toBe("");
      expect(row.forbidden).toBe(0);
      expect(row.schedules).toBeGreaterThan(0);
    });

    it.each(litmus.mutants.map((name) => [name]))("catches %s", (name) => {
      expect(row.mutants.find((mutant) => mutant.name === name)?.caught).toBe(true);
    });
  },
);

describe("the catalogue", () => {
  it("has a test for every mutant, and a mutant for every name", () => {
    const named = new Set(catalogue.flatMap((litmus) => litmus.mutants));
    expect([...named].sort()).toEqual(mutants.map((mutant) => mutant.name).sort());
  });

  it("gives every test a name of its own", () => {
    const names = catalogue.map((litmus) => litmus.name);
    expect(new Set(names).size).toBe(names.length);
  });
});
