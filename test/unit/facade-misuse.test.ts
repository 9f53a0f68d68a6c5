/** Misuse that must neither pass silently nor surface as another error than a Stage2Error; and what must survive it. */
import { describe, expect, it } from "vitest";
import {
  Engine,
  type EngineOptions,
  Prot,
  isReadonly,
  testAndClearYoung,
} from "../../src/index.ts";
import { MODES, SMALL, errorOf, lab, rejectionOf } from "../support.ts";

const PAGE = { ipa: 0x4000_0000, size: 0x1000, pa: 0x8000_0000, prot: Prot.RW };
/** An empty module: compiles, and is not the core. */
const STRANGER = new WebAssembly.Module(Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0));

describe.each(MODES)("misuse (%s)", (mode) => {
  const here = lab(mode);

  it("of options: unknown names and wrong types are refused, and change nothing", () => {
    const table = here.keep(here.engine.stage2());
    table.map(PAGE);
    const calls: (() => unknown)[] = [
      () => table.testClearYoung(PAGE, { claer: false } as object),
      () => table.testClearYoung(PAGE, { clear: "false" as never }),
      () => table.testClearYoung(PAGE, null as never),
      () => testAndClearYoung(table, PAGE.ipa, { exclusive: true } as object),
      () => testAndClearYoung(table, PAGE.ipa, { exclusives: 1 as never }),
      () => testAndClearYoung({} as never, 0),
      () => isReadonly(undefined as never, 0),
      () => table.entries(undefined, { leafs: false } as object),
      () => table.entries(undefined, { leaves: 0 as never }),
      () => table.map({ ...PAGE, ipa: 0, forcePages: "no" as never }),
      () => table.createUnlinked({ pa: 0, level: 2, prot: 4, forcePages: 1 as never }),
      () => table.vttbr({ vmId: 1 } as object),
      () => table.vttbr({ cnp: "no" as never }),
      () => table.setEvents(undefined as never),
      () => here.engine.stage2({ events: "writes" as never }),
      () => here.engine.hyp({ events: 7 as never }),
      () => here.engine.setSpuriousFailures(1),
      () => here.engine.attachStage2({ ...table.handle, shape: undefined as never }),
      () => here.engine.attachStage2(undefined as never),
    ];
    for (const call of calls) expect(errorOf(call).code, String(call)).toBe("BAD_OPTION");
    expect(table.counters()).toMatchObject({ leafCount: 1, accessed: 1 });
    expect(here.engine.memoryUsage().used).toBe(table.memoryUsage().tablePages);
  });

  it("of requests: what is no object is refused, other fields are not", () => {
    const table = here.keep(here.engine.stage2());
    const hyp = here.keep(here.engine.hyp());
    for (const none of [undefined, null, 7, "0"] as never[]) {
      const calls: (() => unknown)[] = [
        () => table.map(none),
        () => table.setOwner(none),
        () => table.unmap(none),
        () => table.wrprotect(none),
        () => table.flush(none),
        () => table.testClearYoung(none),
        () => table.relaxPerms(none),
        () => table.split(none),
        () => table.tlbFlushRange(none),
        () => table.createUnlinked(none),
        () => table.walk(none, () => 0),
        () => hyp.map(none),
        () => hyp.unmap(none),
      ];
      for (const call of calls) expect(errorOf(call).code, String(call)).toBe("BAD_OPTION");
    }
    table.map(PAGE);
    for (const leaf of table.leaves()) table.unmap(leaf);
    expect(table.lookup(PAGE.ipa)).toBeUndefined();
  });

  it("of modules: what is none, or another program's, is refused", async () => {
    const wrong: unknown[] = [{}, null, STRANGER];
    for (const module of wrong) {
      const options = { ...SMALL, mode, module } as EngineOptions;
      expect((await rejectionOf(Engine.create(options))).code).toBe("BAD_OPTION");
      const handle = { ...here.engine.handle, module } as never;
      expect((await rejectionOf(Engine.attach(handle))).code).toBe("BAD_OPTION");
    }
  });

  it("of a disposed table by those attached to it is refused, also when another took its place", async () => {
    const other = await Engine.attach(here.engine.handle);
    const mine = here.engine.stage2();
    const theirs = other.attachStage2(mine.handle);
    const { pointer } = mine;
    mine.dispose();
    const next = here.keep(here.engine.stage2());
    expect(next.pointer).toBe(pointer);
    const used = here.engine.memoryUsage().used;
    const calls: (() => unknown)[] = [
      () => theirs.lookup(0),
      () => theirs.map(PAGE),
      () => theirs.raw.map(0, 4096, 0, 4),
      () => theirs.createUnlinked({ pa: 0, level: 2, prot: Prot.R }),
      () => theirs.leaves(),
      () => theirs.handle,
    ];
    for (const call of calls) expect(errorOf(call).code).toBe("DISPOSED");
    theirs.dispose();
    expect(here.engine.memoryUsage().used).toBe(used);
    other.dispose();
  });

  it("a hypervisor's listings are checked at the call", () => {
    const hyp = here.engine.hyp();
    const bad = { va: -1, size: 4096 };
    for (const list of ["entries", "leaves", "ranges"] as const) {
      expect(errorOf(() => hyp[list](bad)).code).toBe("BAD_ADDRESS");
    }
    expect(errorOf(() => hyp.entries(undefined, { leafs: true } as object)).code).toBe(
      "BAD_OPTION",
    );
    hyp.dispose();
    expect(errorOf(() => hyp.entries()).code).toBe("DISPOSED");
  });

  it("has an errno only where the core refused", () => {
    const table = here.keep(here.engine.stage2());
    expect("errno" in errorOf(() => table.map({ ...PAGE, ipa: -1 }))).toBe(false);
    expect(errorOf(() => table.map({ ...PAGE, ipa: 2 ** 40 })).errno).toBe(34);
  });

  it("options of undefined are absent", async () => {
    const memory = new WebAssembly.Memory({ initial: 33, maximum: 33, shared: mode === "threads" });
    const small = { maxThreads: 1, maxObjects: 4, eventCapacity: 16, memory };
    const engine = await Engine.create({ ...small, maxTablePages: undefined } as object);
    expect(engine.memoryUsage().capacity).toBeGreaterThan(16 * 29);
    engine.dispose();
  });

  it("a drain loses nothing to another drain, to clear, or to an early end", () => {
    const table = here.keep(here.engine.stage2({ events: ["writes"] }));
    const log = here.engine.events;
    table.map(PAGE);
    const all = log.count;
    log.drain().next();
    expect(log.count).toBe(all - 1);
    const [outer, inner] = [log.drain(), log.drain()];
    const taken = [outer.next().value, inner.next().value, outer.next().value];
    expect(new Set(taken.map((event) => event?.kind === "write" && event.level)).size).toBe(2);
    expect(log.count).toBe(all - 4);
    for (const event of log.drain()) {
      expect(event.kind).toBe("write");
      log.clear();
      table.map({ ...PAGE, ipa: PAGE.ipa + 0x1000 });
      break;
    }
    expect(log.count).toBe(2); // what was logged after the clear: broken, made
  });
});
