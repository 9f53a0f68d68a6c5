/** The report of a script. */
import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { example, pkvm, scratch, write } from "./support.ts";

async function report(script: string): Promise<string> {
  const path = scratch("report.html");
  const { out } = await pkvm("--script", script, "--report", path);
  expect(out).toContain(`The report is in ${path}.`);
  return readFileSync(path, "utf8");
}

it("is one file that needs nothing else and no script, with the picture and every call", async () => {
  const html = await report(example("ownership"));
  expect(html).toMatch(/^<!doctype html>/);
  expect(html).not.toMatch(/<script|<link|src=|@import/);
  expect(html.replaceAll("http://www.w3.org/2000/svg", "")).not.toMatch(/https?:\/\//);
  expect(html).toContain('<svg xmlns="http://www.w3.org/2000/svg" class="ownership"');
  expect(html).toContain("<h3>25. The host takes it back by force");
  expect(html).toContain('<span class="pill good">-EHWPOISON</span>');
  expect(html).toContain("host OWNED → <b>SHARED_OWNED</b>".replace("host", "<i>host</i>"));
  expect(html.match(/class="step/g)?.length).toBeGreaterThan(100);
  expect(html).toContain("gfn 0x40000</td>"); // taken back by force
});

it("has a picture wherever the script shows one", async () => {
  const html = await report(example("first_steps"));
  expect(html.match(/<svg [^>]*role="img"/g)).toHaveLength(2);
  expect(html.match(/<ul class="owners">/g)).toHaveLength(2);
});

it("tells what differs, with nothing of the script taken for markup", async () => {
  const script = write("note <b>&\nshare_hyp 0x80000 -> -EPERM\n", "a&b.pkvm");
  const html = await report(script);
  expect(html).toContain("<h3>&#60;b&#62;&#38;</h3>");
  expect(html).toContain("a&#38;b.pkvm");
  expect(html).toContain('<p class="wrong">expected -EPERM, found 0</p>');
  expect(html).toContain('<div class="tile bad"><b>1</b><span>differs</span>');
});
