/** Corners of the core that only a look at the tables, or a foreign hand in them, brings to light. */
import { describe, expect, it } from "vitest";
import { loadCore } from "../../src/_load.ts";
import { Prot, type Stage2 } from "../../src/index.ts";
import { onEngine } from "../engines.ts";
import { MODES, lab } from "../support.ts";

const PAGE = 4096;
const LOCKED = 0x400n;

describe.each(MODES)("corners (%s)", (mode) => {
  const here = lab(mode);

  const aged = (prot: number): Stage2 => {
    const table = here.keep(here.engine.stage2({ keepPermissions: true }));
    table.map({ ipa: 0, size: PAGE, pa: 0, prot });
    table.testClearYoung({ ipa: 0, size: PAGE });
    return table;
  };
  const rights = (table: Stage2): number => [...table.leaves()][0]?.prot ?? 0;

  it.each([
    ["fewer rights and a software bit", Prot.R | Prot.SW0],
    ["other rights", Prot.R | Prot.X],
  ])("keepPermissions: a late map with %s takes no right away", (_, prot) => {
    const table = aged(Prot.RW);
    table.map({ ipa: 0, size: PAGE, pa: 0, prot });
    expect(rights(table) & Prot.W).toBe(Prot.W);
  });

  it("keepPermissions: a late map with more rights goes through", () => {
    const table = aged(Prot.R);
    table.map({ ipa: 0, size: PAGE, pa: 0, prot: Prot.RW | Prot.SW0 });
    expect(rights(table)).toBe(Prot.RW | Prot.SW0);
  });

  it("gives a page back clean although a dead walker left its marker in it", () => {
    const { engine } = here;
    const table = engine.stage2();
    table.map({ ipa: 0, size: 2 * PAGE, pa: 0, prot: Prot.RW });
    table.unmap({ ipa: 0, size: PAGE });
    const slot = engine.core.s2_entry(table.pointer, 0) >>> 0;
    engine.u64[slot / 8] = LOCKED;
    table.unmap({ ipa: PAGE, size: PAGE }); // the last counted entry: the table page goes, marker and all
    table.dispose();

    const next = here.keep(engine.stage2());
    next.map({ ipa: 0, size: 2 * PAGE, pa: 0, prot: Prot.RW });
    expect([...next.leaves()].map(({ ipa }) => ipa)).toEqual([0, PAGE]);
  });

  it("frees detached tables itself where nobody could learn of them", () => {
    const table = here.keep(here.engine.stage2({ keepUnlinked: true }));
    table.map({ ipa: 0, size: PAGE, pa: 0, prot: Prot.RW });
    const before = here.engine.memoryUsage().used;
    table.map({ ipa: 0, size: 2 ** 21, pa: 0, prot: Prot.RW });
    expect(here.engine.memoryUsage().used).toBe(before - 1);
  });

  it("takes no page of another size from a cache", () => {
    const { core } = here.engine;
    const table = here.keep(here.engine.stage2({ granule: "64K", ipaBits: 48 }));
    const cache = here.keep(here.engine.cache({ granule: "4K" }));
    cache.topup(8);
    const status = core.s2_map(table.pointer, 0, 65536, 0, Prot.RW, 0, cache.pointer);
    expect(status).toBe(-12);
    expect(cache.count).toBe(8);
  });

  it("detaches once: a second call frees no other thread's slot", () => {
    const { core, memory } = here.engine;
    const { base } = here.engine.handle;
    const other = loadCore(mode, memory);
    core.engine_detach();
    expect(other.engine_attach(base)).toBe(0); // the slot that was given back
    core.engine_detach();
    expect(core.engine_attach(base)).toBe(1); // the other one still has it
    other.engine_detach();
  });
});

describe.each(MODES)("an embedder's memory that is not zero (%s)", (mode) => {
  it("shows none of it in a table, alignment gaps included", async () => {
    const pages = 512;
    const shared = mode === "threads";
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared });
    new Uint8Array(memory.buffer).fill(0xa5);
    const room = { maxTablePages: 1024, maxThreads: 2, maxObjects: 16, eventCapacity: 16 };

    await onEngine({ memory, ...room }, (engine) => {
      const small = engine.stage2({ ipaBits: 39 }); // a root of one 4 KiB page: the next table leaves a gap
      const large = engine.stage2({ granule: "16K", ipaBits: 47 });
      small.map({ ipa: 0, size: PAGE, pa: 0, prot: Prot.RW });
      expect([...small.entries()].map(({ kind }) => kind)).toEqual(["table", "table", "leaf"]);
      expect([...large.entries()]).toEqual([]);
      small.dispose();
      large.dispose();
    });
  });
});
