/** The checker as its users meet it: options, page tables it is told of, several at once, lost events. */
import { describe, expect, it } from "vitest";
import { Checker } from "../../src/checker/checker.ts";
import { type Event, Prot, WalkFlag } from "../../src/index.ts";
import { MODES, SMALL, errorOf, lab } from "../support.ts";
import {
  A,
  B,
  IPA,
  LOCKED,
  MAPPED,
  type Observed,
  PAGE,
  block,
  checked,
  page,
  store,
  tlbi,
} from "./lists.ts";

const WRONG = { flags: WalkFlag.SKIP_BBM_TLBI, prot: Prot.RW };

describe("options", () => {
  it.each([{ bbm: 3 }, { bbm: "1" }, { granule: "8K" }, { barriersLogged: 1 }, { level: 0 }, null])(
    "refuses %o",
    (options) => {
      expect(errorOf(() => new Checker(options as never)).code).toBe("BAD_OPTION");
    },
  );
});

describe.each(MODES)("a page table in use (%s)", (mode) => {
  const here = lab(mode, { ...SMALL, eventCapacity: 2 ** 14 });

  const formats = [
    {},
    { ipaBits: 32 },
    { granule: "16K" },
    { granule: "64K", pa52: true },
    { lpa2: true },
  ] as const;
  it.each(formats)("is known with what it holds: %o", (options) => {
    const { engine } = here;
    const table = here.keep(engine.stage2(options));
    const size = { "4K": 2 ** 12, "16K": 2 ** 14, "64K": 2 ** 16 }[table.granule];
    const span = { ipa: 0, size: 3 * size };
    table.map({ ...span, pa: 2 ** 30, prot: Prot.RW });
    table.map({ ipa: 2 ** 31, size, pa: 2 ** 30, prot: Prot.RW });
    const checker = new Checker();
    checker.watch(table);
    table.setEvents(Checker.EVENTS);
    table.map({ ...span, pa: 2 ** 31, prot: Prot.RW });
    table.unmap(span);
    expect(checker.drain(engine)).toEqual([]);
    expect(checker.settle()).toEqual([]);
    table.map({ ipa: 2 ** 31, size, pa: 2 ** 31, ...WRONG });
    expect(checker.drain(engine)).toMatchObject([{ rule: "early-make", address: 2 ** 31 }]);
    expect(checker.drain(engine)).toEqual([]);
    expect(checker.violations).toHaveLength(1);
  });

  it("is not watched while events wait: they would be about the past", () => {
    const { engine } = here;
    const table = here.keep(engine.stage2({ events: Checker.EVENTS }));
    const checker = new Checker();
    checker.watch(table); // nothing in it yet
    table.map({ ipa: 0, size: PAGE, pa: A, prot: Prot.RW });
    expect(errorOf(() => checker.watch(table)).code).toBe("BAD_OPTION");
    const { count } = engine.events;
    checker.drain(engine);
    expect(checker.events).toBe(count);
    checker.watch(table);
    table.map({ ipa: 0, size: PAGE, pa: B, prot: Prot.RW });
    expect(checker.drain(engine)).toEqual([]);
  });

  it("is learnt anew when events were lost", async () => {
    const { engine } = here;
    const table = here.keep(engine.stage2({ events: Checker.EVENTS }));
    const checker = new Checker();
    checker.watch(table);
    for (let i = 0; i < 5000; i++) table.map({ ipa: i * PAGE, size: PAGE, pa: A, prot: Prot.RW });
    expect(checker.drain(engine)).toEqual([]);
    expect(checker.lost).toBeGreaterThan(100);
    const after = checker.lost;
    table.map({ ipa: 0, size: PAGE, pa: B, ...WRONG });
    table.map({ ipa: 0, size: PAGE, pa: A, ...WRONG });
    expect(checker.drain(engine).map(({ rule }) => rule)).toContain("early-make");
    expect(checker.lost).toBe(after);
  });

  it("may stand beside others, whose invalidations are not its own", () => {
    const { engine } = here;
    const checker = new Checker();
    const tables = [{}, { granule: "16K" }, {}].map((options) =>
      here.keep(engine.stage2({ ...options, events: Checker.EVENTS } as never)),
    );
    for (const table of tables) checker.watch(table);
    for (const pa of [A, B, A]) {
      for (const table of tables) table.map({ ipa: 0, size: 2 ** 14, pa, prot: Prot.RW });
    }
    for (const table of tables) table.unmap({ ipa: 0, size: 2 ** 14 });
    expect(checker.drain(engine)).toEqual([]);
    expect(checker.settle()).toEqual([]);
    tables[1]!.map({ ipa: 0, size: 2 ** 14, pa: A, prot: Prot.RW });
    tables[1]!.map({ ipa: 0, size: 2 ** 14, pa: B, ...WRONG });
    expect(checker.drain(engine)).toMatchObject([{ rule: "early-make" }]);
  });
});

describe("a page table that is made where another was", () => {
  it("starts empty, and keeps the format that it was announced with", () => {
    const checker = checked(MAPPED);
    checker.watch({ root: 0x8000_0000, rootBytes: 0x10000, granule: "64K" });
    const leaf = {
      kind: "write",
      level: 2,
      slot: 0x8000_0000,
      pte: page(A) & ~2n,
      ipa: 0,
      thread: 0,
    } as const;
    const root = { kind: "allocExact", pa: 0x8000_0000, pages: 1 } as const;
    for (const event of [root, leaf, root, { ...leaf, pte: page(B) & ~2n }]) checker.observe(event);
    checker.observe({ ...leaf, pte: 0n });
    checker.observe(root); // and so is what was left of it
    checker.observe(leaf);
    expect([...checker.violations, ...checker.settle()]).toEqual([]);
    checker.observe({ ...leaf, pte: (page(B) & ~2n) | (3n << 12n) }); // PA[51:48]
    expect(checker.violations).toHaveLength(1);
  });
});

describe("two guests", () => {
  const OTHER = 0x7000_0000;
  const events = (...list: Observed[]): string[] => {
    const checker = checked(MAPPED, { barriersLogged: true });
    checker.watch({ root: OTHER, rootBytes: 4096, vmid: 8 });
    for (const event of list) checker.observe(event);
    return checker.violations.map(({ rule }) => rule);
  };
  const dsb: Observed = { kind: "dsbIsh" };
  const broken = store(3, LOCKED);
  const made = store(3, page(B));

  it("are told apart by VMID", () => {
    const right = [tlbi("IPAS2E1"), dsb, tlbi("VMALLE1"), dsb];
    expect(events(broken, dsb, ...right, made)).toEqual([]);
    const first = [tlbi("IPAS2E1", { vmid: 8 }), dsb, tlbi("VMALLE1"), dsb];
    expect(events(broken, dsb, ...first, made)).toEqual(["early-make"]);
    const second = [tlbi("IPAS2E1"), dsb, tlbi("VMALLE1", { vmid: 8 }), dsb];
    expect(events(broken, dsb, ...second, made)).toEqual(["early-make"]);
    expect(events(broken, dsb, tlbi("VMALLS12E1", { vmid: 8 }), dsb, made)).toEqual(["early-make"]);
    expect(events(broken, dsb, tlbi("ALLE1", { vmid: 8 }), dsb, made)).toEqual([]);
  });

  it("are told apart by who works on which, where no VMID is given", () => {
    const flush: Observed = { kind: "tlbiIpa", ipa: IPA, level: 3 };
    const elsewhere: Observed = {
      kind: "write",
      level: 1,
      slot: OTHER,
      pte: 0n,
      ipa: 0,
      thread: 0,
    };
    expect(events(broken, flush, made)).toEqual([]);
    expect(events(broken, elsewhere, flush, made)).toEqual(["early-make"]);
    expect(events(broken, elsewhere, { ...flush, vmid: 7 }, made)).toEqual([]);
    const stranger = { ...flush, thread: 5 }; // has worked on neither: it may be about either
    expect(events(broken, elsewhere, stranger, made)).toEqual([]);
    const theirs = (pte: bigint): Observed => ({ ...elsewhere, pte, ipa: IPA }) as Observed;
    const anywhere = { ...stranger, level: undefined };
    expect(events(theirs(block(A)), theirs(0n), anywhere, theirs(block(B)))).toEqual([]);
    expect(events(theirs(block(A)), theirs(0n), theirs(block(B)))).toEqual(["early-make"]);
  });

  it("name who completed an invalidation first", () => {
    const flush = (thread: number): Observed => ({ kind: "tlbiIpa", ipa: IPA, level: 3, thread });
    const stale = {
      kind: "tlbStale",
      cpu: 1,
      entry: "stage2",
      address: IPA,
      pa: A,
      now: undefined,
    } as const;
    const [first] = checked([
      ...MAPPED,
      store(3, 0n),
      flush(1),
      flush(2),
      stale as Event,
    ]).violations;
    expect(first?.agents).toEqual(["thread 1", "vCPU 1"]);
    // both under way at once: thread 2 is done first
    const both = [
      { kind: "dsbIsh", thread: 1 },
      { kind: "dsbIsh", thread: 2 },
      tlbi("VMALLS12E1", { thread: 1 }),
      tlbi("VMALLS12E1", { thread: 2 }),
      { kind: "dsbIsh", thread: 2 },
      { kind: "dsbIsh", thread: 1 },
    ] as Observed[];
    const [second] = checked([...MAPPED, store(3, 0n), ...both, stale as Event], {
      barriersLogged: true,
    }).violations;
    expect(second?.agents).toEqual(["thread 2", "vCPU 1"]);
  });
});
