/** The engine's operations reach the TLBs: after each, no vCPU goes the old way; what is the caller's duty stays the caller's. */
import { describe, expect, it } from "vitest";
import {
  Access,
  type EngineOptions,
  Fault,
  Prot,
  type Stage2,
  type Stage2Options,
  type Vcpu,
  WalkFlag,
} from "../../src/index.ts";
import { MODES, lab } from "../support.ts";
import { BLOCK, Guest, MACHINE, PAGE, S2, slot2 } from "./support.ts";

const IPA = 0x6000_0000;
const OLD = 2 ** 33;
const NEW = 2 ** 34;
const VA = 0x60_0000;
/** Pages of the 2 MiB at IPA that are looked at. */
const PAGES = [0, 1, 2, 511];

type Expected = "old" | "new" | "none" | "readOnly";

interface Row {
  what: string;
  /** How the 2 MiB are mapped before, to OLD and writable. */
  by: "pages" | "block";
  operate: (s2: Stage2) => void;
  /** What PAGES are afterwards. */
  then: Expected[];
}

const whole = { ipa: IPA, size: BLOCK };
const one = { ipa: IPA + PAGE, size: PAGE };
const [RW, RWX] = [Prot.RW, Prot.RWX];

// prettier-ignore
const ROWS: Row[] = [
  { what: "unmap a page", by: "pages", operate: (s2) => s2.unmap(one), then: ["old", "none", "old", "old"] },
  { what: "unmap a page of a block, which goes whole", by: "block", operate: (s2) => s2.unmap(one), then: ["none", "none", "none", "none"] },
  { what: "unmap a block", by: "block", operate: (s2) => s2.unmap(whole), then: ["none", "none", "none", "none"] },
  { what: "unmap all pages, and their table", by: "pages", operate: (s2) => s2.unmap(whole), then: ["none", "none", "none", "none"] },
  { what: "unmap all there is", by: "pages", operate: (s2) => s2.unmap({ ipa: 0, size: 2 ** 40 }), then: ["none", "none", "none", "none"] },
  { what: "map a page elsewhere", by: "pages", operate: (s2) => s2.map({ ...one, pa: NEW + PAGE, prot: RW }), then: ["old", "new", "old", "old"] },
  { what: "map a page elsewhere, shared", by: "pages", operate: (s2) => s2.map({ ...one, pa: NEW + PAGE, prot: RW, flags: WalkFlag.SHARED | WalkFlag.HANDLE_FAULT }), then: ["old", "new", "old", "old"] },
  { what: "map a page in a block, of which nothing else is left", by: "block", operate: (s2) => s2.map({ ...one, pa: NEW + PAGE, prot: RW }), then: ["none", "new", "none", "none"] },
  { what: "map a block over pages", by: "pages", operate: (s2) => s2.map({ ...whole, pa: NEW, prot: RW }), then: ["new", "new", "new", "new"] },
  { what: "map a block over a block", by: "block", operate: (s2) => s2.map({ ...whole, pa: NEW, prot: RWX }), then: ["new", "new", "new", "new"] },
  { what: "map pages over pages", by: "pages", operate: (s2) => s2.map({ ...whole, pa: NEW, prot: RW, forcePages: true }), then: ["new", "new", "new", "new"] },
  { what: "unmap and map again", by: "pages", operate: (s2) => { s2.unmap(whole); s2.map({ ...whole, pa: NEW, prot: RW, forcePages: true }); }, then: ["new", "new", "new", "new"] },
  { what: "give a page to another owner", by: "pages", operate: (s2) => s2.setOwner({ ...one, owner: 1 }), then: ["old", "none", "old", "old"] },
  { what: "split a block", by: "block", operate: (s2) => s2.split(whole), then: ["old", "old", "old", "old"] },
  { what: "split a block, unmap a page", by: "block", operate: (s2) => { s2.split(whole); s2.unmap(one); }, then: ["old", "none", "old", "old"] },
  { what: "split a block, map a page elsewhere", by: "block", operate: (s2) => { s2.split(whole); s2.map({ ...one, pa: NEW + PAGE, prot: RW }); }, then: ["old", "new", "old", "old"] },
  { what: "write-protect and flush a page", by: "pages", operate: (s2) => { s2.wrprotect(one); s2.tlbFlushRange(one); }, then: ["old", "readOnly", "old", "old"] },
  { what: "write-protect and flush a block", by: "block", operate: (s2) => { s2.wrprotect(whole); s2.tlbFlushRange(whole); }, then: ["readOnly", "readOnly", "readOnly", "readOnly"] },
  { what: "write-protect and flush all there is", by: "pages", operate: (s2) => { s2.wrprotect({ ipa: 0, size: 2 ** 40 }); s2.tlbFlushRange({ ipa: 0, size: 2 ** 40 }); }, then: ["readOnly", "readOnly", "readOnly", "readOnly"] },
  { what: "write-protect alone", by: "pages", operate: (s2) => s2.wrprotect(one), then: ["old", "old", "old", "old"] },
  { what: "map elsewhere with no invalidation", by: "pages", operate: (s2) => s2.map({ ...one, pa: NEW + PAGE, prot: RW, flags: WalkFlag.SKIP_BBM_TLBI }), then: ["old", "old", "old", "old"] },
  { what: "map again what is there", by: "pages", operate: (s2) => s2.map({ ...one, pa: OLD + PAGE, prot: RW }), then: ["old", "old", "old", "old"] },
  { what: "age, which takes nothing away", by: "pages", operate: (s2) => s2.testClearYoung(whole), then: ["old", "old", "old", "old"] },
  { what: "destroy the table", by: "pages", operate: (s2) => s2.dispose(), then: ["none", "none", "none", "none"] },
];

const TABLES: [string, Stage2Options][] = [
  ["by address", {}],
  ["by range", { tlbiRange: true }],
  ["deferred", { tlbiRange: true, fwb: true }],
  ["logged", { events: ["maintenance", "writes"] }],
];

describe.each(MODES)("operations reach TLBs (%s)", (mode) => {
  const here = lab(mode, MACHINE);
  const write = (vcpu: Vcpu, va: number) => vcpu.translate(va, Access.Write);

  function seen(vcpu: Vcpu, va: number): Expected {
    const result = write(vcpu, va);
    const offset = va % BLOCK;
    if (result === OLD + offset) return "old";
    if (result === NEW + offset) return "new";
    if (result instanceof Fault && result.type === "permission") return "readOnly";
    if (result instanceof Fault && result.type === "translation") return "none";
    throw new Error(String(result));
  }

  describe.each(TABLES)("invalidating %s", (_, options) => {
    it.each(ROWS)("$what", ({ by, operate, then }) => {
      const early = here.keep(here.engine.vcpu()); // before there is a table
      const guest = new Guest(here, options);
      const { s2 } = guest;
      s2.map({ ...whole, pa: OLD, prot: RW, forcePages: by === "pages" });
      for (const page of PAGES) guest.map(VA + page * PAGE, IPA + page * PAGE);
      const late = here.keep(here.engine.vcpu(s2));
      const paged = here.keep(here.engine.vcpu(s2));
      paged.setRegisters(guest.registers(1));
      early.setRegisters(late.registers);
      const at: [Vcpu, number][] = [
        [early, IPA],
        [late, IPA],
        [paged, VA],
      ];
      const look = () =>
        at.map(([vcpu, base]) => PAGES.map((page) => seen(vcpu, base + page * PAGE)));
      const warm = PAGES.map(() => "old");
      for (let i = 0; i < 2; i++) expect(look()).toEqual(at.map(() => warm));
      operate(s2);
      for (let i = 0; i < 2; i++) expect(look()).toEqual(at.map(() => then));
      here.engine.events.clear();
    });
  });

  it.each([
    ["relaxPerms", (s2: Stage2) => s2.relaxPerms({ ipa: IPA, prot: Prot.W })],
    ["a new table for the page", (s2: Stage2) => s2.map({ ...whole, pa: OLD, prot: RW })],
  ])("give permissions at once on their own thread: %s", (_, operate) => {
    const s2 = here.keep(here.engine.stage2());
    s2.map({ ipa: IPA, size: PAGE, pa: OLD, prot: Prot.R });
    const vcpu = here.keep(here.engine.vcpu(s2));
    expect(vcpu.translate(IPA, Access.Read)).toBe(OLD);
    operate(s2);
    expect(write(vcpu, IPA)).toBe(OLD);
    expect(vcpu.statistics.tlb.spuriousFaults).toBe(0);
  });

  describe("and ageing", () => {
    const ready = () => {
      const s2 = here.keep(here.engine.stage2());
      s2.map({ ipa: IPA, size: PAGE, pa: OLD, prot: RW });
      return { s2, vcpu: here.keep(here.engine.vcpu(s2)), page: { ipa: IPA, size: PAGE } };
    };

    it("with a cold TLB the next access is seen (L6)", () => {
      const { s2, vcpu, page } = ready();
      expect(s2.testClearYoung(page)).toBe(true);
      expect(vcpu.translate(IPA, Access.Read)).toBe(OLD);
      expect(s2.testClearYoung(page)).toBe(true);
    });

    it("with a hot TLB it is not, until the flush (L7)", () => {
      const { s2, vcpu, page } = ready();
      for (let i = 0; i < 2; i++) vcpu.translate(IPA, Access.Read);
      expect(s2.testClearYoung(page)).toBe(true);
      vcpu.translate(IPA, Access.Read);
      expect(s2.testClearYoung(page)).toBe(false);
      s2.tlbFlushRange(page);
      vcpu.translate(IPA, Access.Read);
      expect(s2.testClearYoung(page)).toBe(true);
    });
  });

  describe("when table pages are used again (L35)", () => {
    it.each<[string, Expected, (s2: Stage2) => void]>([
      ["a block takes the table's place", "new", (s2) => s2.map({ ...whole, pa: NEW, prot: RW })],
      ["the table is emptied", "none", (s2) => s2.unmap(whole)],
      ["all tables are emptied", "none", (s2) => s2.unmap({ ipa: 0, size: 2 ** 40 })],
    ])("%s: no walk goes on in the old page", (_, then, operate) => {
      const s2 = here.keep(here.engine.stage2());
      s2.map({ ...whole, pa: OLD, prot: RW, forcePages: true });
      const vcpu = here.keep(here.engine.vcpu(s2));
      for (const page of PAGES) expect(seen(vcpu, IPA + page * PAGE)).toBe("old");
      const pages = new Set([...s2.tables()].map(({ pa }) => pa));
      operate(s2);
      const other = here.keep(here.engine.stage2());
      other.map({ ipa: IPA, size: 4 * BLOCK, pa: 2 ** 35, prot: RW, forcePages: true });
      const reused = [...other.tables()].filter(({ pa }) => pages.has(pa));
      expect(reused.length).toBeGreaterThan(0);
      for (let page = 0; page < 512; page += 7) {
        expect(seen(vcpu, IPA + page * PAGE)).toBe(then);
      }
    });
  });

  describe("of ranges that are no whole pages", () => {
    // Operations round the range out to pages, and so must the invalidation.
    const RANGES = [
      { ipa: IPA + 0x10, size: 8 },
      { ipa: IPA + 0xff8, size: 16 },
      { ipa: IPA, size: PAGE + 1 },
      { ipa: IPA + 0x800, size: PAGE },
      { ipa: IPA + PAGE - 1, size: PAGE + 2 },
    ];
    it.each(TABLES.flatMap(([, options]) => RANGES.map((range) => ({ options, range }))))(
      "$options $range",
      ({ options, range }) => {
        const s2 = here.keep(here.engine.stage2(options));
        s2.map({ ipa: IPA, size: 4 * PAGE, pa: OLD, prot: RW });
        const vcpu = here.keep(here.engine.vcpu(s2));
        const walking = here.keep(here.engine.vcpu(s2, { tlb: false }));
        const look = (with_: Vcpu) => [0, 1, 2, 3].map((page) => seen(with_, IPA + page * PAGE));
        expect(look(vcpu)).toEqual(["old", "old", "old", "old"]);
        s2.wrprotect(range);
        s2.tlbFlushRange(range);
        expect(look(vcpu)).toEqual(look(walking));
        s2.unmap(range);
        expect(look(vcpu)).toEqual(look(walking));
        expect(look(vcpu)).toContain("none");
        here.engine.events.clear();
      },
    );
  });

  describe("logged for vCPUs", () => {
    /** Invalidations logged so far: a word of the region's header (layout.ts). The handle would make the engine a shared one. */
    const logged = () => {
      const { core, u32 } = here.engine;
      const { maxTablePages, maxThreads, maxObjects } = MACHINE as Required<EngineOptions>;
      const overhead = core.engine_overhead(maxTablePages, maxThreads, maxObjects, 16_384);
      return u32[((core.pool_pointer() >>> 0) - overhead + 512) / 4] as number;
    };
    const churn = (s2: Stage2) => {
      const before = logged();
      s2.map({ ipa: IPA, size: PAGE, pa: OLD, prot: RW });
      s2.map({ ipa: IPA, size: PAGE, pa: NEW, prot: RW });
      s2.relaxPerms({ ipa: IPA, prot: Prot.X });
      s2.unmap({ ipa: IPA, size: PAGE });
      return logged() - before;
    };

    it("only while one with a TLB is there, whichever came first", () => {
      const { engine } = here;
      const early = here.keep(engine.stage2());
      expect(churn(early)).toBe(0);
      const walking = engine.vcpu(early, { tlb: false });
      expect(churn(early)).toBe(0);
      const first = engine.vcpu(early);
      const late = here.keep(engine.stage2());
      expect(churn(early)).toBeGreaterThan(3);
      expect(churn(late)).toBe(churn(early));
      const second = engine.vcpu();
      first.dispose();
      expect(churn(early)).toBeGreaterThan(3);
      second.dispose();
      expect([churn(early), churn(late), churn(here.keep(engine.stage2()))]).toEqual([0, 0, 0]);
      walking.dispose();
      const third = engine.vcpu(late);
      expect(churn(early)).toBeGreaterThan(3);
      third.dispose();
      expect(churn(late)).toBe(0);
    });

    it("for good where other threads may come: theirs may be on their way", () => {
      const { engine } = here;
      const s2 = here.keep(engine.stage2());
      void engine.handle;
      expect(churn(s2)).toBe(0);
      engine.vcpu(s2).dispose();
      expect(churn(s2)).toBeGreaterThan(3);
    });

    it("beside the events that the table logs, which stay as they are", () => {
      const { engine } = here;
      const kinds = () => [...engine.events.drain()].map(({ kind }) => kind);
      const s2 = here.keep(engine.stage2({ events: ["maintenance", "writes"] }));
      churn(s2);
      const without = kinds();
      expect(without).toContain("tlbiIpa");
      const vcpu = engine.vcpu(s2);
      churn(s2);
      expect(kinds()).toEqual(without);
      s2.setEvents([]);
      expect(churn(s2)).toBeGreaterThan(3); // and no event
      expect(kinds()).toEqual([]);
      s2.setEvents(["maintenance", "writes"]);
      vcpu.dispose();
      expect(churn(s2)).toBe(0);
      expect(kinds()).toEqual(without);
    });

    it.each([1, 1000, 1022, 1023, 1024, 1025, 2047, 2048, 2049, 5000])(
      "%i others between two translations: the one that matters counts",
      (count) => {
        const { engine } = here;
        const s2 = here.keep(engine.stage2());
        s2.map({ ipa: IPA, size: 2 * PAGE, pa: OLD, prot: RW });
        const vcpu = here.keep(engine.vcpu(s2));
        const others = () => {
          for (let i = 0; i < count; i++) engine.tlbi("VAE1", { vmid: s2.vmid - 3, address: 0 });
        };
        const slot = slot2(engine, s2, IPA);
        for (const first of [true, false]) {
          expect(write(vcpu, IPA)).toBe(OLD);
          expect(write(vcpu, IPA + PAGE)).toBe(OLD + PAGE);
          slot.value += BigInt(PAGE);
          if (!first) others();
          vcpu.tlbi("IPAS2E1", { address: IPA });
          vcpu.tlbi("VMALLE1");
          if (first) others();
          expect(write(vcpu, IPA)).toBe(OLD + PAGE);
          slot.value -= BigInt(PAGE);
          vcpu.tlbi("VMALLS12E1");
        }
        // None that matters: within the log's length, nothing is lost.
        expect(write(vcpu, IPA)).toBe(OLD);
        const { misses } = vcpu.statistics.tlb;
        others();
        expect(write(vcpu, IPA)).toBe(OLD);
        expect(vcpu.statistics.tlb.misses - misses).toBe(count > 1024 ? 1 : 0);
      },
    );

    it("of a page whose access flag was cleared in between as well", () => {
      const s2 = here.keep(here.engine.stage2());
      s2.map({ ipa: IPA, size: PAGE, pa: OLD, prot: RW });
      const vcpu = here.keep(here.engine.vcpu(s2));
      write(vcpu, IPA);
      s2.testClearYoung({ ipa: IPA, size: PAGE });
      for (let i = 0; i < 3000; i++) s2.tlbFlushRange({ ipa: IPA, size: PAGE });
      write(vcpu, IPA);
      expect(slot2(here.engine, s2, IPA).value & S2.AF).toBe(S2.AF);
    });
  });
});
