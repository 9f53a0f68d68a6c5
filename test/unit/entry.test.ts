/** The operations on one live entry, as early KVM named them, over pages and blocks, by both kinds of loop. */
import { describe, expect, it } from "vitest";
import {
  type Engine,
  Prot,
  type Stage2,
  isReadonly,
  mkwrite,
  setReadonly,
  testAndClearYoung,
} from "../../src/index.ts";
import { MODES, onEngine } from "../engines.ts";

const PAGE = 0x1000;
const BLOCK = 0x40_0000;
const AF = 1n << 10n;
const S2AP = 3n << 6n;

const LOOPS = [{ exclusives: false }, { exclusives: true }] as const;
const PLACES = [
  ["page", PAGE],
  ["block", BLOCK],
] as const;

/** A page at {@link PAGE} and a 2 MiB block at {@link BLOCK}. */
function tableWithLeaves(engine: Engine, options = {}): Stage2 {
  const table = engine.stage2(options);
  table.map({ ipa: PAGE, size: 0x1000, pa: 0x8000_1000, prot: Prot.RWX | Prot.SW2 });
  table.map({ ipa: BLOCK, size: 0x20_0000, pa: 0x8040_0000, prot: Prot.RWX | Prot.SW2 });
  return table;
}

/** Puts a raw descriptor where a leaf stands, as other software or hardware would. */
function poke(engine: Engine, table: Stage2, ipa: number, pte: bigint): void {
  const slot = engine.core.s2_entry(table.pointer, ipa) >>> 0;
  Atomics.store(engine.u64, slot / 8, pte);
}

describe.each(MODES)("one entry, %s build", (mode) => {
  describe.each(PLACES)("a %s", (_place, ipa) => {
    it.each(LOOPS)("testAndClearYoung clears the access flag once (%o)", async (loop) => {
      await onEngine(mode, (engine) => {
        const table = tableWithLeaves(engine);
        const young = table.getLeaf(ipa).pte;
        expect(testAndClearYoung(table, ipa + 0xabc, loop)).toBe(true);
        expect(table.getLeaf(ipa).pte).toBe(young & ~AF);
        expect(testAndClearYoung(table, ipa, loop)).toBe(false);
        expect(table.getLeaf(ipa).pte).toBe(young & ~AF);
        table.dispose();
      });
    });

    it.each(LOOPS)("setReadonly changes the access permission alone (%o)", async (loop) => {
      await onEngine(mode, (engine) => {
        const table = tableWithLeaves(engine);
        const before = table.getLeaf(ipa).pte;
        expect(isReadonly(table, ipa)).toBe(false);
        for (const permission of [0n, 1n, 2n, 3n]) {
          for (const kept of [AF, 0n, AF | (1n << 51n), (1n << 54n) | (1n << 55n)]) {
            const others = (before & ~S2AP & ~AF) | kept;
            poke(engine, table, ipa, others | (permission << 6n));
            setReadonly(table, ipa + 8, loop);
            expect(table.getLeaf(ipa).pte).toBe(others | (1n << 6n));
            expect(isReadonly(table, ipa)).toBe(true);
          }
        }
        table.dispose();
      });
    });

    it.each(LOOPS)("what is no valid leaf is refused and not touched (%o)", async (loop) => {
      await onEngine(mode, (engine) => {
        const table = tableWithLeaves(engine);
        const leaf = table.getLeaf(ipa).pte;
        // The locked marker is the very bit of the access flag: it must not be taken for one.
        for (const other of [0n, 0x400n, 1n << 2n]) {
          poke(engine, table, ipa, other);
          expect(() => testAndClearYoung(table, ipa, loop)).toThrow(/ENOENT/);
          expect(() => setReadonly(table, ipa, loop)).toThrow(/ENOENT/);
          expect(() => isReadonly(table, ipa)).toThrow(/ENOENT/);
          expect(table.getLeaf(ipa).pte).toBe(other);
        }
        poke(engine, table, ipa, leaf);
        expect(() => testAndClearYoung(table, 2 ** 40, loop)).toThrow(/ERANGE/);
        table.dispose();
      });
    });
  });

  it("isReadonly is true for R without W alone", async () => {
    await onEngine(mode, (engine) => {
      const table = tableWithLeaves(engine);
      const others = table.getLeaf(PAGE).pte & ~S2AP;
      const answers = [0n, 1n, 2n, 3n].map((permission) => {
        poke(engine, table, PAGE, others | (permission << 6n));
        return isReadonly(table, PAGE);
      });
      expect(answers).toEqual([false, true, false, false]);
      table.dispose();
    });
  });

  it("mkwrite works on a value and touches no table", async () => {
    await onEngine(mode, (engine) => {
      const table = tableWithLeaves(engine);
      const before = table.getLeaf(PAGE).pte;
      for (const pte of [0n, 0x77fn, before & ~S2AP, 0xffff_ffff_ffff_ff3fn]) {
        expect(mkwrite(pte)).toBe(pte | S2AP);
      }
      expect(table.getLeaf(PAGE).pte).toBe(before);
      expect(() => mkwrite(2n ** 64n)).toThrow(/64 bits/);
      table.dispose();
    });
  });

  it.each([1, 2, 3, 10])("exclusives retry through spurious failures (seed %i)", async (seed) => {
    await onEngine(mode, (engine) => {
      const table = engine.stage2();
      const pages = 256;
      table.map({ ipa: 0, size: pages * 4096, pa: 0x8000_0000, prot: Prot.RW, forcePages: true });
      engine.setSpuriousFailures(2, seed);
      for (let i = 0; i < pages; i++) {
        expect(testAndClearYoung(table, i * 4096, { exclusives: true })).toBe(true);
        setReadonly(table, i * 4096, { exclusives: true });
      }
      const failures = engine.exclusiveFailures();
      engine.setSpuriousFailures(0);
      // About every second store failed, and each was tried again: 512 stores took about 512 more.
      expect(failures).toBeGreaterThan(300);
      expect(failures).toBeLessThan(900);
      for (const leaf of table.leaves()) {
        expect(leaf).toMatchObject({ prot: Prot.R, accessed: false });
      }
      setReadonly(table, 0, { exclusives: true });
      expect(engine.exclusiveFailures()).toBe(0);
      table.dispose();
    });
  });

  it("the same seed fails the same stores", async () => {
    const runs: number[] = [];
    for (let run = 0; run < 2; run++) {
      await onEngine(mode, (engine) => {
        const table = tableWithLeaves(engine);
        engine.setSpuriousFailures(3, 7);
        for (let i = 0; i < 100; i++) setReadonly(table, PAGE, { exclusives: true });
        runs.push(engine.exclusiveFailures());
        table.dispose();
      });
    }
    expect(runs[0]).toBeGreaterThan(0);
    expect(runs[1]).toBe(runs[0]);
  });

  it("without an atomic helper the results are the same when nothing interferes", async () => {
    // 32-bit Arm with LPAE: 40 bits, 4K pages, three levels.
    const shape = { ipaBits: 40, granule: "4K" } as const;
    const outcomes: bigint[][] = [];
    for (const nonAtomic of [false, true]) {
      await onEngine(mode, (engine) => {
        const table = tableWithLeaves(engine, { ...shape, nonAtomic });
        expect(table.startLevel).toBe(1);
        const steps: bigint[] = [];
        for (const ipa of [PAGE, BLOCK]) {
          steps.push(BigInt(testAndClearYoung(table, ipa)), table.getLeaf(ipa).pte);
          steps.push(BigInt(testAndClearYoung(table, ipa)), table.getLeaf(ipa).pte);
          setReadonly(table, ipa);
          steps.push(table.getLeaf(ipa).pte);
          table.mkyoung(ipa);
          table.relaxPerms({ ipa, prot: Prot.RW });
          steps.push(table.getLeaf(ipa).pte);
        }
        steps.push(BigInt(table.testClearYoung({ ipa: 0, size: 2 ** 30 })));
        table.wrprotect({ ipa: 0, size: 2 ** 30 });
        steps.push(...[...table.leaves()].map(({ pte }) => pte));
        outcomes.push(steps);
        table.dispose();
      });
    }
    expect(outcomes[1]).toEqual(outcomes[0]);
  });
});
