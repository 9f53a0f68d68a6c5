/** TLBs of every shape: where entries go, who is driven out, and that a shape changes how often it walks but nothing else. */
import { beforeEach, describe, expect, it } from "vitest";
import { Access, Prot, type Stage2, type Vcpu } from "../../src/index.ts";
import { MODES, lab } from "../support.ts";
import { DATA, MACHINE, OUT, PAGE } from "./support.ts";

const SETS = [1, 2, 16, 128, 512, 4096];
const WAYS = [1, 2, 4, 8];
const MOST = 16384; // entries of one array
const SHAPES = SETS.flatMap((sets) => WAYS.map((ways) => ({ sets, ways }))).filter(
  ({ sets, ways }) => sets * ways <= MOST,
);

describe.each(MODES)("the shape of a TLB (%s)", (mode) => {
  const here = lab(mode, MACHINE);
  let s2: Stage2;
  const read = (vcpu: Vcpu, page: number) => {
    const { hits } = vcpu.statistics.tlb;
    expect(vcpu.translate(DATA + page * PAGE + 8, Access.Read)).toBe(OUT + page * PAGE + 8);
    return vcpu.statistics.tlb.hits > hits;
  };

  beforeEach(() => {
    s2 = here.keep(here.engine.stage2());
    s2.map({ ipa: DATA, size: 0x1000_0000, pa: OUT, prot: Prot.R });
  });

  it.each(SHAPES)("%o holds as many pages of one set as it has ways", ({ sets, ways }) => {
    const vcpu = here.keep(here.engine.vcpu(s2, { tlb: { sets, ways } }));
    const hits = (pages: number[]) => pages.filter((page) => read(vcpu, page));
    for (const first of [0, 1 % sets, sets - 1]) {
      const pages = Array.from({ length: ways }, (_, i) => first + i * sets);
      expect(hits(pages)).toEqual([]);
      for (let again = 0; again < 3; again++) expect(hits(pages)).toEqual(pages);
      // As many more drive them all out: places are taken in turn.
      const others = pages.map((page) => page + ways * sets);
      expect(hits(others)).toEqual([]);
      for (let again = 0; again < 2; again++) expect(hits(others)).toEqual(others);
      expect(hits(pages)).toEqual([]);
      vcpu.tlbi("VMALLS12E1");
    }
  });

  it.each(SHAPES)("%o holds neighbours beside each other", ({ sets, ways }) => {
    const vcpu = here.keep(here.engine.vcpu(s2, { tlb: { sets, ways } }));
    const pages = Math.min(sets * ways, 1024);
    for (let page = 0; page < pages; page++) vcpu.translate(DATA + page * PAGE, Access.Read);
    vcpu.resetStatistics();
    for (let page = 0; page < pages; page++) {
      expect(vcpu.translate(DATA + page * PAGE, Access.Read)).toBe(OUT + page * PAGE);
    }
    expect(vcpu.statistics.tlb).toMatchObject({ hits: pages, misses: 0 });
  });

  it("replaces in turn: pages that go round in a set that is too small all come out right", () => {
    for (const { sets, ways } of SHAPES.filter(({ sets }) => sets <= 16)) {
      const vcpu = here.keep(here.engine.vcpu(s2, { tlb: { sets, ways } }));
      for (let i = 0; i < 200; i++) read(vcpu, ((i * i) % (2 * ways + 1)) * sets);
      vcpu.dispose();
    }
  });

  it("prefers a place of what was invalidated over one that is in use", () => {
    const vcpu = here.keep(here.engine.vcpu(s2, { tlb: { sets: 1, ways: 4 } }));
    for (const page of [0, 1, 2, 3]) read(vcpu, page);
    vcpu.tlbi("VMALLS12E1");
    for (const page of [4, 5, 6]) expect(read(vcpu, page)).toBe(false);
    for (const page of [4, 5, 6]) expect(read(vcpu, page)).toBe(true);
    expect(read(vcpu, 7)).toBe(false);
    for (const page of [4, 5, 6, 7]) expect(read(vcpu, page)).toBe(true);
  });

  it("that fills its pages looks at nothing behind them, be it a page table", () => {
    // 128 sets of one way are one page. Behind it: a level-2 table, whose descriptors look like entries - an address with
    // small bits below it. Entry 0 for a page of the last set; entry 2, where an entry has its output address.
    const { core } = here.engine;
    const unitOf = (page: number) => (page - core.pool_pointer()) / PAGE;
    const pages: number[] = [];
    const take = () => pages[pages.push(core.pool_alloc(12)) - 1] as number;
    const free = (...list: number[]) => list.forEach((page) => core.pool_free(page, 12)); // taken again last first
    while ((unitOf(take()) + 1) % 128 !== 0);
    const child = pages.at(-1) as number;
    const [state, array, behind, rest] = [take(), take(), take(), take()];
    expect([array + PAGE, behind + PAGE]).toEqual([behind, rest]);
    const theirs = here.keep(here.engine.stage2());
    free(child, behind);
    theirs.map({ ipa: 0, size: PAGE, pa: OUT, prot: Prot.RW });
    theirs.map({ ipa: 0x40_0000, size: PAGE, pa: OUT, prot: Prot.RW });
    const tables = [...theirs.tables()].map(({ pa }) => core.map_pointer(pa));
    expect(tables.slice(0, 2), "level 2, level 3").toEqual([behind, child]);
    free(rest, array, state);
    const vcpu = here.keep(here.engine.vcpu(s2, { tlb: { sets: 128, ways: 1 } }));
    const va = core.pool_phys() + unitOf(child) * PAGE;
    expect(vcpu.translate(va, Access.Read)).toMatchObject({ type: "translation", stage: 2 });
    free(...pages.filter((page) => ![child, state, array, behind, rest].includes(page)));
  });
});
