import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const root = fileURLToPath(new URL("../..", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "litmus-"));
const MINUTES = 300_000;

beforeAll(() => {
  execFileSync("npx", ["vite", "build", "--mode", "litmus"], { cwd: root, stdio: "pipe" });
}, MINUTES);

afterAll(() => rmSync(folder, { recursive: true }));

function litmus(...argv: string[]) {
  const { status, stdout, stderr } = spawnSync("node", ["build/litmus.js", ...argv], {
    cwd: root,
    encoding: "utf8",
  });
  return { status, stdout, stderr };
}

/** A schedule of L2 that one mutant fails, found once. */
function failingSchedule(): string {
  const { stdout } = litmus("--only", "L2", "--on", "plain-store-single");
  return /--replay "(L2:[^"]+)"/.exec(stdout)?.[1] as string;
}

describe("npm run litmus", { timeout: MINUTES }, () => {
  it("writes what it found, one row a test in their order, and exits with 0", () => {
    const json = join(folder, "rows.json");
    const { status, stdout } = litmus("--only", "L2,L26", "--seconds", "1", "--json", json);
    expect(status).toBe(0);
    expect(stdout).toMatch(/^ok +L2 .*\nok +L2\/walked .*\nok +L26 /);
    const rows = JSON.parse(readFileSync(json, "utf8")) as Record<string, unknown>[];
    expect(rows).toMatchObject([
      { name: "L2", exhaustive: true, forbidden: 0 },
      { name: "L2/walked", exhaustive: true, forbidden: 0 },
      { name: "L26", exhaustive: true, forbidden: 0 },
    ]);
    expect(Object.keys(rows[0] as object)).toEqual([
      "name",
      "schedules",
      "exhaustive",
      "forbidden",
      "mutants",
    ]);
    expect(rows[0]?.["mutants"]).toContainEqual({ name: "plain-store-single", caught: true });
  });

  it("exits with 1 for a core with a planted violation, and shows the schedule", () => {
    const { status, stdout } = litmus("--only", "L2", "--on", "plain-store-single");
    expect(status).toBe(1);
    expect(stdout).toMatch(/^FAIL L2 /);
    expect(stdout).toContain("store PTE");
  });

  it("runs a printed schedule again, where it is a violation and where it is none", () => {
    const schedule = failingSchedule();
    const wrong = litmus("--replay", schedule, "--on", "plain-store-single");
    expect(wrong.status).toBe(1);
    expect(wrong.stdout).toContain("store PTE");
    const right = litmus("--replay", schedule);
    expect(right.status).toBe(0);
    expect(right.stdout).toContain("nothing forbidden");
  });

  it.each([
    [["--only", "L999"], "there is no litmus test L999"],
    [["--seed", "x"], "--seed takes an integer"],
    [["--seconds", "0"], "--seconds takes an integer"],
    [["--on", "nothing"], "there is no mutant nothing"],
    [["--replay", "L2"], "--replay takes <test>:<schedule>"],
    [["--replay", "L2:Z:1"], "is no turn"],
    [["--unknown"], "--unknown"],
    [["stray"], "stray"],
  ])("exits with 2 for %j", (argv, message) => {
    const { status, stderr, stdout } = litmus(...argv);
    expect(status).toBe(2);
    expect(stderr).toContain(message);
    expect(stdout).toBe("");
  });
});
