import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { CACHE_UNLIMITED, type Core } from "../../src/_abi.ts";
import {
  BUILDS,
  type Build,
  createMemory,
  declaredExports,
  instantiate,
  readBinary,
} from "./builds.ts";
import { effectsOfInstantiation, SECTION, sections } from "./sections.ts";

const KIB = 1024;
const WASM_PAGE = 64 * KIB;
const SIZE_LIMIT = 112 * KIB;

describe.each(BUILDS)("the $name binary", (build) => {
  const bytes = readBinary(build);
  const module = new WebAssembly.Module(bytes);

  it("has no data segment and no start function", () => {
    const ids = sections(bytes).map((section) => section.id);
    expect(ids).not.toContain(SECTION.DATA);
    expect(ids).not.toContain(SECTION.START);
  });

  it("imports the memory and nothing else", () => {
    expect(WebAssembly.Module.imports(module)).toEqual([
      { module: "env", name: "memory", kind: "memory" },
    ]);
    expect(sections(bytes).map((section) => section.id)).not.toContain(SECTION.MEMORY);
  });

  it("exports the functions that _abi.ts declares, and only functions", () => {
    const exported = WebAssembly.Module.exports(module);
    expect(exported.map(({ name }) => name).sort()).toEqual(declaredExports());
    expect(new Set(exported.map(({ kind }) => kind))).toEqual(new Set(["function"]));
  });

  it("changes no byte of a live memory when it is instantiated once more", () => {
    const { memory, base, core, pgt } = populate(build, module);
    const before = digest(memory);

    const second = instantiate(module, memory);

    expect(digest(memory)).toBe(before);
    expect(second.engine_attach(base)).toBeGreaterThan(0);
    expect(second.s2_lookup(pgt, 0x4000_1234)).toBe(0x8_0000_1234);
    expect(core.s2_lookup(pgt, 0x4000_1234)).toBe(0x8_0000_1234);
  });
});

// The debug build keeps the empty table that the compiler always starts with.
describe.each(BUILDS.filter(({ name }) => name !== "debug"))("the $name binary", (build) => {
  it("has no data segment, start function, table or element section", () => {
    expect(effectsOfInstantiation(readBinary(build))).toEqual([]);
  });

  it(`is at most ${SIZE_LIMIT / KIB} KiB`, () => {
    expect(readBinary(build).length).toBeLessThanOrEqual(SIZE_LIMIT);
  });
});

describe("the section scan", () => {
  // (module (memory 1) (data (i32.const 0) "x"))
  const withData = moduleOf([5, 3, 1, 0, 1], [11, 7, 1, 0, 0x41, 0, 0x0b, 1, 0x78]);

  it("sees a data segment, and the module with it does write to memory", () => {
    expect(WebAssembly.validate(withData)).toBe(true);
    expect(effectsOfInstantiation(withData)).toEqual([SECTION.DATA]);
  });

  it("sees a table, a start function and an element section", () => {
    // (module (func) (table 1 funcref) (start 0) (elem (i32.const 0) 0))
    const busy = moduleOf(
      [1, 4, 1, 0x60, 0, 0],
      [3, 2, 1, 0],
      [4, 4, 1, 0x70, 0, 1],
      [8, 1, 0],
      [9, 7, 1, 0, 0x41, 0, 0x0b, 1, 0],
      [10, 4, 1, 2, 0, 0x0b],
    );
    expect(WebAssembly.validate(busy)).toBe(true);
    expect(effectsOfInstantiation(busy)).toEqual([SECTION.TABLE, SECTION.START, SECTION.ELEMENT]);
  });

  it("refuses what is not a complete module", () => {
    expect(() => sections(Uint8Array.of(0, 1, 2, 3))).toThrow("not a wasm 1 module");
    expect(() => sections(withData.subarray(0, withData.length - 1))).toThrow("leaves the file");
    expect(() => sections(moduleOf([5, 0x80]))).toThrow("ends inside a number");
  });
});

function moduleOf(...parts: number[][]): Uint8Array<ArrayBuffer> {
  return Uint8Array.from([0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00, ...parts.flat()]);
}

/** An engine with a page table in use: pages, a block, an aged leaf and an annotation. */
function populate(build: Build, module: WebAssembly.Module) {
  const [units, threads, objects, events] = [256, 4, 16, 64];
  const memory = createMemory(build, 1);
  const core: Core = instantiate(module, memory);
  const base = WASM_PAGE;
  const size = core.engine_overhead(units, threads, objects, events) + 4096 * units;
  const bytes = Math.ceil(size / WASM_PAGE) * WASM_PAGE;
  memory.grow(bytes / WASM_PAGE);
  expect(core.engine_init(base, bytes, 0x4000_0000, units, threads, objects, events, 0)).toBe(0);

  expect(core.engine_attach(base)).toBe(0);

  new BigUint64Array(memory.buffer, core.args() >>> 0, 2).set([5n, 0n]); // ID_AA64MMFR0: 48-bit PAs
  const pgt = core.s2_init(12, 40, 0, 0) >>> 0;
  const [RWX, PAGES] = [0b111, 0];
  expect(core.s2_map(pgt, 0x4000_0000, 0x8000, 0x8_0000_0000, RWX, PAGES, CACHE_UNLIMITED)).toBe(0);
  expect(core.s2_map(pgt, 0x8000_0000, 0x20_0000, 0x9_0000_0000, RWX, 0, CACHE_UNLIMITED)).toBe(0);
  expect(core.s2_set_owner(pgt, 0xc000_0000, 0x1000, 1, CACHE_UNLIMITED)).toBe(0);
  expect(core.s2_test_clear_young(pgt, 0x4000_0000, 0x1000, 1)).toBe(1);
  return { memory, base, core, pgt };
}

function digest(memory: WebAssembly.Memory): string {
  return createHash("sha256").update(new Uint8Array(memory.buffer)).digest("hex");
}
