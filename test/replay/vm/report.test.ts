/** The report of a replay at the level of VMs. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { replay, scratch, traceLines, tracePath, writeTrace } from "../support.ts";
import { find } from "./support.ts";

it("is one file that needs nothing else, and tells every number of the table", async () => {
  const path = join(scratch(), "vm.html");
  const { code, out } = await replay("--level", "vm", "--report", path, tracePath("max4k.huge"));
  const html = readFileSync(path, "utf8");
  expect(code).toBe(0);
  expect(out).toContain(`The report is in ${path}.`);
  expect(html).toMatch(/^<!doctype html>/);
  expect(html).not.toMatch(/<script|https?:\/\/|<link/);
  expect(html).toContain("max4k.huge");
  expect(html).toContain('<td class="">154</td>');
  expect(html).toContain('<span class="pill good">0</span>');
});

it("tells what differs, with nothing of the trace taken for markup", async () => {
  const lines = traceLines("max4k.huge");
  find(lines, "s2_relax_perms")["ret"] = -11;
  const path = join(scratch(), "vm.html");
  const trace = writeTrace("a&b", lines);
  const { code } = await replay("--level", "vm", "--report", path, trace);
  const html = readFileSync(path, "utf8");
  expect(code).toBe(1);
  expect(html).toContain("a&#38;b");
  expect(html).toMatch(/predicted &#34;s2_relax_perms .*: 0&#34;, recorded &#34;.*: -11&#34;/);
  expect(html).toContain('<span class="pill bad">1</span>');
});
