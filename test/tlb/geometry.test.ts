/** TLBs of every shape: where entries go, who is driven out, and that a shape changes how often it walks but nothing else. */
import { beforeEach, describe, expect, it } from "vitest";
import { Access, Prot, type Stage2, type Vcpu } from "../../src/index.ts";
import { MODES, lab } from "../support.ts";
import { DATA, MACHINE, OUT, PAGE } from "./support.ts";

const SETS = [1, 2, 16, 128, 512, 4096];
const WAYS = [1, 2, 4, 8];
const SHAPES = SETS.flatMap((sets) => WAYS.map((ways) => ({ sets, ways })));

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
    s2.map({ ipa: DATA, size: 0x800_0000, pa: OUT, prot: Prot.RW });
  });

  it.each(SHAPES)("%o holds as many pages of one set as it has ways", ({ sets, ways }) => {
    const vcpu = here.keep(here.engine.vcpu(s2, { tlb: { sets, ways } }));
    for (const first of [0, 1 % sets, sets - 1]) {
      const pages = Array.from({ length: ways }, (_, i) => first + i * sets);
      for (const page of pages) expect(read(vcpu, page)).toBe(false);
      for (let again = 0; again < 3; again++) {
        for (const page of pages) expect(read(vcpu, page), `page ${page}`).toBe(true);
      }
      // One more drives out exactly one.
      expect(read(vcpu, first + ways * sets)).toBe(false);
      expect(read(vcpu, first + ways * sets)).toBe(true);
      const left = pages.map((page) => vcpu.probe(DATA + page * PAGE, 1) && page);
      const { hits } = vcpu.statistics.tlb;
      for (const page of left) vcpu.translate(DATA + (page as number) * PAGE, Access.Read);
      expect(vcpu.statistics.tlb.hits - hits).toBeGreaterThanOrEqual(ways === 1 ? 0 : 1);
      expect(vcpu.statistics.tlb.hits - hits).toBeLessThan(ways);
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

  it.each(SHAPES)("%o is no more than its own memory", ({ sets, ways }) => {
    // What lies behind the array, whatever it says, is no entry. The pool is filled so that something does.
    const { engine } = here;
    const vcpu = here.keep(engine.vcpu(s2, { tlb: { sets, ways } }));
    const last = sets - 1;
    expect(read(vcpu, last)).toBe(false);
    expect(read(vcpu, last)).toBe(true);
    const at = placesOf(last);
    expect(at.length, "one combined and one stage-2 entry").toBe(2);
    for (const [entry] of at) {
      // The place of the next set's first entry: a copy of this one's, with another address, that leads elsewhere.
      const behind = (entry as number) + ways * 4;
      const words = engine.u64;
      const before = words.slice(behind, behind + 4);
      const forged = last + sets * 3; // would be in the same set
      words[behind] = (words[entry as number] as bigint) + BigInt((forged - last) * PAGE);
      words[behind + 1] = words[(entry as number) + 1] as bigint;
      words[behind + 2] = 0xdead_0000_003fn | (0x3fn << 6n);
      words[behind + 3] = words[(entry as number) + 3] as bigint;
      const pa = vcpu.translate(DATA + forged * PAGE, Access.Read);
      engine.u64.set(before, behind);
      expect(pa).toBe(OUT + forged * PAGE);
      vcpu.tlbi("VMALLS12E1");
      read(vcpu, last);
    }
  });

  /** Where the pool holds entries whose address is that of a page: word indexes. */
  function placesOf(page: number): number[][] {
    const { engine } = here;
    const words = engine.u64;
    const start = (engine.core.pool_pointer() >>> 0) / 8;
    const wanted = BigInt(DATA + page * PAGE);
    const found: number[][] = [];
    for (let i = start; i < words.length; i += 4) {
      const word = words[i] as bigint;
      if (word > wanted && word < wanted + 4096n && (word & 4095n) < 16n) found.push([i]);
    }
    return found;
  }
});
