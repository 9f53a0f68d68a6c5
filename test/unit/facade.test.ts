/** What the facade adds to the core: results, options, hooks, events, walks, tables aside, single entries. */
import { describe, expect, it } from "vitest";
import {
  type Event,
  Prot,
  type Visit,
  WalkFlag,
  decodeEntry,
  fakePgd,
  geometry,
  isReadonly,
  mkwrite,
  setReadonly,
  testAndClearYoung,
} from "../../src/index.ts";
import { MODES, errorOf, lab } from "../support.ts";

const PAGE = { ipa: 0x4000_0000, size: 0x1000, pa: 0x8000_0000, prot: Prot.RW };
const BLOCK = { ipa: 0x4000_0000, size: 2 ** 21, pa: 0x8000_0000, prot: Prot.RWX };
const ALL = { ipa: 0, size: 2 ** 40 };
const EAGAIN = -11;
const EIO_LIKE = -14; // EFAULT: any errno that is not EAGAIN

describe.each(MODES)("a stage 2 (%s)", (mode) => {
  const here = lab(mode);

  it("takes bigint addresses as it takes numbers", () => {
    const table = here.keep(here.engine.stage2());
    table.map({ ipa: 0x4000_0000n, size: 0x1000n, pa: 0x8000_0000n, prot: Prot.RW });
    expect(table.lookup(0x4000_0123n)).toBe(0x8000_0123);
    expect(table.getLeaf(0x4000_0123n)).toMatchObject({ ipa: 0x4000_0000, pa: 0x8000_0000 });
  });

  it("answers again, and does not throw, where KVM would enter the guest again", () => {
    const table = here.keep(here.engine.stage2());
    const fault = { ...PAGE, flags: WalkFlag.SHARED | WalkFlag.HANDLE_FAULT };
    expect([table.map(fault), table.map(fault)]).toEqual(["ok", "again"]);
    expect(table.map(PAGE)).toBe("ok");
    expect(table.relaxPerms({ ipa: PAGE.ipa, prot: Prot.X })).toBe("ok");
    expect(table.relaxPerms({ ipa: 0, prot: Prot.X })).toBe("again");
    expect(table.mkyoung(0)).toBe(false);
    expect(table.getLeaf(PAGE.ipa)).toMatchObject({ prot: Prot.RWX });
  });

  it("refuses shared walks in the nvhe context", () => {
    const table = here.keep(here.engine.stage2({ context: "nvhe" }));
    expect(errorOf(() => table.map({ ...PAGE, flags: WalkFlag.SHARED })).code).toBe("EPERM");
    expect(table.map(PAGE)).toBe("ok");
    expect(errorOf(() => table.relaxPerms({ ipa: PAGE.ipa, prot: Prot.X })).code).toBe("EPERM");
    expect(errorOf(() => table.mkyoung(PAGE.ipa)).code).toBe("EPERM");
  });

  it("maps only identities where it was told so", () => {
    const table = here.keep(here.engine.stage2({ idmap: true }));
    expect(errorOf(() => table.map(PAGE)).code).toBe("EINVAL");
    expect(table.map({ ...PAGE, pa: PAGE.ipa })).toBe("ok");
  });

  it("asks once per map whether pages must do, unless the call says", () => {
    const asked: [number, number][] = [];
    const forcePages = (ipa: number, size: number): boolean => asked.push([ipa, size]) > 0;
    const table = here.keep(here.engine.stage2({ forcePages }));
    table.map(BLOCK);
    expect(asked).toEqual([[BLOCK.ipa, BLOCK.size]]);
    expect(table.getLeaf(BLOCK.ipa).level).toBe(3);
    table.map({ ...BLOCK, ipa: 0, forcePages: false });
    expect([asked.length, table.getLeaf(0).level]).toEqual([1, 2]);
    const never = here.keep(here.engine.stage2({ pagesOnly: true }));
    never.map(BLOCK);
    expect(never.getLeaf(BLOCK.ipa).level).toBe(3);
  });

  it("keeps the rights of an aged leaf only where it was told so", () => {
    const rights = [false, true].map((keepPermissions) => {
      const table = here.keep(here.engine.stage2({ keepPermissions }));
      table.map(PAGE);
      table.testClearYoung(PAGE);
      const result = table.map({ ...PAGE, prot: Prot.R, flags: WalkFlag.HANDLE_FAULT });
      const leaf = table.getLeaf(PAGE.ipa);
      return [result, leaf.kind === "leaf" && leaf.prot];
    });
    expect(rights).toEqual([
      ["ok", Prot.R],
      ["again", Prot.RW],
    ]);
  });

  it("takes new tables from the cache it is given, and from nowhere else", () => {
    const table = here.keep(here.engine.stage2());
    const cache = here.keep(here.engine.cache());
    cache.topup(3);
    expect(table.map({ ...PAGE, cache })).toBe("ok");
    expect(cache.count).toBe(1);
    expect(errorOf(() => table.map({ ...PAGE, ipa: 2 ** 35, cache: null })).code).toBe("ENOMEM");
  });

  it("logs what it was asked to log, in order, and drops nothing silently", () => {
    const table = here.keep(here.engine.stage2({ events: ["maintenance", "writes"] }));
    const log = here.engine.events;
    table.map(PAGE);
    table.unmap(PAGE);
    const kinds = [...log.drain()].map((event: Event) => event.kind);
    const install = ["write", "write", "write", "write", "write", "dcacheClean", "write"];
    expect(kinds.slice(0, install.length)).toEqual(install);
    expect(kinds.slice(install.length)).toContain("tlbiIpa");
    table.setEvents([]);
    table.map(PAGE);
    expect(log.count).toBe(0);
    table.setEvents(["writes"]);
    table.map({ ipa: 0, size: 2 ** 26, pa: 0, prot: Prot.R, forcePages: true });
    const [first, ...rest] = log.drain();
    expect(first).toMatchObject({ kind: "write", level: 1, ipa: 0, pte: 0x400n });
    expect(rest.at(-1)?.kind).toBe("lost");
    expect(rest).toHaveLength(log.capacity);
    expect([...log.drain()]).toEqual([]);
  });

  it("drains one by one: what was not taken stays", () => {
    const table = here.keep(here.engine.stage2({ events: ["writes"] }));
    table.map(PAGE);
    const before = here.engine.events.count;
    for (const event of here.engine.events.drain()) {
      expect(event.kind).toBe("write");
      break;
    }
    expect(here.engine.events.count).toBe(before - 1);
    here.engine.events.clear();
    expect(here.engine.events.count).toBe(0);
  });

  it("walks with a visitor: pre, leaf, post, and the entry's own address", () => {
    const table = here.keep(here.engine.stage2());
    table.map(PAGE);
    const visits: Visit[] = [];
    const flags = WalkFlag.LEAF | WalkFlag.TABLE_PRE | WalkFlag.TABLE_POST;
    expect(table.walk({ ...PAGE, flags }, (visit) => void visits.push(visit))).toBe("ok");
    expect(visits.map(({ kind, level }) => `${kind} ${level}`)).toEqual([
      "pre 1",
      "pre 2",
      "leaf 3",
      "post 2",
      "post 1",
    ]);
    const [top] = table.tables();
    expect(visits[0]).toMatchObject({ ipa: PAGE.ipa, pte: top?.pte });
    expect(BigInt(visits[0]!.slot)).toBe((table.vttbr() & ~1n) + 8n);
  });

  it("a walk ends at the visitor's errno; EAGAIN only ends walks that handle a fault", () => {
    const table = here.keep(here.engine.stage2());
    table.map({ ...PAGE, size: 8 * PAGE.size });
    const range = { ipa: PAGE.ipa, size: 8 * PAGE.size };
    let visits = 0;
    const again = (): number => (visits++, EAGAIN);
    expect(table.walk(range, again)).toBe("ok");
    expect(visits).toBe(8);
    const flags = WalkFlag.LEAF | WalkFlag.HANDLE_FAULT;
    expect(table.walk({ ...range, flags }, again)).toBe("again");
    expect(visits).toBe(9);
    expect(errorOf(() => table.walk(range, () => EIO_LIKE)).code).toBe("EFAULT");
  });

  it("shows a visitor the table as it was, though the visitor changes it", () => {
    const table = here.keep(here.engine.stage2());
    table.map({ ...PAGE, size: 1000 * PAGE.size, forcePages: true });
    let visits = 0;
    table.walk({ ipa: PAGE.ipa, size: 1000 * PAGE.size }, ({ pte }) => {
      if (visits++ === 0) table.unmap(ALL);
      expect(pte).not.toBe(0n);
    });
    expect(visits).toBe(1000);
  });

  it("changes one entry, page or block, with and without exclusives", () => {
    const table = here.keep(here.engine.stage2());
    for (const request of [PAGE, BLOCK]) {
      for (const exclusives of [false, true]) {
        here.engine.setSpuriousFailures(exclusives ? 2 : 0);
        table.unmap(ALL);
        table.map(request);
        const { ipa } = request;
        expect(testAndClearYoung(table, ipa, { exclusives })).toBe(true);
        expect(testAndClearYoung(table, ipa, { exclusives })).toBe(false);
        expect(isReadonly(table, ipa)).toBe(false);
        setReadonly(table, ipa, { exclusives });
        expect(isReadonly(table, ipa)).toBe(true);
        const prot = request.prot & ~Prot.W;
        expect(table.getLeaf(ipa)).toMatchObject({ prot, accessed: false, pa: request.pa });
      }
    }
    for (const call of [testAndClearYoung, setReadonly, isReadonly]) {
      expect(errorOf(() => call(table, 0)).code).toBe("ENOENT");
      expect(errorOf(() => call(table, 2 ** 40)).code).toBe("ERANGE");
      expect(errorOf(() => call(table, -1)).code).toBe("BAD_ADDRESS");
    }
  });

  it("retries store-exclusives that fail for no reason, and counts them", () => {
    const table = here.keep(here.engine.stage2());
    table.map({ ...PAGE, size: 256 * PAGE.size });
    here.engine.exclusiveFailures();
    here.engine.setSpuriousFailures(2, 7);
    for (let i = 0; i < 256; i++) {
      const ipa = PAGE.ipa + i * PAGE.size;
      expect(testAndClearYoung(table, ipa, { exclusives: true })).toBe(true);
    }
    expect(here.engine.exclusiveFailures()).toBeGreaterThan(50);
    expect(table.counters().accessed).toBe(0);
    expect(here.engine.exclusiveFailures()).toBe(0);
  });
});

describe.each(MODES)("a hypervisor's stage 1 (%s)", (mode) => {
  const here = lab(mode);
  const range = { va: 0x7000_0000, size: 0x3000 };

  it("maps, lists and unmaps by virtual address", () => {
    const hyp = here.keep(here.engine.hyp({ vaBits: 48 }));
    hyp.map({ ...range, pa: 0x1000, prot: Prot.RX });
    expect([...hyp.leaves()].map(({ va, pa, prot }) => [va, pa, prot])).toEqual([
      [0x7000_0000, 0x1000, Prot.RX],
      [0x7000_1000, 0x2000, Prot.RX],
      [0x7000_2000, 0x3000, Prot.RX],
    ]);
    expect([...hyp.ranges()]).toMatchObject([{ va: range.va, size: range.size, pa: 0x1000 }]);
    expect(hyp.getLeaf(0x7000_1fff)).toMatchObject({ kind: "leaf", va: 0x7000_1000 });
    expect(hyp.unmap(range)).toBe(range.size);
    expect([...hyp.entries()]).toEqual([]);
  });

  it("refuses what stage 1 cannot express, and changes nothing", () => {
    const hyp = here.keep(here.engine.hyp());
    for (const prot of [0, Prot.W, Prot.RWX, Prot.RX | Prot.DEVICE]) {
      expect(errorOf(() => hyp.map({ ...range, pa: 0, prot })).code).toBe("EINVAL");
    }
    expect(errorOf(() => hyp.map({ ...range, pa: 0, prot: 512 })).code).toBe("BAD_PROT");
    expect(errorOf(() => hyp.map({ ...range, va: -1, pa: 0, prot: 4 })).code).toBe("BAD_ADDRESS");
    expect(errorOf(() => hyp.map({ ...range, va: 2 ** 48, pa: 0, prot: 4 })).code).toBe("ERANGE");
    expect(errorOf(() => hyp.unmap({ ...range, size: 0 })).code).toBe("BAD_SIZE");
    expect([...hyp.entries()]).toEqual([]);
  });
});

describe("pure functions", () => {
  it("says where the dummy top level of early hosts was needed", () => {
    // Host granule and stage-1 size: entries of the dummy table, level of the root, concatenated tables.
    const cases = [
      ["4K", 39, 0, 1, 2],
      ["4K", 48, 2, 1, 2],
      ["16K", 47, 16, 2, 16],
      ["64K", 42, 0, 2, 1],
      ["64K", 48, 1, 2, 1],
    ] as const;
    for (const [granule, vaBits, entries, startLevel, rootPages] of cases) {
      expect(fakePgd({ granule, vaBits })).toMatchObject({ entries, startLevel, rootPages });
    }
  });

  it("lays out every granule", () => {
    expect(geometry({ granule: "4K", ipaBits: 40 })).toEqual({
      levels: 3,
      startLevel: 1,
      rootBytes: 8192,
      rootPages: 2,
      entriesPerTable: 512,
      entrySizes: { 1: 2 ** 30, 2: 2 ** 21, 3: 2 ** 12 },
      leafLevels: [1, 2, 3],
    });
    expect(geometry({ granule: "16K", ipaBits: 40 })).toMatchObject({
      startLevel: 2,
      rootPages: 16,
      leafLevels: [2, 3],
    });
    expect(geometry({ granule: "64K", ipaBits: 48 })).toMatchObject({
      startLevel: 1,
      rootPages: 1,
      leafLevels: [2, 3],
    });
  });

  it("decodes descriptors", () => {
    const level = 3;
    expect(decodeEntry(0x0040_0000_9000_07ffn, { level })).toMatchObject({
      kind: "leaf",
      pa: 0x9000_0000,
      prot: Prot.RW,
      accessed: true,
    });
    expect(decodeEntry(0x0040_0000_9000_03c7n, { level })).toMatchObject({
      prot: Prot.RW | Prot.DEVICE,
      accessed: false,
    });
    expect(decodeEntry(0x9000_0003n, { level: 2 })).toMatchObject({
      kind: "table",
      pa: 0x9000_0000,
    });
    expect(decodeEntry(4n, { level })).toMatchObject({ kind: "annotation", owner: 1 });
    expect(decodeEntry(0x400n, { level })).toMatchObject({ kind: "locked" });
    expect(decodeEntry(0n, { level })).toMatchObject({ kind: "empty" });
    expect(errorOf(() => decodeEntry(-1n, { level })).code).toBe("BAD_OPTION");
    expect(errorOf(() => decodeEntry(0n, { level: 4 })).code).toBe("BAD_OPTION");
  });

  it("makes a descriptor writable and leaves its other bits", () => {
    expect(mkwrite(0x0040_0000_9000_077fn)).toBe(0x0040_0000_9000_07ffn);
    expect(mkwrite(0n)).toBe(0xc0n);
    expect(errorOf(() => mkwrite(2n ** 64n)).code).toBe("BAD_OPTION");
  });
});
