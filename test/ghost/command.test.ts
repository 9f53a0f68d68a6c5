import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const root = fileURLToPath(new URL("../..", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "ghost-"));
const MINUTES = 180_000;

beforeAll(() => {
  execFileSync("npx", ["vite", "build", "--mode", "ghost"], { cwd: root, stdio: "pipe" });
}, MINUTES);

afterAll(() => rmSync(folder, { recursive: true }));

function ghost(...argv: string[]) {
  const { status, stdout, stderr } = spawnSync("node", ["build/ghost.js", ...argv], {
    cwd: root,
    encoding: "utf8",
  });
  return { status, stdout, stderr };
}

const file = (name: string, text: string): string => {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
};

describe("npm run ghost", { timeout: MINUTES }, () => {
  it("writes what it counted, and exits with 0", () => {
    const json = join(folder, "counts.json");
    const { status, stdout } = ghost("--calls", "6000", "--seed", "9", "--json", json);
    expect(stdout).toContain("no difference");
    expect(status).toBe(0);
    const document = JSON.parse(readFileSync(json, "utf8")) as Record<string, unknown>;
    expect(Object.keys(document)).toEqual(["calls", "accepted", "refused", "differences"]);
    expect(document).toMatchObject({ calls: 6000, differences: 0 });
    const refused = Object.values(document["refused"] as Record<string, number>);
    const sum = refused.reduce((total, times) => total + times, 0);
    expect(sum + (document["accepted"] as number)).toBe(6000);
    expect(document["refused"]).toHaveProperty("EPERM");
  });

  it.each(["reference", "state", "row", "errno"])("exits with 1 for a planted %s", (plant) => {
    const json = join(folder, `${plant}.json`);
    const options = ["--calls", "4000", "--generation", "default", "--json", json];
    const { status, stdout } = ghost(...options, "--plant", plant);
    expect(status).toBe(1);
    expect(stdout).toMatch(/^generation default\n[01] [A-Z_]+/m);
    const { differences } = JSON.parse(readFileSync(json, "utf8")) as { differences: number };
    expect(differences).toBeGreaterThan(0);
  });

  it("makes a printed script again, where it is a difference and where it is none", () => {
    const { stdout } = ghost("--calls", "9000", "--generation", "default", "--plant", "row");
    const script = file("script.txt", `${/^generation[^]*?\n# .*$/m.exec(stdout)?.[0]}`);
    const wrong = ghost("--replay", script, "--plant", "row");
    expect(wrong.status).toBe(1);
    expect(wrong.stdout).toContain("expected");
    const right = ghost("--replay", script);
    expect(right.stdout).toContain("no difference");
    expect(right.status).toBe(0);
  });

  it.each([
    [["--calls", "0"], "--calls takes an integer"],
    [["--calls", "many"], "--calls takes an integer"],
    [["--seed", "-1"], "--seed"],
    [["--seed", "4294967296"], "--seed takes an integer"],
    [["--generation", "oldest"], "there is no generation oldest"],
    [["--plant", "tree"], "there is no plant tree"],
    [["--json", "/nowhere/at/all.json"], "--json"],
    [["--replay", "/nowhere/at/all"], "ENOENT"],
    [["--unknown"], "--unknown"],
    [["stray"], "stray"],
  ])("exits with 2 for %j", (argv, message) => {
    const { status, stderr } = ghost(...argv);
    expect(status).toBe(2);
    expect(stderr).toContain(message);
  });

  it.each([
    ["", "no generation"],
    ["generation none", "no generation"],
    ["generation default\nSHARE_HYP 1", "no call"],
    ["generation default\n0 SHARE_NOBODY 1", "there is no SHARE_NOBODY"],
    ["generation default\n7 SHARE_HYP 1", "there is no CPU 7"],
    ["generation default\n0 SHARE_HYP 0x1ffffffffffffffff", "no word"],
    ["generation default\n0 SHARE_HYP 18446744073709551616", "no word"],
    ["generation default\n0 SHARE_HYP x", "no word"],
  ])("exits with 2 for the script %j", (text, message) => {
    const { status, stderr } = ghost("--replay", file("bad.txt", text));
    expect(status).toBe(2);
    expect(stderr).toContain(message);
  });

  it("says what it takes", () => {
    const { status, stdout } = ghost("--help");
    expect(status).toBe(0);
    expect(stdout).toContain("npm run ghost");
  });
});
