import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { type Mutant, schemata } from "./mutants.ts";
import { mutants } from "./mutants/index.ts";

function patched(text: string, ...edits: [find: string, replace: string][]): string {
  const list = edits.map(([find, replace], index): Mutant => {
    return { name: `m${index}`, what: "", file: "a.ts", find, replace };
  });
  return (schemata(list, () => text).get("a.ts") as string).split("\n")[0] as string;
}

describe("mutant schemata", () => {
  it("puts a call of the host where the mutant is chosen", () => {
    expect(patched("x = f(y);", ["f(y)", "(MUTANT ? 0 : ORIGINAL)"])).toBe(
      "x = ((mutant(0) != 0) ? 0 : f(y));",
    );
  });

  it("nests several mutants of one place, and of a place inside another", () => {
    const two = patched(
      "f(y)",
      ["f(y)", "(MUTANT ? 0 : ORIGINAL)"],
      ["f(y)", "(MUTANT ? 1 : ORIGINAL)"],
    );
    expect(two).toBe("((mutant(1) != 0) ? 1 : ((mutant(0) != 0) ? 0 : f(y)))");
    const inner = patched("f(y)", ["f(y)", "[MUTANT, ORIGINAL]"], ["y", "<MUTANT, ORIGINAL>"]);
    expect(inner).toBe("[(mutant(0) != 0), f(<(mutant(1) != 0), y>)]");
  });

  it.each([
    ["is not there", "g(y)"],
    ["is there twice", "y"],
    ["is empty", ""],
  ])("refuses a text that %s", (_, find) => {
    expect(() => patched("f(y) + y", [find, "ORIGINAL"])).toThrow(/mutant m0: .* once in/);
  });

  it("refuses places that overlap in part", () => {
    expect(() => patched("abc", ["ab", "ORIGINAL"], ["bc", "ORIGINAL"])).toThrow("in part");
  });

  it("finds every mutant's place in the sources as they are", () => {
    const source = (file: string): string =>
      readFileSync(new URL(`../../assembly/${file}`, import.meta.url), "utf8");
    expect(schemata(mutants, source).size).toBeGreaterThan(5);
  });

  it("gives every mutant a name of its own", () => {
    expect(new Set(mutants.map((mutant) => mutant.name)).size).toBe(mutants.length);
  });
});
