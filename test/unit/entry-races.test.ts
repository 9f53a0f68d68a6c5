/**
 * The same operations while somebody else changes the entry: the shipped binary, instrumented so that a foreign store
 * happens between the look at the entry and the store that it leads to.
 */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import { Engine, Prot, type Stage2, setReadonly, testAndClearYoung } from "../../src/index.ts";
import { instrument } from "../../src/instrument/instrument.ts";
import { ACCESS, type Access, stepImports } from "../../src/instrument/step.ts";
import { type Core, OPTION } from "../../src/_abi.ts";

const AF = 1n << 10n;
const W = 1n << 7n;
const LOCKED = 0x400n;
const IPA = 0x5000;

let module: WebAssembly.Module;

beforeAll(() => {
  const release = fileURLToPath(new URL("../../build/release.wasm", import.meta.url));
  module = new WebAssembly.Module(instrument(readFileSync(release)));
});

/** What became of one operation that somebody interfered with. */
interface Outcome {
  readonly result: unknown;
  /** The entry before, right after the interference, and at the end. */
  readonly before: bigint;
  readonly end: bigint;
  /** How often the operation was about to store to the entry. */
  readonly stores: number;
}

/** Runs `operation` on a page; right before its first store to the entry, `interfere` replaces the entry. */
async function interfered(
  operation: (table: Stage2) => unknown,
  interfere: (entry: bigint) => bigint,
  options: { nonAtomic?: boolean; aged?: boolean } = {},
): Promise<Outcome> {
  const engine = await Engine.create({ mode: "threads", maxTablePages: 64 });
  const { nonAtomic = false, aged = false } = options;
  let slot = -1;
  let stores = 0;
  const onAccess = ({ address, kind }: Access): void => {
    if (address !== slot || (kind !== ACCESS.STORE && kind !== ACCESS.COMPARE_EXCHANGE)) return;
    if (stores++ > 0) return;
    const words = new BigUint64Array(engine.memory.buffer);
    Atomics.store(words, slot / 8, interfere(Atomics.load(words, slot / 8)));
  };
  const { memory, base } = engine.handle;
  const env = { memory, ...stepImports(onAccess) };
  const core = new WebAssembly.Instance(module, { env }).exports as unknown as Core;
  core.engine_attach(base);
  const stepped = Engine.over(core, memory, module, base);
  const table = stepped.stage2({ nonAtomic });
  table.map({ ipa: IPA, size: 4096, pa: 0x8000_0000, prot: Prot.RW });
  if (aged) testAndClearYoung(table, IPA);
  const before = table.getLeaf(IPA).pte;
  slot = core.s2_entry(table.pointer, IPA) >>> 0;
  const result = outcomeOf(() => operation(table));
  slot = -1;
  const end = table.getLeaf(IPA).pte;
  const words = new BigUint64Array(engine.memory.buffer);
  words[core.s2_entry(table.pointer, IPA) / 8] = before; // a marker that nobody takes away counts for nothing
  table.dispose();
  expect(engine.memoryUsage().used).toBe(0);
  stepped.dispose();
  engine.dispose();
  return { result, before, end, stores };
}

function outcomeOf(operation: () => unknown): unknown {
  try {
    return operation();
  } catch (error) {
    return (error as { code?: string }).code;
  }
}

describe.each([{ exclusives: false }, { exclusives: true }])("with %o", (loop) => {
  it("setReadonly keeps an access flag that hardware sets meanwhile", async () => {
    const { end, before, stores } = await interfered(
      (table) => setReadonly(table, IPA, loop),
      (entry) => entry | AF,
      { aged: true },
    );
    expect(before & AF).toBe(0n);
    expect(end).toBe((before | AF) & ~W);
    expect(stores).toBe(2);
  });

  it("testAndClearYoung keeps a permission that is taken away meanwhile", async () => {
    const { result, before, end, stores } = await interfered(
      (table) => testAndClearYoung(table, IPA, loop),
      (entry) => entry & ~W,
    );
    expect({ result, end, stores }).toEqual({ result: true, end: before & ~AF & ~W, stores: 2 });
  });

  it("testAndClearYoung does not report a flag that another ager cleared first", async () => {
    const { result, before, end, stores } = await interfered(
      (table) => testAndClearYoung(table, IPA, loop),
      (entry) => entry & ~AF,
    );
    expect({ result, end, stores }).toEqual({ result: false, end: before & ~AF, stores: 1 });
  });

  it("testAndClearYoung does not take the locked marker for an access flag", async () => {
    const { result, end } = await interfered(
      (table) => testAndClearYoung(table, IPA, loop),
      () => LOCKED,
    );
    expect({ result, end }).toEqual({ result: "ENOENT", end: LOCKED });
  });

  it("setReadonly does not turn the locked marker into an entry", async () => {
    const { result, end } = await interfered(
      (table) => setReadonly(table, IPA, loop),
      () => LOCKED,
    );
    expect({ result, end }).toEqual({ result: "ENOENT", end: LOCKED });
  });
});

describe("range operations lose to hardware and try again", () => {
  it("wrprotect keeps an access flag that hardware sets meanwhile", async () => {
    const { before, end } = await interfered(
      (table) => table.wrprotect({ ipa: 0, size: 2 ** 30 }),
      (entry) => entry | AF,
      { aged: true },
    );
    expect(end).toBe((before | AF) & ~W);
  });

  it("testClearYoung reports an entry once, whoever clears it", async () => {
    const { result, before, end } = await interfered(
      (table) => table.testClearYoung({ ipa: 0, size: 2 ** 30 }),
      (entry) => entry & ~AF,
    );
    expect({ result, end }).toEqual({ result: false, end: before & ~AF });
  });
});

describe("the non-atomic option", () => {
  it("loses an access flag that hardware sets meanwhile: what the atomic forms are there for", async () => {
    const { before, end } = await interfered(
      (table) => setReadonly(table, IPA),
      (entry) => entry | AF,
      { nonAtomic: true, aged: true },
    );
    expect(end).toBe(before & ~W);
  });

  it("is off by default", async () => {
    const engine = await Engine.create({ maxTablePages: 16 });
    const table = engine.stage2();
    expect(table.shape.bits & OPTION.NON_ATOMIC).toBe(0);
    table.dispose();
    engine.dispose();
  });
});
