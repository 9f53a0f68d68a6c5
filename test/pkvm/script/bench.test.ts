/** `npm run bench -- --pkvm` (of the built library): what it measures, and that it notices a library that does nothing. */
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { describe, expect, it } from "vitest";
import { scratch } from "./support.ts";

const REPOSITORY = fileURLToPath(new URL("../../../", import.meta.url));

interface Row {
  readonly name: string;
  readonly nsPerOp: number;
  readonly min: number;
  readonly operations: number;
}

function bench(before: readonly string[], ...args: string[]) {
  const argv = [...before, "bench/run.mjs", "--pkvm", ...args];
  return spawnSync(process.execPath, argv, { cwd: REPOSITORY, encoding: "utf8" });
}

/** A module that changes the library before the benchmark runs. */
function plant(patch: string): string[] {
  const path = scratch("plant.mjs");
  const library = pathToFileURL(join(REPOSITORY, "dist/index.js")).href;
  const code = `import { Engine } from ${JSON.stringify(library)};
    const engine = await Engine.create({ maxTablePages: 4096 });
    const pkvm = engine.pkvm({ memory: [{ pa: 2 ** 32, size: 2 ** 26 }] });
    const s2 = pkvm.stage2();
    const raw = Object.getPrototypeOf(s2.raw);
    const plain = Object.getPrototypeOf(engine.stage2().raw);
    const machine = engine.vm();
    const vm = Object.getPrototypeOf(machine);
    ${patch}`;
  writeFileSync(path, code);
  return ["--import", pathToFileURL(path).href];
}

describe("the benchmark of pKVM", () => {
  it.each(["faults-4KiB", "faults-2MiB", "mappings-random"])(
    "measures both kinds in %s",
    (name) => {
      const json = scratch("rows.json");
      const { status, stdout, stderr } = bench([], "--only", name, "--reps", "1", "--json", json);
      expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
      const rows = JSON.parse(readFileSync(json, "utf8")) as Row[];
      for (const { nsPerOp, min, operations } of rows) {
        expect(min).toBeGreaterThan(0);
        expect(nsPerOp).toBeGreaterThanOrEqual(min);
        expect(operations).toBeGreaterThan(0);
      }
      const plain = rows.filter((row) => row.name.includes("-plain: "));
      expect(plain.length).toBeGreaterThan(1);
      const others = plain.map((row) => row.name.replace("-plain: ", "-pkvm: "));
      expect(rows.map((row) => row.name)).toEqual(expect.arrayContaining(others));
      expect(stdout).toMatch(/^workload: phase .* ratio/m);
      if (name.startsWith("mappings")) expect(stdout).toMatch(/^random, pkvm: find .*x .*x/m);
    },
  );

  it("says what a mapping takes of memory", () => {
    const json = scratch("rows.json");
    expect(bench([], "--only", "memory", "--json", json).status).toBe(0);
    const facts = JSON.parse(readFileSync(json, "utf8")) as { name: string; value: number }[];
    const value = (name: string) => facts.find((fact) => fact.name === `memory: ${name}`)?.value;
    const notes = value("1000000 pages, random: notes of a mapping");
    expect(notes).toBeGreaterThan(8);
    expect(notes).toBeLessThan(64);
    expect(value("1000000 pages, sequential: tables of a mapping")).toBeCloseTo(8, 0);
    expect(value("1000000 pages, random: height of the tree")).toBeLessThan(8);
  });

  it.each([
    ["mappings-sequential", "no map", "raw.map = () => 0;"],
    ["mappings-sequential", "no unmap", "raw.unmap = () => 0;"],
    ["mappings-sequential", "no plain unmap", "plain.unmap = () => 0;"],
    ["mappings-sequential", "no lookup", "Object.getPrototypeOf(raw).lookup = () => 0;"],
    ["faults-4KiB", "no invalidation", "vm.invalidate = () => {};"],
  ])("fails in %s where the library has %s", (name, _, patch) => {
    const { status, stderr } = bench(plant(patch), "--only", name, "--reps", "1");
    expect(status).not.toBe(0);
    expect(stderr).toContain("AssertionError");
  });

  it.each(["--only W1", "--vm", "--reps 0"])("answers the unusable %s with one line", (args) => {
    const { status, stderr } = bench([], ...args.split(" "));
    expect(status).toBe(2);
    expect(stderr).toMatch(/^[^\n]+\n$/);
  });
});
