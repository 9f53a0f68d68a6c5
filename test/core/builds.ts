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

/** Member names of `interface Core` and what it extends, read from the sources: the list that the binary has to export. */
export function declaredExports(): string[] {
  return [
    ...membersOf("src/_abi.ts", "Core"),
    ...membersOf("src/vm/_abi.ts", "VmCore"),
    ...membersOf("src/pkvm/_abi.ts", "PkvmCore"),
  ].sort();
}

function membersOf(file: string, name: string): string[] {
  const text = readFileSync(new URL(file, repository), "utf8");
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest);
  const core = source.statements.find(
    (node) => ts.isInterfaceDeclaration(node) && node.name.text === name,
  );
  if (!core || !ts.isInterfaceDeclaration(core)) throw new Error(`${file} declares no ${name}`);
  return core.members.map((member) => (member.name as ts.Identifier).text);
}
