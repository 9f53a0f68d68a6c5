import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const REPOSITORY = fileURLToPath(new URL("../..", import.meta.url));

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "stage2-bench-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

describe("the benchmark", () => {
  it("writes the rows of the workloads that were asked for", () => {
    const json = join(folder, "rows.json");
    const { status, stdout } = bench("--only", "W5", "--reps", "1", "--json", json);

    expect(status).toBe(0);
    const rows = JSON.parse(readFileSync(json, "utf8")) as Record<string, unknown>[];
    expect(rows.map(({ name, unit }) => `${name} ${unit}`)).toEqual(
      ["W5a", "W5b", "W5c", "W5d"].map((name) => `${name} page`),
    );
    for (const { name, nsPerOp, opsPerSec } of rows) {
      expect(nsPerOp).toBeGreaterThan(0);
      expect(Number(opsPerSec) * Number(nsPerOp)).toBeCloseTo(1e9, -3);
      expect(stdout).toMatch(new RegExp(`^${String(name)} +page +[\\d.]+`, "m"));
    }
  });

  it("writes the rows of translations, with goals where there are some", () => {
    const rows = ["W11", "two-stage", "af-storm"].flatMap((only) => {
      const json = join(folder, `${only}.json`);
      expect(bench("--only", only, "--reps", "1", "--json", json).status).toBe(0);
      return JSON.parse(readFileSync(json, "utf8")) as Record<string, unknown>[];
    });

    const told = rows.map(({ name, unit, goal, ok }) => [name, unit, typeof goal, typeof ok]);
    expect(told).toEqual([
      ["W11a", "walk", "number", "boolean"],
      ["W11b", "walk", "number", "boolean"],
      ["W11c", "walk", "number", "boolean"],
      ["two-stage-cold", "walk", "undefined", "undefined"],
      ["two-stage-hot", "hit", "undefined", "undefined"],
      ["af-storm", "access", "undefined", "undefined"],
    ]);
  });

  it("writes what a simulated guest did", () => {
    const json = join(folder, "simulator.json");
    const only = ["--simulator", "--only", "streams-two-stage"];
    const { status, stdout } = bench(...only, "--reps", "1", "--json", json);

    expect(status).toBe(0);
    const [cold, warm] = JSON.parse(readFileSync(json, "utf8")) as Record<string, unknown>[];
    expect(cold).toMatchObject({ name: "streams-two-stage-faults", unit: "access" });
    expect(warm).toMatchObject({ name: "streams-two-stage", unit: "access", faults: 0 });
    // 32 MiB of pages, and the tables of stage 1: 16 of the last level, three above.
    expect(cold?.["faults"]).toBe(2 ** 25 / 4096 + 19);
    // A page is left after 64 lines.
    expect(warm?.["tlbHitRate"]).toBeCloseTo(63 / 64, 2);
    expect(warm?.["descriptorReads"]).toBeGreaterThan(1 / 64);
    expect(stdout).toMatch(/^streams-two-stage +access +[\d.]+ .* 98\.\d % +[\d.]+ +0$/m);
  });

  it("writes the phases of migration rounds, aging, demand paging and memslots", () => {
    const rows = [
      "migration-1GiB-bitmap-1%-blocks",
      "migration-1GiB-manual-1%-split",
      "migration-1GiB-ring-10%-blocks",
      "migration-1GiB-HDBSS-1%-blocks",
      "aging-1GiB",
      "paging-2MiB",
      "memslots-100",
    ].flatMap((only) => {
      const json = join(folder, "vm.json");
      const { status, stderr } = bench("--vm", "--only", only, "--reps", "1", "--json", json);
      expect(stderr).toBe("");
      expect(status).toBe(0);
      const found = JSON.parse(readFileSync(json, "utf8")) as Record<string, unknown>[];
      for (const { name } of found) expect(String(name).startsWith(`${only}: `)).toBe(true);
      return found;
    });

    for (const { ms, nsPerOp, opsPerSec, operations } of rows) {
      expect(nsPerOp).toBeGreaterThan(0);
      expect(Number(opsPerSec) * Number(nsPerOp)).toBeCloseTo(1e9, -3);
      expect(Number(operations)).toBeGreaterThan(0);
      expect(Number(ms)).toBeGreaterThan(0);
    }
    const names = rows.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    expect(names).toEqual(
      expect.arrayContaining([
        "migration-1GiB-bitmap-1%-blocks: protect",
        "migration-1GiB-bitmap-1%-blocks: touch",
        "migration-1GiB-bitmap-1%-blocks: collect, scan",
        "migration-1GiB-bitmap-1%-blocks: collect",
        "migration-1GiB-manual-1%-split: clear",
        "migration-1GiB-ring-10%-blocks: collect",
        "migration-1GiB-HDBSS-1%-blocks: harvest",
      ]),
    );
  });

  it("says what slots and logs take of memory", () => {
    const json = join(folder, "memory.json");
    expect(bench("--vm", "--only", "memory", "--json", json).status).toBe(0);
    const facts = JSON.parse(readFileSync(json, "utf8")) as { name: string; value: number }[];
    const logged = facts.find(({ name }) => name === "memory: dirty-logged GiB");
    // A bit for each page of 4 KiB, and as much again for what is handed out.
    expect(logged?.value).toBe(2 * (2 ** 30 / 4096 / 8));
  });

  // Operations that are fast by doing nothing, or something else.
  const vcpuWith = (options: string) =>
    `const made = Engine.prototype.vcpu;
     Engine.prototype.vcpu = function (table) { return made.call(this, table, ${options}); };`;
  it.each([
    ["W4", "no wrprotect", "Object.getPrototypeOf(s2.raw).wrprotect = () => 0;"],
    ["W11a", "no translateMany", "Object.getPrototypeOf(vcpu).translateMany = () => 0;"],
    ["W11c", "a TLB always", vcpuWith("{}")],
    ["W12", "no TLB", vcpuWith("{ tlb: false }")],
    ["two-stage-cold", "no stage 1", "Object.getPrototypeOf(vcpu).setRegisters = () => {};"],
    ["two-stage-hot", "half the TLB", vcpuWith("{ tlb: { sets: 256, ways: 2 } }")],
    ["af-storm", "no aging", "Object.getPrototypeOf(s2.raw).testClearYoung = () => 1;"],
    ["streams-no-tlb", "no stores", "Object.getPrototypeOf(vcpu).write32 = () => {};"],
    ["streams-no-tlb", "no loads", "Object.getPrototypeOf(vcpu).read32 = () => 0;"],
    [
      "migration-1GiB-bitmap-1%-blocks",
      "no dirty log",
      "vm.getDirtyLog = () => Object.assign([], { count: 0 });",
    ],
    ["migration-1GiB-ring-1%-blocks", "no ring reset", "vm.resetDirtyRings = () => 0;"],
    ["migration-1GiB-manual-1%-split", "no clear", "vm.clearDirtyLog = () => 0;"],
    ["aging-1GiB", "no aging", "vm.clearYoung = () => true;"],
    ["paging-2MiB", "no invalidation", "vm.invalidate = () => {};"],
    ["memslots-1", "no memslots", "vm.setMemslot = () => 'none';"],
  ])("fails in %s where the library has %s", (name, _, patch) => {
    const idle = join(folder, "idle.mjs");
    const library = pathToFileURL(join(REPOSITORY, "dist/index.js")).href;
    writeFileSync(
      idle,
      `import { Engine } from ${JSON.stringify(library)};
       const engine = await Engine.create({ maxTablePages: 1024 });
       const s2 = engine.stage2();
       const vcpu = engine.vcpu(s2);
       const machine = engine.vm();
       const vm = Object.getPrototypeOf(machine);
       engine.dispose();
       ${patch}`,
    );

    const importing = ["--import", pathToFileURL(idle).href];
    const ofVm = /^(migration|aging|paging|memslots)/.test(name) ? ["--vm"] : [];
    const mode = name.startsWith("streams") ? ["--simulator"] : ofVm;
    const { status, stderr } = run(...importing, "bench/run.mjs", ...mode, "--only", name);

    expect(status).not.toBe(0);
    expect(stderr).toContain("AssertionError");
  });

  it.each([
    "--reps none",
    "--only W99",
    "--unheard-of",
    "--simulator --only W1",
    "--simulator --micro",
    "--vm --only W1",
    "--vm --threads",
  ])("answers the unusable %s with one line and exit code 2", (args) => {
    const { status, stderr } = bench(...args.split(" "));
    expect(status).toBe(2);
    expect(stderr).toMatch(/^[^\n]+\n$/);
  });
});

function bench(...args: string[]) {
  return run("bench/run.mjs", ...args);
}

function run(...args: string[]) {
  return spawnSync(process.execPath, args, { cwd: REPOSITORY, encoding: "utf8" });
}
