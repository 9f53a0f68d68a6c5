/** Tables in no tree: built aside, or detached by a map; who may take them, and how they end. */
import { describe, expect, it } from "vitest";
import { Engine, type Event, Prot, type Stage2 } from "../../src/index.ts";
import { MODES, SMALL, errorOf, lab } from "../support.ts";

const PAGE = { ipa: 0x4000_0000, size: 0x1000, pa: 0x8000_0000, prot: Prot.RW };
const BLOCK = { ipa: 0x4000_0000, size: 2 ** 21, pa: 0x8000_0000, prot: Prot.RWX };
const KEEP = { keepUnlinked: true, events: ["tables"] } as const;
const ASIDE = { pa: 2 ** 31, level: 2, prot: Prot.RW };

describe.each(MODES)("tables in no tree (%s)", (mode) => {
  const here = lab(mode);

  /** Maps a page, then a block over its table: the event that tells so. */
  function detach(table: Stage2, engine = here.engine): Event {
    table.map(PAGE);
    table.map(BLOCK);
    const found = [...engine.events.drain()].find(({ kind }) => kind === "unlink");
    if (found === undefined) throw new Error("no unlink event");
    return found;
  }

  it("builds a table aside, and frees it", () => {
    const table = here.keep(here.engine.stage2());
    const before = here.engine.memoryUsage().used;
    const aside = table.createUnlinked(ASIDE);
    const entries = [...aside.entries()];
    expect(entries).toHaveLength(512);
    expect(entries.at(-1)).toMatchObject({ kind: "leaf", level: 3, pa: 2 ** 31 + 511 * 4096 });
    table.freeUnlinked(aside);
    expect(here.engine.memoryUsage().used).toBe(before);
  });

  it("leaves detached tables to the caller if asked to", () => {
    const table = here.keep(here.engine.stage2(KEEP));
    const detached = table.adoptUnlinked(detach(table));
    expect(detached.level).toBe(2);
    expect([...detached.entries()]).toMatchObject([{ kind: "leaf", ipa: 0, pa: PAGE.pa }]);
    table.freeUnlinked(detached);
    expect(errorOf(() => [...detached.entries()]).code).toBe("DISPOSED");
    expect(table.memoryUsage().tablePages).toBe(here.engine.memoryUsage().used);
  });

  it("gives a detached table out once, and for nothing but its event", () => {
    const table = here.keep(here.engine.stage2(KEEP));
    const event = detach(table);
    const refused: unknown[] = [{ ...event }, { kind: "unlink", pa: 4096, level: 2 }, undefined, 7];
    const [other] = (table.map({ ...PAGE, ipa: 0 }), here.engine.events.drain());
    refused.push(other);
    for (const value of refused) {
      expect(errorOf(() => table.adoptUnlinked(value as Event)).code).toBe("BAD_OPTION");
    }
    Object.assign(event, { pa: 4096, level: 0 }); // what a reader writes into the event does not matter
    const detached = table.adoptUnlinked(event);
    expect(errorOf(() => table.adoptUnlinked(event)).code).toBe("BAD_OPTION");
    expect([...detached.entries()]).toMatchObject([{ kind: "leaf", ipa: 0, pa: PAGE.pa }]);
  });

  it("gives a detached table to its own page table only", async () => {
    const table = here.keep(here.engine.stage2(KEEP));
    const [second, plain] = [here.engine.stage2(KEEP), here.engine.stage2()].map(here.keep);
    const event = detach(table);
    const other = await Engine.create({ ...SMALL, mode });
    const theirs = other.stage2(KEEP);
    expect(errorOf(() => second!.adoptUnlinked(event)).code).toBe("FOREIGN");
    expect(errorOf(() => plain!.adoptUnlinked(event)).code).toBe("BAD_OPTION");
    expect(errorOf(() => theirs.adoptUnlinked(event)).code).toBe("FOREIGN");
    other.dispose();
    table.freeUnlinked(table.adoptUnlinked(event));
  });

  it("does not give a detached table to a page table that took its owner's place", () => {
    const first = here.engine.stage2(KEEP);
    const { pointer } = first;
    const event = detach(first);
    if (event.kind !== "unlink") throw new Error("no unlink event");
    const { core, context } = here.engine;
    core.s2_free_unlinked(pointer, context.pointer(event.pa), event.level); // behind the facade's back
    first.dispose();
    const next = here.keep(here.engine.stage2(KEEP));
    expect(next.pointer).toBe(pointer);
    expect(errorOf(() => next.adoptUnlinked(event)).code).toBe("FOREIGN");
  });

  it("tells of tables that are freed already where nobody asked to keep them", () => {
    const table = here.keep(here.engine.stage2({ events: ["tables"] }));
    const event = detach(table);
    expect(errorOf(() => table.adoptUnlinked(event)).code).toBe("BAD_OPTION");
  });

  it("frees what is still open together with the page table", async () => {
    const table = here.engine.stage2(KEEP);
    const detached = table.adoptUnlinked(detach(table));
    const deep = table.createUnlinked({ ...ASIDE, pa: 0, level: 1, forcePages: true });
    const other = await Engine.attach(here.engine.handle);
    const theirs = other.attachStage2(table.handle);
    const built = theirs.createUnlinked(ASIDE);
    const before = here.engine.memoryUsage().used;
    theirs.dispose();
    expect(here.engine.memoryUsage().used).toBe(before - 1);
    table.dispose();
    expect(here.engine.memoryUsage().used).toBe(0);
    for (const gone of [detached, deep, built]) {
      expect(errorOf(() => gone.pa).code).toBe("DISPOSED");
      expect(errorOf(() => [...gone.entries()]).code).toBe("DISPOSED");
    }
    other.dispose();
  });
});
