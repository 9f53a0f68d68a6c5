/** Making, adopting, attaching and leaving engines. */
import { describe, expect, it } from "vitest";
import { Engine, type EngineHandle, type EngineOptions, Prot } from "../../src/index.ts";
import { MODES, SMALL, errorOf, lab, rejectionOf } from "../support.ts";

const WASM_PAGE = 65536;

function memory(pages: number, shared: boolean): WebAssembly.Memory {
  return new WebAssembly.Memory({ initial: pages, maximum: pages, shared });
}

describe("options", () => {
  const bad: [string, object][] = [
    ["maxTablePages", { maxTablePages: 0 }],
    ["maxTablePages", { maxTablePages: 2 ** 20 + 1 }],
    ["maxTablePages", { maxTablePages: 1.5 }],
    ["maxThreads", { maxThreads: 0 }],
    ["maxObjects", { maxObjects: "8" }],
    ["eventCapacity", { eventCapacity: -1 }],
    ["mode", { mode: "fast" }],
    ["tablePhysicalBase", { tablePhysicalBase: 4096 }],
    ["tablePhysicalBase", { tablePhysicalBase: 2 ** 47 }],
    ["memory", { memory: {} }],
    ["region", { region: { offset: WASM_PAGE, size: WASM_PAGE } }],
    ["tablePages", { tablePages: 5 }],
  ];
  it.each(bad)("refuses %s in %o", async (name, options) => {
    const error = await rejectionOf(Engine.create(options as EngineOptions));
    expect(error.code).toBe("BAD_OPTION");
    expect(error.message).toContain(name);
  });

  it("refuses an address that is none", async () => {
    const error = await rejectionOf(Engine.create({ tablePhysicalBase: -1 }));
    expect(error.code).toBe("BAD_ADDRESS");
  });

  it("refuses more than a memory holds", async () => {
    const error = await rejectionOf(Engine.create({ maxTablePages: 2 ** 20 }));
    expect(error.code).toBe("MEMORY_TOO_SMALL");
  });

  it("refuses options of objects that do not exist, and values they do not take", async () => {
    const engine = await Engine.create(SMALL);
    const make: (() => unknown)[] = [
      () => engine.stage2({ fwp: true } as object),
      () => engine.stage2({ granule: "8K" as never }),
      () => engine.stage2({ ipaBits: 31 }),
      () => engine.stage2({ ipaBits: 53 }),
      () => engine.stage2({ fwb: 1 as never }),
      () => engine.stage2({ parange: 7 }),
      () => engine.stage2({ context: "guest" as never }),
      () => engine.stage2({ events: ["everything" as never] }),
      () => engine.stage2({ forcePages: true as never }),
      () => engine.stage2(null as never),
      () => engine.hyp({ vaBits: 60 }),
      () => engine.hyp({ ipaBits: 40 } as object),
      () => engine.cache({ granule: 12 as never }),
      () => (engine.tableBudget = -1),
      () => (engine.tableBudget = SMALL.maxTablePages! + 1),
    ];
    for (const call of make) expect(errorOf(call).code).toBe("BAD_OPTION");
    expect(engine.memoryUsage().used).toBe(0);
    engine.dispose();
  });
});

describe.each(MODES)("an engine (%s)", (mode) => {
  const shared = mode === "threads";
  const here = lab(mode);

  it("says how it runs, and what it takes", () => {
    const { engine } = here;
    expect(engine.mode).toBe(mode);
    expect(engine.memory.buffer instanceof SharedArrayBuffer).toBe(shared);
    const usage = { used: 0, peak: 0, capacity: SMALL.maxTablePages, budget: SMALL.maxTablePages };
    expect(engine.memoryUsage()).toMatchObject(usage);
    expect(engine.memoryUsage().bytes).toBe(engine.memory.buffer.byteLength);
  });

  it("puts table pages where it was told", async () => {
    const engine = await Engine.create({ ...SMALL, mode, tablePhysicalBase: 0x12_3450_0000n });
    const table = engine.stage2();
    expect(table.vttbr({ vmid: 5, cnp: true })).toBe((5n << 48n) | 0x12_3450_0000n | 1n);
    engine.dispose();
  });

  it("keeps to its budget, and gives memory back", () => {
    const { engine } = here;
    engine.tableBudget = 3; // root of two pages, and one table
    const table = here.keep(engine.stage2());
    const page = { ipa: 0, size: 4096, pa: 0, prot: Prot.R };
    expect(errorOf(() => table.map(page)).code).toBe("ENOMEM");
    expect(errorOf(() => engine.stage2()).code).toBe("ENOMEM");
    engine.tableBudget = 4;
    expect(table.map(page)).toBe("ok");
    expect(engine.memoryUsage()).toMatchObject({ used: 4, peak: 4, budget: 4 });
  });

  it("holds as many objects as it was made for", () => {
    const made = Array.from({ length: SMALL.maxObjects! }, () => here.engine.cache());
    expect(errorOf(() => here.engine.cache()).code).toBe("EMFILE");
    expect(errorOf(() => here.engine.stage2()).code).toBe("EMFILE");
    for (const cache of made) cache.dispose();
    here.engine.cache().dispose();
  });

  it("grows its memory as tables need it, and stops at the maximum", async () => {
    const engine = await Engine.create({ mode, maxTablePages: 2048 });
    const before = engine.memory.buffer.byteLength;
    const table = engine.stage2();
    const region = { ipa: 0, size: 2 ** 32, pa: 0, prot: Prot.R, forcePages: true };
    expect(errorOf(() => table.map(region)).code).toBe("ENOMEM");
    expect(engine.memory.buffer.byteLength).toBeGreaterThan(before);
    expect(engine.memoryUsage().used).toBe(2048);
    expect(table.counters().mappedBytes).toBeGreaterThan(2000 * 2 ** 21);
    table.dispose();
    expect(engine.memoryUsage().used).toBe(0);
    engine.dispose();
  });

  it("is joined by its handle: both see one table", async () => {
    const other = await Engine.attach(here.engine.handle);
    const mine = here.keep(here.engine.stage2());
    const theirs = other.attachStage2(mine.handle);
    mine.map({ ipa: 0x1000, size: 0x1000, pa: 0x9000, prot: Prot.RW });
    expect(theirs.lookup(0x1000)).toBe(0x9000);
    theirs.unmap({ ipa: 0x1000, size: 0x1000 });
    expect(mine.lookup(0x1000)).toBeUndefined();
    theirs.dispose();
    expect(mine.lookup(0x1000)).toBeUndefined();
    other.dispose();
  });

  it("logs which thread did what, and for which table", async () => {
    const other = await Engine.attach(here.engine.handle);
    here.keep(here.engine.stage2()); // so that no number is right by chance
    const mine = here.keep(here.engine.stage2({ events: ["tables", "maintenance", "writes"] }));
    const theirs = other.attachStage2(mine.handle);
    mine.map({ ipa: 0x1000, size: 0x1000, pa: 0x9000, prot: Prot.RW });
    const byMe = [...here.engine.events.drain()];
    theirs.unmap({ ipa: 0x1000, size: 0x1000 });
    const byThem = [...here.engine.events.drain()];
    for (const [events, thread] of [
      [byMe, here.engine.thread],
      [byThem, other.thread],
    ] as const) {
      const known = events.filter((event) => "thread" in event);
      expect(known.length).toBeGreaterThan(2);
      for (const event of known) expect(event, event.kind).toMatchObject({ thread });
    }
    expect(byMe.map(({ kind }) => kind)).toEqual(expect.arrayContaining(["allocExact", "alloc"]));
    const flushes = byThem.filter(({ kind }) => kind === "tlbiIpa");
    expect(flushes.length).toBeGreaterThan(0);
    for (const event of flushes) expect(event).toMatchObject({ vmid: mine.vmid });
    other.dispose();
  });

  it("refuses what is no handle, and a table that was disposed", async () => {
    const { engine } = here;
    const table = engine.stage2();
    const { handle } = table;
    table.dispose();
    expect(errorOf(() => engine.attachStage2(handle)).code).toBe("DISPOSED");
    expect(errorOf(() => engine.attachStage2({ ...handle, pointer: -8 })).code).toBe("DISPOSED");
    expect(errorOf(() => engine.attachStage2({} as never)).code).toBe("BAD_OPTION");
    expect((await rejectionOf(Engine.attach({} as EngineHandle))).code).toBe("BAD_OPTION");
  });

  it("has as many thread slots as it was made for; leaving frees one", async () => {
    const { handle } = here.engine;
    const others = [];
    for (let i = 1; i < SMALL.maxThreads!; i++) others.push(await Engine.attach(handle));
    expect((await rejectionOf(Engine.attach(handle))).code).toBe("TOO_MANY_THREADS");
    others.pop()?.dispose();
    others.push(await Engine.attach(handle));
    for (const other of others) other.dispose();
  });

  it("refuses memory that is no engine's, or another version's", async () => {
    const { handle } = here.engine;
    const empty = { ...handle, memory: memory(4, shared) };
    expect((await rejectionOf(Engine.attach(empty))).code).toBe("NOT_STAGE2_MEMORY");
    const outside = { ...handle, base: 2 ** 31 };
    expect((await rejectionOf(Engine.attach(outside))).code).toBe("NOT_STAGE2_MEMORY");
    const words = new Uint32Array(here.engine.memory.buffer, handle.base, 4);
    const version = words[2] as number; // the word after the magic number
    words[2] = version + 1;
    const error = await rejectionOf(Engine.attach(handle));
    expect(error).toMatchObject({ code: "BAD_VERSION", details: { found: version + 1 } });
    words[2] = version;
  });

  it("refuses everything after dispose, its objects too; a second dispose does nothing", async () => {
    const engine = await Engine.create({ ...SMALL, mode });
    const [table, hyp, cache] = [engine.stage2(), engine.hyp(), engine.cache()];
    const { events } = engine;
    engine.dispose();
    engine.dispose();
    const calls: (() => unknown)[] = [
      () => engine.handle,
      () => engine.mode,
      () => engine.memory,
      () => engine.events,
      () => engine.memoryUsage(),
      () => engine.tableBudget,
      () => engine.stage2(),
      () => engine.hyp(),
      () => engine.cache(),
      () => engine.exclusiveFailures(),
      () => events.count,
      () => [...events.drain()],
      () => table.lookup(0),
      () => hyp.unmap({ va: 0, size: 4096 }),
      () => cache.count,
    ];
    for (const call of calls) expect(errorOf(call).code).toBe("DISPOSED");
    for (const object of [table, hyp, cache]) object.dispose();
  });
});

describe.each(MODES)("an embedder's memory (%s)", (mode) => {
  const shared = mode === "threads";
  const small = { maxThreads: 1, maxObjects: 4, eventCapacity: 16 };

  it("is used only inside the region, and never grown", async () => {
    const own = memory(40, shared);
    const bytes = new Uint8Array(own.buffer).fill(0xa5);
    const region = { offset: 4 * WASM_PAGE, size: 16 * WASM_PAGE };
    const engine = await Engine.create({ ...small, memory: own, region });
    const table = engine.stage2();
    const all = { ipa: 0, size: 2 ** 30, pa: 0, prot: Prot.R, forcePages: true };
    expect(errorOf(() => table.map(all)).code).toBe("ENOMEM");
    expect(engine.memoryUsage().used).toBe(engine.memoryUsage().capacity);
    const touched = (byte: number): boolean => byte !== 0xa5;
    expect(bytes.subarray(0, region.offset).some(touched)).toBe(false);
    expect(bytes.subarray(region.offset + region.size).some(touched)).toBe(false);
    expect(engine.mode).toBe(mode);
    table.dispose();
    expect(engine.memoryUsage().used).toBe(0);
    engine.dispose();
  });

  it("is filled by table pages unless told otherwise", async () => {
    const engine = await Engine.create({ ...small, memory: memory(33, shared) });
    const { capacity } = engine.memoryUsage();
    expect(capacity).toBeGreaterThan(16 * 29);
    expect(capacity).toBeLessThan(16 * 32);
    engine.dispose();
  });

  const refused: [string, number, EngineOptions, string][] = [
    ["too few pages for what was asked", 4, { maxTablePages: 100 }, "MEMORY_TOO_SMALL"],
    ["no room for one page", 2, { maxTablePages: 1 }, "MEMORY_TOO_SMALL"],
    ["no room above 64 KiB", 1, {}, "MEMORY_TOO_SMALL"],
    [
      "a region that leaves it",
      4,
      { region: { offset: 3 * WASM_PAGE, size: 2 * WASM_PAGE } },
      "MEMORY_TOO_SMALL",
    ],
    [
      "a region off the grid",
      4,
      { region: { offset: WASM_PAGE + 8, size: WASM_PAGE } },
      "BAD_OPTION",
    ],
    ["a region below 64 KiB", 4, { region: { offset: 0, size: WASM_PAGE } }, "BAD_OPTION"],
    [
      "a size off the grid",
      4,
      { region: { offset: WASM_PAGE, size: WASM_PAGE + 8 } },
      "BAD_OPTION",
    ],
  ];
  it.each(refused)("is refused with %s, untouched", async (_why, pages, options, code) => {
    const own = memory(pages, shared);
    const error = await rejectionOf(Engine.create({ ...small, ...options, memory: own }));
    expect(error.code).toBe(code);
    expect(new Uint8Array(own.buffer).some((byte) => byte !== 0)).toBe(false);
  });
});

describe("modes", () => {
  it("threads over a plain memory, and single over a shared one, are refused", async () => {
    const plain = await rejectionOf(Engine.create({ mode: "threads", memory: memory(8, false) }));
    expect(plain.code).toBe("NO_SHARED_MEMORY");
    const wrong = await rejectionOf(Engine.create({ mode: "single", memory: memory(8, true) }));
    expect(wrong.code).toBe("BAD_OPTION");
  });

  it("threads is refused, and single chosen, where the page is not isolated", async () => {
    const scope = globalThis as { crossOriginIsolated?: boolean };
    scope.crossOriginIsolated = false;
    try {
      expect((await rejectionOf(Engine.create({ mode: "threads" }))).code).toBe("NO_SHARED_MEMORY");
      const engine = await Engine.create(SMALL);
      expect(engine.mode).toBe("single");
      engine.dispose();
    } finally {
      delete scope.crossOriginIsolated;
    }
  });

  it("threads is chosen where shared memory can be had", async () => {
    const engine = await Engine.create(SMALL);
    expect(engine.mode).toBe("threads");
    engine.dispose();
  });
});
