/**
 * Translations that the core makes on its shortest way (4K pages from level 1 on, stage 1 off, tables of the library, no
 * TLB), alone and in batches: the worked walks again, and random tables against the walk that takes no short cut.
 */
import { describe, expect, it } from "vitest";
import {
  Access,
  type Engine,
  Fault,
  type Stage2,
  type Vcpu,
  type VcpuOptions,
} from "../../src/index.ts";
import { MODES, lab } from "../support.ts";
import { S2 } from "./paging.ts";
import { IPA, ROWS, UPDATES } from "./worked-rows.ts";

const { Read, Write, ReadWrite, Fetch } = Access;
/** A CPU of 52-bit addresses: beyond the IPA size, it is stage 2 that faults. */
const LARGE = { idAa64mmfr0El1: 0x323_1020_0026n };
/** Sees each step, so it takes no short cut. */
const SLOW: VcpuOptions = { tlb: false, events: ["updates"] };
const QUICK: VcpuOptions = { tlb: false };

/** A word of the engine's table pages. */
class Word {
  readonly #engine: Engine;
  readonly pa: number;
  readonly before: bigint;

  constructor(engine: Engine, pa: number) {
    this.#engine = engine;
    this.pa = pa;
    this.before = this.value;
  }

  get value(): bigint {
    return this.#view.getBigUint64(0, true);
  }

  set value(value: bigint) {
    this.#view.setBigUint64(0, value, true);
  }

  get #view(): DataView {
    const { buffer, byteOffset } = this.#engine.memoryMap.bytes(this.pa, 8);
    return new DataView(buffer, byteOffset, 8);
  }
}

describe.each(MODES)("the straight descent (%s)", (mode) => {
  const here = lab(mode, {
    maxTablePages: 512,
    maxThreads: 2,
    maxObjects: 64,
    tablePhysicalBase: 0x8000_0000,
  });

  /** A tree with one page, and its descriptors from level 1 to 3. */
  function tree(ipa: number): { s2: Stage2; words: Word[] } {
    const s2 = here.keep(here.engine.stage2({ ipaBits: 40, parange: 2 }));
    s2.map({ ipa, size: 0x1000, pa: 0x9000_0000, prot: 6 });
    const { steps } = here.keep(here.engine.vcpu(s2, SLOW)).trace(ipa, Read);
    expect(steps).toHaveLength(3);
    return { s2, words: steps.map(({ pa }) => new Word(here.engine, pa)) };
  }

  const runs = ROWS.filter(({ vtcr }) => vtcr === undefined).flatMap((row) =>
    (row.update === undefined ? (["none", "HA"] as const) : [row.update]).map(
      (update) => [row.id, update, row] as const,
    ),
  );

  it.each(runs)("%s with %s", (_id, update, row) => {
    const { s2, words } = tree(IPA);
    const [one, two, three] = words as [Word, Word, Word];
    const { d, l1, l2, ipa = IPA, access, gives, options = {} } = row;
    // Tables are where the library put them: those of the row keep their other bits.
    if (l1 !== undefined) one.value = l1;
    if (l2 !== undefined) two.value = (l2 & 3n) === 3n ? two.before | (l2 & (1n << 40n)) : l2;
    if (d !== undefined) three.value = d;
    const vtcrEl2 = (s2.vtcr & ~UPDATES["HA HD"]) | UPDATES[update];
    const before = words.map(({ value }) => value);
    const after = [...before.slice(0, 2), row.after ?? before[2]];
    const batch = here.keep(here.engine.batch(9));
    batch.addresses.fill(ipa);
    for (const many of [false, true]) {
      const vcpu = here.keep(
        here.engine.vcpu(s2, { ...QUICK, ...options, registers: { vtcrEl2, ...LARGE } }),
      );
      if (many) {
        const failed = vcpu.translateMany(batch, access);
        expect(failed).toBe(typeof gives === "number" ? 0 : 9);
        const result = typeof gives === "number" ? gives : -1 - gives.fsc;
        expect([...batch.results]).toEqual(Array.from({ length: 9 }, () => result));
      } else {
        const result = vcpu.translate(ipa, access);
        if (typeof gives === "number") expect(result).toBe(gives);
        else
          expect(result).toMatchObject({
            fsc: gives.fsc,
            hpfar: gives.hpfar ?? 0x8000_0010n,
            far: BigInt(ipa),
          });
      }
      expect(words.map(({ value }) => value)).toEqual(after);
      words.forEach((word, i) => (word.value = before[i] as bigint));
    }
    for (const word of words) word.value = word.before; // the tree goes as it came
  });

  /** Random numbers that repeat. */
  function numbers(seed: number): (limit: number) => number {
    let x = seed * 2654435761 + 1;
    return (limit) => {
      x ^= x << 13;
      x ^= x >>> 17;
      x ^= x << 5;
      return (x >>> 0) % limit;
    };
  }

  /** A descriptor that a walk may meet at this level. */
  function descriptor(random: (limit: number) => number, level: number, table: bigint): bigint {
    const kind = random(8);
    if (kind === 0) return BigInt(random(2)) * 0xffff_ffff_ffff_fffen; // invalid
    if (level < 3 && kind < 5) return random(12) === 0 ? table | (1n << 40n) : table;
    const bit = (odds: number, bits: bigint) => (random(odds) === 0 ? bits : 0n);
    const output = BigInt(random(2 ** 20)) << (random(6) === 0 ? 24n : 16n); // some beyond 40 bits
    const type = level === 3 ? (random(10) === 0 ? 1n : 3n) : 1n;
    const rights = S2.RW & ~bit(3, S2.W) & ~bit(5, S2.R);
    const execute = BigInt(random(4)) << 53n;
    const more = bit(3, S2.DBM) | bit(9, S2.CONTIGUOUS) | bit(9, 0xfn << 55n) | bit(9, 1n << 63n);
    return output | type | S2.NORMAL | rights | execute | more | (random(4) === 0 ? 0n : S2.AF);
  }

  it.each([1, 2, 3])("is the walk: random tables %i", (seed) => {
    const random = numbers(seed);
    const { s2, words } = tree(IPA);
    const tables = words.slice(0, 2).map(({ before }) => before);
    const outcome = (vcpu: Vcpu, va: number, access: number) => {
      const result = vcpu.translate(va, access);
      if (!(result instanceof Fault)) return { number: result };
      const { esr, far, hpfar, fsc, ipa } = result;
      return { number: -1 - fsc, esr, far, hpfar, ipa };
    };
    let updates = 0;
    for (let round = 0; round < 200; round++) {
      const now = words.map((_, i) => descriptor(random, i + 1, tables[i] ?? 0n));
      const vtcrEl2 = (s2.vtcr & ~UPDATES["HA HD"]) | Object.values(UPDATES)[random(3)]!;
      const registers = { vtcrEl2, ...LARGE };
      const options = { registers, xnx: random(2) === 0, execNeedsRead: random(4) === 0 };
      const el = random(2) as 0 | 1;
      const cpus = [QUICK, SLOW, QUICK].map((kind) => {
        const vcpu = here.engine.vcpu(s2, { ...kind, ...options });
        vcpu.el = el;
        return vcpu;
      }) as [Vcpu, Vcpu, Vcpu];
      const va = random(10) === 0 ? 2 ** 40 + random(4096) : IPA - (IPA % 0x1000) + random(4096);
      const access = [Read, Write, ReadWrite, Fetch, Read | Access.Unprivileged][
        random(5)
      ] as number;
      const seen = cpus.slice(0, 2).map((vcpu) => {
        words.forEach((word, i) => (word.value = now[i] as bigint));
        const result = outcome(vcpu, va, access);
        const { descriptorReads, accessFlagUpdates, dirtyUpdates, faults } = vcpu.statistics;
        const left = words.map(({ value }) => value);
        return { result, left, descriptorReads, accessFlagUpdates, dirtyUpdates, faults };
      });
      const name = `${now.map((value) => value.toString(16))} access ${access} EL${el}`;
      expect(seen[0], name).toEqual(seen[1]);
      if (String(seen[0]!.left) !== String(now)) updates++;
      // And in batches, alone and among others.
      const { number } = seen[0]!.result;
      for (const others of [[], [2], [7]] as number[][]) {
        words.forEach((word, i) => (word.value = now[i] as bigint));
        const batch = here.engine.batch(9);
        batch.addresses.fill(va);
        for (const i of others) batch.addresses[i] = 2 ** 41;
        cpus[2].translateMany(batch, access);
        const wanted = Array.from({ length: 9 }, (_, i) => (others.includes(i) ? -5 : number));
        expect([...batch.results], name).toEqual(wanted);
        expect(
          words.map(({ value }) => value),
          name,
        ).toEqual(seen[0]!.left);
        batch.dispose();
      }
      for (const vcpu of cpus) vcpu.dispose();
    }
    expect(updates).toBeGreaterThan(5);
    words.forEach((word) => (word.value = word.before));
    here.engine.events.clear();
  });
});
