/** The stress itself for a moment; and that it finds what is put in, each kind of violation once. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it } from "vitest";
// @ts-expect-error the program is JavaScript
import * as plants from "./plants.mjs";
// @ts-expect-error the program is JavaScript
import * as pkvmPlants from "./pkvm/plants.mjs";
// @ts-expect-error the program is JavaScript
import * as pkvmViolations from "./pkvm/violations.mjs";
// @ts-expect-error the program is JavaScript
import * as violations from "./violations.mjs";
// @ts-expect-error the program is JavaScript
import * as vmPlants from "./vm/plants.mjs";
// @ts-expect-error the program is JavaScript
import * as vmViolations from "./vm/violations.mjs";

const PLANTS = plants.PLANTS as Record<string, { found: string }>;
const VM_PLANTS = vmPlants.VM_PLANTS as Record<string, { found: string }>;
const PKVM_PLANTS = pkvmPlants.PKVM_PLANTS as Record<string, { found: string }>;
const VIOLATIONS = violations.VIOLATIONS as readonly string[];
const NEW_VIOLATIONS = vmViolations.NEW_VIOLATIONS as readonly string[];
const PKVM_VIOLATIONS = pkvmViolations.PKVM_VIOLATIONS as readonly string[];
const MAIN = fileURLToPath(new URL("main.mjs", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "stage2-stress-"));
afterAll(() => rmSync(folder, { recursive: true }));

interface Report {
  operations: Record<string, number>;
  violations: Record<string, number>;
}

/** Runs the command: exit code, what it wrote, what it said. */
function stress(...args: string[]) {
  const file = join(folder, "report.json");
  rmSync(file, { force: true });
  const run = spawnSync(process.execPath, [MAIN, "--json", file, ...args], { encoding: "utf8" });
  const report = (): Report => JSON.parse(readFileSync(file, "utf8")) as Report;
  return { code: run.status, report, output: run.stdout + run.stderr };
}

describe("stress", () => {
  it("finds nothing in the engine, with more threads than cores", () => {
    const { code, report, output } = stress("--threads", "4", "--seconds", "3");
    expect(output).toContain("no violation");
    expect(report().violations).toEqual({});
    for (const [kind, times] of Object.entries(report().operations)) {
      expect(times, kind).toBeGreaterThan(0);
    }
    expect(code).toBe(0);
  });

  it("does the same operations again for the same seed", () => {
    const [first, again, other] = ["7", "7", "8"].map((seed) => {
      const { code, report } = stress("--threads", "3", "--rounds", "3", "--seed", seed);
      expect(code).toBe(0);
      return report().operations;
    });
    expect(again).toEqual(first);
    expect(other).not.toEqual(first);
  });

  it.each(Object.entries({ ...PLANTS, ...VM_PLANTS, ...PKVM_PLANTS }))(
    "finds a planted fault: %s",
    (name, { found }) => {
      const { code, report } = stress("--threads", "2", "--rounds", "3", "--plant", name);
      expect(Object.keys(report().violations)).toContain(found);
      expect(code).toBe(1);
    },
  );

  it("has a planted fault for every kind of violation", () => {
    const found = (all: Record<string, { found: string }>) =>
      new Set(Object.values(all).map((plant) => plant.found));
    expect(VIOLATIONS.filter((name) => !found(PLANTS).has(name))).toEqual([]);
    expect(NEW_VIOLATIONS.filter((name) => !found(VM_PLANTS).has(name))).toEqual([]);
    expect(PKVM_VIOLATIONS.filter((name) => !found(PKVM_PLANTS).has(name))).toEqual([]);
  });

  it("loses a store only where one is lost: the other ways of logging stay clean", () => {
    const { report } = stress("--threads", "2", "--rounds", "3", "--plant", "suppressed-bit");
    expect(Object.keys(report().violations)).toEqual(["dirty lost: bitmap"]);
  });

  it.each([
    ["--threads", "0"],
    ["--threads", "33"],
    ["--seconds", "1.5"],
    ["--seed", "0x1_0"],
    ["--plant", "nothing"],
    ["--part", "all"],
    ["--nonsense"],
    ["stray"],
  ])("refuses %s %s", (...args) => {
    const { code, output } = stress(...args);
    expect(code).toBe(2);
    expect(output).toMatch(/takes|Unknown option|Unexpected argument/);
  });
});
