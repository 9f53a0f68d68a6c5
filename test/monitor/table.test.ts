/**
 * The events of the exclusive monitor (Arm ARM B2.12), one by one: a load-exclusive, something, and whether the
 * store-exclusive stores. By value, and by address (strict).
 */
import { beforeEach, describe, expect, it } from "vitest";
import { Prot, type Stage2, type Vcpu, type VcpuOptions } from "../../src/index.ts";
import { MODES, lab } from "../support.ts";
import { BASE, MACHINE, PAGE, cpu, table, word } from "./support.ts";

/** What is watched; a neighbour in its 64 bytes; the next 64 bytes. */
const A = BASE + 0x100;
const NEIGHBOUR = A + 0x38;
const OUTSIDE = A + 0x40;
const OLD = 0x1111_2222_3333_4444n;
const NEW = 0x5555_6666_7777_8888n;

type Event = (self: Vcpu, other: Vcpu, s2: Stage2) => unknown;

/** What happens between; whether the store-exclusive then stores, by value and strict. */
// prettier-ignore
const ROWS: [string, Event, boolean, boolean][] = [
  ["nothing",                                   () => {}, true, true],
  // This CPU
  ["CLREX",                                     (self) => self.clearExclusive(), false, false],
  ["an exception and its return",               (self) => { self.el = 2; self.el = 1; }, false, false],
  ["an exception to the same level",            (self) => (self.el = 1), false, false],
  ["a load of it",                              (self) => self.read64(A), true, true],
  ["a load elsewhere",                          (self) => self.read64(OUTSIDE), true, true],
  ["a plain store beside it",                   (self) => self.write64(NEIGHBOUR, 1n), true, true],
  ["a plain store of a byte beside it",         (self) => self.write8(A + 8, 1), true, true],
  ["plain stores beside it",                    (self) => { for (let i = 0; i < 9; i++) self.write32(A + 8 + 4 * i, i); }, true, true],
  ["a plain store elsewhere",                   (self) => self.write64(OUTSIDE, 1n), true, true],
  ["a plain store to it of what is there",      (self) => self.write64(A, OLD), true, true],
  ["a load-exclusive elsewhere",                (self) => self.loadExclusive(OUTSIDE, 8), false, false],
  ["a load-exclusive beside it",                (self) => self.loadExclusive(NEIGHBOUR, 8), false, false],
  ["a load-exclusive of another size",          (self) => self.loadExclusive(A, 4), false, false],
  ["a store-exclusive elsewhere, which fails",  (self) => expect(self.storeExclusive(OUTSIDE, 8, 7n)).toBe(false), false, false],
  ["a store-exclusive of another size",         (self) => expect(self.storeExclusive(A, 4, 7n)).toBe(false), false, false],
  ["the same store-exclusive already",          (self) => expect(self.storeExclusive(A, 8, OLD)).toBe(true), false, false],
  ["a load-exclusive again",                    (self) => self.loadExclusive(A, 8), true, true],
  ["TLB invalidations",                         (self) => self.tlbi("VMALLS12E1"), true, true],
  // Another CPU
  ["another's load",                            (_, other) => other.read64(A), true, true],
  ["another's load-exclusive",                  (_, other) => other.loadExclusive(A, 8), true, true],
  ["another's CLREX",                           (_, other) => other.clearExclusive(), true, true],
  ["another's store of another value",          (_, other) => other.write64(A, 0n), false, false],
  ["another's store of a byte of it",           (_, other) => other.write8(A + 7, 0), false, false],
  ["another's store of what is there",          (_, other) => other.write64(A, OLD), true, false],
  ["another's store and its undoing (ABA)",     (_, other) => { other.write64(A, 0n); other.write64(A, OLD); }, true, false],
  ["another's store beside it",                 (_, other) => other.write64(NEIGHBOUR, 1n), true, false],
  ["another's store of a byte beside it",       (_, other) => other.write8(A + 63, 1), true, false],
  ["another's pair over the end of it",         (_, other) => other.writePair(A + 56, [1n, 1n]), true, false],
  ["another's store behind it",                 (_, other) => other.write64(OUTSIDE, 1n), true, true],
  ["another's store before it",                 (_, other) => other.write64(A - 8, 1n), true, true],
  ["another's atomic",                          (_, other) => other.atomic("add", A, 8, 1n), false, false],
  ["another's atomic that changes nothing",     (_, other) => other.atomic("add", A, 8, 0n), true, false],
  ["another's atomic beside it",                (_, other) => other.atomic("set", NEIGHBOUR, 8, 1n), true, false],
  ["another's CAS",                             (_, other) => other.compareAndSwap(A, 8, OLD, 0n), false, false],
  ["another's CAS that does not match",         (_, other) => other.compareAndSwap(A, 8, 5n, 0n), true, true],
  ["another's store-exclusive",                 (_, other) => { other.loadExclusive(A, 8); expect(other.storeExclusive(A, 8, 0n)).toBe(true); }, false, false],
  ["another's store-exclusive of the value",    (_, other) => { other.loadExclusive(A, 8); expect(other.storeExclusive(A, 8, OLD)).toBe(true); }, true, false],
  ["another's store-exclusive that fails",      (_, other) => expect(other.storeExclusive(A, 8, 0n)).toBe(false), true, true],
  // Translation
  ["the page somewhere else",                   (_, __, s2) => s2.map({ ipa: BASE, size: PAGE, pa: 0x8000_4000, prot: Prot.RW }), false, false],
];

const MONITORS: [string, VcpuOptions][] = [
  ["by value", {}],
  ["strict", { strictMonitor: true }],
];

describe.each(MODES)("exclusives (%s)", (mode) => {
  const here = lab(mode, MACHINE);
  let s2: Stage2;
  const value = () => word(here.engine, A);

  beforeEach(() => {
    s2 = table(here);
  });
  const pair = (options: VcpuOptions): [Vcpu, Vcpu] => [
    cpu(here, s2, options),
    cpu(here, s2, options),
  ];

  describe.each(MONITORS)("%s", (_, options) => {
    const strict = options.strictMonitor === true;

    it.each(ROWS)("%s", (what, event, byValue, byAddress) => {
      const [self, other] = pair(options);
      self.write64(A, OLD);
      self.write64(NEIGHBOUR, 0n);
      const wanted = strict ? byAddress : byValue;
      expect(self.loadExclusive(A, 8)).toBe(OLD);
      event(self, other, s2);
      const before = value();
      expect(self.storeExclusive(A, 8, NEW), what).toBe(wanted);
      expect(value()).toBe(wanted ? NEW : before);
      // However it went, nothing is watched now.
      expect(self.storeExclusive(A, 8, 0n)).toBe(false);
      expect(value()).toBe(wanted ? NEW : before);
    });

    it.each([1, 2, 4, 8] as const)("of %i bytes change no others", (size) => {
      const [self] = pair(options);
      for (let at = 0; at < 16; at += size) {
        self.writePair(A, [0xa5a5_a5a5_a5a5_a5a5n, 0xa5a5_a5a5_a5a5_a5a5n]);
        const whole = 0xa5a5_a5a5_a5a5_a5a5n & ((1n << BigInt(8 * size)) - 1n);
        expect(self.loadExclusive(A + at, size)).toBe(whole);
        expect(self.storeExclusive(A + at, size, 0x5an)).toBe(true);
        const [low, high] = self.readPair(A) as [bigint, bigint];
        const all = (high << 64n) | low;
        const cleared = ((1n << BigInt(8 * size)) - 1n) << BigInt(8 * at);
        const base = (0xa5a5_a5a5_a5a5_a5a5n << 64n) | 0xa5a5_a5a5_a5a5_a5a5n;
        expect(all).toBe((base & ~cleared) | (0x5an << BigInt(8 * at)));
      }
    });

    it("a store-exclusive with no load-exclusive before it stores nothing", () => {
      const [self] = pair(options);
      self.write64(A, OLD);
      expect(self.storeExclusive(A, 8, NEW)).toBe(false);
      expect(value()).toBe(OLD);
    });

    it("of two CPUs that both have loaded, one stores", () => {
      const [self, other] = pair(options);
      for (const [first, second] of [
        [self, other],
        [other, self],
      ] as const) {
        self.write64(A, OLD);
        for (const one of [self, other]) one.loadExclusive(A, 8);
        expect(first.storeExclusive(A, 8, NEW)).toBe(true);
        expect(second.storeExclusive(A, 8, 0n)).toBe(false);
        expect(value()).toBe(NEW);
      }
    });

    it("watch memory, not names: another name of it counts as a store to it", () => {
      const [self, other] = pair(options);
      const alias = BASE + 0x10_0000;
      s2.map({ ipa: alias, size: PAGE, pa: 0x8000_0000, prot: Prot.RW });
      self.write64(A, OLD);
      self.loadExclusive(A, 8);
      other.write64(alias + (A % PAGE), 0n);
      expect(self.storeExclusive(A, 8, NEW)).toBe(false);
    });

    it("need read permission to load and write permission to store", () => {
      const [self] = pair(options);
      s2.wrprotect({ ipa: BASE, size: PAGE });
      s2.tlbFlushRange({ ipa: BASE, size: PAGE });
      expect(self.loadExclusive(A, 8)).toBe(0n);
      const fault = { type: "permission", write: true, level: 3, ipa: A };
      expect(self.storeExclusive(A, 8, NEW)).toMatchObject(fault);
      s2.relaxPerms({ ipa: BASE, prot: Prot.W });
      expect(self.storeExclusive(A, 8, NEW), "an exception came between").toBe(false);
      expect(self.loadExclusive(A, 8)).toBe(0n);
      expect(self.storeExclusive(A, 8, NEW)).toBe(true);
      s2.unmap({ ipa: BASE, size: PAGE });
      expect(self.loadExclusive(A, 8)).toMatchObject({ type: "translation", write: false });
    });

    describe("of which a plain store of this CPU takes the claim (K-13)", () => {
      const knob = { ...options, ownStoreClearsMonitor: true };
      it.each<[string, (self: Vcpu) => unknown, boolean]>([
        ["nothing", () => {}, true],
        ["a load", (self) => self.read64(A), true],
        ["a store to it", (self) => self.write64(A, OLD), false],
        ["a store of a byte of it", (self) => self.write8(A + 3, 0x33), false],
        ["a store beside it", (self) => self.write8(NEIGHBOUR, 1), false],
        ["a pair that reaches into it", (self) => self.writePair(A - 8, [1n, OLD]), false],
        ["a store behind it", (self) => self.write64(OUTSIDE, 1n), true],
        ["a store before it", (self) => self.write64(A - 8, 1n), true],
        ["an atomic on it", (self) => self.atomic("add", A, 8, 0n), false],
        ["a CAS that does not match", (self) => self.compareAndSwap(A, 8, 1n, 2n), true],
      ])("%s", (_, event, wanted) => {
        const [self] = pair(knob);
        self.write64(A, OLD);
        self.loadExclusive(A, 8);
        event(self);
        expect(self.storeExclusive(A, 8, NEW)).toBe(wanted);
      });
    });

    it.each<[string, (self: Vcpu) => unknown]>([
      ["all of it", (self) => self.write64(A, 1n)],
      ["its first byte", (self) => self.write8(A, 1)],
      ["its last byte", (self) => self.write8(A + 7, 1)],
      ["from before it", (self) => self.write64(A - 4, -1n)],
      ["to behind it", (self) => self.write64(A + 4, -1n)],
      ["a pair over it", (self) => self.writePair(A - 4, [-1n, -1n])],
      ["twice", (self) => [self.write32(A, 5), self.write32(A + 4, 6)]],
    ])(
      "and plain stores of this CPU to what it watches leave the claim (K-13, default): %s",
      (_name, store) => {
        const [self, other] = pair(options);
        self.write64(A, OLD);
        self.loadExclusive(A, 8);
        store(self);
        expect(self.storeExclusive(A, 8, NEW)).toBe(true);
        expect(value()).toBe(NEW);
        if (!strict) return; // by value, another's store under an own one is out of sight
        // Another's in between still counts.
        self.loadExclusive(A, 8);
        other.write64(A, 9n);
        store(self);
        const before = value();
        expect(self.storeExclusive(A, 8, OLD)).toBe(false);
        expect(value()).toBe(before);
      },
    );
  });
});
