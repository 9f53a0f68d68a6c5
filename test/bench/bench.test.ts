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

  it("fails when an operation is fast by doing nothing", () => {
    const idle = join(folder, "idle.mjs");
    const library = pathToFileURL(join(REPOSITORY, "dist/index.js")).href;
    writeFileSync(
      idle,
      `import { Engine } from ${JSON.stringify(library)};
       const engine = await Engine.create({ maxTablePages: 64 });
       Object.getPrototypeOf(engine.stage2().raw).wrprotect = () => 0;
       engine.dispose();`,
    );

    const { status, stderr } = run(
      "--import",
      pathToFileURL(idle).href,
      "bench/run.mjs",
      "--only",
      "W4",
    );

    expect(status).not.toBe(0);
    expect(stderr).toContain("AssertionError");
  });

  it.each(["--reps none", "--only W99", "--unheard-of"])(
    "answers the unusable %s with one line and exit code 2",
    (args) => {
      const { status, stderr } = bench(...args.split(" "));
      expect(status).toBe(2);
      expect(stderr).toMatch(/^[^\n]+\n$/);
    },
  );
});

function bench(...args: string[]) {
  return run("bench/run.mjs", ...args);
}

function run(...args: string[]) {
  return spawnSync(process.execPath, args, { cwd: REPOSITORY, encoding: "utf8" });
}
