/**
 * Accesses over the end of a page: both parts or none, the first page that fails says why (H-4.21). And over the end of
 * memory, and into the engine's own pages: an external abort, whatever lies behind in this process.
 */
import { beforeEach, describe, expect, it } from "vitest";
import { Fault, Prot, type Stage2, type Vcpu, type VcpuOptions } from "../../src/index.ts";
import { MODES, lab } from "../support.ts";
import { BASE, MACHINE, ORDER, PAGE, RAM, bytes, cpu, table } from "./support.ts";

const EDGE = BASE + PAGE;

interface Shape {
  name: string;
  size: number;
  read: (vcpu: Vcpu, va: number) => unknown;
  write: (vcpu: Vcpu, va: number) => Fault | undefined;
}

// What is stored: bytes 1, 2, 3, ...
const LOW = 0x0807_0605_0403_0201n;
const HIGH = 0x100f_0e0d_0c0b_0a09n;
const SHAPES: Shape[] = [
  {
    ...{ name: "2 bytes", size: 2, read: (vcpu, va) => vcpu.read16(va) },
    write: (vcpu, va) => vcpu.write16(va, 0x0201),
  },
  {
    ...{ name: "4 bytes", size: 4, read: (vcpu, va) => vcpu.read32(va) },
    write: (vcpu, va) => vcpu.write32(va, 0x0403_0201),
  },
  {
    ...{ name: "8 bytes", size: 8, read: (vcpu, va) => vcpu.read64(va) },
    write: (vcpu, va) => vcpu.write64(va, LOW),
  },
  {
    ...{ name: "a pair", size: 16, read: (vcpu, va) => vcpu.readPair(va) },
    write: (vcpu, va) => vcpu.writePair(va, [LOW, HIGH]),
  },
];
const value = (size: number) => {
  const whole = ((HIGH << 64n) | LOW) & ((1n << BigInt(8 * size)) - 1n);
  if (size === 16) return [LOW, HIGH];
  return size === 8 ? whole : Number(whole);
};
const CPUS: [string, VcpuOptions][] = [
  ["with a TLB", {}],
  ["walking", { tlb: false }],
  ["strict", { strictMonitor: true }],
];

describe.each(MODES)("accesses over an end (%s)", (mode) => {
  const here = lab(mode, MACHINE);
  let s2: Stage2;
  const page = (index: number) => bytes(here.engine, BASE + index * PAGE, PAGE);
  const clear = () => ORDER.forEach((_, i) => page(i).fill(0xee));
  const untouched = () => ORDER.every((_, i) => page(i).every((byte) => byte === 0xee));

  beforeEach(() => {
    s2 = table(here);
    clear();
  });

  describe.each(CPUS)("of a page, %s", (_, options) => {
    it.each(SHAPES)("$name: at every offset", ({ size, read, write }) => {
      const vcpu = cpu(here, s2, options);
      for (let before = 1; before < size; before++) {
        clear();
        expect(write(vcpu, EDGE - before)).toBeUndefined();
        expect(read(vcpu, EDGE - before)).toEqual(value(size));
        const stored = [...page(0).slice(-before), ...page(1).slice(0, size - before)];
        expect(stored).toEqual(Array.from({ length: size }, (_, i) => i + 1));
        expect(page(0).filter((byte) => byte !== 0xee)).toHaveLength(before);
        expect(page(1).filter((byte) => byte !== 0xee)).toHaveLength(size - before);
        expect([page(2), page(3)].every((one) => one.every((byte) => byte === 0xee))).toBe(true);
      }
    });

    /** The first page, the second page: what each allows; what a read and a write meet: which page, and why. */
    // prettier-ignore
    const PAIRS: [string, number | undefined, number | undefined, [number, string] | undefined, [number, string] | undefined][] = [
      ["good, good",        Prot.RW,   Prot.RW,   undefined,          undefined],
      ["good, none",        Prot.RW,   undefined, [1, "translation"], [1, "translation"]],
      ["none, good",        undefined, Prot.RW,   [0, "translation"], [0, "translation"]],
      ["none, none",        undefined, undefined, [0, "translation"], [0, "translation"]],
      ["good, read-only",   Prot.RW,   Prot.R,    undefined,          [1, "permission"]],
      ["read-only, good",   Prot.R,    Prot.RW,   undefined,          [0, "permission"]],
      ["read-only, none",   Prot.R,    undefined, [1, "translation"], [0, "permission"]],
      ["write-only, good",  Prot.W,    Prot.RW,   [0, "permission"],  undefined],
      ["good, write-only",  Prot.RW,   Prot.W,    [1, "permission"],  undefined],
      ["none, read-only",   undefined, Prot.R,    [0, "translation"], [0, "translation"]],
    ];
    it.each(PAIRS)("%s", (_name, first, second, reads, writes) => {
      s2.unmap({ ipa: BASE, size: 2 * PAGE });
      for (const [i, prot] of [first, second].entries()) {
        if (prot === undefined) continue;
        const pa = RAM.pa + (ORDER[i] as number) * PAGE;
        s2.map({ ipa: BASE + i * PAGE, size: PAGE, pa, prot });
      }
      const vcpu = cpu(here, s2, options);
      for (let again = 0; again < 2; again++) {
        for (const { size, read, write } of SHAPES) {
          for (const before of [1, size - 1]) {
            const at = EDGE - before;
            const fault = ([where, type]: [number, string], isWrite: boolean) => {
              const address = where === 0 ? at : EDGE;
              const words = { type, stage: 2, level: 3, write: isWrite };
              return { ...words, far: BigInt(address), ipa: address };
            };
            const loaded = read(vcpu, at);
            if (reads === undefined) expect(loaded).not.toBeInstanceOf(Fault);
            else expect(loaded).toMatchObject(fault(reads, false));
            const stored = write(vcpu, at);
            if (writes === undefined) clear();
            else expect(stored).toMatchObject(fault(writes, true));
            expect(untouched(), "nothing of it is stored").toBe(true);
          }
        }
      }
    });
  });

  it("a store that fails in its second page makes neither dirty", () => {
    s2.wrprotect({ ipa: BASE, size: PAGE });
    s2.unmap({ ipa: EDGE, size: PAGE });
    const leaf = () => s2.getLeaf(BASE).pte;
    const slot = here.engine.core.s2_entry(s2.pointer, BASE) >>> 0;
    here.engine.u64[slot / 8] = leaf() | (1n << 51n); // DBM: writable-clean
    const vcpu = cpu(here, s2, { hd: true });
    const before = leaf();
    expect(vcpu.write64(EDGE - 4, 0n)).toMatchObject({ type: "translation", far: BigInt(EDGE) });
    expect(leaf()).toBe(before);
    expect(vcpu.write64(EDGE - 8, 0n)).toBeUndefined();
    expect(leaf()).toBe(before | (1n << 7n));
  });

  describe("of memory", () => {
    /** Two banks that adjoin in this process, and not for the guest; beyond each there is nothing. */
    it.each(["4K", "16K", "64K"] as const)("pages of %s", (granule) => {
      const { engine } = here;
      const { pointer } = engine.memoryMap.segments.find(({ pa }) => pa === RAM.pa)!;
      engine.memoryMap.remove(RAM.pa);
      engine.memoryMap.add({ pa: 0x8000_0000, size: PAGE, pointer });
      engine.memoryMap.add({ pa: 0x9000_0000, size: PAGE, pointer: pointer + PAGE });
      const behind = engine.memoryMap.bytes(0x9000_0000, PAGE).fill(0xee);
      const wide = here.keep(engine.stage2({ granule }));
      wide.map({ ipa: BASE, size: 0x1_0000, pa: 0x8000_0000, prot: Prot.RW });
      const off = { hcrEl2: 1n << 31n }; // both stages off
      const cpus = [cpu(here, wide), cpu(here, wide, { tlb: false })];
      const flat = here.keep(engine.vcpu(undefined, { registers: off }));
      for (const [vcpu, base] of [...cpus.map((one) => [one, BASE] as const), [flat, RAM.pa] as const]) {
        const end = base + PAGE;
        for (const { size, read, write } of SHAPES) {
          for (let before = 1; before < size; before++) {
            const at = end - before;
            if (vcpu === flat && at % Math.min(size, 8) !== 0) continue; // Device memory: aligned only
            expect(read(vcpu, at), `${size} at -${before}`).toMatchObject({ type: "externalAbort" });
            expect(write(vcpu, at)).toMatchObject({ type: "externalAbort", write: true });
          }
          expect(read(vcpu, end)).toMatchObject({ type: "externalAbort", far: BigInt(end) });
          expect(write(vcpu, end - size), "the last ones").toBeUndefined();
        }
      }
      expect(behind.every((byte) => byte === 0xee)).toBe(true);
    }); // prettier-ignore
  });

  describe("into the engine's own pages", () => {
    it("all are refused, and change nothing", () => {
      const { engine } = here;
      const pool = engine.memoryMap.segments[0]!;
      s2.map({ ipa: EDGE, size: PAGE, pa: pool.pa, prot: Prot.RWX });
      s2.map({ ipa: EDGE + PAGE, size: PAGE, pa: pool.pa + pool.size - PAGE, prot: Prot.RWX });
      const own = () => engine.memoryMap.bytes(pool.pa, PAGE);
      const before = own().slice();
      expect(before.some((byte) => byte !== 0)).toBe(true);
      for (const [, options] of CPUS) {
        const vcpu = cpu(here, s2, options);
        for (const va of [EDGE, EDGE + PAGE, EDGE + 0x7f8]) {
          const calls: (() => unknown)[] = [
            () => vcpu.read8(va),
            () => vcpu.read64(va),
            () => vcpu.readPair(va),
            () => vcpu.write8(va, 1),
            () => vcpu.write64(va, 0n),
            () => vcpu.writePair(va, [0n, 0n]),
            () => vcpu.fetch(va),
            () => vcpu.atomic("swp", va, 8, 0n),
            () => vcpu.compareAndSwap(va, 8, 0n, 0n),
            () => vcpu.loadExclusive(va, 8),
          ];
          for (const call of calls) {
            expect(call(), String(call)).toMatchObject({ type: "externalAbort", stage: 1, el: 1 });
          }
          expect(vcpu.storeExclusive(va, 8, 0n)).not.toBe(true);
        }
        // From the page before: nothing of it is stored either.
        const edge = bytes(engine, BASE, PAGE).subarray(-8);
        edge.fill(0xee);
        expect(vcpu.write64(EDGE - 4, 0n)).toMatchObject({ type: "externalAbort" });
        expect(vcpu.read32(EDGE - 2)).toMatchObject({ type: "externalAbort" });
        expect([...edge]).toEqual(Array(8).fill(0xee));
        // A translation is no access.
        expect(vcpu.translate(EDGE, 1)).toBe(pool.pa);
      }
      expect([...own()]).toEqual([...before]);
    });
  });
});
