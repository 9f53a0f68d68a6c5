import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { publint } from "publint";
import { formatMessage } from "publint/utils";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Installed, packAndInstall, REPOSITORY } from "./installed.ts";
import { README, readExample } from "./readme.ts";

let installed: Installed;
beforeAll(() => {
  installed = packAndInstall();
});
afterAll(() => installed.remove());

describe("the tarball", () => {
  it("holds the build, its types and the documents, and nothing else", () => {
    const strangers = installed.files.filter((path) => !/^dist\/.+\.(js|wasm|d\.ts)$/.test(path));
    expect(strangers.sort()).toEqual(["CHANGELOG.md", "LICENSE", "README.md", "package.json"]);
  });

  it("brings no other package along", () => {
    const packages = readdirSync(join(installed.folder, "node_modules"));
    expect(packages.filter((name) => !name.startsWith("."))).toEqual(["stage2"]);
  });

  it("names no path of the machine that built it", () => {
    const inside = join(installed.folder, "node_modules/stage2");
    const telling = installed.files.filter((path) =>
      readFileSync(join(inside, path)).includes(REPOSITORY),
    );
    expect(telling).toEqual([]);
  });

  it("is packaged by the rules that bundlers and Node go by", async () => {
    const tarball = new Uint8Array(readFileSync(installed.tarball)).buffer;
    const { messages, pkg } = await publint({ pack: { tarball }, strict: true });
    expect(messages.map((message) => formatMessage(message, pkg))).toEqual([]);
  });
});

describe("installed in an empty folder", () => {
  it("runs the README's example in Node", () => {
    const { code, output } = readExample(README);
    writeFileSync(join(installed.folder, "example.mjs"), code);

    expect(run(process.execPath, "example.mjs")).toEqual({ status: 0, stdout: output, stderr: "" });
  });

  it.each(["nodenext", "bundler"])("type-checks the README's example (%s resolution)", (kind) => {
    writeFileSync(join(installed.folder, "example.mts"), readExample(README).code);
    const module = kind === "bundler" ? "esnext" : kind;
    const tsc = join(REPOSITORY, "node_modules/typescript/bin/tsc");

    // prettier-ignore
    const result = run(process.execPath, tsc, "--noEmit", "--strict", "--target", "es2022",
      "--lib", "es2023,esnext.disposable,dom", "--module", module, "--moduleResolution", kind, "example.mts");

    expect(result).toEqual({ status: 0, stdout: "", stderr: "" });
  });

  it.each(["core.wasm", "core.single.wasm"])("exports the binary %s", (name) => {
    const code = `import { readFileSync } from "node:fs";
      const bytes = readFileSync(new URL(import.meta.resolve("stage2/${name}")));
      console.log(WebAssembly.Module.imports(new WebAssembly.Module(bytes)).length);`;
    writeFileSync(join(installed.folder, "binary.mjs"), code);

    expect(run(process.execPath, "binary.mjs")).toEqual({ status: 0, stdout: "1\n", stderr: "" });
  });

  it("has the command, which answers a missing file with one line and exit code 2", () => {
    const { status, stdout, stderr } = run("node_modules/.bin/stage2", "dump", "missing.json");

    expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
    expect(stderr).toMatch(/^[^\n]*missing\.json[^\n]*\n$/);
  });
});

function run(command: string, ...args: string[]) {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd: installed.folder,
    encoding: "utf8",
  });
  if (error) throw error;
  return { status, stdout, stderr };
}
