import { cpSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { join } from "node:path";
import type { Browser } from "playwright-core";
import { build } from "vite";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Installed, packAndInstall } from "../package/installed.ts";
import { README, readExample } from "../package/readme.ts";
import { launchChromium } from "./chromium.ts";
import { serve } from "./site.ts";

const APP = fileURLToPath(new URL("app", import.meta.url));
const { code, output } = readExample(README);

let installed: Installed;
let browser: Browser;
beforeAll(async () => {
  installed = packAndInstall();
  cpSync(APP, installed.folder, { recursive: true });
  writeFileSync(join(installed.folder, "example.js"), code);
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

describe("bundled by Vite, in Chromium", () => {
  it("runs the README's example with threads where the page is cross-origin isolated", async () => {
    expect(await visit({ isolated: true })).toEqual({
      output,
      isolated: true,
      mode: "threads",
      seenByWorker: true,
    });
  });

  it("runs the README's example on one thread where it is not", async () => {
    expect(await visit({ isolated: false })).toEqual({ output, isolated: false, mode: "single" });
  });

  it("refuses threads by name where they were asked for and cannot be had", async () => {
    const report = await visit({ isolated: false, query: "?mode=threads" });
    expect(report).toEqual({ output, isolated: false, code: "NO_SHARED_MEMORY" });
  });
});

/** What the app reports; whatever the page throws or cannot load fails the test. */
async function visit({ isolated, query = "" }: { isolated: boolean; query?: string }) {
  const site = await serve(join(installed.folder, "dist"), { isolated });
  const page = await browser.newPage();
  const problems: string[] = [];
  page.on("pageerror", (error) => problems.push(error.message));
  page.on("requestfailed", (request) => problems.push(`failed: ${request.url()}`));
  try {
    await page.goto(site.url + query);
    await page.waitForFunction("window.report !== undefined");
    expect(problems).toEqual([]);
    return await page.evaluate("window.report");
  } finally {
    await page.close();
    await site.close();
  }
}
