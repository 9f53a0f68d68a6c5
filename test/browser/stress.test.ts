/** The stress of test/stress in workers of a page: the same program, the package as its users get it. */
import { cpSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Browser } from "playwright-core";
import { build } from "vite";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Installed, packAndInstall } from "../package/installed.ts";
import { launchChromium } from "./chromium.ts";
import { serve } from "./site.ts";

const PAGE = fileURLToPath(new URL("stress", import.meta.url));
const PROGRAM = fileURLToPath(new URL("../stress", import.meta.url));

interface Report {
  operations: Record<string, number>;
  violations: Record<string, number>;
  said: string[];
}

let installed: Installed;
let browser: Browser;
beforeAll(async () => {
  installed = packAndInstall();
  cpSync(PAGE, installed.folder, { recursive: true });
  cpSync(PROGRAM, join(installed.folder, "program"), {
    recursive: true,
    filter: (path) => !path.endsWith(".test.ts"),
  });
  await build({
    root: installed.folder,
    configFile: false,
    logLevel: "warn",
    build: { target: "es2022" },
    worker: { format: "es" },
  });
  browser = await launchChromium();
});
afterAll(async () => {
  await browser?.close();
  installed?.remove();
});

describe("stress in Chromium, in a cross-origin isolated page", () => {
  it("finds nothing in the engine", async () => {
    const { operations, violations, said } = await stress({ threads: 3, seconds: 3, seed: 1 });
    expect(said).toEqual([]);
    expect(violations).toEqual({});
    for (const [kind, times] of Object.entries(operations)) expect(times, kind).toBeGreaterThan(0);
  });

  it.each([
    ["late-store", "store after unmap"],
    ["unprotected-ring", "dirty lost: ring"],
  ])("finds a planted fault: %s", async (plant, found) => {
    const { violations } = await stress({ threads: 2, seconds: 1, seed: 1, plant });
    expect(violations).toEqual({ [found]: expect.any(Number) as number });
  });
});

/** What the page reports; whatever it throws or cannot load fails the test. */
async function stress(query: Record<string, string | number>): Promise<Report> {
  const site = await serve(join(installed.folder, "dist"), { isolated: true });
  const page = await browser.newPage();
  const problems: string[] = [];
  page.on("pageerror", (error) => problems.push(error.message));
  page.on("requestfailed", (request) => problems.push(`failed: ${request.url()}`));
  try {
    const text = Object.entries(query).map(([name, value]) => `${name}=${value}`);
    await page.goto(`${site.url}?${text.join("&")}`);
    await page.waitForFunction("window.report !== undefined", undefined, { timeout: 90_000 });
    expect(problems).toEqual([]);
    return await page.evaluate("window.report");
  } finally {
    await page.close();
    await site.close();
  }
}
