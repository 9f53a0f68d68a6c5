/**
 * What a map does to a leaf that is there already: a guest's stage 2 is reluctant (the same page with other permissions
 * is left to relaxPerms), a hypervisor's stage 1 refuses. And what a map leaves behind when tables run out on the way.
 */
import { describe, expect, it } from "vitest";
import { type Engine, type HypStage1, Prot, type Stage2, WalkFlag } from "../../src/index.ts";
import { MODES, onEngine } from "../engines.ts";

const LOCKED = 0x400n;
const IPA = 0x4000_1000;
const PA = 0x8000_1000;
const page = { ipa: IPA, size: 4096, pa: PA, prot: Prot.RW, flags: WalkFlag.HANDLE_FAULT };

/** Names of the events since the last drain; the values of writes. */
function drained(engine: Engine): (string | bigint)[] {
  return [...engine.events.drain()].map((event) =>
    event.kind === "write" ? event.pte : event.kind,
  );
}

/** A stage 2 with {@link page} mapped, its events drained. */
function stage2WithPage(engine: Engine): Stage2 {
  const table = engine.stage2({ events: ["writes", "maintenance"] });
  expect(table.map(page)).toBe("ok");
  drained(engine);
  return table;
}

describe.each(MODES)("stage 2, %s build: mapping over a valid leaf", (mode) => {
  it.each([
    ["the same again", Prot.RW],
    ["fewer permissions", Prot.R],
    ["more permissions", Prot.RWX],
    ["none", 0],
  ])("%s: no store, no invalidation, try again", async (_what, prot) => {
    await onEngine(mode, (engine) => {
      const table = stage2WithPage(engine);
      const before = table.getLeaf(IPA).pte;
      expect(table.map({ ...page, prot })).toBe("again");
      expect(drained(engine)).toEqual([]);
      expect(table.getLeaf(IPA).pte).toBe(before);
      table.dispose();
    });
  });

  it.each([
    ["another address", { pa: PA + 4096 }],
    ["another memory type", { prot: Prot.RW | Prot.DEVICE }],
  ])("%s: broken, invalidated, made", async (_what, change) => {
    await onEngine(mode, (engine) => {
      const table = stage2WithPage(engine);
      expect(table.map({ ...page, ...change })).toBe("ok");
      const after = table.getLeaf(IPA).pte;
      const seen = drained(engine).filter((event) => event !== "dcacheClean");
      expect(seen).toEqual([LOCKED, "tlbiIpa", after]);
      table.dispose();
    });
  });

  it("software bits alone: one store", async () => {
    await onEngine(mode, (engine) => {
      const table = stage2WithPage(engine);
      expect(table.map({ ...page, prot: Prot.RW | Prot.SW0 })).toBe("ok");
      expect(drained(engine)).toEqual([table.getLeaf(IPA).pte]);
      table.dispose();
    });
  });

  it("an aged page is mapped anew, young again", async () => {
    await onEngine(mode, (engine) => {
      const table = stage2WithPage(engine);
      const young = table.getLeaf(IPA).pte;
      expect(table.testClearYoung({ ipa: IPA, size: 4096 })).toBe(true);
      drained(engine);
      expect(table.map(page)).toBe("ok");
      expect(drained(engine).filter((event) => event !== "dcacheClean")).toEqual([
        LOCKED,
        "tlbiIpa",
        young,
      ]);
      table.dispose();
    });
  });
});

describe.each(MODES)("hypervisor stage 1, %s build: mapping over a valid leaf", (mode) => {
  const mapping = { va: IPA, size: 4096, pa: PA, prot: Prot.RW };

  function hypWithPage(engine: Engine): HypStage1 {
    const table = engine.hyp({ events: ["writes", "maintenance"] });
    table.map(mapping);
    drained(engine);
    return table;
  }

  it.each([
    ["other permissions", { prot: Prot.R }],
    ["another address", { pa: PA + 4096 }],
    ["another memory type", { prot: Prot.RW | Prot.DEVICE }],
  ])("%s: refused", async (_what, change) => {
    await onEngine(mode, (engine) => {
      const table = hypWithPage(engine);
      const before = table.getLeaf(IPA).pte;
      expect(() => table.map({ ...mapping, ...change })).toThrow(/EINVAL/);
      expect(table.getLeaf(IPA).pte).toBe(before);
      expect(drained(engine)).toEqual([]);
      table.dispose();
    });
  });

  it("the same again: nothing is written; software bits alone: one store", async () => {
    await onEngine(mode, (engine) => {
      const table = hypWithPage(engine);
      table.map(mapping);
      expect(drained(engine)).toEqual([]);
      table.map({ ...mapping, prot: Prot.RW | Prot.SW3 });
      expect(drained(engine)).toEqual([table.getLeaf(IPA).pte]);
      table.dispose();
    });
  });

  it.each([0, 1, 2])("tables run out at level %i: what was built stays", async (tables) => {
    await onEngine(mode, (engine) => {
      const table = engine.hyp({ vaBits: 48 });
      const cache = engine.cache();
      cache.topup(tables);
      expect(() => table.map({ ...mapping, cache })).toThrow(/ENOMEM/);
      expect(table.memoryUsage().tablePages).toBe(1 + tables);
      expect(table.counters()).toMatchObject({ leafCount: 0, tables });
      cache.topup(3 - tables);
      table.map({ ...mapping, cache });
      expect(table.counters()).toMatchObject({ leafCount: 1, tables: 3 });
      expect(cache.count).toBe(0);
      cache.dispose();
      table.dispose();
    });
  });
});
