import { readFileSync } from "node:fs";
import binaryen from "binaryen";
import { describe, expect, it } from "vitest";
import { ACCESS, type Access, stepImports } from "../../src/instrument/step.ts";
import { agentBuild } from "../../src/instrument/agents.ts";
import { instrument } from "../../src/instrument/instrument.ts";
import { parseTree, printTree } from "../../src/instrument/tree.ts";

type Run = (...values: unknown[]) => unknown;

/** Assembles functions over a shared memory. */
function assemble(functions: string): Uint8Array {
  const module = binaryen.parseText(
    `(module (import "env" "memory" (memory 1 1 shared)) ${functions})`,
  );
  module.setFeatures(binaryen.Features.All);
  return module.emitBinary();
}

/** Instruments and instantiates; `seen` collects the accesses and the bytes that are there just before each. */
function load(functions: string) {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  const bytes = new Uint8Array(memory.buffer);
  const seen: (Access & { readonly before: number })[] = [];
  const imports = stepImports((access) =>
    seen.push({ ...access, before: bytes[access.address] as number }),
  );
  const module = new WebAssembly.Module(instrument(assemble(functions)));
  const { exports } = new WebAssembly.Instance(module, { env: { memory, ...imports } });
  return { bytes, seen, run: exports["run"] as Run };
}

const RELEASE = readFileSync(new URL("../../build/release.wasm", import.meta.url));
const ACCESSES = /\((\w+\.(atomic\.)?(load|store|rmw)|memory\.(atomic|fill|copy)|atomic\.fence)/g;
const STEPS = /\(call \$(fimport\$0|stage2\.step)\b/g;

function textOf(binary: Uint8Array): string {
  const module = binaryen.readBinary(binary);
  module.setFeatures(binaryen.Features.All);
  return module.emitText();
}

function count(text: string, what: RegExp): number {
  return text.match(what)?.length ?? 0;
}

const L = ACCESS.LOAD;
const S = ACCESS.STORE;
const ADDRESS = "(i32.const 64)";
const VECTOR = "(v128.const i64x2 1 2)";

const SITES: [string, Partial<Access>[]][] = [
  ["(drop (i32.load8_u offset=3 ADDRESS))", [{ address: 67, bytes: 1, kind: L, atomic: false }]],
  ["(drop (i64.load32_s ADDRESS))", [{ address: 64, bytes: 4, kind: L }]],
  ["(drop (f64.load ADDRESS))", [{ bytes: 8, kind: L }]],
  ["(drop (v128.load offset=16 ADDRESS))", [{ address: 80, bytes: 16, kind: L }]],
  ["(drop (v128.load64_splat ADDRESS))", [{ bytes: 8, kind: L }]],
  ["(drop (v128.load8x8_u ADDRESS))", [{ bytes: 8, kind: L }]],
  ["(drop (v128.load32_lane 1 ADDRESS VECTOR))", [{ bytes: 4, kind: L }]],
  ["(i64.store16 offset=8 ADDRESS (i64.const 5))", [{ address: 72, bytes: 2, kind: S }]],
  ["(v128.store ADDRESS VECTOR)", [{ bytes: 16, kind: S }]],
  ["(v128.store64_lane 1 ADDRESS VECTOR)", [{ bytes: 8, kind: S }]],
  ["(drop (i64.atomic.load ADDRESS))", [{ bytes: 8, kind: L, atomic: true }]],
  ["(i32.atomic.store ADDRESS (i32.const 1))", [{ bytes: 4, kind: S, atomic: true }]],
  [
    "(drop (i32.atomic.rmw.add ADDRESS (i32.const 1)))",
    [{ bytes: 4, kind: ACCESS.READ_MODIFY_WRITE, atomic: true }],
  ],
  [
    "(drop (i64.atomic.rmw8.cmpxchg_u ADDRESS (i64.const 0) (i64.const 1)))",
    [{ bytes: 1, kind: ACCESS.COMPARE_EXCHANGE, atomic: true }],
  ],
  [
    "(drop (memory.atomic.notify ADDRESS (i32.const 1)))",
    [{ bytes: 4, kind: ACCESS.NOTIFY, atomic: true }],
  ],
  ["(atomic.fence)", [{ kind: ACCESS.FENCE, atomic: true }]],
  [
    "(memory.fill ADDRESS (i32.const 7) (i32.const 24))",
    [{ address: 64, bytes: 24, kind: ACCESS.FILL }],
  ],
  [
    "(memory.copy (i32.const 128) ADDRESS (i32.const 12))",
    [
      { address: 64, bytes: 12, kind: ACCESS.COPY_FROM },
      { address: 128, bytes: 12, kind: ACCESS.COPY_TO },
    ],
  ],
];

describe("the instrumented build", () => {
  it.each(SITES)("announces %s", (code, expected) => {
    const body = code.replaceAll("ADDRESS", ADDRESS).replaceAll("VECTOR", VECTOR);
    const { run, seen } = load(`(func (export "run") ${body})`);
    run();
    expect(seen).toMatchObject(expected);
    expect(seen).toHaveLength(expected.length);
  });

  it("announces an access after its operands were evaluated and before it happens", () => {
    const { run, seen, bytes } = load(`
      (func (export "run") (result i32)
        (i32.atomic.rmw.xchg (i32.const 0)
          (i32.atomic.rmw.add (i32.const 4) (i32.load8_u (i32.const 8)))))`);
    [bytes[0], bytes[4], bytes[8]] = [1, 2, 3];
    expect(run()).toBe(1);
    expect(seen.map(({ address, before }) => [address, before])).toEqual([
      [8, 3],
      [4, 2],
      [0, 1],
    ]);
    expect([bytes[0], bytes[4]]).toEqual([2, 5]);
  });

  it("leaves no access of the release core out", () => {
    const instrumented = textOf(instrument(RELEASE));
    const copies = count(instrumented, /\(memory\.copy/g);
    const steps = count(instrumented, STEPS);
    expect(count(instrumented, ACCESSES)).toBe(count(textOf(RELEASE), ACCESSES));
    expect(steps).toBe(count(instrumented, ACCESSES) + copies);
    expect(steps).toBeGreaterThan(300);
  });
});

describe("the agent build", () => {
  const binary = agentBuild(RELEASE);
  const text = textOf(binary);

  it("announces every access of the release core, and makes calls of waiting and waking", () => {
    const release = textOf(RELEASE);
    const waits = count(release, /\(memory\.atomic\.(wait|notify)/g);
    const copies = count(release, /\(memory\.copy/g);
    const calls = count(text, /\(call \$(fimport\$\d+|stage2\.(wait32|wait64|notify))\b/g);
    expect(text).not.toMatch(/memory\.atomic\.(wait|notify)/);
    expect(calls).toBe(count(release, ACCESSES) + copies);
    expect(waits).toBeGreaterThan(0);
  });

  it("exports every mutable global of the core", () => {
    const mutable = count(textOf(RELEASE), /\(global \S+ \(mut /g);
    expect(count(text, /\(export "global:\d+"/g)).toBe(mutable);
    expect(mutable).toBeGreaterThan(10);
  });

  it("imports nothing but its memory and what a host of agents gives", () => {
    const imports = WebAssembly.Module.imports(new WebAssembly.Module(binary));
    expect(imports.map(({ module, name }) => `${module}.${name}`).sort()).toEqual([
      "env.memory",
      "env.notify",
      "env.step",
      "env.wait32",
      "env.wait64",
    ]);
  });
});

describe("WebAssembly text as a tree", () => {
  it("survives comments, strings and nesting", () => {
    const tree = parseTree('(module ;; a comment\n (export "a(b" (func 0)) (; another ;) )');
    expect(printTree(tree)).toBe('(module (export "a(b" (func 0)))');
  });

  it.each(["(module", "(module))", "(a) (b)"])("refuses %s", (text) => {
    expect(() => parseTree(text)).toThrow();
  });
});
