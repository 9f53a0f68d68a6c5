import { readFileSync } from "node:fs";
import ts from "typescript";
import type { Core } from "../../src/_abi.ts";

/** The three builds of the core. The single one runs on a plain memory, the others on a shared one. */
export const BUILDS = [
  { name: "release", shared: true },
  { name: "single", shared: false },
  { name: "debug", shared: true },
] as const;

export type Build = (typeof BUILDS)[number];

const repository = new URL("../../", import.meta.url);

export function readBinary(build: Build): Uint8Array<ArrayBuffer> {
  return new Uint8Array(readFileSync(new URL(`build/${build.name}.wasm`, repository)));
}

/** One 64 KiB page at first, like the core's own declaration; grown by whoever needs more. */
export function createMemory(build: Build, pages: number): WebAssembly.Memory {
  const maximum = 65_536;
  return build.shared
    ? new WebAssembly.Memory({ initial: pages, maximum, shared: true })
    : new WebAssembly.Memory({ initial: pages, maximum });
}

export function instantiate(module: WebAssembly.Module, memory: WebAssembly.Memory): Core {
  const instance = new WebAssembly.Instance(module, { env: { memory } });
  return instance.exports as unknown as Core;
}

/** Member names of `interface Core`, read from its source: the list that the binary has to export. */
export function declaredExports(): string[] {
  const path = new URL("src/_abi.ts", repository);
  const source = ts.createSourceFile("_abi.ts", readFileSync(path, "utf8"), ts.ScriptTarget.Latest);
  const core = source.statements.find(
    (node) => ts.isInterfaceDeclaration(node) && node.name.text === "Core",
  );
  if (!core || !ts.isInterfaceDeclaration(core)) throw new Error("_abi.ts declares no Core");
  return core.members.map((member) => (member.name as ts.Identifier).text).sort();
}
