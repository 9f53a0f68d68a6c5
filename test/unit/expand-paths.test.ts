/** Which files the paths on a command line stand for. */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { expandPaths } from "../../src/cli/shared.ts";
import { errorOf } from "../support.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "stage2-paths-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

const expand = (): string[] =>
  expandPaths([join(folder, "in")], [".jsonl"]).map((path) => path.slice(folder.length));

it("follows links to files and directories, and not in circles", () => {
  for (const name of ["in", "in/deep", "out"]) mkdirSync(join(folder, name));
  for (const name of ["in/b.jsonl", "in/deep/c.jsonl", "in/other.txt", "out/d.jsonl"]) {
    writeFileSync(join(folder, name), "");
  }
  symlinkSync(join(folder, "out/d.jsonl"), join(folder, "in/a.jsonl"));
  symlinkSync(join(folder, "out"), join(folder, "in/linked"));
  symlinkSync(join(folder, "in"), join(folder, "in/deep/up"));
  const names = ["a.jsonl", "b.jsonl", "deep/c.jsonl", "linked/d.jsonl"];
  expect(expand()).toEqual(names.map((name) => `/in/${name}`));
});

it("keeps a link to nothing, so that reading it says so; a directory without files is an error", () => {
  mkdirSync(join(folder, "in"));
  expect(errorOf(expand).code).toBe("BAD_INPUT");
  symlinkSync(join(folder, "gone"), join(folder, "in/lost.jsonl"));
  expect(expand()).toEqual(["/in/lost.jsonl"]);
});
