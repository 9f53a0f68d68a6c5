/** The file of `--report`: nothing that is there is lost before a whole report takes its place. */
import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, relative } from "node:path";
import { describe, expect, it } from "vitest";
import { pkvm, scratch, write } from "./support.ts";

const SCRIPT = "vcpu_put -> -EINVAL\n";
const OLD = "an older report\n";

function old(): string {
  const path = scratch("report.html");
  writeFileSync(path, OLD);
  return path;
}

/** The script as it is, and the report's folder without anything that the command left there. */
function expectUntouched(script: string, names: readonly string[]): void {
  expect(readFileSync(script, "utf8")).toBe(SCRIPT);
  expect(readdirSync(dirname(script)).sort()).toEqual([...names].sort());
}

describe("--report", () => {
  it("takes the place of an older report, whose rights it has", async () => {
    const path = old();
    chmodSync(path, 0o640);
    const { code } = await pkvm("--script", write(SCRIPT), "--report", path);
    expect(code).toBe(0);
    expect(readFileSync(path, "utf8")).toMatch(/^<!doctype html>[^]*<\/html>\n$/);
    expect(statSync(path).mode & 0o777).toBe(0o640);
    expect(readdirSync(dirname(path)).sort()).toEqual(["report.html", "test.pkvm"]);
  });

  it("is written when expectations differ: it shows which", async () => {
    const path = scratch("report.html");
    const { code } = await pkvm("--script", write("vcpu_put -> 0\n"), "--report", path);
    expect(code).toBe(1);
    expect(readFileSync(path, "utf8")).toContain("expected 0, found -EINVAL");
  });

  it("leaves a link a link", async () => {
    const link = scratch("latest.html");
    symlinkSync(old(), link);
    expect((await pkvm("--script", write(SCRIPT), "--report", link)).code).toBe(0);
    expect(lstatSync(link).isSymbolicLink()).toBe(true);
    expect(readFileSync(scratch("report.html"), "utf8")).toMatch(/^<!doctype html>/);
  });

  it("can be no file at all", async () => {
    expect((await pkvm("--script", write(SCRIPT), "--report", "/dev/null")).code).toBe(0);
    expect(statSync("/dev/null").isCharacterDevice()).toBe(true);
  });

  it.each([
    ["cannot be read", "vcpu_put\nshare_hyp one\n"],
    ["has no such machine", "memory 0x8000_0000 1000\nvcpu_put\n"],
    ["fails half way", "memory 0x8000_0000 8K\nvcpu_put\n$vm = guest\n"],
  ])("leaves the older report if the script %s", async (_, text) => {
    const path = old();
    const { code, err } = await pkvm("--script", write(text), "--report", path);
    expect({ code, lines: err.split("\n").length }).toEqual({ code: 2, lines: 1 });
    expect(readFileSync(path, "utf8")).toBe(OLD);
  });

  it("leaves nothing where none was if the script fails", async () => {
    const path = scratch("new.html");
    const script = write("memory 0x8000_0000 8K\n$vm = guest\n");
    expect((await pkvm("--script", script, "--report", path)).code).toBe(2);
    expect(existsSync(path)).toBe(false);
  });
});

describe("--report is refused", () => {
  it.each([
    ["itself", (script: string) => script],
    ["by another path", (script: string) => relative(process.cwd(), script)],
    ["by a link", (script: string) => linked(script, symlinkSync)],
    ["by another name of the file", (script: string) => linked(script, linkSync)],
  ])("in the place of the script: %s", async (_, pathOf) => {
    const script = write(SCRIPT);
    const path = pathOf(script);
    const { code, out, err } = await pkvm("--script", script, "--report", path);
    expect(err).toContain(`the report would take the place of ${script}`);
    expect({ code, out }).toEqual({ code: 2, out: "" });
    expectUntouched(script, existsSync(scratch("link")) ? ["test.pkvm", "link"] : ["test.pkvm"]);
  });

  it.each([
    ["in a file", (script: string) => `${script}/r`],
    ["in a folder that is not there", (script: string) => `${dirname(script)}/none/r.html`],
    ["as a folder", (script: string) => made(`${dirname(script)}/folder`)],
    ["as a folder that is not there", (script: string) => `${dirname(script)}/none/`],
    ["without a name", () => ""],
  ])("%s, before the work", async (_, pathOf) => {
    const script = write(SCRIPT);
    const path = pathOf(script);
    const { code, out, err } = await pkvm("--script", script, "--report", path);
    expect(err).toBe(`stage2: ${path}: cannot be written`);
    expect({ code, out }).toEqual({ code: 2, out: "" });
    expectUntouched(script, path.endsWith("folder") ? ["test.pkvm", "folder"] : ["test.pkvm"]);
  });
});

function linked(script: string, link: (to: string, path: string) => void): string {
  const path = scratch("link");
  link(script, path);
  return path;
}

function made(path: string): string {
  mkdirSync(path);
  return path;
}
